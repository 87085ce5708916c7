"""The section on imputation in the results' README."""

import statistics
from pathlib import Path

from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, Row, grouped, mean_and_deviation

_METHODS = ("model", "mean", "k-NN", "IterativeImputer")


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=imputation` wrote."""
    rows = sorted(measured["rows"], key=lambda row: (row["data"], row["missing_share"]))
    caption = "Squared error by share of missing cells, bars are deviations over seeds"
    tables = [Path(data).stem for (data,) in grouped(rows, "data")]
    shown = {f"{table}.png": f"{caption}: {table}" for table in tables}
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_samples=f"{measured['num_samples']:,}",
        table=_table(rows),
        plots=reports.plots(path.with_suffix(""), shown, path.parents[1]),
    )


def _table(rows: list[Row]) -> str:
    heading = ["table", "rows x columns", "missing", "seeds", *_METHODS, "in 90 % interval"]
    lines = []
    for (data, share), group in grouped(rows, "data", "missing_share").items():
        first = group[0]
        errors = {m: [row["errors"][m] for row in group] for m in _METHODS}
        best = min(_METHODS, key=lambda m: statistics.fmean(errors[m]))
        cells = [mean_and_deviation(errors[m]) for m in _METHODS]
        coverage = [row["coverage"] for row in group if row["coverage"] is not None]
        lines.append(
            [
                # The name of a file without its ending, like that of a table of scikit-learn.
                Path(data).stem,
                f"{first['num_rows']:,} x {first['num_columns']}",
                f"{share:.0%}",
                str(reports.num_seeds(group)),
                *(f"**{c}**" if m == best else c for m, c in zip(_METHODS, cells, strict=True)),
                f"{statistics.fmean(coverage):.1%}" if coverage else "",
            ]
        )
    return reports.table(heading, lines)
