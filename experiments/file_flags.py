"""The flags --input and --output of the commands that read one file and write another."""

from pathlib import Path

from absl import flags

from experiments import output_flag
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
      UserError: as `output_flag.required_output`, or it names what is read.
    """
    target, source = output_flag.required_output(), input_path()
    if source is not None and source.exists() and target.exists() and source.samefile(target):
        raise UserError(f"--output={target} is --input too, which would be lost; name another file")
    return target
