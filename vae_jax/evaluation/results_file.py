"""Where a benchmark leaves what it measured, and on what machine that was."""

from pathlib import Path
from typing import Any

import jax

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.training import host


def circumstances(module: str) -> dict[str, Any]:
    """What every results file tells: the command of a benchmark, the device, cores and JAX."""
    return {
        "command": f"python -m {module}",
        "device": jax.devices()[0].device_kind,
        "num_cores": host.num_cores(),
        "jax": jax.__version__,
    }


def rows_of_others(output: str, config_digest: str) -> list[dict[str, Any]]:
    """The rows of an earlier results file that are not of the run with this config.

    Args:
      output: the file; without a name, or where there is none yet, there are no rows.
      config_digest: of the run that is measured anew.

    Raises:
      UserError: the file cannot be read, or has no rows by run.
    """
    path = Path(output)
    if not path.is_file():
        return []
    try:
        rows = workdir.read_json(path)["rows"]
        return [row for row in rows if row["config_digest"] != config_digest]
    except (LookupError, TypeError):
        raise UserError(f"--output={output} has no rows of runs; name another file") from None


def write(output: str, results: dict[str, Any]) -> None:
    """Write the results as JSON, in a folder that is made if need be; without a name, nothing."""
    if output:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        workdir.write_json(path, results)
