"""Results files: measurements, and the machine that they were taken on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.training import host

Row = dict[str, Any]


def circumstances(module: str) -> dict[str, Any]:
    """Return what every results file states: command, device, cores and version of JAX."""
    return {
        "command": f"python -m {module}",
        "device": jax.devices()[0].device_kind,
        "num_cores": host.num_cores(),
        "jax": jax.__version__,
    }


def rows(output: str) -> list[Row]:
    """Return the rows of a results file, which name their runs; none while there is no file.

    Raises:
      UserError: the file cannot be read, or has no rows of runs.
    """
    path = Path(output)
    if not path.is_file():
        return []
    try:
        found: list[Row] = workdir.read_json(path)["rows"]
        if all(row["config_digest"] for row in found):
            return found
    except (LookupError, TypeError):
        pass
    raise UserError(f"--output={output} has no rows of runs; name another file")


def replaced(
    kept: Sequence[Row], measured: Sequence[Row], names: Sequence[Sequence[str]]
) -> list[Row]:
    """Return the rows, with those of runs that were measured again replaced.

    Args:
      kept: rows of a results file.
      measured: new rows, which come last.
      names: all digests of each run; a kept row may have any of them.
    """
    anew = {row["config_digest"] for row in measured}
    anew = anew.union(*(own for own in names if anew & set(own)))
    return [*(row for row in kept if row["config_digest"] not in anew), *measured]


def write(output: str, results: dict[str, Any]) -> None:
    """Write results as JSON and make the folder if needed; an empty name writes nothing."""
    if output:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        workdir.write_json(path, results)
