"""The tables of how well trained models tell images of another kind."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_jax.applications.anomaly import SCORES
from vae_jax.data.class_left_out import OUTLIERS
from vae_jax.evaluation import markdown
from vae_jax.evaluation.measured_section import (
    Measured,
    grouped,
    mean_and_deviation,
    of_results,
    pictures,
)

Rows = Sequence[dict[str, Any]]

# What tells one kind of model from another.
_MODEL = ("network", "likelihood")

_TEXT = """## Anomaly detection

Test images of what a VAE was trained on (`configs/anomaly.py`) against images of another kind,
{num_normal:,} against {num_anomalous:,}: mean ± standard deviation over seeds; in brackets the ends
of 95 % bootstrap intervals over images, averaged over seeds. At the threshold above which 5 % of
the validation images lie, the false positive rate is that of the test images. PCA and isolation
forest see the same images. Xiao et al. 2020 (arXiv 2003.02977) have, for Fashion-MNIST against
MNIST, an AUROC far below 0.5 by a categorical likelihood and 0.99 by likelihood regret, and others
0.87 by the ELBO of a normal one; for MNIST against Fashion-MNIST 1.00.

What a density tells depends on the likelihood. A Bernoulli one of grey values finds MNIST, most of
which is black, likelier than Fashion-MNIST, which it was trained on: its ELBO is worse than chance.
A normal one with a learned scale, which the paper's figures are not of, counts squared errors and
is not misled. Likelihood regret and the squared error of the reconstruction tell under both.
"""

_DIGITS_TEXT = """### One digit left out of MNIST

AUROC of the test images of nine digits against those of the tenth, which no image of the training
set shows; mean ± standard deviation over seeds.
"""


_PICTURES = {
    f"fashion_mnist_{likelihood}_0.png": f"Scores and their AUROC, {likelihood} likelihood"
    for likelihood in ("bernoulli", "normal")
}


@of_results
def section(measured: Measured, path: Path) -> str:
    """The section of a document.

    Args:
      measured: what `benchmarks.anomaly` wrote.
      path: where it stands; its pictures lie in a folder of its name beside it.
    """
    rows = measured["rows"]
    parts = [_TEXT.format(**rows[0])]
    whole = [row for row in rows if row["outliers"] != OUTLIERS]
    if whole:
        parts.append(_setups_table(whole) + pictures(path, _PICTURES))
    left_out = [row for row in rows if row["outliers"] == OUTLIERS]
    if left_out:
        parts += [_DIGITS_TEXT, _digits_table(left_out)]
    return "\n".join(parts)


def _setups_table(rows: Rows) -> str:
    heading = [
        "trained on, against",
        "likelihood",
        "score",
        "seeds",
        "AUROC",
        "average precision",
        "false positives",
        "true positives",
    ]
    lines = []
    for _, group in sorted(grouped(rows, "data", "outliers", *_MODEL).items()):
        by_score = grouped(group, "score")
        for of_score in [by_score[name,] for name in SCORES if (name,) in by_score]:
            first = of_score[0]
            rates = [
                f"{statistics.fmean(row[name] for row in of_score):.1%}"
                for name in ("false_positive_rate", "true_positive_rate")
            ]
            lines.append(
                [
                    f"{first['data']}, {first['outliers']}",
                    " ".join(first[field] for field in _MODEL),
                    SCORES[first["score"]],
                    str(len(of_score)),
                    _with_ends(of_score, "auroc"),
                    _with_ends(of_score, "average_precision"),
                    *rates,
                ]
            )
    return markdown.table(heading, lines)


def _digits_table(rows: Rows) -> str:
    names = [name for name in SCORES if any(row["score"] == name for row in rows)]
    lines = []
    for model, of_model in sorted(grouped(rows, *_MODEL).items()):
        digits = sorted(grouped(of_model, "data").items())
        for data, group in [(Path(name).stem, group) for (name,), group in digits] + [
            ("mean", of_model)
        ]:
            by_score = grouped(group, "score")
            num_seeds = len({row["seed"] for row in group})
            cells = [_auroc(by_score[name,], data) if (name,) in by_score else "" for name in names]
            lines.append([data.replace("_", " "), " ".join(model), str(num_seeds), *cells])
    heading = ["trained on", "likelihood", "seeds", *(SCORES[name] for name in names)]
    return markdown.table(heading, lines)


def _auroc(rows: Rows, data: str) -> str:
    areas = _estimates(rows, "auroc")
    # Over digits the deviation would be another one.
    return mean_and_deviation([statistics.fmean(areas)] if data == "mean" else areas)


def _estimates(rows: Rows, figure: str) -> list[float]:
    return [row[figure]["estimate"] for row in rows]


def _with_ends(rows: Rows, figure: str) -> str:
    low, high = (statistics.fmean(row[figure][end] for row in rows) for end in ("low", "high"))
    return f"{mean_and_deviation(_estimates(rows, figure))} [{low:.3f}, {high:.3f}]"
