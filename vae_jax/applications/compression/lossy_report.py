"""The tables and the picture of compression with loss."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.applications.compression.plot import Curve
from vae_jax.evaluation import markdown
from vae_jax.evaluation.measured_section import Measured, grouped, mean_and_deviation, of_results

Rows = Sequence[dict[str, Any]]

# Than the dearest of the codes: beyond it picture files are not drawn.
_TIMES_DEARER = 5

_TEXT = """## Lossy compression

The latents of test images, rounded to a grid and entropy coded under a normal for each
(`vae_jax/applications/compression/quantized_latents.py`), and the mean image decoded from what was
written: bits a pixel of all test images together, and PSNR in dB of their mean squared error. The
grid's step is told in deviations of the latent that varies most. Mean over seeds, ± standard
deviation of PSNR. The model is not counted, as it is not for programs of which everybody has a
copy; PCA has the same coder. JPEG and WebP compress one picture of all images side by side, so that
a header counts once. No setting of theirs comes down to the rates of the codes; no finer grid takes
a code past what its decoder can draw, where they go on.
"""


@of_results
def section(measured: Measured, path: Path) -> str:
    """The section of a document.

    Args:
      measured: what `benchmarks.lossy_compression` wrote.
      path: where it stands.
    """
    parts = [_TEXT]
    for (data,), rows in grouped(measured["rows"], "data").items():
        coded = [row for row in rows if row["size"] is not None]
        files = [row for row in rows if row["size"] is None]
        parts += [f"{data}:\n", _table(coded, "step"), _table(files, "quality")]
    picture = path.with_suffix(".png")
    if picture.is_file():
        shown = f"{picture.parent.name}/{picture.name}"
        parts.append(f"![PSNR against bits a pixel, by method]({shown})\n")
    return "\n".join(parts)


def _table(rows: Rows, setting: str) -> str:
    settings = sorted({row[setting] for row in rows})
    lines = []
    for name, group in _by_method(rows).items():
        at = grouped(group, setting)
        cells = [_cell(at[value,]) if (value,) in at else "" for value in settings]
        lines.append([name, str(len({row.get("seed") for row in group})), *cells])
    return markdown.table(["method", "seeds", *(f"{setting} {v:g}" for v in settings)], lines)


def _cell(rows: Rows) -> str:
    rate = np.mean([row["bits_per_pixel"] for row in rows])
    return f"{rate:.3f}: {mean_and_deviation([row['psnr'] for row in rows], '.2f')}"


def _by_method(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    return {
        method if size is None else f"{method}, {size} latents": group
        for (method, size), group in grouped(rows, "method", "size").items()
    }


def line(rows: Rows) -> str:
    """A run, and what was measured beside it, in a line."""
    return "; ".join(
        f"{name} {group[0]['bits_per_pixel']:.3f} to {group[-1]['bits_per_pixel']:.3f} bits a "
        f"pixel, {group[0]['psnr']:.2f} to {group[-1]['psnr']:.2f} dB"
        for name, group in _by_method(rows).items()
    )


def curves(rows: Rows) -> tuple[dict[str, Curve], list[str]]:
    """What `figures.quality_by_rate` draws of the first data set: means over seeds; baselines."""
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
    dearest = _TIMES_DEARER * max(rates.max() for rates, _ in shown.values())
    for name in baselines:
        rates, quality = found[name]
        shown[name] = rates[rates <= dearest], quality[rates <= dearest]
    return shown, baselines
