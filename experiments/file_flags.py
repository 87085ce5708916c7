"""The flags --input and --output of the commands that read one file and write another."""

from pathlib import Path

from absl import flags

from experiments.output_flag import OUTPUT
from vae_jax.errors import UserError

_INPUT = flags.DEFINE_string("input", None, "file to read")


def input_path() -> Path | None:
    """What --input names, if it names anything."""
    return Path(_INPUT.value) if _INPUT.value else None


def required_input(what: str) -> Path:
    """What --input names.

    Args:
      what: the kind of file, for errors.

    Raises:
      UserError: the flag is missing.
    """
    if not _INPUT.value:
        raise UserError(f"--input is missing; name {what}")
    return Path(_INPUT.value)


def required_output() -> Path:
    """What --output names.

    Raises:
      UserError: the flag is missing.
    """
    if not OUTPUT.value:
        raise UserError("--output is missing; name the file to write")
    return Path(OUTPUT.value)
