"""The section on few labels in the results' README, and the panels of its plot."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, Row, grouped, mean_and_deviation

ALONE, PLOT = "classifier alone", "accuracy_by_labels.png"

Panels = dict[str, dict[str, tuple[Sequence[int], np.ndarray]]]


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=few_labels` wrote."""
    rows = measured["rows"]
    caption = {PLOT: "Accuracy by number of labels; bars are deviations over seeds"}
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_test=f"{rows[0]['num_test_examples']:,}",
        table=_table(rows),
        plot=reports.plots(path.with_suffix(""), caption, path.parents[1]),
    )


def panels(rows: Sequence[Row]) -> Panels:
    """Return what `plots.accuracy_by_labels` draws: a panel per data and model.

    Seeds are of the run and of the labelled images; those that a number of labels lacks are NaN
    there. A single number of labels has no panel.
    """
    found: Panels = {}
    for (data, model), group in grouped(rows, "data", "model").items():
        of_seeds = {
            (row["num_labels"], (row["seed"], row["labelled_seed"])): (
                row["accuracy"],
                row["accuracy_of_classifier_alone"],
            )
            for row in group
        }
        numbers = sorted({number for number, _ in of_seeds})
        seeds = sorted({seeds for _, seeds in of_seeds})
        if len(numbers) > 1:
            absent = (np.nan, np.nan)
            values = np.array(
                [[of_seeds.get((number, seed), absent) for number in numbers] for seed in seeds]
            )
            lines = {"model": values[..., 0], ALONE: values[..., 1]}
            found[f"{model} on {data}"] = {name: (numbers, line) for name, line in lines.items()}
    return found


def _table(rows: Sequence[Row]) -> str:
    heading = ["data", "model", "labels", "seeds", "accuracy", f"accuracy of a {ALONE}"]
    lines = []
    ordered = sorted(rows, key=lambda row: (row["data"], row["model"], row["num_labels"]))
    for (data, model, number), group in grouped(ordered, "data", "model", "num_labels").items():
        accuracies = [
            mean_and_deviation([100 * row[name] for row in group], ".1f")
            for name in ("accuracy", "accuracy_of_classifier_alone")
        ]
        seeds = str(reports.num_seeds(group))
        lines.append([Path(data).stem, model, f"{number:,}", seeds, *accuracies])
    return reports.table(heading, lines)
