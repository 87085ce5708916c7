"""Rows that a model draws, in a file like that of its table."""

from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.data import tables
from vae_jax.evaluation import drawing
from vae_jax.trained import TrainedModel

_MOST_SHOWN = 1000


def write(
    path: Path,
    model: TrainedModel,
    latents: Float[np.ndarray, "num latents"],
    key: Key[Array, ""],
    condition: Float[np.ndarray, "num 1 columns 1"] | None = None,
) -> list[Path]:
    """Write a draw of p(x|z) at each latent vector, and plot its columns beside those of test rows.

    Args:
      path: a .csv or .parquet file; the plot has its name.
      model: of a run on a table.
      latents: such as draws of the prior.
      key: of the draws.
      condition: of each, for a model of p(x|c).

    Returns:
      The files of the plot.

    Raises:
      UserError: a file cannot be written, or the run's data are missing.
    """
    assert model.columns is not None, "a run on a table has columns"
    rows = model.draw(latents, key, condition)
    tables.write(path, model.columns.plain_columns, rows, model.columns.csv_style)
    test = model.load_test().images[:_MOST_SHOWN]
    return drawing.draw_columns(path.with_suffix(".png"), model, test, rows)
