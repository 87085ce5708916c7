"""The files of a member that has ended, and whether they are as they were written."""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vae_jax import workdir
from vae_jax.config.stored import refuse_other_config
from vae_jax.errors import UserError
from vae_jax.training import checkpoints
from vae_jax.training.records import read_records

_MEMBER_FILE = "member.json"
_DAMAGED = ".damaged"
# A member that is trained on, by hand, gets more records: those from before stay as they were.
_KEPT_FILES = ("config.json", "metrics.jsonl")
_OF_MEMBER = {
    "seed": int,
    "status": str,
    "problem": str,
    "valid": dict,
    "step": int,
    "epoch": int,
    "best_epoch": int,
    "train_seconds": (int, float),
}


def read_member(folder: Path, member: int) -> dict[str, Any] | None:
    """Return the content of member.json of a member that has ended; None before that.

    Raises:
      UserError: its file is damaged.
    """
    path = workdir.member_folder(folder, member) / _MEMBER_FILE
    return workdir.read_json(path, _OF_MEMBER) if path.is_file() else None


def write_member(own: Path, known: dict[str, Any]) -> None:
    """Write member.json, with digests of itself and of the member's other files.

    It comes last and says that the rest is whole.

    Args:
      own: the member's directory.
      known: what is known of the member.
    """
    sizes = {name: (own / name).stat().st_size for name in _KEPT_FILES}
    files = {
        name: {"bytes": size, "digest": _digest(own / name, size)} for name, size in sizes.items()
    }
    content = workdir.finite({**known, "files": files})
    workdir.write_json(own / _MEMBER_FILE, {**content, "digest": workdir.config_digest(content)})


def damage(folder: Path, member: int) -> str | None:
    """Return what is damaged or gone of a member that has ended; None if all is whole.

    Args:
      folder: the sweep's workdir.
      member: its number.
    """
    own = workdir.member_folder(folder, member)
    try:
        known = read_member(folder, member)
        if known is None:
            return None
        digest = known.pop("digest", None)
        if digest not in (None, workdir.config_digest(known)):
            return f"{_MEMBER_FILE} was changed after it was written"
        # Earlier versions wrote no digests.
        for name, facts in known.get("files", {}).items():
            if _digest(own / name, facts["bytes"]) != facts["digest"]:
                return f"{name} was changed after it was written"
        if not (own / "metrics.jsonl").is_file():
            return "metrics.jsonl is not there"
        read_records(own / "metrics.jsonl")
        is_measured = known["status"] in ("finished", "stopped_early")
        if is_measured and workdir.read_summary(own) is None:
            return "summary.json is not there"
        found = checkpoints.find(own / "checkpoints")
        if found is None:
            return "no checkpoint is whole"
        refuse_other_config(own, found)
    except (UserError, OSError) as error:
        return str(error)
    return None


def set_damaged_aside(folder: Path, members: Iterable[int]) -> None:
    """Rename the directories of members that are damaged, so that these are trained again.

    Args:
      folder: the sweep's workdir, which the caller holds.
      members: their numbers.
    """
    for member in members:
        problem = damage(folder, member)
        if problem is not None:
            own = workdir.member_folder(folder, member)
            aside = own.with_name(own.name + _DAMAGED)
            logging.warning("member %d is trained again, in %s: %s", member, own, problem)
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(own, aside)


def is_lost(folder: Path, member: int) -> bool:
    """Return whether a member has ended, was damaged, and has not been trained again."""
    own = workdir.member_folder(folder, member)
    return own.with_name(own.name + _DAMAGED).is_dir() and not (own / _MEMBER_FILE).is_file()


def _digest(path: Path, num_bytes: int) -> str:
    """Return 16 hexadecimal digits of the first bytes of a file."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read(num_bytes)).hexdigest()[:16]
