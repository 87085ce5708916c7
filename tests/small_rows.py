"""Rows of a table with a column of each kind."""

import numpy as np

from vae_jax.data.columns import Column

COLUMNS = (
    Column("size", "real"),
    Column("income", "positive"),
    Column("visits", "count"),
    Column("member", "binary", ("no", "yes")),
    Column("plan", "category", ("a", "b", "c")),
    Column("hours", "exposure"),
)


def table(num=40, seed=0):
    """Return rows `[num, 1, columns, 1]` whose columns are independent, and all cells seen."""
    rng = np.random.default_rng(seed)
    cells = [
        170 + 8 * rng.normal(size=num),
        np.exp(5 + rng.normal(size=num)),
        rng.poisson(4.0, num),
        rng.integers(2, size=num),
        np.arange(num) % 3,
        np.exp(rng.normal(size=num)),
    ]
    return np.stack(cells, axis=-1).astype(np.float32)[:, None, :, None]


ROWS = table()


def with_holes(rows, *holes):
    """Return rows of which every other one lacks some columns."""
    rows = rows.copy()
    for index in holes:
        rows[::2, 0, index, 0] = np.nan
    return rows
