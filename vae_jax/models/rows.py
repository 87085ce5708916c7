"""Rows of a table: what the encoder sees of them, and p(x|z), a distribution for each column.

A row is `[1, columns, 1]` in the units of the file, with NaN where a cell was not seen. Statistics
of the training rows put numbers on one scale, inside the network alone: the likelihood is one of
the original values.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.data.columns import FittedColumn, RowShape
from vae_jax.distributions import (
    Binary,
    Classes,
    Columns,
    Constant,
    Group,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
    ZeroInflatedNegativeBinomial,
    bounded_log_scale,
    softplus,
)
from vae_jax.errors import UserError
from vae_jax.models.interfaces import LIKELIHOODS, Accepted, Encoder, Support
from vae_jax.settings import one_of, register

Rows = Float[Array, "*batch 1 columns 1"]
Outputs = Float[Array, "*batch 1 outputs 1"]

# The smallest number of degrees of freedom of a Student's t, as that of Mattei & Frellsen 2019.
_LEAST_DEGREES = 3.0
# Added to every category's share, so that the initial logits are finite.
_SMOOTHING = 1e-3
# The initial probability that a count is zero whatever its mean is.
_START_ZEROS = 0.05
_CONTINUOUS = ("real", "positive")


@dataclasses.dataclass(frozen=True)
class RowFeatures:
    """What a network takes of columns of a row.

    Numbers are standardised, positive ones and exposures by their log, counts by log(1 + count). A
    binary value is 0 or 1, a category one-hot. All features of a cell that was not seen are zero.
    A masked column has one feature more, 1 where it was seen.

    Attributes:
      columns: the columns.
      masked: indices of the masked ones.
    """

    columns: tuple[FittedColumn, ...]
    masked: tuple[int, ...]

    @property
    def num(self) -> int:
        """The number of features."""
        columns = self.columns
        sizes = [len(f.frequencies) if f.column.kind == "category" else 1 for f in columns]
        return sum(sizes) + len(self.masked)

    def __call__(self, rows: Rows) -> Float[Array, "*batch features"]:
        row = rows[..., 0, :, 0]
        seen = ~jnp.isnan(row)
        center = np.array([fitted.center for fitted in self.columns], np.float32)
        scale = np.array([fitted.scale for fitted in self.columns], np.float32)
        parts = []
        for kinds in (("real",), ("positive", "exposure"), ("count",), ("binary",)):
            chosen = self._of(*kinds)
            if not len(chosen):
                continue
            cells, here = row[..., chosen], seen[..., chosen]
            if "positive" in kinds:
                cells = jnp.log(jnp.where(here, cells, 1))
            elif "count" in kinds:
                cells = jnp.log1p(jnp.where(here, cells, 0))
            if "binary" not in kinds:
                cells = (cells - center[chosen]) / scale[chosen]
            parts.append(jnp.where(here, cells, 0))
        for index in self._of("category"):
            num = len(self.columns[index].frequencies)
            # No category equals NaN.
            parts.append((row[..., index, None] == jnp.arange(num)).astype(row.dtype))
        if self.masked:
            parts.append(seen[..., np.array(self.masked)].astype(row.dtype))
        return jnp.concatenate(parts, axis=-1)

    def _of(self, *kinds: str) -> np.ndarray:
        return np.flatnonzero([fitted.column.kind in kinds for fitted in self.columns])


class RowEncoder(nnx.Module):
    """Features of a row for an encoder of images, and that encoder."""

    def __init__(self, features: RowFeatures, encoder: Encoder) -> None:
        # Static: statistics are no parameters.
        self.features = nnx.static(features)
        self.encoder = encoder
        self.num_features = encoder.num_features

    def __call__(self, images: Rows) -> Float[Array, "*batch features"]:
        return self.encoder(self.features(images)[..., None, :, None])


class ColumnsLikelihood(nnx.Module):
    """The decoder's outputs as parameters of a distribution for each column.

    Attributes:
      columns: of the table.
      given: indices of the columns that are conditions, and have no distribution.
      masked: indices of the columns of which the encoder gets a mask.
      num_outputs: number of decoder outputs.
    """

    accepts: Accepted = "columns"

    def __init__(
        self,
        columns: Sequence[FittedColumn],
        settings: "ColumnsSettings",
        given: Sequence[int] = (),
    ) -> None:
        self.columns = tuple(columns)
        self.given = tuple(given)
        self.settings = settings
        self.per_cell = settings.scale_kind == "per_cell"
        kinds = [fitted.column.kind for fitted in columns]
        self.masked = tuple(
            i
            for i, fitted in enumerate(columns)
            if settings.mask == "all" or (settings.mask == "auto" and fitted.has_missing)
        )
        groups: dict[tuple[str, int], list[int]] = {}
        for index, fitted in enumerate(columns):
            is_given = fitted.column.kind == "exposure" or index in self.given
            kind: str = "given" if is_given else fitted.column.kind
            # Categories of as many values are computed together.
            size = len(fitted.frequencies) if kind == "category" else 0
            groups.setdefault((kind, size), []).append(index)
        self.groups = tuple((kind, size, tuple(i)) for (kind, size), i in groups.items())
        self.num_outputs = sum(
            self._outputs_per_column(kind, size) * len(i) for kind, size, i in self.groups
        )
        # Every column gives one or more values, of which an estimate of memory is made.
        self.outputs_per_channel = max(1, math.ceil(self.num_outputs / len(columns)))
        self.exposure = kinds.index("exposure") if "exposure" in kinds else None
        self.support: Support = "whole numbers"
        if any(kind in _CONTINUOUS for kind, _, _ in self.groups):
            self.support = "continuous"
        learned: dict[str, nnx.Param] = {}
        if not self.per_cell:
            for kind, _, indices in self.groups:
                for name in _shapes_of(self.families[kind]):
                    learned[f"{kind}_{name}"] = nnx.Param(jnp.zeros(len(indices), jnp.float32))
        self.learned = nnx.Dict(learned)

    def __call__(self, outputs: Outputs) -> Columns:
        flat = outputs[..., 0, :, 0]
        groups, first = [], 0
        for kind, size, indices in self.groups:
            width = self._outputs_per_column(kind, size) * len(indices)
            own = flat[..., first : first + width]
            groups.append(Group(self._distribution(kind, size, indices, own), indices))
            first += width
        if self.exposure is None:
            return Columns(tuple(groups))
        return Columns(tuple(groups), self.exposure, *log_moments(self.columns[self.exposure]))

    @property
    def families(self) -> dict[str, str]:
        """The distribution of each kind."""
        return {
            "real": self.settings.real,
            "positive": "log_normal",
            "count": self.settings.count,
            "binary": "bernoulli",
            "category": "categorical",
            "given": "given",
        }

    @property
    def start(self) -> Float[np.ndarray, "1 outputs 1"]:
        """The outputs whose distribution has the columns' means and shares."""
        parts = []
        for kind, _, indices in self.groups:
            if kind == "given":
                continue
            shares = np.array([self.columns[i].frequencies for i in indices])
            if kind == "category":
                parts.append(np.log(shares + _SMOOTHING).ravel())
            elif kind == "binary":
                parts.append(np.log(shares[:, 1]) - np.log(shares[:, 0]))
            else:
                parts.append(np.zeros(len(indices)))
                if kind == "count" and self.families[kind].startswith("zero_inflated"):
                    zero = math.log(_START_ZEROS / (1 - _START_ZEROS))
                    parts.append(np.full(len(indices), zero))
                num_shapes = len(_shapes_of(self.families[kind])) if self.per_cell else 0
                parts.append(np.zeros(len(indices) * num_shapes))
        return np.concatenate(parts).astype(np.float32)[None, :, None]

    def output_for_mean(self, mean: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the outputs at which the decoder starts, whatever the mean."""
        del mean
        return jnp.asarray(self.start)

    def _outputs_per_column(self, kind: str, size: int) -> int:
        family = self.families[kind]
        if kind in ("category", "given"):
            return size
        per_cell = len(_shapes_of(family)) if self.per_cell else 0
        return 1 + per_cell + family.startswith("zero_inflated")

    def _distribution(
        self, kind: str, size: int, indices: tuple[int, ...], own: Float[Array, "*batch outputs"]
    ) -> Any:
        """Return a group's distribution: outputs are those of all columns, one after another."""
        num, family = len(indices), self.families[kind]
        fitted = [self.columns[i] for i in indices]
        if family == "given":
            given = [math.exp(f.center) if f.column.kind == "exposure" else f.mean for f in fitted]
            mean = np.array(given, np.float32)
            return Constant(jnp.broadcast_to(mean, (*own.shape[:-1], num)))
        if family == "categorical":
            return Classes(own.reshape(*own.shape[:-1], num, size))
        if family == "bernoulli":
            return Binary(own)
        parts = [own[..., i * num : (i + 1) * num] for i in range(own.shape[-1] // num)]
        shapes = parts[-len(_shapes_of(family)) :] if self.per_cell else []
        if not self.per_cell:
            shapes = [self.learned[f"{kind}_{name}"][...] for name in _shapes_of(family)]
        center = np.array([f.center for f in fitted], np.float32)
        scale = np.array([f.scale for f in fitted], np.float32)
        if kind in _CONTINUOUS:
            location = jnp.asarray(center) + scale * parts[0]
            log_scale = jnp.log(scale) + bounded_log_scale(shapes[0])
            if family == "student_t":
                return StudentT(location, log_scale, _LEAST_DEGREES + softplus(shapes[1]))
            return {"normal": Normal, "log_normal": LogNormal}[family](location, log_scale)
        # Means start at those of the columns.
        means = np.array([f.mean for f in fitted], np.float32)
        log_mean = jnp.log(means) + bounded_log_scale(parts[0])
        if family == "poisson":
            return Poisson(log_mean)
        counts = NegativeBinomial(log_mean, bounded_log_scale(shapes[0]))
        if family == "zero_inflated_negative_binomial":
            return ZeroInflatedNegativeBinomial(counts, parts[1])
        return counts


def log_moments(exposure: FittedColumn) -> tuple[float, float]:
    """Return mean and standard deviation of the log of an exposure in the training rows."""
    # A column that is the same in all rows has the scale 1.
    constant = exposure.scale == 1 and math.isclose(
        exposure.mean, math.exp(exposure.center), rel_tol=1e-4
    )
    return exposure.center, 0.0 if constant else exposure.scale


def _shapes_of(family: str) -> tuple[str, ...]:
    """Return the parameters of a family beside its location."""
    return {
        "normal": ("scale",),
        "log_normal": ("scale",),
        "student_t": ("scale", "degrees"),
        "negative_binomial": ("size",),
        "zero_inflated_negative_binomial": ("size",),
    }.get(family, ())


@register(LIKELIHOODS, "columns")
@dataclasses.dataclass(frozen=True)
class ColumnsSettings:
    """A distribution for each column of a table, by the kind of its values.

    Log-normals of positive numbers, Bernoullis of binary values, categoricals of categories; those
    of real numbers and counts are chosen here.
    """

    takes_rows: ClassVar[bool] = True

    real: str = one_of("normal", ["normal", "student_t"], "Distribution of real numbers.")
    count: str = one_of(
        "negative_binomial",
        ["negative_binomial", "poisson", "zero_inflated_negative_binomial"],
        "Distribution of counts.",
    )
    scale_kind: str = one_of(
        "learned",
        ["learned", "per_cell"],
        "Scales, degrees of freedom and dispersions: learned, one per column; per_cell, by the "
        "decoder.",
    )
    mask: str = one_of(
        "auto",
        ["all", "auto", "none"],
        "Columns whose mask the encoder sees: all; auto, those that lack a "
        "cell in the training set; none.",
    )

    def build(self) -> ColumnsLikelihood:
        """Refuse: a likelihood of images is asked for.

        Raises:
          UserError: always.
        """
        raise UserError(
            "model.likelihood='columns' is for rows of a table, which this model does not take; "
            "use model='vae', or a likelihood of images such as 'bernoulli'"
        )

    def build_for(
        self, columns: Sequence[FittedColumn], given: Sequence[int] = ()
    ) -> ColumnsLikelihood:
        """Return the likelihood of a table with fresh parameters.

        Args:
          columns: of the table.
          given: indices of the columns that are conditions.
        """
        return ColumnsLikelihood(columns, self, given)


def takes_rows(likelihood: Any) -> bool:
    """Return whether the settings of a likelihood are of one for the rows of a table."""
    return bool(getattr(likelihood, "takes_rows", False))


def build_likelihood(settings: Any, spec: Any, given: Sequence[int] = ()) -> Any:
    """Return the likelihood of images of a shape, or of rows, with fresh parameters.

    Args:
      settings: of the likelihood.
      spec: the shape of an image, or of a row with its columns.
      given: indices of the columns that are conditions.
    """
    if isinstance(spec, RowShape) and takes_rows(settings):
        return settings.build_for(spec.columns, given)
    return settings.build()


def build_row_networks(
    likelihood: ColumnsLikelihood,
    build_encoder: Callable[[tuple[int, int, int]], Encoder],
    build_decoder: Callable[[tuple[int, int, int]], Any],
) -> tuple[Encoder, Any]:
    """Return an encoder and a decoder of rows, built of those of images of one line.

    Args:
      likelihood: of the rows.
      build_encoder: returns an encoder for a shape.
      build_decoder: returns a decoder for a shape.
    """
    features = RowFeatures(likelihood.columns, likelihood.masked)
    encoder = build_encoder((1, features.num, 1))
    decoder = build_decoder((1, likelihood.num_outputs, 1))
    return RowEncoder(features, encoder), decoder
