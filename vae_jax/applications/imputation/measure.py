"""Measure how well runs on tables impute cells that were hidden, beside methods of scikit-learn.

The runs have holes that `data.missing_share` made, so that the cells are known. The missing cells
of the training rows are imputed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import plots, trained
from vae_jax.applications.imputation import baselines
from vae_jax.applications.imputation.filled_cells import interval
from vae_jax.data import columns
from vae_jax.data.columns import RowShape
from vae_jax.errors import UserError
from vae_jax.evaluation.reports import Measured, Row, grouped
from vae_jax.trained import TrainedModel

_NUM_SAMPLES = 10_000
_NUM_DRAWS = 200


def measure(folders: Sequence[Path], *, num_test_examples: int | None = None) -> Iterator[Measured]:
    """Impute the missing cells of runs; yield the results so far after each run.

    Args:
      folders: workdirs of the runs.
      num_test_examples: rows to impute, at most; None is all.
    """
    models = [trained.load_images(folder, rows=True) for folder in folders]
    for folder, model in zip(folders, models, strict=True):
        refuse_without_holes(folder, model)
    rows: list[dict[str, Any]] = []
    for model in models:
        rows.append(measure_run(model, num_test_examples))
        print(_line(rows[-1]), flush=True)
        yield {"num_samples": _NUM_SAMPLES, "rows": rows}


def refuse_without_holes(folder: Path, model: TrainedModel) -> None:
    """Refuse a run whose missing cells are not known.

    Raises:
      UserError: it is on images, `data.missing_share` is 0, or some columns are conditions.
    """
    if model.columns is None or not getattr(model.data, "missing_share", 0):
        raise UserError(
            f"{folder} has no missing cells that are known; train on a table with "
            "--config.data.missing_share=0.5, as configs/imputation.py does"
        )
    if model.given_columns:
        raise UserError(
            f"{folder} is of some columns given others (model.condition='columns'), and imputation "
            "is measured on all; use model.condition='none'"
        )


def measure_run(model: TrainedModel, num_rows: int | None = None) -> dict[str, Any]:
    """Return the errors of a run and of the other methods on the same missing cells.

    The other methods see all training rows, of which the first `num_rows` are imputed and counted.

    Errors are means over missing cells: squared ones of numbers in units of the standard deviation
    of their column (of its log, for positive numbers and counts) among all cells, and the share of
    wrong ones of categories. `coverage` is the share of the missing numbers within their 90 %
    interval.

    Raises:
      UserError: no cell is hidden among the rows.
    """
    assert model.columns is not None, "refused before"
    holes, complete = model.load_splits().train.images, model.load_complete()
    # The columns' deviations among all cells.
    known = columns.fit(model.columns.plain_columns, complete, "the complete rows")
    counted = slice(num_rows)
    hidden = np.where(np.isnan(holes), complete, np.nan)[counted]
    if np.isnan(hidden).all():
        raise UserError(
            f"none of the first {len(hidden)} rows of data.name={model.data.name!r} has a hidden "
            "cell; impute more rows, by a larger --num_test_examples"
        )
    found = model.impute(
        holes[counted], model.keys.imputation, num_samples=_NUM_SAMPLES, num_draws=_NUM_DRAWS
    )
    errors = {"model": _error(known, np.asarray(found.point), hidden)}
    for method in baselines.METHODS:
        filled = baselines.impute(method, model.columns, holes)[counted]
        errors[method] = _error(known, filled, hidden)
    are_numbers = np.array([not column.values for column in known.plain_columns])
    low, high = interval(np.asarray(found.draws))
    inside = ((low <= hidden) & (hidden <= high))[:, 0, are_numbers, 0]
    wanted = ~np.isnan(hidden[:, 0, are_numbers, 0])
    return {
        "data": model.data.name,
        "missing_share": model.data.missing_share,
        "missing_seed": model.data.missing_seed,
        "seed": model.seed,
        "config_digest": model.digest,
        "num_rows": len(hidden),
        "num_columns": len(known.columns),
        "num_missing": int(np.isfinite(hidden).sum()),
        "coverage": float(inside[wanted].mean()) if wanted.any() else None,
        "effective_samples": float(np.median(found.effective_samples)),
        "errors": errors,
    }


def _error(known: RowShape, imputed: np.ndarray, hidden: np.ndarray) -> float:
    return float(np.nanmean(known.squared_errors(imputed, hidden)))


def _line(row: dict[str, Any]) -> str:
    errors = ", ".join(f"{method} {error:.4f}" for method, error in row["errors"].items())
    coverage = "" if row["coverage"] is None else f"; 90 % intervals hold {row['coverage']:.1%}"
    return (
        f"{row['data']}, {row['missing_share']:.0%} missing, seed {row['seed']}: {errors}{coverage}"
    )


def draw(rows: Sequence[Row], plots_folder: Path) -> None:
    """Draw the errors of all measured runs by share of missing cells, of data with several shares.

    The points are means over seeds, the bars standard deviations.
    """
    for (data,), group in grouped(rows, "data").items():
        by_share = grouped(sorted(group, key=lambda row: row["missing_share"]), "missing_share")
        if len(by_share) < 2:
            continue
        errors = {
            method: [
                np.array([row["errors"][method] for row in part]) for part in by_share.values()
            ]
            for method in ("mean", "model", "k-NN", "IterativeImputer")
        }
        curves = {m: np.array([part.mean() for part in parts]) for m, parts in errors.items()}
        deviations = {
            m: np.array([part.std(ddof=1) if len(part) > 1 else 0.0 for part in parts])
            for m, parts in errors.items()
        }
        figure = plots.curves_by_level(
            np.array([share for (share,) in by_share]),
            curves,
            None,
            level_label="share of missing cells",
            label="squared error",
            deviations=deviations,
        )
        # Beyond 2, the error of another cell of the column for each, curves leave the plot.
        figure.axes[0].set_ylim(0, min(2.0, figure.axes[0].get_ylim()[1]))
        plots.save(figure, plots_folder / f"{Path(data).stem}.png")
