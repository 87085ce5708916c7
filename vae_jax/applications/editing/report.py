"""The section on latent arithmetic in the results' README."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from vae_jax.applications.editing.published_plots import UNITS, Rows, method_name
from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, mean_and_deviation

_DEGREES_OF_CLASSES = (1.0, 1.5, 2.0)

_PLOTS = {
    "curves.png": "Attributes and class against the degree",
    "thickness.png": "Thickness by degree",
    "slant.png": "Slant by degree",
    "size.png": "Size by degree",
    "class_reached.png": "Images that have become another class, by degree",
    "classes.png": "Digits moved towards each class",
}


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=editing` wrote."""
    rows = measured["rows"]
    original = statistics.fmean(row["class_accuracy_of_originals"] for row in rows)
    kept = statistics.fmean(row["class_kept"][row["degrees"].index(0)] for row in rows)
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_images=f"{rows[0]['num_images']:,}",
        data=rows[0]["data"],
        seeds=reports.counted(reports.num_seeds(rows), "seed"),
        original=f"{original:.1%}",
        reconstructed=f"{kept:.1%}",
        attributes=_attributes_table([row for row in rows if row["attribute"] in UNITS]),
        classes=_classes_table([row for row in rows if row["attribute"] not in UNITS]),
        plots=reports.plots(path.with_suffix(""), _PLOTS, path.parents[1]),
    )


def _attributes_table(rows: Rows) -> str:
    heading = ["added", "direction", *(f"{name} ({unit})" for name, unit in UNITS.items())]
    heading += ["groups differ by", "correlation", "rising"]
    heading += ["class kept at -1", "at 1", "at 2"]
    lines = []
    for added, method in dict.fromkeys((row["attribute"], method_name(row)) for row in rows):
        group = [row for row in rows if (row["attribute"], method_name(row)) == (added, method)]
        zero, one = (group[0]["degrees"].index(degree) for degree in (0, 1))
        of_seeds = [row["measured"] for row in group]
        changes = {
            name: mean_and_deviation(
                [values[name][one] - values[name][zero] for values in of_seeds], "+.2f"
            )
            for name in UNITS
        }
        changes[added] = f"**{changes[added]}**"
        kept = [
            _percent([row["class_kept"][group[0]["degrees"].index(degree)] for row in group])
            for degree in (-1, 1, 2)
        ]
        lines.append(
            [
                added,
                method,
                *changes.values(),
                f"{statistics.fmean(row['groups_apart'] for row in group):.2f}",
                f"{statistics.fmean(row['correlation'] for row in group):.3f}",
                _percent([row["rising"] for row in group]),
                *kept,
            ]
        )
    return reports.table(heading, lines)


def _classes_table(rows: Rows) -> str:
    methods = list(dict.fromkeys(map(method_name, rows)))
    heading = ["made"]
    heading += [f"{method}, {degree:g}" for method in methods for degree in _DEGREES_OF_CLASSES]

    def cells(chosen: Rows) -> list[str]:
        """Return means over seeds, after averaging over classes for each seed."""
        return [
            _percent(
                [
                    statistics.fmean(
                        row["class_reached"][row["degrees"].index(degree)]
                        for row in chosen
                        if row["seed"] == seed and method_name(row) == method
                    )
                    for seed in dict.fromkeys(row["seed"] for row in chosen)
                ]
            )
            for method in methods
            for degree in _DEGREES_OF_CLASSES
        ]

    lines = [
        [name, *cells([row for row in rows if row["attribute"] == name])]
        for name in dict.fromkeys(row["attribute"] for row in rows)
    ]
    return reports.table(heading, [*lines, ["mean", *cells(rows)]])


def _percent(values: Sequence[float]) -> str:
    return f"{mean_and_deviation([100 * value for value in values], '.1f')} %"
