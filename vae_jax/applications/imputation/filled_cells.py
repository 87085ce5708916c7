"""A list of the cells that were filled, each with an interval or a probability."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vae_jax.data import tables
from vae_jax.data.columns import Column
from vae_jax.models.imputation import Imputed

# The probability of the intervals.
COVERAGE = 0.9

Rows = Float[np.ndarray, "rows 1 columns 1"]


def interval(
    draws: Float[np.ndarray, "draws ..."], coverage: float = COVERAGE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles between which a share of the draws lies, as many below as above."""
    low, high = np.quantile(draws, [(1 - coverage) / 2, (1 + coverage) / 2], axis=0)
    return low, high


def table(
    columns: Sequence[Column], holes: Rows, found: Imputed, rows: Int[np.ndarray, " _"]
) -> Any:
    """Return an Arrow table with a line per filled cell, by column and row.

    Args:
      columns: of the table.
      holes: the rows before, with NaN where a cell was filled.
      found: the rows after.
      rows: the index of each in the user's file.
    """
    import pyarrow

    lines: dict[str, list[Any]] = {
        name: [] for name in ("row", "column", "value", "low", "high", "probability")
    }
    for index, column in enumerate(columns):
        # A condition has no distribution, and stays empty.
        missing = np.isnan(holes[:, 0, index, 0]) & ~np.isnan(found.point[:, 0, index, 0])
        if not missing.any():
            continue
        point = np.asarray(found.point)[missing, 0, index, 0]
        draws = np.asarray(found.draws)[:, missing, 0, index, 0]
        texts = tables.decode(column, point).to_pylist()
        nothing = [None] * len(texts)
        lines["row"] += (rows[missing] + 1).tolist()
        lines["column"] += [column.name] * len(texts)
        lines["value"] += [str(text) for text in texts]
        if column.values:
            lines["low"] += nothing
            lines["high"] += nothing
            lines["probability"] += np.round((draws == point).mean(axis=0), 3).tolist()
        else:
            low, high = interval(draws)
            lines["low"] += tables.decode(column, low).to_pylist()
            lines["high"] += tables.decode(column, high).to_pylist()
            lines["probability"] += nothing
    numbers = {"low": pyarrow.float64(), "high": pyarrow.float64()}
    return pyarrow.table(
        {name: pyarrow.array(cells, type=numbers.get(name)) for name, cells in lines.items()}
    )
