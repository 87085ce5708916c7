"""Checkpoints of a run: orbax writes the arrays, a manifest of checksums detects damage.

    checkpoints/<step>/state/          the pytree, as orbax stores it
    checkpoints/<step>/metadata.json   small facts about it
    checkpoints/<step>/manifest.json   SHA-256 of every other file

A checkpoint is written under another name and then renamed, so that a kill leaves a whole one or
none. The manifest detects later damage: orbax restores arrays with flipped bytes without an error.

Readers need no lock of the run, and may read where they cannot write: while one reads a checkpoint,
the run does not delete it.

Several processes must share the directory. Each writes a part of the arrays, and the first process
all other files. Each process reads whole arrays, so that a run may continue with another number of
processes.

Orbax is imported by the functions that use it: its import takes longer than a refused command.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from vae_jax.errors import UserError, first_line
from vae_jax.training import processes

_MANIFEST = "manifest.json"
_METADATA = "metadata.json"
_PARTIAL = ".partial"
_TORN = ".torn"
# Bytes that orbax and the manifest add to the arrays, with a margin.
_OVERHEAD = 100_000
# Files and folders of a checkpoint, with those that orbax makes for a time; they are about 30.
_NUM_FILES = 60


class Checkpoint(NamedTuple):
    """A saved state after `step` steps."""

    step: int
    tree: PyTree
    metadata: dict[str, Any]


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _MANIFEST
    }


def _is_whole(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest) and manifest == _digests(folder)
    except (OSError, ValueError, RecursionError):
        return False


def _sync(*paths: Path) -> None:
    """Wait until files and folders are on the disk, on systems that support it."""
    if os.name != "posix":
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _quiet_orbax() -> Iterator[None]:
    """Keep orbax's threads from printing tracebacks of errors that are reported in one line."""
    logger = logging.getLogger("absl")
    previous, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = previous


@contextlib.contextmanager
def _for_orbax(folder: Path) -> Iterator[Path]:
    """Yield an absolute path of a folder, by a temporary link if its own cannot be given to orbax.

    Orbax merges what processes wrote by a pattern, and takes brackets in the path as part of it.
    """
    path = folder.absolute()
    if not set(str(path)) & set("[]*?\\"):
        yield path
        return
    with tempfile.TemporaryDirectory() as scratch:
        link = Path(scratch) / "checkpoint"
        link.symlink_to(path)
        yield link


def _check_room(directory: Path, tree: PyTree) -> None:
    """Refuse a full disk before orbax's threads print their tracebacks."""
    directory.mkdir(parents=True, exist_ok=True)
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + _OVERHEAD
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(f"{free:,} bytes are free and {needed:,} are needed")
    # Some file systems have a limit on files too; those without one report that they have none.
    if hasattr(os, "statvfs"):
        status = os.statvfs(directory)
        if status.f_files and status.f_favail < _NUM_FILES:
            raise OSError(f"{status.f_favail} files may be made and {_NUM_FILES} are needed")


def steps(directory: Path) -> list[int]:
    """Return the steps that have a checkpoint, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal())


def save(
    directory: Path, step: int, tree: PyTree, metadata: dict[str, Any], *, max_to_keep: int
) -> None:
    """Write a checkpoint unless this step has one, then delete all but the newest `max_to_keep`.

    All processes call it together.

    Raises:
      UserError: it cannot be written; the earlier checkpoints stay as they were.
      jax.errors.JaxRuntimeError, ValueError: another process is gone (see `processes.lost`).
    """
    import orbax.checkpoint as ocp

    final = directory / str(step)
    if processes.from_first(int(final.exists())):
        return
    partial = directory / f"{step}{_PARTIAL}"
    try:
        if processes.is_first():
            _check_room(directory, tree)
            for leftover in directory.glob(f"*{_PARTIAL}"):
                shutil.rmtree(leftover, ignore_errors=True)
            partial.mkdir(parents=True)
        processes.wait_for_all("checkpoint begins")
        with (
            _quiet_orbax(),
            _for_orbax(partial) as folder,
            ocp.StandardCheckpointer() as checkpointer,
        ):
            checkpointer.save(folder / "state", tree)
        if processes.is_first():
            _complete(partial, final, metadata)
        processes.wait_for_all("checkpoint is written")
    except Exception as error:  # tensorstore reports a full disk as one of many kinds
        if processes.lost(error):
            raise
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(
            f"checkpoint {final} cannot be written: {first_line(error)[:200]}; make room and run "
            "the same command again to continue from the last one"
        ) from error
    if processes.is_first():
        for old in steps(directory)[:-max_to_keep]:
            _delete(directory / str(old))


def _lock(file: IO[bytes], *, shared: bool) -> bool:
    """Lock an open file until it is closed; return False if it is locked in the other way."""
    if sys.platform == "win32":
        # Open files cannot be deleted there.
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Some network file systems have no locks.
    except OSError:
        return True
    return True


@contextlib.contextmanager
def _kept(folder: Path) -> Iterator[bool]:
    """Keep a checkpoint from being deleted by its run; yield whether it is still there."""
    with contextlib.ExitStack() as stack:
        # A damaged checkpoint may have no manifest.
        with contextlib.suppress(OSError):
            _lock(stack.enter_context(open(folder / _MANIFEST, "rb")), shared=True)
        yield os.path.lexists(folder)


def _delete(folder: Path) -> None:
    """Delete a checkpoint at once; one that is being read stays until the next is saved."""
    removed = folder.with_name(folder.name + _PARTIAL)
    try:
        with open(folder / _MANIFEST, "rb") as manifest:
            if not _lock(manifest, shared=False):
                return
            os.rename(folder, removed)
    except OSError:
        removed = folder
    shutil.rmtree(removed, ignore_errors=True)


def _complete(partial: Path, final: Path, metadata: dict[str, Any]) -> None:
    """Add metadata and manifest to the arrays, and rename the checkpoint."""
    (partial / _METADATA).write_text(json.dumps(metadata), encoding="utf-8")
    (partial / _MANIFEST).write_text(json.dumps(_digests(partial)), encoding="utf-8")
    _sync(*partial.rglob("*"), partial)
    os.rename(partial, final)
    _sync(final.parent)


class Found(NamedTuple):
    """The newest whole checkpoint.

    Attributes:
      step: its step.
      metadata: its metadata.
      damaged: the steps of newer ones, which are damaged.
    """

    step: int
    metadata: dict[str, Any]
    damaged: tuple[int, ...] = ()


@contextlib.contextmanager
def held(directory: Path, *, set_torn_aside: bool = False) -> Iterator[Found | None]:
    """Find the newest whole checkpoint, and keep it from being deleted while it is read.

    Each of its files is read once, for the checksum. It warns of damaged ones.

    Args:
      directory: the run's `checkpoints` folder.
      set_torn_aside: rename damaged checkpoints, so that their steps can be saved again.

    Yields:
      The checkpoint; None if there is none.
    """
    damaged: list[int] = []
    while (step := _newest_but(directory, damaged)) is not None:
        folder = directory / str(step)
        with _kept(folder) as is_there:
            if is_there and _is_whole(folder):
                yield Found(step, metadata_of(directory, step), tuple(damaged))
                return
        # One that the run has just deleted has a newer one.
        if is_there:
            damaged.append(step)
            logging.warning("checkpoint %s is damaged and is passed over", folder)
            if set_torn_aside:
                torn = folder.with_name(folder.name + _TORN)
                shutil.rmtree(torn, ignore_errors=True)
                os.rename(folder, torn)
    yield None


def _newest_but(directory: Path, damaged: list[int]) -> int | None:
    """Return the newest step with a checkpoint that is none of the damaged ones."""
    return max(set(steps(directory)).difference(damaged), default=None)


def find(directory: Path, *, set_torn_aside: bool = False) -> Found | None:
    """Return the newest whole checkpoint, which the run may delete next (see `held`)."""
    with held(directory, set_torn_aside=set_torn_aside) as found:
        return found


def metadata_of(directory: Path, step: int) -> dict[str, Any]:
    """Return the metadata of the checkpoint of a step, which must be whole."""
    return dict(json.loads((directory / str(step) / _METADATA).read_text(encoding="utf-8")))


def digest(directory: Path, step: int) -> str:
    """Return 16 hexadecimal digits that identify the files of a whole checkpoint."""
    manifest = json.loads((directory / str(step) / _MANIFEST).read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


def require(directory: Path) -> Found:
    """Return the newest whole checkpoint.

    Raises:
      UserError: there is none.
    """
    found = find(directory)
    if found is None:
        raise UserError(f"{directory} holds no checkpoint that can be read; train the run first")
    return found


def newest(directory: Path, *, set_torn_aside: bool = False) -> int | None:
    """Return the step of the newest whole checkpoint (see `find`); None if there is none."""
    found = find(directory, set_torn_aside=set_torn_aside)
    return None if found is None else found.step


def _alone() -> dict[str, Any]:
    """Return orbax's options to read without waiting for the other processes."""
    if jax.process_count() == 1:
        return {}
    import orbax.checkpoint as ocp

    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"process {jax.process_index()}",
    )
    return {"multiprocessing_options": alone}


def _refuse_other_arrays(folder: Path, state: Path, checkpointer: Any, template: PyTree) -> None:
    """Refuse a checkpoint whose arrays have other names or shapes than the template.

    A run cannot be the cause: it happens when the source of a part has changed.

    Args:
      folder: the checkpoint.
      state: its arrays, as `_for_orbax` names them.
      checkpointer: reads their metadata; a refusal by orbax prints tracebacks of its threads.
      template: what is to be read.

    Raises:
      UserError: the first array that differs is named.
    """
    stored = checkpointer.metadata(state).item_metadata
    there = {_name(keys): leaf for keys, leaf in jax.tree.leaves_with_path(stored)}
    for keys, leaf in jax.tree.leaves_with_path(template):
        name = _name(keys)
        # Of typed keys the words are stored, one axis more; they are no part of a model.
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        if is_key or (name in there and there[name].shape == leaf.shape):
            continue
        found = f"has shape {tuple(there[name].shape)} there" if name in there else "is not there"
        raise UserError(
            f"{folder} is of another model: {name} {found}, and here it has shape "
            f"{tuple(leaf.shape)}; undo what has changed in a part of your own since, or use "
            "another workdir"
        )


def _name(keys: tuple[Any, ...]) -> str:
    """Return the name of an entry of a pytree, where orbax has a dictionary for every node."""
    return ".".join(
        str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in keys
    )


def read_part(directory: Path, step: int, template: dict[str, PyTree]) -> dict[str, Any]:
    """Read some entries of a checkpoint's pytree, and not the others (see `read`).

    Args:
      directory: the run's `checkpoints` folder.
      step: a step with a whole checkpoint.
      template: the entries by name, with `jax.ShapeDtypeStruct` leaves.

    Raises:
      UserError: the checkpoint has other arrays.
    """
    import orbax.checkpoint as ocp

    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), template
    )
    arguments = ocp.args.PyTreeRestore(
        item=placed,
        restore_args=ocp.checkpoint_utils.construct_restore_args(placed),
        partial_restore=True,
    )
    options = _alone()
    with (
        _for_orbax(directory / str(step)) as folder,
        ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options), **options) as checkpointer,
    ):
        _refuse_other_arrays(directory / str(step), folder / "state", checkpointer, template)
        restored = checkpointer.restore(folder / "state", args=arguments)
    return dict(restored)


def read(directory: Path, step: int, template: PyTree) -> Checkpoint:
    """Read the checkpoint of a step to this process's first device, independently of the others.

    Args:
      directory: the run's `checkpoints` folder.
      step: a step with a whole checkpoint.
      template: the pytree with `jax.ShapeDtypeStruct` leaves.

    Raises:
      UserError: the checkpoint has other arrays.
    """
    import orbax.checkpoint as ocp

    folder = directory / str(step)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), template
    )
    metadata = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
    with _for_orbax(folder) as path, ocp.StandardCheckpointer(**_alone()) as checkpointer:
        _refuse_other_arrays(folder, path / "state", checkpointer, template)
        tree = checkpointer.restore(path / "state", placed)
    return Checkpoint(step, tree, metadata)


def restore(
    directory: Path, template: PyTree, *, set_torn_aside: bool = False
) -> Checkpoint | None:
    """Read the newest whole checkpoint; None if there is none (see `newest`, `read`)."""
    with held(directory, set_torn_aside=set_torn_aside) as found:
        return None if found is None else read(directory, found.step, template)
