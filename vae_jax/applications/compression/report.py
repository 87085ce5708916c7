"""The section on lossless compression in the results' README."""

import statistics
from pathlib import Path
from typing import Any

from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, grouped, mean_and_deviation

_COLUMNS = {
    "elbo_bits_per_dim": "-ELBO",
    "bits_per_dim": "coded",
    "above": "above -ELBO",
    "gzip": "gzip",
    "bz2": "bz2",
    "lzma": "lzma",
    "compressed_images_per_second": "compressed, images/s",
    "decompressed_images_per_second": "decompressed, images/s",
}


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=compression` wrote."""
    del path
    heading = ["test images", "seeds", *_COLUMNS.values()]
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_cores=measured["num_cores"],
        table=reports.table(heading, _lines(measured["rows"])),
    )


def _lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    lines = []
    for (data, images), group in grouped(rows, "data", "images").items():
        for row in group:
            row["above"] = row["bits_per_dim"] / row["elbo_bits_per_dim"] - 1
        cells = [_cell(name, [row[name] for row in group]) for name in _COLUMNS]
        lines.append([f"{data}, {images}", str(reports.num_seeds(group)), *cells])
    return lines


def _cell(name: str, values: list[float]) -> str:
    if name.endswith("per_second"):
        return f"{statistics.fmean(values):,.0f}"
    if name == "above":
        return f"{statistics.fmean(values):.2%}"
    # gzip and the like do not depend on the seed.
    return mean_and_deviation(values if len(set(values)) > 1 else values[:1], ".4f")
