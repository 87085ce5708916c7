"""The section on lossy compression in the results' README, and the curves of its plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.applications.lossy_compression.plot import Curve
from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, grouped, mean_and_deviation

Rows = Sequence[dict[str, Any]]

# JPEG and WebP are drawn up to this multiple of the highest rate of the latents.
_MAX_RATE_RATIO = 5


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=lossy_compression` wrote."""
    tables = []
    for (data,), rows in grouped(measured["rows"], "data").items():
        coded = [row for row in rows if row["size"] is not None]
        files = [row for row in rows if row["size"] is None]
        tables += [f"{data}:\n", _table(coded, "step"), _table(files, "quality")]
    caption = {"quality_by_rate.png": "PSNR against bits per pixel, by method"}
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        tables="\n".join(tables),
        plot=reports.plots(path.with_suffix(""), caption, path.parents[1]),
    )


def _table(rows: Rows, setting: str) -> str:
    settings = sorted({row[setting] for row in rows})
    lines = []
    for name, group in _by_method(rows).items():
        at = grouped(group, setting)
        cells = [_cell(at[value,]) if (value,) in at else "" for value in settings]
        lines.append([name, str(reports.num_seeds(group)), *cells])
    return reports.table(["method", "seeds", *(f"{setting} {v:g}" for v in settings)], lines)


def _cell(rows: Rows) -> str:
    rate = np.mean([row["bits_per_pixel"] for row in rows])
    return f"{rate:.3f}: {mean_and_deviation([row['psnr'] for row in rows], '.2f')}"


def _by_method(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    return {
        method if size is None else f"{method}, {size} latents": group
        for (method, size), group in grouped(rows, "method", "size").items()
    }


def line(rows: Rows) -> str:
    """Return the rates and qualities of each method in one line."""
    return "; ".join(
        f"{name} {group[0]['bits_per_pixel']:.3f} to {group[-1]['bits_per_pixel']:.3f} bits per "
        f"pixel, {group[0]['psnr']:.2f} to {group[-1]['psnr']:.2f} dB"
        for name, group in _by_method(rows).items()
    )


def curves(rows: Rows) -> tuple[dict[str, Curve], list[str]]:
    """Return the curves of `plot.quality_by_rate` for the first data set, and its baselines."""
    first = [row for row in rows if row["data"] == rows[0]["data"]]
    found: dict[str, Curve] = {}
    for name, group in _by_method(first).items():
        points = [
            (np.mean([row["bits_per_pixel"] for row in at]), np.mean([row["psnr"] for row in at]))
            for at in grouped(
                [{**row, "at": row.get("step", row.get("quality"))} for row in group], "at"
            ).values()
        ]
        rates, quality = np.array(sorted(points)).T
        found[name] = rates, quality
    others = {row["method"] for row in first if row.get("seed") is None}
    baselines = [name for name in found if name.partition(",")[0] in others]
    shown = {name: curve for name, curve in found.items() if name not in baselines}
    dearest = _MAX_RATE_RATIO * max(rates.max() for rates, _ in shown.values())
    for name in baselines:
        rates, quality = found[name]
        shown[name] = rates[rates <= dearest], quality[rates <= dearest]
    return shown, baselines
