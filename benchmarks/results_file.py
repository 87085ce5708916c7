"""Where a benchmark leaves what it measured."""

from pathlib import Path
from typing import Any

from vae_jax import workdir


def write(output: str, results: dict[str, Any]) -> None:
    """Write the results as JSON, in a folder that is made if need be; without a name, nothing."""
    if output:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        workdir.write_json(path, results)
