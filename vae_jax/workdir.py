"""A run's or a sweep's directory: its files by name, and one process at a time.

config.json     the resolved config
metrics.jsonl   one record per line
summary.json    the test metrics, once the run is finished
loggers.json    the run in each logger that takes the records too
events.out.*    scalars and images, for TensorBoard
checkpoints/  plots/

A sweep has sweep.json, the resolved sweep, in place of config.json; each of its members is a run in
members/NNNN.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from vae_jax.errors import UserError
from vae_jax.settings import flatten

AsNow = Callable[[dict[str, Any]], dict[str, Any]]

_CONFIG = "config.json"
_SUMMARY = "summary.json"
# Settings of a run that its training does not depend on, so that they may change.
_WITHOUT_EFFECT = ("data.dir", "evaluation.")
_SUMMARY_KEYS = {"test": dict, "device": str, "num_cores": int, "versions": dict}
_SUMMARY_DIGEST = "summary_digest"
_SWEEP = "sweep.json"
# Files that are there before anything is trained; a journal has the settings that are to be tried.
_WITHOUT_WORK = (".lock", _CONFIG, _SWEEP, "data.json", "journal.log")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file at once (see `written_at_once`).

    Args:
      path: the file.
      content: bytes, or text, which is written as UTF-8.

    Raises:
      UserError: it cannot be written; the old file stays.
    """
    with written_at_once(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def written_at_once(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write: readers and kills find the whole old file or the whole new one.

    A link stays, and the file that it names is written; a device or a pipe is written through.

    Raises:
      UserError: it cannot be written; the old file stays.
    """
    try:
        path = path.resolve() if path.is_symlink() else path
        if path.exists() and not (path.is_file() or path.is_dir()):
            with open(path, "wb") as file:
                yield file
            return
        partial = path.with_name(path.name + ".partial")
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def make_folder(folder: Path) -> None:
    """Create a directory and its parents if they are missing.

    Raises:
      UserError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror or error}") from error


def config_digest(config: dict[str, Any]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a JSON object's canonical text."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def read_json(path: Path, required: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
      path: the file.
      required: keys that the object must have, and the type or types of their values.

    Raises:
      UserError: it cannot be read, is not an object, or lacks a key or has another type there.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    # Objects may be nested too deep for the parser.
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object")
    for name, kind in (required or {}).items():
        if name not in content:
            raise UserError(f"{path} is damaged: it has no {name!r}")
        if not isinstance(content[name], kind):
            raise UserError(f"{path} is damaged: {name!r} is {str(content[name])[:40]!r}")
    return content


def tensorboard_folder(folder: Path) -> Path:
    """Return the directory of a run's files for TensorBoard, which names the run by it.

    It is the run's own; runs of earlier versions have one inside theirs, which they keep.
    """
    inner = folder / "tensorboard"
    return inner if inner.is_dir() else folder


def member_folder(workdir: Path, member: int) -> Path:
    """Return the run's directory of one member of the sweep in `workdir`."""
    return workdir / "members" / f"{member:04d}"


def run_folder(workdir: Path, member: int | None) -> Path:
    """Return the directory of a run, which may be a member of a sweep.

    Raises:
      UserError: the directory holds a sweep and no member is named, or the reverse.
    """
    if not (workdir / _SWEEP).is_file():
        if member is not None:
            raise UserError(
                f"workdir={str(workdir)!r} holds no sweep, so it has no member {member}"
            )
        return workdir
    folders = [path for path in (workdir / "members").glob("*") if path.is_dir()]
    trained = sorted(int(path.name) for path in folders if path.name.isdecimal())
    known = (
        f"trained so far are {', '.join(map(str, trained[:8]))}" if trained else "none is trained"
    )
    known += f", ... {trained[-1]}" if len(trained) > 8 else ""
    if member is None:
        raise UserError(f"workdir={str(workdir)!r} holds a sweep; name a member: {known}")
    if member not in trained:
        raise UserError(f"workdir={str(workdir)!r} has no member {member}; {known}")
    return member_folder(workdir, member)


def read_sweep(workdir: Path) -> dict[str, Any] | None:
    """Return the resolved sweep of `workdir`; None if there is none."""
    path = workdir / _SWEEP
    return read_json(path) if path.is_file() else None


def read_config(workdir: Path) -> dict[str, Any]:
    """Return the config of the run in `workdir`.

    Raises:
      UserError: there is no run, or its config is damaged.
    """
    if not (workdir / _CONFIG).is_file():
        raise UserError(f"workdir={str(workdir)!r} holds no run: {_CONFIG} is not there")
    return read_json(workdir / _CONFIG)


def written_digest(workdir: Path) -> str:
    """Return the digest of config.json as it stands there, without `_WITHOUT_EFFECT`.

    The checkpoints of a run have it, so that both are known to belong together.

    Raises:
      UserError: as `read_config`.
    """
    written = read_config(workdir)
    if all(isinstance(written.get(name, {}), dict) for name in ("data", "evaluation")):
        flat = flatten(written)
        written = {name: flat[name] for name in flat if not name.startswith(_WITHOUT_EFFECT)}
    return config_digest(written)


def read_summary(workdir: Path) -> dict[str, Any] | None:
    """Return the run's summary; None while the run is not finished.

    Raises:
      UserError: the summary is damaged, or was changed after it was written.
    """
    path = workdir / _SUMMARY
    if not path.is_file():
        return None
    summary = read_json(path, _SUMMARY_KEYS)
    # Earlier versions wrote none.
    digest = summary.pop(_SUMMARY_DIGEST, None)
    if digest not in (None, config_digest(summary)):
        raise UserError(
            f"{path} was changed after it was written: its content does not have its "
            f"{_SUMMARY_DIGEST}; delete it, and measure the run with experiments.evaluate"
        )
    return summary


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file at once (see `write_atomically`); numbers that are not finite become null.

    JSON has no NaN.
    """
    write_atomically(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def write_summary(workdir: Path, summary: dict[str, Any]) -> None:
    """Write summary.json and its digest, which is of what can be read back."""
    content = finite({name: summary[name] for name in summary if name != _SUMMARY_DIGEST})
    write_json(workdir / _SUMMARY, {**content, _SUMMARY_DIGEST: config_digest(content)})


def finite(content: Any) -> Any:
    """Return content as JSON gives it back, with null for numbers that are not finite."""
    if isinstance(content, dict):
        return {str(name): finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _claim(workdir: Path, content: dict[str, Any], name: str, as_now: AsNow) -> None:
    """Write config.json or sweep.json, or refuse the workdir if it has another one.

    Settings that training does not depend on may differ in a run: it then gets the new ones.
    """
    kind, other = ("run", _SWEEP) if name == _CONFIG else ("sweep", _CONFIG)
    if (workdir / other).exists():
        raise UserError(
            f"workdir={str(workdir)!r} has a {other} already, so it cannot hold a {kind}; "
            "use another workdir"
        )
    if not (workdir / name).exists():
        write_json(workdir / name, content)
        return
    written = read_json(workdir / name)
    # Checkpoints have the digest of a config in the schema that it was written in.
    is_of_our_schema = content.get("schema") == written.get("schema")
    # Through JSON, so that a tuple equals the list that was read back.
    found = as_now(written)
    ours, theirs = (flatten(json.loads(json.dumps(side))) for side in (content, found))
    missing = "(none)"
    differing = {
        field: f"{field}={ours.get(field, missing)!r} (there: {theirs.get(field, missing)!r})"
        for field in sorted(ours.keys() | theirs.keys())
        if ours.get(field, missing) != theirs.get(field, missing)
    }
    if not differing:
        return
    if is_of_our_schema and all(field.startswith(_WITHOUT_EFFECT) for field in differing):
        write_json(workdir / name, content)
        return
    longer = ""
    if kind == "run" and "epochs" in differing:
        longer = f", there with --init_from={str(workdir)!r} to train this model for longer"
    raise UserError(
        f"workdir={str(workdir)!r} holds a {kind} of another config: "
        f"{', '.join(differing.values())}; use another workdir{longer}"
    )


@contextlib.contextmanager
def left_as_it_was(folder: Path) -> Iterator[None]:
    """Remove what a refused command leaves: folders that it made and put no work into.

    Those are `folder` and its parents, if they were missing before. Empty subfolders, locks that
    nobody holds, the config and a search without trials are no work.
    """
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        yield
    except UserError:
        if missing and folder.is_dir() and _removed_without_work(folder):
            for path in missing[1:]:
                with contextlib.suppress(OSError):
                    path.rmdir()
        raise


def _removed_without_work(folder: Path) -> bool:
    """Remove a folder without work, unless another process has begun there; say whether it did."""
    with contextlib.ExitStack() as held:
        try:
            for lock in folder.rglob("*.lock"):
                held.enter_context(FileLock(lock, timeout=0))
        except OSError:
            return False
        # After the locks: what another process has done there is finished or will not be begun.
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        if any(path.suffix != ".lock" and path.name not in _WITHOUT_WORK for path in files):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return True


@contextlib.contextmanager
def hold(
    workdir: Path,
    config: dict[str, Any] | None = None,
    *,
    sweep: dict[str, Any] | None = None,
    as_now: AsNow = lambda content: content,
    wait: float = 0.0,
) -> Iterator[None]:
    """Lock `workdir` for this process; with a config, create it or check that it has the same.

    Args:
      workdir: the directory.
      config: config of the run; None to lock an existing directory.
      sweep: the resolved sweep, in place of `config`.
      as_now: upgrades a config of an earlier version for the comparison.
      wait: seconds to wait for another process that holds the lock; infinity waits for ever.

    Raises:
      UserError: it cannot be written, another process holds it, or it has another config.
    """
    content, name = (config, _CONFIG) if sweep is None else (sweep, _SWEEP)
    try:
        if content is not None:
            workdir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(workdir / ".lock", timeout=wait)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"workdir={str(workdir)!r} is in use by another process; wait for it or use another"
        ) from None
    except OSError as error:
        raise UserError(
            f"workdir={str(workdir)!r} cannot be written: {error.strerror or error}"
        ) from error
    try:
        if content is not None:
            _claim(workdir, content, name, as_now)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def hold_if_free(folder: Path) -> Iterator[bool]:
    """Create a directory and lock it for this process, unless another one holds it.

    Yields:
      Whether this process holds it.

    Raises:
      UserError: it cannot be written.
    """
    make_folder(folder)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except (Timeout, FileNotFoundError):
        # It is not found if the other process has just removed the directory.
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
