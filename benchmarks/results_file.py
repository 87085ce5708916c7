"""Where a benchmark leaves what it measured, and on what machine that was."""

from pathlib import Path
from typing import Any

import jax

from experiments import command_line
from vae_jax import workdir


def circumstances(module: str) -> dict[str, Any]:
    """What every results file tells: the command of a benchmark, the device, cores and JAX."""
    return {
        "command": f"python -m {module}",
        "device": jax.devices()[0].device_kind,
        "num_cores": command_line.num_cores(),
        "jax": jax.__version__,
    }


def write(output: str, results: dict[str, Any]) -> None:
    """Write the results as JSON, in a folder that is made if need be; without a name, nothing."""
    if output:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        workdir.write_json(path, results)
