"""The tables of how well trained models recover corrupted images."""

import statistics
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

# What the level of a corruption is.
_LEVELS = {
    "blur": "standard deviation in pixels",
    "box": "side as a share of the image",
    "downsampling": "factor",
    "gaussian": "standard deviation in grey values",
    "masking": "share of the pixels",
    "salt_and_pepper": "share of the pixels",
}


@of_results
def section(measured: Measured, path: Path) -> str:
    """The section of a document.

    Args:
      measured: what `benchmarks.recovery` wrote.
      path: where it stands; its pictures lie in a folder of its name beside it.
    """
    tables = [_table(rows, path) for rows in grouped(measured["rows"], "use").values()]
    counts = sorted({f"{row['num_images']:,}" for row in measured["rows"]})
    return (
        "## Recovery and upscaling\n\n"
        "Models trained on corrupted images with the clean ones as targets, beside methods of\n"
        "scikit-image, SciPy and Pillow. Every method sees the same images, rounded to 256 grey "
        "values;\nin-painting keeps the pixels that were not lost, and deconvolution is told the "
        "blur. PSNR in dB is\nof the mean squared error of all images, SSIM has the window of "
        "Wang et al. 2004; "
        f"{' and '.join(counts)} test images.\nThe parameter of a method is chosen for each level "
        f"on {measured['num_chosen']} validation images and stands below\nits figures. Of the "
        "model the mean ± standard deviation over seeds; ± standard error over images\nelsewhere. "
        "The last column is how far its PSNR is ahead of the best other method's. A level in bold\n"
        "is the one trained at.\n\n" + "\n".join(tables)
    )


def _table(rows: list[dict[str, Any]], path: Path) -> str:
    first = rows[0]
    name, trained_level = first["corruption"], first["trained_level"]
    seeds = len({row["seed"] for row in rows})
    others = [method for method in first["methods"] if method not in ("corrupted", "model")]
    lines = []
    for level in dict.fromkeys(row["level"] for row in rows):
        group = [row["methods"] for row in rows if row["level"] == level]
        psnr = [methods["model"]["psnr"] for methods in group]
        ssim = statistics.fmean(methods["model"]["ssim"] for methods in group)
        best = max(group[0][method]["psnr"] for method in others)
        lines.append(
            [
                f"**{level:g}**" if level == trained_level else f"{level:g}",
                _cell(group[0]["corrupted"]),
                f"{mean_and_deviation(psnr, '.2f')}, {ssim:.3f}",
                *(_cell(group[0][method]) for method in others),
                f"{statistics.fmean(psnr) - best:+.2f}",
            ]
        )
    table = markdown.table(["level", "corrupted", "model", *others, "ahead"], lines)
    title = f"### {name.replace('_', ' ')}, {trained_level:g}: {first['data']}\n\n"
    text = f"The level is the {_LEVELS[name]}. Model: {first['model']}, {seeds} seeds.\n\n"
    use = first["use"]
    shown = {f"{use}_psnr.png": "PSNR by level", f"{use}_images.png": "The trained level"}
    return title + text + table + pictures(path, shown)


def _cell(figures: dict[str, Any]) -> str:
    cell = f"{figures['psnr']:.2f} ± {figures['psnr_error']:.2f}, {figures['ssim']:.3f}"
    return f"{cell}<br>{figures['parameter']}" if figures.get("parameter") else cell
