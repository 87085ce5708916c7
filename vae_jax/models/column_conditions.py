"""Columns of a table as conditions c of a model of the others, p(x|c)."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.data import columns
from vae_jax.data.columns import Column, RowShape
from vae_jax.distributions import Columns
from vae_jax.errors import UserError
from vae_jax.models.conditions import CONDITIONS, Reads
from vae_jax.models.interfaces import Likelihood
from vae_jax.models.rows import RowFeatures, Rows
from vae_jax.networks.choices import LAYERS, ImageShape, LayersPart
from vae_jax.settings import flag, names, nearest, part, register


@dataclasses.dataclass(frozen=True)
class RowCompletion:
    """p(the other columns|those that are given), as a distribution over whole rows.

    A given cell that was not seen stays NaN: nothing is said of it.

    Attributes:
      of_others: over rows; it counts the other columns alone.
      rows: whose given columns count.
      indices: of the given columns.
    """

    of_others: Columns
    rows: Rows
    indices: tuple[int, ...]

    def _completed(self, rows: Float[Array, "..."]) -> Float[Array, "*batch 1 columns 1"]:
        is_given = np.isin(np.arange(rows.shape[-2]), self.indices)
        return jnp.where(is_given[:, None], self.rows, rows)

    @property
    def mean(self) -> Rows:
        """The given cells; of the others the expected numbers and the likeliest categories."""
        return self._completed(self.of_others.mean)

    @property
    def expectations(self) -> tuple[Float[Array, "..."], ...]:
        """Those of the other columns (`Columns.expectations`)."""
        return self.of_others.expectations

    def point(self, expectations: tuple[Float[Array, "..."], ...]) -> Rows:
        """Return the given cells, and the others for their expectations."""
        return self._completed(self.of_others.point(expectations))

    def log_prob(self, value: Float[Array, "*shape 1 columns 1"]) -> Float[Array, "*batch"]:
        """Return log probability, or density, of the seen cells of the other columns in nats."""
        return self.of_others.log_prob(value)

    def given(self, value: Rows) -> "RowCompletion":
        """Return the distribution with the counts' means at the exposures of given rows."""
        return dataclasses.replace(self, of_others=self.of_others.given(value))

    def sample(self, key: Key[Array, ""]) -> Rows:
        """Return the given cells and a draw of the others."""
        return self._completed(self.of_others.sample(key))


class ColumnsCondition(nnx.Module):
    """Cells of some columns as numbers that networks take, without parameters."""

    def __init__(self, shape: RowShape, given: Sequence[int]) -> None:
        self.given = tuple(given)
        chosen = tuple(shape.columns[index] for index in given)
        masked = tuple(i for i, fitted in enumerate(chosen) if fitted.has_missing)
        self.features = nnx.static(RowFeatures(chosen, masked))
        self.num_features = self.features.num

    def __call__(self, condition: Rows, likelihood: Likelihood) -> Float[Array, "*batch features"]:
        del likelihood
        return self.features(condition[..., np.array(self.given), :])

    def likelihood(
        self, likelihood: Any, outputs: Float[Array, "..."], condition: Rows
    ) -> RowCompletion:
        """Return p(the other columns|z, c)."""
        of_others: Columns = likelihood(outputs)
        if likelihood.exposure in self.given:
            of_others = of_others.given(condition)
        return RowCompletion(of_others, condition, self.given)


@register(CONDITIONS, "columns")
@dataclasses.dataclass(frozen=True)
class ColumnsConditionSettings:
    """Columns of a table: the model is of the others given these (Sohn et al. 2015).

    Encoder, decoder and prior see their cells as the encoder of rows does: standardised numbers,
    one-hot categories, zeros for a cell that was not seen, and a mask of each column that lacks
    some in the training set. The prior sees them by default: what is in the other columns depends
    on them.
    """

    reads: ClassVar[Reads] = "images"
    takes_rows: ClassVar[bool] = True

    columns: tuple[str, ...] = names((), "Names of the columns that are seen.")
    joint: LayersPart = part(
        "mlp", LAYERS, LayersPart, "Layers from features of row and condition to the posterior."
    )
    conditional_prior: bool = flag(True, "Whether the prior is p(z|columns), by its own layers.")
    prior_layers: LayersPart = part("mlp", LAYERS, LayersPart, "Layers of that prior.")

    def problem(self) -> str | None:
        """Return why these settings cannot be; None if they can."""
        if self.columns:
            return None
        return "columns=() names no column; name those that are seen, such as ('age', 'sex')"

    def unfit(self, found: Sequence[Column], label: str | None = None) -> str | None:
        """Return why a table has not these columns; None if it has.

        Args:
          found: the columns of a table.
          label: the name of the column that is its label, if there is one.
        """
        known, whose = [column.name for column in found], f"columns={self.columns!r}"
        for name in self.columns:
            if name == label:
                return (
                    f"{whose}: {name!r} is the label of the table, which no model sees; say its "
                    f"kind, such as data.columns.{name}=category"
                )
            if name not in known:
                hint = nearest(name, known) or f"; it has {', '.join(known[:10])}"
                return f"{whose}: the table has no column {name!r}{hint}"
        left = [c for c in found if c.name not in self.columns and c.kind != "exposure"]
        if not left:
            return f"{whose} leaves no column of the table to model; name fewer"
        return None

    def given(self, shape: RowShape) -> tuple[int, ...]:
        """Return the indices of these columns."""
        wanted = set(self.columns)
        return tuple(i for i, c in enumerate(shape.plain_columns) if c.name in wanted)

    def build(
        self, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs
    ) -> ColumnsCondition:
        """Return the condition."""
        del outputs_per_channel, rngs
        assert isinstance(image_shape, RowShape), "refused before"
        return ColumnsCondition(image_shape, self.given(image_shape))

    def checked(self, condition: Any, num: int, image_shape: ImageShape) -> np.ndarray:
        """Return `num` rows whose given columns count; one row stands for all.

        Args:
          condition: rows, or cells by column: one, or one per row; None is one not seen.
          num: number of rows.
          image_shape: of the run.

        Raises:
          UserError: a column is missing or is no condition, a cell is none of its column, or there
            is another number of them.
        """
        assert isinstance(image_shape, RowShape), "refused before"
        if isinstance(condition, Mapping):
            return self._rows_of(condition, num, image_shape)
        rows = np.asarray(condition)
        if len(rows) not in (1, num):
            raise UserError(
                f"condition has {len(rows)} rows for {num}; give one for each, or a single one for "
                "all"
            )
        return np.broadcast_to(rows, (num, *image_shape))

    def _rows_of(self, cells: Mapping[Any, Any], num: int, shape: RowShape) -> np.ndarray:
        for name in cells:
            if name not in self.columns:
                hint = nearest(str(name), self.columns) or f"; they are {', '.join(self.columns)}"
                raise UserError(f"condition: {name!r} is none of the columns that are seen{hint}")
        missing = [name for name in self.columns if name not in cells]
        if missing:
            raise UserError(
                f"condition lacks {', '.join(map(repr, missing))}; give all of "
                f"{', '.join(self.columns)}"
            )
        rows = np.full((num, *shape), math.nan, np.float32)
        for index in self.given(shape):
            fitted = shape.columns[index]
            values = _encoded(fitted.column, cells[fitted.column.name], num)
            unseen = [i for i, share in enumerate(fitted.frequencies) if share == 0]
            if np.isin(values, unseen).any():
                text = fitted.column.values[int(values[np.isin(values, unseen)][0])]
                raise UserError(
                    f"condition: column {fitted.column.name!r} is {text!r}, which no training row "
                    "has"
                )
            rows[:, 0, index, 0] = values
        return rows


def _encoded(column: Column, cells: Any, num: int) -> np.ndarray:
    """Return a column's cells, one or `num` of them, as numbers.

    Raises:
      UserError: one is none of the column's kind, or there is another number of them.
    """
    array = np.asarray(cells, dtype=object)
    if array.ndim > 1 or array.size not in (1, num):
        what = f"{array.size} values" if array.ndim == 1 else f"an array of shape {array.shape}"
        raise UserError(
            f"condition: column {column.name!r} has {what} for {num} rows; give one for each, or a "
            "single one for all"
        )
    texts = [_as_text(column, cell) for cell in array.reshape(-1)]
    try:
        encoded = columns.encode(column, texts)
    except UserError as error:
        raise UserError(f"condition: {error}") from None
    return np.broadcast_to(encoded, num)


def _as_text(column: Column, cell: Any) -> str | None:
    """Return a cell as a file would have it; None for one that was not seen."""
    if cell is None or cell == "" or cell != cell:
        return None
    if isinstance(cell, bool | np.bool_):
        return str(cell).lower()
    if isinstance(cell, float | np.floating) and column.values:
        return columns.as_texts(np.array([cell]))[0]
    return str(cell)
