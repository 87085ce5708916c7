"""The flag --workdirs, of commands that read several trained runs."""

from pathlib import Path

from absl import flags

from vae_jax.errors import UserError

_WORKDIRS = flags.DEFINE_list("workdirs", [], "directories of trained runs")


def required_workdirs() -> list[Path]:
    """The directories that --workdirs names.

    Raises:
      UserError: it names none.
    """
    if not _WORKDIRS.value:
        raise UserError("--workdirs is missing; name the directories of trained runs")
    return [Path(name) for name in _WORKDIRS.value]
