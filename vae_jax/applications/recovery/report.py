"""The section on recovery of corrupted images in the results' README."""

import statistics
from pathlib import Path
from typing import Any

from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, Row, grouped, mean_and_deviation

# Meaning of the level, by corruption.
_LEVELS = {
    "blur": "standard deviation in pixels",
    "box": "side as a share of the image",
    "downsampling": "factor",
    "gaussian": "standard deviation in grey values",
    "masking": "share of the pixels",
    "salt_and_pepper": "share of the pixels",
}


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=recovery` wrote."""
    rows = measured["rows"]
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_images=" and ".join(sorted({f"{row['num_images']:,}" for row in rows})),
        num_chosen=" and ".join(sorted({f"{row['num_chosen']:,}" for row in rows})),
        uses="\n".join(_use(group, path) for group in grouped(rows, "use").values()),
    )


def _use(rows: list[Row], path: Path) -> str:
    first = rows[0]
    name, use = first["corruption"], first["use"]
    shown = {f"{use}_psnr.png": "PSNR by level", f"{use}_images.png": "The trained level"}
    return reports.fill(
        Path(__file__).with_name("use.md"),
        title=f"{name.replace('_', ' ')}, {first['trained_level']:g}: {first['data']}",
        level=_LEVELS[name],
        model=first["model"],
        seeds=reports.counted(reports.num_seeds(rows), "seed"),
        table=_table(rows),
        plots=reports.plots(path.with_suffix(""), shown, path.parents[1]),
    )


def _table(rows: list[Row]) -> str:
    first = rows[0]
    others = [method for method in first["methods"] if method not in ("corrupted", "model")]
    lines = []
    for level in dict.fromkeys(row["level"] for row in rows):
        group = [row["methods"] for row in rows if row["level"] == level]
        psnr = [methods["model"]["psnr"] for methods in group]
        ssim = statistics.fmean(methods["model"]["ssim"] for methods in group)
        best = max(group[0][method]["psnr"] for method in others)
        lines.append(
            [
                f"**{level:g}**" if level == first["trained_level"] else f"{level:g}",
                _cell(group[0]["corrupted"]),
                f"{mean_and_deviation(psnr, '.2f')}, {ssim:.3f}",
                *(_cell(group[0][method]) for method in others),
                f"{statistics.fmean(psnr) - best:+.2f}",
            ]
        )
    return reports.table(["level", "corrupted", "model", *others, "ahead"], lines)


def _cell(found: dict[str, Any]) -> str:
    cell = f"{found['psnr']:.2f} ± {found['psnr_error']:.2f}, {found['ssim']:.3f}"
    return f"{cell}<br>{found['parameter']}" if found.get("parameter") else cell
