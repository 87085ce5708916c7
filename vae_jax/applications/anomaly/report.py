"""The section on anomaly detection in the results' README."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from vae_jax.applications.anomaly import SCORES
from vae_jax.data.class_left_out import OUTLIERS
from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, Row, grouped, mean_and_deviation

Rows = Sequence[Row]

# The fields in which models differ, apart from their seed.
_MODEL = ("network", "likelihood")

_PLOTS = {
    f"fashion_mnist_mlp_{likelihood}_0.png": f"Scores and their AUROC, {likelihood} likelihood"
    for likelihood in ("bernoulli", "normal")
}


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=anomaly` wrote."""
    rows = measured["rows"]
    whole = [row for row in rows if row["outliers"] != OUTLIERS]
    left_out = [row for row in rows if row["outliers"] == OUTLIERS]
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_normal=f"{rows[0]['num_normal']:,}",
        num_anomalous=f"{rows[0]['num_anomalous']:,}",
        table=_setups_table(whole) if whole else "",
        plots=reports.plots(path.with_suffix(""), _PLOTS, path.parents[1]) if whole else "",
        left_out=_left_out(left_out) if left_out else "",
    )


def _left_out(rows: Rows) -> str:
    return reports.fill(Path(__file__).with_name("left_out.md"), table=_digits_table(rows))


def _setups_table(rows: Rows) -> str:
    heading = [
        "trained on, against",
        "model",
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
                    str(reports.num_seeds(of_score)),
                    _with_ends(of_score, "auroc"),
                    _with_ends(of_score, "average_precision"),
                    *rates,
                ]
            )
    return reports.table(heading, lines)


def _digits_table(rows: Rows) -> str:
    names = [name for name in SCORES if any(row["score"] == name for row in rows)]
    lines = []
    for model, of_model in sorted(grouped(rows, *_MODEL).items()):
        digits = sorted(grouped(of_model, "data").items())
        for data, group in [(Path(name).stem, group) for (name,), group in digits] + [
            ("mean", of_model)
        ]:
            by_score = grouped(group, "score")
            num_seeds = reports.num_seeds(group)
            cells = [_auroc(by_score[name,], data) if (name,) in by_score else "" for name in names]
            lines.append([data.replace("_", " "), " ".join(model), str(num_seeds), *cells])
    heading = ["trained on", "model", "seeds", *(SCORES[name] for name in names)]
    return reports.table(heading, lines)


def _auroc(rows: Rows, data: str) -> str:
    areas = _estimates(rows, "auroc")
    # The deviation over digits is not the one over seeds.
    return mean_and_deviation([statistics.fmean(areas)] if data == "mean" else areas)


def _estimates(rows: Rows, metric: str) -> list[float]:
    return [row[metric]["estimate"] for row in rows]


def _with_ends(rows: Rows, metric: str) -> str:
    low, high = (statistics.fmean(row[metric][end] for row in rows) for end in ("low", "high"))
    return f"{mean_and_deviation(_estimates(rows, metric))} [{low:.3f}, {high:.3f}]"
