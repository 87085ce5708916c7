"""The section on representations in the results' README, and the panels of its plot."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, Row, grouped, mean_and_deviation

_METHODS = {"linear": "linear probe", "neighbours": "5 neighbours"}

BASELINES = ("PCA", "pixels")

Panels = dict[str, dict[str, tuple[Sequence[int], np.ndarray]]]


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=representation` wrote."""
    caption = {
        "accuracy_by_labels.png": "Accuracy by number of labels; bars are deviations over seeds"
    }
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_draws=measured["num_draws"],
        tables="\n".join(
            f"{data}, {seen}:\n\n{_table(group)}"
            for (data, seen), group in grouped(measured["rows"], "data", "images").items()
        ),
        plot=reports.plots(path.with_suffix(""), caption, path.parents[1]),
    )


def panels(rows: Sequence[Row]) -> Panels:
    """Return what `plots.accuracy_by_labels` draws: a row of panels per size and kind of images."""
    found: Panels = {}
    kinds = grouped(rows, "data", "images")
    for (data, seen), kind in kinds.items():
        pixels = [row for row in kind if row["representation"] == "pixels"]
        coded = [row for row in kind if row["representation"] != "pixels"]
        for (size,), group in grouped(coded, "size").items():
            lines = grouped([*group, *pixels], "representation")
            for method, title in _METHODS.items():
                of_images = f", {data}, {seen}" if len(kinds) > 1 else ""
                found[f"{title}, {size} latents{of_images}"] = {
                    name: (members[0]["num_labels"], np.array([row[method] for row in members]))
                    for (name,), members in lines.items()
                }
    return found


def _table(rows: Sequence[Row]) -> str:
    numbers = rows[0]["num_labels"]
    heading = ["representation", "size", "seeds"]
    heading += [f"{title}, {number:,}" for title in _METHODS.values() for number in numbers]
    lines = []
    groups = grouped(rows, "representation", "size")
    for name, size in sorted(groups, key=lambda group: group[1]):
        members = groups[name, size]
        cells = [
            mean_and_deviation([100 * row[method][index] for row in members], ".1f")
            for method in _METHODS
            for index in range(len(numbers))
        ]
        lines.append([name, str(size), str(reports.num_seeds(members)), *cells])
    return reports.table(heading, lines)
