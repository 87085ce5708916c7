"""The flags --input and --output of the commands that compress and decompress."""

from pathlib import Path

from absl import flags

from experiments.output_flag import OUTPUT
from vae_jax.errors import UserError

_INPUT = flags.DEFINE_string("input", None, "file to read")


def input_path() -> Path | None:
    """What --input names, if it names anything."""
    return Path(_INPUT.value) if _INPUT.value else None


def required_input() -> Path:
    """What --input names.

    Raises:
      UserError: the flag is missing.
    """
    if not _INPUT.value:
        raise UserError("--input is missing; name a file that experiments.compress wrote")
    return Path(_INPUT.value)


def required_output() -> Path:
    """What --output names.

    Raises:
      UserError: the flag is missing.
    """
    if not OUTPUT.value:
        raise UserError("--output is missing; name the file to write")
    return Path(OUTPUT.value)
