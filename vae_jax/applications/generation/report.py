"""The table of how good the samples of trained models are."""

from pathlib import Path
from typing import Any

from vae_jax.evaluation import markdown
from vae_jax.evaluation.measured_section import (
    Measured,
    grouped,
    mean_and_deviation,
    of_results,
    pictures,
)

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

_PICTURES = {
    "quality_by_temperature.png": "Quality by temperature",
    "precision_recall.png": "Precision against recall",
    "nearest_neighbours.png": "Samples above the training images nearest to them",
    "nearest_distances.png": "Distances to the nearest training image",
}


@of_results
def section(measured: Measured, path: Path) -> str:
    """The section of a document.

    Args:
      measured: what `benchmarks.generation` wrote.
      path: where it stands; its figures are in the folder of the same name.
    """
    lines = _lines(measured["rows"])
    accuracy, data = measured["classifier"]["test_accuracy"], measured["classifier"]["data"]
    num_images, num_nearest = measured["num_images"], measured["num_nearest"]
    table = markdown.table(["images", "temperature", "seeds", *_COLUMNS.values()], lines)
    return (
        "## Generation\n\n"
        f"{num_images:,} samples of `configs/vanilla.py` against the {num_images:,} grey test "
        "images, in the features of a classifier\nthat this project trains "
        f"(`experiments.classifier`, {data}, {accuracy:.2%} on the test images). Its Fréchet "
        "distance is not\nthe FID of Inception and compares with no other. Precision and recall "
        "as Kynkäänniemi et al. 2019\n(arXiv 1904.06991), 3 neighbours; density and coverage as "
        "Naeem et al. 2020 (arXiv 2002.09797), 5.\nClass distance: total variation between the "
        "predicted classes of samples and of test images. Nearest\ntraining image: the median "
        "distance over pixels, as a multiple of that of test images; copies: share\nof "
        f"{num_nearest:,} samples nearer to one than all but 1 % of the test images are. Mean ± "
        "standard deviation over\nseeds. No sampler drew the first two rows: training images, "
        "each its own nearest, and what the model\nmakes of them, which is the decoder's share.\n"
        f"\n{table}{pictures(path, _PICTURES)}"
    )


def _lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    lines = []
    for (sampler, temperature), drawn in grouped(rows, "sampler", "temperature").items():
        group = [
            {**row, "nearest": row["nearest_distance"] / row["test_nearest_distance"]}
            for row in drawn
        ]
        cells = [_cell(name, [row[name] for row in group]) for name in _COLUMNS]
        shown = "" if temperature is None else f"{temperature:g}"
        lines.append([sampler, shown, str(len(group)), *cells])
    return lines


def _cell(name: str, values: list[float]) -> str:
    return mean_and_deviation(values, ".2f" if name == "classifier_frechet_distance" else ".3f")
