"""The table of what trained models compress images to."""

import statistics
from pathlib import Path
from typing import Any

from vae_jax.evaluation import markdown
from vae_jax.evaluation.measured_section import Measured, grouped, mean_and_deviation, of_results

_COLUMNS = {
    "elbo_bits_per_dim": "-ELBO",
    "bits_per_dim": "coded",
    "above": "above -ELBO",
    "gzip": "gzip",
    "bz2": "bz2",
    "lzma": "lzma",
    "compressed_images_per_second": "compressed, images/s",
    "decompressed_images_per_second": "brought back, images/s",
}


@of_results
def section(measured: Measured, path: Path) -> str:
    """The section of a document.

    Args:
      measured: what `benchmarks.compression` wrote.
      path: where it stands.
    """
    del path
    lines = _lines(measured["rows"])
    table = markdown.table(["test images", "seeds", *_COLUMNS.values()], lines)
    return (
        "## Lossless compression\n\n"
        "Bits-back coding with a VAE (`configs/compression.py`, `configs/compression_levels.py`) "
        "beside programs\nthat know nothing of the images: bits a dimension of the whole file, "
        "mean ± standard deviation over\nseeds. Townsend et al. 2019 (arXiv 1901.04866) coded "
        "binarised MNIST at 0.19 with an ELBO of 0.19,\nand its 256 levels at 1.41 with an ELBO "
        f"of 1.39. Speed on {measured['num_cores']} cores, without an accelerator.\n\n{table}"
    )


def _lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    lines = []
    for (data, images), group in grouped(rows, "data", "images").items():
        for row in group:
            row["above"] = row["bits_per_dim"] / row["elbo_bits_per_dim"] - 1
        cells = [_cell(name, [row[name] for row in group]) for name in _COLUMNS]
        lines.append([f"{data}, {images}", str(len(group)), *cells])
    return lines


def _cell(name: str, values: list[float]) -> str:
    if name.endswith("per_second"):
        return f"{statistics.fmean(values):,.0f}"
    if name == "above":
        return f"{statistics.fmean(values):.2%}"
    # gzip and its like give the same for every seed.
    return mean_and_deviation(values if len(set(values)) > 1 else values[:1], ".4f")
