"""Results files: measurements, and the machine that they were made on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.training import host

Row = dict[str, Any]


def circumstances(module: str) -> dict[str, Any]:
    """Return what every results file has: the command, the device, cores and the version of JAX."""
    return {
        "command": f"python -m {module}",
        "device": jax.devices()[0].device_kind,
        "num_cores": host.num_cores(),
        "jax": jax.__version__,
    }


def rows(output: str) -> list[Row]:
    """Return the rows of a results file, each of a run; none while there is no file.

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
    """Return rows in which those of runs that are measured anew have been replaced.

    Args:
      kept: rows of a results file.
      measured: new rows, which come last.
      names: the digests of each run, of which the kept rows may have any.
    """
    anew = {row["config_digest"] for row in measured}
    anew = anew.union(*(own for own in names if anew & set(own)))
    return [*(row for row in kept if row["config_digest"] not in anew), *measured]


def write(output: str, results: dict[str, Any]) -> None:
    """Write results as JSON, in a folder that is made if need be; without a name, nothing."""
    if output:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        workdir.write_json(path, results)
