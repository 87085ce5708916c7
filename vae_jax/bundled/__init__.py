"""Small trained models that come with the package, by name.

`vae_jax.load("vanilla")` reads one. experiments.bundle trains, measures and writes them;
models.json beside them has what was measured.
"""

import json
from pathlib import Path
from typing import Any

from vae_jax.errors import UserError
from vae_jax.settings import nearest

FOLDER = Path(__file__).parent
RECORDS = "models.json"


def names() -> list[str]:
    """Return the names of the bundled models."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def path_of(name: str) -> Path:
    """Return the file of a bundled model.

    Raises:
      UserError: there is none of that name.
    """
    known = names()
    if name not in known:
        raise UserError(
            f"there is no run and no file {name!r} here, and no bundled model of that name"
            f"{nearest(name, known)}; bundled are {', '.join(known) or 'none'}"
        )
    return FOLDER / f"{name}.safetensors"


def records(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return what was measured of each model in a folder, by name; empty if nothing was."""
    path = folder / RECORDS
    found: dict[str, dict[str, Any]] = (
        json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    )
    return found
