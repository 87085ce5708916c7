"""The page on the zoo, from its results file."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Row, grouped, mean_and_deviation
from vae_jax.zoo import results
from vae_jax.zoo.measure import QUALITY, SAMPLERS
from vae_jax.zoo.plot import Point

_DISTANCE = QUALITY[0]


class _Column(NamedTuple):
    """A column of a table.

    Attributes:
      metric: name of the metric in a row.
      label: heading.
      form: format of its values.
      sign: 1 where higher is better, -1 where lower is better, 0 where neither is marked.
      factor: factor of the values in the table.
    """

    metric: str
    label: str
    form: str
    sign: int
    factor: float = 1.0


def _of_samplers(metric: str, label: str, form: str, sign: int) -> list[_Column]:
    return [
        _Column(f"{sampler}_{metric}", f"{label}, {sampler}", form, sign) for sampler in SAMPLERS
    ]


_QUALITY = (
    _Column("nll", "NLL", ".2f", -1),
    _Column("squared_error", "squared error", ".4f", -1),
    *_of_samplers(_DISTANCE, "Fréchet distance", ".2f", -1),
    _Column("linear_accuracy", "probe", ".1f", 1, 100),
    _Column("neighbours_accuracy", "5 neighbours", ".1f", 1, 100),
    _Column("train_seconds", "seconds", ".0f", 0),
)
_SAMPLES = (
    *_of_samplers("precision", "precision", ".3f", 1),
    *_of_samplers("recall", "recall", ".3f", 1),
)


def path_of(folder: Path) -> Path:
    """Return the page's path."""
    return folder / f"{results.NAME}.md"


def best_sampler(rows: Sequence[Row]) -> str | None:
    """Return the sampler with the least mean Fréchet distance in a family; None without samples."""
    means = {
        sampler: statistics.fmean(values)
        for sampler in SAMPLERS
        if (values := _values(rows, f"{sampler}_{_DISTANCE}"))
    }
    return min(means, key=lambda sampler: means[sampler]) if means else None


def points(rows: Sequence[Row]) -> dict[str, Point]:
    """Return the families of a data set in the plane, by label; those without samples are not."""
    return {
        label: Point(_values(family, "squared_error"), _values(family, f"{sampler}_{_DISTANCE}"))
        for (label,), family in grouped(rows, "label").items()
        if (sampler := best_sampler(family)) is not None
    }


def render(folder: Path) -> str:
    """Return the page.

    Raises:
      UserError: the results file cannot be trusted.
    """
    found = results.read(folder)
    rows, config = found["rows"], found["config"]
    whole = [row for row in rows if not row["diverged"]]
    references = {row["data"]: row for row in found["references"]}
    cores = sorted({row["num_cores"] for row in whole})
    versions = sorted({f"JAX {row['versions']['jax']}" for row in whole})
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_families=len({row["family"] for row in rows}),
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        optimizer=config["optimizer.name"],
        learning_rate=f"{config['optimizer.learning_rate']:g}",
        latent_size=config["model.latent_size"],
        widths=", ".join(map(str, config["model.encoder.widths"])),
        binarization=config["data.binarization.name"],
        command=found["command"],
        device="; ".join(sorted({row["device"] for row in whole})),
        cores=f"{' or '.join(map(str, cores))} core{'s'[: cores != [1]]}",
        versions=", ".join(versions),
        hours=f"{sum(row['train_seconds'] for row in rows) / 3600:.1f}",
        importance_samples=f"{config['evaluation.num_samples']:,}",
        num_samples=f"{found['num_samples']:,}",
        accuracies="; ".join(
            f"{data}, test accuracy {row['test_accuracy']:.2%}" for data, row in references.items()
        ),
        num_labels=f"{found['num_labels']:,}",
        num_fitted=f"{found['num_fitted']:,}",
        exceptions=_exceptions(whole),
        tables="\n".join(
            _section(folder, data, own, references.get(data, {}))
            for (data,), own in grouped(rows, "data").items()
        ),
    )


def _exceptions(rows: Sequence[Row]) -> str:
    """Return what families do not share with the others."""
    kinds = {
        "Convolutional bodies": [row for row in rows if row["convolutional"]],
        "Grey values in place of binarised ones": [row for row in rows if not row["binarized"]],
    }
    return "\n".join(
        f"- {what}: {', '.join(dict.fromkeys(row['label'] for row in own))}."
        for what, own in kinds.items()
        if own
    )


def _section(folder: Path, data: str, rows: Sequence[Row], reference: Row) -> str:
    """Return the tables and plots of a data set."""
    name = Path(data).stem
    captions = {
        f"{name}_images.png": "Reconstructions, and samples of the sampler with the least distance",
        f"{name}_plane.png": "Quality of samples against that of reconstructions",
    }
    diverged = [f"{row['label']}, seed {row['seed']}" for row in rows if row["diverged"]]
    return reports.fill(
        Path(__file__).with_name("table.md"),
        data=data,
        quality=_table(_QUALITY, rows, reference),
        samples=_table(_SAMPLES, rows, reference),
        diverged=f"Diverged: {'; '.join(diverged)}." if diverged else "",
        plots=reports.plots(folder / results.NAME, captions, folder),
    )


def _table(columns: Sequence[_Column], rows: Sequence[Row], reference: Row) -> str:
    """Return a table with a line per family, and one of training images, which none should beat."""
    families = {label: family for (label,), family in grouped(rows, "label").items()}

    def score(column: _Column, family: Sequence[Row]) -> float | None:
        values = _values(family, column.metric)
        return column.sign * statistics.fmean(values) if values and column.sign else None

    scores = {column: [score(column, family) for family in families.values()] for column in columns}
    best = {column: _best(found) for column, found in scores.items()}

    def cell(column: _Column, family: Sequence[Row]) -> str:
        values = [column.factor * value for value in _values(family, column.metric)]
        text, own = mean_and_deviation(values, column.form), score(column, family)
        return f"**{text}**" if own is not None and own == best[column] else text

    lines = [
        [label, str(reports.num_seeds(family)), *(cell(column, family) for column in columns)]
        for label, family in families.items()
    ]
    first = SAMPLERS[0]
    shown = [
        f"{reference[quality]:{column.form}}"
        if (quality := column.metric.removeprefix(f"{first}_")) in reference
        else ""
        for column in columns
    ]
    lines.append(["training images", "", *shown])
    return reports.table(["family", "seeds", *(column.label for column in columns)], lines)


def _best(scores: Sequence[float | None]) -> float | None:
    """Return the highest score; None where no two differ."""
    known = {score for score in scores if score is not None}
    return max(known) if len(known) > 1 else None


def _values(rows: Sequence[Row], metric: str) -> list[Any]:
    """Return a metric of the rows that have it."""
    return [row[metric] for row in rows if row.get(metric) is not None]
