"""Results of a card's runs: results/CARD.json, both budgets and all rows side by side.

    {"card": NAME, "rows": {ROW: {"cpu": MEASUREMENT or null, "full": MEASUREMENT or null}}}

A measurement states everything that its metrics depend on, and a digest of its content, which
detects edits by hand. The card may change its expected values afterwards, but not what is trained.
"""

import json
import math
import statistics
from pathlib import Path
from typing import Any

from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation.reports import Number
from vae_jax.papers.card import BUDGETS, Card, Row
from vae_jax.papers.metrics import run_metrics
from vae_jax.papers.runs import MAX_SEEDS, Runs, num_training_images
from vae_jax.settings import flatten
from vae_jax.sweeps.member_files import read_member

Measurement = dict[str, Any]
# By row and budget.
Measured = dict[str, dict[str, Measurement | None]]

# Settings that no metric depends on.
_WITHOUT_EFFECT = (
    "schema",
    "seed",
    "steps_per_call",
    "data.dir",
    "checkpoints.",
    "tensorboard.",
    "evaluation.batch_size",
)


def path_of(card: Card, folder: Path) -> Path:
    """Return the results file of a card."""
    return folder / f"{card.name}.json"


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that metrics depend on, by dotted name."""
    return {
        field: value
        for field, value in sorted(flatten(config).items())
        if not field.startswith(_WITHOUT_EFFECT)
    }


def measure(runs: Runs, row: Row) -> Measurement | None:
    """Return a row's measurement over all its seeds; None until all requested seeds are done.

    Args:
      runs: of the card that `row` belongs to.
      row: the row.

    Raises:
      UserError: a file of a run is damaged or gone.
    """
    known = {
        seed: found
        for seed in range(MAX_SEEDS)
        if (found := read_member(runs.folder, runs.member(row, seed))) is not None
    }
    if not set(runs.seeds) <= known.keys():
        return None
    whole = {seed: found for seed, found in known.items() if "test" in found}
    folders = {seed: workdir.member_folder(runs.folder, runs.member(row, seed)) for seed in whole}
    by_seed = [
        run_metrics(folders[seed], found["test"], list(row.metrics))
        for seed, found in whole.items()
    ]
    summaries = [_summary(folder) for folder in folders.values()]
    evaluation = [
        found["evaluation_seconds"] for found in whole.values() if "evaluation_seconds" in found
    ]
    config = runs.card.config(row, runs.budget)
    own = settings(config)
    measurement = {
        "command": f"python -m experiments.reproduce --card={runs.card.name} --rows={row.name} "
        f"--budget={runs.budget} --seeds={max(known) + 1}",
        "config": own,
        "config_digest": workdir.config_digest(own),
        "seeds": list(whole),
        "diverged": sorted(known.keys() - whole.keys()),
        "figures": {
            metric: _over_seeds([found[metric] for found in by_seed])
            for metric in (by_seed[0] if by_seed else {})
        },
        "epochs": [found["epoch"] for found in whole.values()],
        "best_epochs": [found["best_epoch"] for found in whole.values()],
        "checkpoint": "best validation loss" if config["data"]["validation_split"] else "last",
        "num_training_images": num_training_images(config),
        "num_test_images": max(
            (found["test"]["num_examples"] for found in whole.values()), default=0
        ),
        # The rows of a table have none.
        "binarization": config["data"].get("binarization", {}).get("name"),
        "latent_size": _latent_size(config["model"]),
        "importance_samples": config["evaluation"].get("num_samples"),
        "train_seconds": [round(found["train_seconds"], 1) for found in whole.values()],
        # Not of runs that an earlier version measured.
        **(
            {"evaluation_seconds": [round(seconds, 1) for seconds in evaluation]}
            if evaluation and len(evaluation) == len(whole)
            else {}
        ),
        "device": "; ".join(sorted({summary["device"] for summary in summaries})),
        "num_cores": sorted({summary["num_cores"] for summary in summaries}),
        "versions": summaries[-1]["versions"] if summaries else {},
    }
    return {**measurement, "digest": _digest(runs.card.name, row.name, runs.budget, measurement)}


def _latent_size(model: dict[str, Any]) -> int | None:
    """Return the latents of all layers; None for a model of codes, which has no such setting."""
    sizes = [model[name] for name in ("latent_size", "top_latent_size") if name in model]
    return sum(sizes) if sizes else None


def _summary(folder: Path) -> dict[str, Any]:
    summary = workdir.read_summary(folder)
    if summary is None:
        raise UserError(
            f"{folder} has lost its summary.json: python -m experiments.evaluate "
            f"--workdir={folder} writes it again"
        )
    return summary


def _over_seeds(values: list[tuple[Number, Number | None]]) -> dict[str, Any]:
    """Return mean and sample deviation over seeds, and the mean of the images' standard errors."""
    metrics = [value for value, _ in values]
    errors = [error for _, error in values if error is not None]
    return {
        "by_seed": metrics,
        "mean": statistics.fmean(metrics),
        "std": statistics.stdev(metrics) if len(metrics) > 1 else None,
        "standard_error": statistics.fmean(errors) if errors else None,
    }


def _digest(card: str, row: str, budget: str, measurement: Measurement) -> str:
    content = {name: value for name, value in measurement.items() if name != "digest"}
    return workdir.config_digest({"card": card, "row": row, "budget": budget, **content})


def read(card: Card, folder: Path) -> Measured:
    """Return the measurements in a card's results file; None for what is not measured.

    Raises:
      UserError: the file is not the card's, was edited by hand, or has rows with other settings
        than the card.
    """
    measured: Measured = {row.name: dict.fromkeys(BUDGETS) for row in card.rows}
    path = path_of(card, folder)
    if not path.is_file():
        return measured
    content = workdir.read_json(path)
    if content.get("card") != card.name or not isinstance(content.get("rows"), dict):
        raise UserError(f"{path} is no results file of the card {card.name!r}; move it away")
    rows = {row.name: row for row in card.rows}
    for name, budgets in content["rows"].items():
        for budget, measurement in (budgets if isinstance(budgets, dict) else {"": 0}).items():
            if measurement is None:
                continue
            if budget not in BUDGETS or not isinstance(measurement, dict):
                raise UserError(f"{path}: the row {name!r} is no measurement; move the file away")
            if measurement.get("digest") != _digest(card.name, name, budget, measurement):
                raise UserError(
                    f"{path}: the row {name!r} at the {budget} budget was edited by hand: its "
                    "content does not have its digest; restore it, or make it null and measure "
                    "it again"
                )
            if name not in rows:
                raise UserError(
                    f"{path} has a row {name!r}, which the card no longer has; remove it"
                )
            _check_settings(path, card, rows[name], budget, measurement["config"])
            measured[name][budget] = measurement
    return measured


def _check_settings(
    path: Path, card: Card, row: Row, budget: str, measured: dict[str, Any]
) -> None:
    then = settings_now(measured)
    ours = settings(json.loads(json.dumps(card.config(row, budget))))
    for name in ours.keys() | then.keys():
        if ours.get(name) != then.get(name):
            raise UserError(
                f"{path}: the row {row.name!r} at the {budget} budget was measured with "
                f"{name}={then.get(name)!r}, and the card has {ours.get(name)!r}; make it null and "
                "measure it again"
            )


def settings_now(measured: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a measurement by the names that they have now.

    Settings that are newer than the measurement had their defaults.
    """
    return settings(json.loads(json.dumps(factory.resolve(_nested(measured)).to_dict())))


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Return settings by dotted name as nested dicts."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, last = path.split(".")
        inner = nested
        for name in parents:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return nested


def with_measurement(measured: Measured, row: Row, budget: str, new: Measurement) -> Measured:
    """Return the measurements with a new one, unless the old one has more seeds."""
    old = measured[row.name][budget]
    if old is not None and len(old["seeds"]) > len(new["seeds"]):
        return measured
    return {**measured, row.name: {**measured[row.name], budget: new}}


def write(card: Card, folder: Path, measured: Measured) -> None:
    """Write the results file of a card.

    Raises:
      UserError: it cannot be written.
    """
    workdir.make_folder(folder)
    text = _json({"card": card.name, "rows": measured}) + "\n"
    workdir.write_atomically(path_of(card, folder), text)


def _json(value: Any, indent: str = "") -> str:
    """Return JSON with every object that holds no other object on one line."""
    if not isinstance(value, dict) or not any(isinstance(part, dict) for part in value.values()):
        return json.dumps(value)
    inner = indent + "  "
    parts = [f"{inner}{json.dumps(name)}: {_json(part, inner)}" for name, part in value.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def hours(measurement: Measurement) -> float:
    """Return the hours of training of all seeds together."""
    return math.fsum(measurement["train_seconds"]) / 3600
