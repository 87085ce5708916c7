"""The section on generation in the results' README."""

from pathlib import Path

from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, Row, grouped, mean_and_deviation

_COLUMNS = {
    "classifier_frechet_distance": "classifier Fréchet distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "class_distance": "class distance",
    "nearest": "nearest training image",
    "copies": "copies",
}

_PLOTS = {
    "quality_by_temperature.png": "Quality by temperature",
    "precision_recall.png": "Precision against recall",
    "nearest_neighbours.png": "Samples above the training images nearest to them",
    "nearest_distances.png": "Distances to the nearest training image",
}


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=generation` wrote."""
    heading = ["images", "temperature", "seeds", *_COLUMNS.values()]
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_images=f"{measured['num_images']:,}",
        num_nearest=f"{measured['num_nearest']:,}",
        data=measured["classifier"]["data"],
        accuracy=f"{measured['classifier']['test_accuracy']:.2%}",
        table=reports.table(heading, _lines(measured["rows"])),
        plots=reports.plots(path.with_suffix(""), _PLOTS, path.parents[1]),
    )


def _lines(rows: list[Row]) -> list[list[str]]:
    lines = []
    for (sampler, temperature), drawn in grouped(rows, "sampler", "temperature").items():
        group = [
            {**row, "nearest": row["nearest_distance"] / row["test_nearest_distance"]}
            for row in drawn
        ]
        cells = [_cell(name, [row[name] for row in group]) for name in _COLUMNS]
        shown = "" if temperature is None else f"{temperature:g}"
        lines.append([sampler, shown, str(reports.num_seeds(group)), *cells])
    return lines


def _cell(name: str, values: list[float]) -> str:
    return mean_and_deviation(values, ".2f" if name == "classifier_frechet_distance" else ".3f")
