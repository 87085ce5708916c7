"""The results file of the zoo, with a row per run and a digest that detects edits by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation.results_file import Row
from vae_jax.papers.results import settings
from vae_jax.sweeps import fields
from vae_jax.zoo import measure
from vae_jax.zoo.families import Zoo

NAME = "zoo"


def path_of(folder: Path) -> Path:
    """Return the results file."""
    return folder / f"{NAME}.json"


def write(
    folder: Path, zoo: Zoo, command: str, rows: Sequence[Row], references: Sequence[Row]
) -> None:
    """Write the results.

    Args:
      folder: of the results file.
      zoo: its base config is written.
      command: of the user.
      rows: a row per run.
      references: a row per data set: the classifier's accuracy, and the quality of training images.
    """
    content = {
        "command": command,
        "config": settings(fields.resolved(zoo.base)),
        "num_samples": measure.NUM_SAMPLES,
        "num_labels": measure.NUM_LABELS,
        "num_draws": measure.NUM_DRAWS,
        "num_fitted": measure.NUM_FITTED,
        "references": list(references),
        "rows": list(rows),
    }
    digest = workdir.config_digest(content)
    workdir.write_json(path_of(folder), {**content, "digest": digest})


def read(folder: Path) -> dict[str, Any]:
    """Return the results; without a file, an empty dict.

    Raises:
      UserError: the file cannot be read, or was edited by hand.
    """
    path = path_of(folder)
    if not path.is_file():
        return {}
    content = workdir.read_json(path)
    digest = content.pop("digest", None)
    if digest != workdir.config_digest(content):
        raise UserError(
            f"{path} was edited by hand: its content does not have its digest; restore it"
        )
    return content
