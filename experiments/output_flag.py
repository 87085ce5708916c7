"""The flag --output, of commands that may be imported beside one another."""

from pathlib import Path

from absl import flags

from vae_jax.errors import UserError

OUTPUT = flags.DEFINE_string("output", "", "file or folder to write")


def required_output() -> Path:
    """The file that --output names.

    Raises:
      UserError: the flag is missing, or there is no folder for the file.
    """
    if not OUTPUT.value:
        raise UserError("--output is missing; name the file to write")
    target = Path(OUTPUT.value)
    if not target.parent.is_dir():
        raise UserError(f"--output={target} is in no folder that there is; make {target.parent}")
    return target
