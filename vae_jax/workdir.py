"""A run's directory: config.json, summary.json, and one process at a time.

config.json     the resolved config
metrics.jsonl   a record a line
summary.json    the test figures, once the run is finished
checkpoints/  figures/  tensorboard/
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vae_jax.config_fields import flatten
from vae_jax.errors import UserError

_CONFIG = "config.json"
_SUMMARY = "summary.json"


def write_atomically(path: Path, text: str) -> None:
    """Write a text file such that a reader, or a kill, finds the old one or the new one whole.

    Raises:
      UserError: it cannot be written; the old one stays.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def _to_json(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"


def config_digest(config: dict[str, Any]) -> str:
    """SHA-256 over the config's canonical JSON, the first 16 hexadecimal digits."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object")
    return content


def read_config(workdir: Path) -> dict[str, Any]:
    """The config of the run in `workdir`.

    Raises:
      UserError: there is no run, or its config is damaged.
    """
    if not (workdir / _CONFIG).is_file():
        raise UserError(f"workdir={str(workdir)!r} holds no run: {_CONFIG} is not there")
    return _read_json(workdir / _CONFIG)


def read_summary(workdir: Path) -> dict[str, Any] | None:
    """The run's summary; None while it is not finished."""
    path = workdir / _SUMMARY
    return _read_json(path) if path.is_file() else None


def write_summary(workdir: Path, summary: dict[str, Any]) -> None:
    """Write summary.json."""
    write_atomically(workdir / _SUMMARY, _to_json(summary))


def _claim_config(workdir: Path, config: dict[str, Any]) -> None:
    """Write config.json, or make sure that the one there is the same."""
    if not (workdir / _CONFIG).exists():
        write_atomically(workdir / _CONFIG, _to_json(config))
        return
    # Through JSON, so that a tuple equals the list that was read back.
    ours, theirs = flatten(json.loads(json.dumps(config))), flatten(read_config(workdir))
    missing = "(none)"
    differing = [
        f"{field}={ours.get(field, missing)!r} (there: {theirs.get(field, missing)!r})"
        for field in sorted(ours.keys() | theirs.keys())
        if ours.get(field, missing) != theirs.get(field, missing)
    ]
    if differing:
        raise UserError(
            f"workdir={str(workdir)!r} holds a run of another config: {', '.join(differing)}; "
            "use another workdir"
        )


@contextlib.contextmanager
def hold(workdir: Path, config: dict[str, Any] | None = None) -> Iterator[None]:
    """Keep `workdir` for this process; with a config, create it or insist that it is the same.

    Raises:
      UserError: it cannot be written, another process holds it, or it is of another config.
    """
    try:
        if config is not None:
            workdir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(workdir / ".lock", timeout=0)
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
        if config is not None:
            _claim_config(workdir, config)
        yield
    finally:
        lock.release()
