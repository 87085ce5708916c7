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


def _budget(zoo: Zoo) -> dict[str, Any]:
    """Return what all rows of a results file have in common."""
    return {
        "config": settings(fields.resolved(zoo.base)),
        "num_samples": measure.NUM_SAMPLES,
        "num_labels": measure.NUM_LABELS,
        "num_draws": measure.NUM_DRAWS,
        "num_fitted": measure.NUM_FITTED,
    }


def require_same_budget(folder: Path, zoo: Zoo) -> None:
    """Refuse a folder with results of another budget, to which rows cannot be added.

    Raises:
      UserError: there are such results, or they cannot be trusted.
    """
    found = read(folder)
    if not found:
        return
    budget = _budget(zoo)
    there, ours = (
        {**part["config"], **{name: part[name] for name in budget if name != "config"}}
        for part in (found, budget)
    )
    # A setting that came later has its default in earlier runs.
    for name in sorted(there.keys() & ours.keys()):
        if there[name] != ours[name]:
            raise UserError(
                f"{path_of(folder)} has rows of another budget: {name}={there[name]!r} there and "
                f"{ours[name]!r} here; use another --results"
            )


def write(
    folder: Path, zoo: Zoo, command: str, rows: Sequence[Row], references: Sequence[Row]
) -> None:
    """Write the results; rows that are there already stay unless their runs are among the rows.

    Args:
      folder: of the results file.
      zoo: its base config is written.
      command: of the user.
      rows: a row per run.
      references: a row per data set: the classifier's accuracy, and the quality of training images.
    """
    kept = read(folder)
    everything = {_run_of(row): row for row in (*kept.get("rows", ()), *rows)}
    datasets, families = list(dict.fromkeys(data for data, _, _ in everything)), list(zoo.families)
    content = {
        "command": command,
        **_budget(zoo),
        "references": list(
            {row["data"]: row for row in (*kept.get("references", ()), *references)}.values()
        ),
        "rows": sorted(
            (row for row in everything.values() if row["family"] in families),
            key=lambda row: (
                datasets.index(row["data"]),
                families.index(row["family"]),
                row["seed"],
            ),
        ),
    }
    digest = workdir.config_digest(content)
    workdir.write_json(path_of(folder), {**content, "digest": digest})


def _run_of(row: Row) -> tuple[str, str, int]:
    return row["data"], row["family"], row["seed"]


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
