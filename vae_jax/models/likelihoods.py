"""Likelihoods p(x|z): decoder outputs to distributions over images.

A decoder gives `outputs_per_channel` numbers for every channel of every pixel, those of a channel
side by side: `[*batch, height, width, channels * outputs_per_channel]`. Pixels and channels are
independent given the latents.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import (
    NUM_LEVELS,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Laplace,
    MixtureOfDiscretizedLogistics,
    Normal,
    OptimalScaleNormal,
    bounded_log_scale,
    level_values,
    unbounded_log_scale,
)
from vae_jax.models.interfaces import LIKELIHOODS, Accepted, Likelihood, Support
from vae_jax.settings import bounded, integer, one_of, register

NormalScale = Literal["fixed", "learned", "per_pixel", "optimal"]
DiscretizedScale = Literal["per_pixel", "learned"]

# The range of initial scales that are not fixed: `bounded_log_scale` cannot reach its own bounds.
LEARNED_SCALE_RANGE = (4e-4, 2500.0)

Outputs = Float[Array, "*batch height width outputs"]
Mean = Float[Array, "*shape channels"]
MeanOutputs = Float[Array, "*shape outputs"]

_IMAGE_NDIM = 3

# Keeps the initial outputs finite for pixels that are black, or white, in every training image; the
# bounds are those of the IWAE authors' code (Burda et al. 2015).
_MEAN_RANGE = (0.001, 0.999)

# Beyond it a continuous Bernoulli is so steep that an opposite pixel costs hundreds of nats.
_STEEPEST_MEAN_RANGE = (0.01, 0.99)

# The initial scale of logistics, which makes them about uniform over the levels.
_START_SCALE = 0.25

# In levels: the largest distance of a level from itself after rounding to float32.
_LEVEL_TOLERANCE = 1e-3


class BernoulliLikelihood(nnx.Module):
    """The decoder's output as logits; data in [0, 1]."""

    accepts: Accepted = "unit interval"
    support: Support = "zeros and ones"
    outputs_per_channel = 1

    def __call__(self, outputs: Outputs) -> Bernoulli:
        return Bernoulli(outputs, event_ndim=_IMAGE_NDIM)

    def output_for_mean(self, mean: Mean) -> MeanOutputs:
        """Return logits of `mean`, clipped away from 0 and 1."""
        clipped = jnp.clip(mean, *_MEAN_RANGE)
        return jnp.log(clipped) - jnp.log1p(-clipped)


class ContinuousBernoulliLikelihood(nnx.Module):
    """The decoder's output as logits of a density on [0, 1]."""

    accepts: Accepted = "unit interval"
    support: Support = "continuous"
    outputs_per_channel = 1

    def __call__(self, outputs: Outputs) -> ContinuousBernoulli:
        return ContinuousBernoulli(outputs, event_ndim=_IMAGE_NDIM)

    def output_for_mean(self, mean: Mean) -> MeanOutputs:
        """Return logits of the density with that mean, clipped to [0.01, 0.99]."""
        clipped = jnp.clip(mean, *_STEEPEST_MEAN_RANGE)
        return _solve(lambda logits: ContinuousBernoulli(logits).mean, clipped, -128.0, 128.0)


class NormalLikelihood(nnx.Module):
    """The decoder's output as the mean of a normal; any finite data.

    `kind` chooses its standard deviation:

    - fixed: `scale`, for all pixels.
    - learned: one parameter for all pixels, which starts at `scale`.
    - per_pixel: a second output of the decoder, which starts at `scale`. It is at least exp(-8);
      for a pixel that is the same in every image, the density grows up to that limit.
    - optimal: in training the best one for each batch, as in sigma-VAE (`OptimalScaleNormal`). A
      parameter, which starts at `scale`, follows it, and all metrics are computed with that
      parameter. Under Adam its logarithm moves by the learning rate each step.
    """

    accepts: Accepted = "any finite"
    support: Support = "continuous"

    def __init__(self, scale: float, kind: NormalScale = "fixed") -> None:
        self.outputs_per_channel = 2 if kind == "per_pixel" else 1
        # Strongly typed: a weak type would become strong in the first step, which compiles twice.
        unbounded = jnp.asarray(unbounded_log_scale(math.log(scale)), jnp.float32)
        has_parameter = kind in ("learned", "optimal")
        self.learned_log_scale = nnx.Param(unbounded) if has_parameter else None
        self.fixed_log_scale = math.log(scale)
        self.kind = kind

    def __call__(self, outputs: Outputs) -> Normal:
        if self.kind == "per_pixel":
            mean, raw = _split(outputs, 2)
            return Normal(mean, bounded_log_scale(raw), event_ndim=_IMAGE_NDIM)
        learned = self.learned_log_scale
        if learned is None:
            log_scale = jnp.asarray(self.fixed_log_scale, jnp.float32)
            return Normal(outputs, log_scale, event_ndim=_IMAGE_NDIM)
        family = OptimalScaleNormal if self.kind == "optimal" else Normal
        return family(outputs, bounded_log_scale(learned[...]), event_ndim=_IMAGE_NDIM)

    def output_for_mean(self, mean: Mean) -> MeanOutputs:
        """Return the mean itself, and the log-scale at which a scale per pixel starts."""
        if self.kind == "per_pixel":
            return _join(mean, jnp.full_like(mean, unbounded_log_scale(self.fixed_log_scale)))
        return mean


class LaplaceLikelihood(nnx.Module):
    """The decoder's output as the mean of a Laplace of one fixed scale; any finite data."""

    accepts: Accepted = "any finite"
    support: Support = "continuous"
    outputs_per_channel = 1

    def __init__(self, scale: float) -> None:
        self.log_scale = math.log(scale)

    def __call__(self, outputs: Outputs) -> Laplace:
        log_scale = jnp.asarray(self.log_scale, jnp.float32)
        return Laplace(outputs, log_scale, event_ndim=_IMAGE_NDIM)

    def output_for_mean(self, mean: Mean) -> MeanOutputs:
        """Return the mean itself."""
        return mean


class DiscretizedLogisticLikelihood(nnx.Module):
    """Location of a logistic for each channel, cut into 256 levels, and its scale.

    `kind` chooses the scale, which starts at `scale`:

    - per_pixel: a second output of the decoder, its logarithm.
    - learned: one parameter for all pixels. Then every pixel counts alike in the gradient; with
      scales of their own those that are already certain count most, such as a plain background,
      and details are learned late.
    """

    accepts: Accepted = "256 levels"
    support: Support = "256 levels"

    def __init__(self, scale: float = _START_SCALE, kind: DiscretizedScale = "per_pixel") -> None:
        self.outputs_per_channel = 2 if kind == "per_pixel" else 1
        unbounded = jnp.asarray(unbounded_log_scale(math.log(scale)), jnp.float32)
        self.learned_log_scale = nnx.Param(unbounded) if kind == "learned" else None
        self.start_scale = scale

    def __call__(self, outputs: Outputs) -> DiscretizedLogistic:
        learned = self.learned_log_scale
        if learned is not None:
            log_scale = bounded_log_scale(learned[...])
            return DiscretizedLogistic(outputs, log_scale, event_ndim=_IMAGE_NDIM)
        location, raw = _split(outputs, 2)
        return DiscretizedLogistic(location, bounded_log_scale(raw), event_ndim=_IMAGE_NDIM)

    def output_for_mean(self, mean: Mean) -> MeanOutputs:
        """Return location, and scale per pixel, of levels with that mean, clipped."""
        location = _start_location(mean, self.start_scale)
        if self.learned_log_scale is not None:
            return location
        raw = unbounded_log_scale(math.log(self.start_scale))
        return _join(location, jnp.full_like(location, raw))


class DiscretizedLogisticMixtureLikelihood(nnx.Module):
    """Logits, locations and log-scales of logistics for each channel, cut into 256 levels."""

    accepts: Accepted = "256 levels"
    support: Support = "256 levels"

    def __init__(self, num_components: int) -> None:
        self.outputs_per_channel = 3 * num_components

    def __call__(self, outputs: Outputs) -> MixtureOfDiscretizedLogistics:
        parameters = outputs.reshape(*outputs.shape[:-1], -1, 3, self.outputs_per_channel // 3)
        logits, location, raw = (parameters[..., i, :] for i in range(3))
        return MixtureOfDiscretizedLogistics(
            logits, location, bounded_log_scale(raw), event_ndim=_IMAGE_NDIM
        )

    def output_for_mean(self, mean: Mean) -> MeanOutputs:
        """Return equal components with that mean; the decoder's weights make them differ."""
        location = _start_location(mean)
        raw = jnp.full_like(location, unbounded_log_scale(math.log(_START_SCALE)))
        parameters = jnp.stack([jnp.zeros_like(location), location, raw], axis=-1)
        repeated = jnp.repeat(parameters, self.outputs_per_channel // 3, axis=-1)
        return repeated.reshape(*mean.shape[:-1], -1)


class CategoricalLikelihood(nnx.Module):
    """Logits of 256 levels for each channel."""

    accepts: Accepted = "256 levels"
    support: Support = "256 levels"
    outputs_per_channel = NUM_LEVELS

    def __call__(self, outputs: Outputs) -> Categorical:
        logits = outputs.reshape(*outputs.shape[:-1], -1, NUM_LEVELS)
        return Categorical(logits, event_ndim=_IMAGE_NDIM)

    def output_for_mean(self, mean: Mean) -> MeanOutputs:
        """Return log probabilities of nearly uniform levels with that mean, clipped."""
        log_scale = jnp.asarray(math.log(_START_SCALE), jnp.float32)
        start = DiscretizedLogistic(_start_location(mean)[..., None, None], log_scale)
        return start.log_prob(level_values()[:, None]).reshape(*mean.shape[:-1], -1)


def _out_of_reach(scale: float, kind: str) -> str | None:
    low, high = LEARNED_SCALE_RANGE
    if low <= scale <= high:
        return None
    return (
        f"scale={scale} must lie in [{low:g}, {high:g}] with scale_kind={kind!r}, which is bounded "
        "there"
    )


@register(LIKELIHOODS, "bernoulli")
@dataclasses.dataclass(frozen=True)
class BernoulliSettings:
    """Logits of zeros and ones; data in [0, 1]."""

    leaves_pixels_out: ClassVar[bool] = True

    def build(self) -> BernoulliLikelihood:
        """Return the likelihood."""
        return BernoulliLikelihood()


@register(LIKELIHOODS, "continuous_bernoulli")
@dataclasses.dataclass(frozen=True)
class ContinuousBernoulliSettings:
    """A density on [0, 1] (Loaiza-Ganem & Cunningham 2019, arXiv 1907.06845)."""

    def build(self) -> ContinuousBernoulliLikelihood:
        """Return the likelihood."""
        return ContinuousBernoulliLikelihood()


@register(LIKELIHOODS, "normal")
@dataclasses.dataclass(frozen=True)
class NormalSettings:
    """Normals around the decoder's outputs; any finite data."""

    @property
    def leaves_pixels_out(self) -> bool:
        """True if pixels are independent: the optimal scale is that of all of them."""
        return self.scale_kind != "optimal"

    scale: float = bounded(1.0, "Standard deviation, or where it starts.", above=0.0)
    scale_kind: NormalScale = one_of(
        "fixed",
        get_args(NormalScale),
        "fixed; learned, one for all pixels; per_pixel, by the decoder; optimal, of sigma-VAE.",
    )

    def problem(self) -> str | None:
        """Return why these settings do not fit together; None if they do."""
        return None if self.scale_kind == "fixed" else _out_of_reach(self.scale, self.scale_kind)

    def build(self) -> NormalLikelihood:
        """Return the likelihood with fresh parameters."""
        return NormalLikelihood(self.scale, self.scale_kind)


@register(LIKELIHOODS, "laplace")
@dataclasses.dataclass(frozen=True)
class LaplaceSettings:
    """Laplace densities of one fixed scale; any finite data."""

    scale: float = bounded(1.0, "Scale of the density.", above=0.0)

    def build(self) -> LaplaceLikelihood:
        """Return the likelihood."""
        return LaplaceLikelihood(self.scale)


@register(LIKELIHOODS, "discretized_logistic")
@dataclasses.dataclass(frozen=True)
class DiscretizedLogisticSettings:
    """One logistic per channel over the 256 levels of 8-bit images."""

    scale: float = bounded(_START_SCALE, "Where the scale starts.", above=0.0)
    scale_kind: DiscretizedScale = one_of(
        "per_pixel",
        get_args(DiscretizedScale),
        "per_pixel, by the decoder; learned, one for all pixels, with which details are learned "
        "sooner.",
    )

    def problem(self) -> str | None:
        """Return why the scale is out of reach; None if it is not."""
        return _out_of_reach(self.scale, self.scale_kind)

    def build(self) -> DiscretizedLogisticLikelihood:
        """Return the likelihood with fresh parameters."""
        return DiscretizedLogisticLikelihood(self.scale, self.scale_kind)


@register(LIKELIHOODS, "discretized_logistic_mixture")
@dataclasses.dataclass(frozen=True)
class DiscretizedLogisticMixtureSettings:
    """A mixture of logistics per channel over the 256 levels (Salimans et al. 2017)."""

    components: int = integer(10, "Components per channel.", at_least=1)

    def build(self) -> DiscretizedLogisticMixtureLikelihood:
        """Return the likelihood."""
        return DiscretizedLogisticMixtureLikelihood(self.components)


@register(LIKELIHOODS, "categorical")
@dataclasses.dataclass(frozen=True)
class CategoricalSettings:
    """256 logits per channel, one for each level of 8-bit images."""

    def build(self) -> CategoricalLikelihood:
        """Return the likelihood."""
        return CategoricalLikelihood()


Nats = Literal["log probability", "log density", "cross-entropy"]


def nats_of(likelihood: Likelihood, images: np.ndarray) -> Nats:
    """Return what `log_prob` of these images is; those of different kinds cannot be compared.

    That of a Bernoulli at grey values is a cross-entropy: the values are no outcomes.
    """
    if likelihood.support in ("256 levels", "whole numbers"):
        return "log probability"
    if likelihood.support == "continuous":
        return "log density"
    are_outcomes = np.isin(images, (0, 1)) | np.isnan(images)
    return "log probability" if bool(are_outcomes.all()) else "cross-entropy"


def unaccepted(accepted: Accepted, images: np.ndarray) -> str | None:
    """Return why a likelihood does not accept these finite values; None if it does."""
    if accepted in ("any finite", "columns"):
        return None
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        return f"lie in [{low:g}, {high:g}], outside [0, 1]"
    if accepted == "256 levels":
        levels = images * (NUM_LEVELS - 1)
        distance = np.abs(levels - np.round(levels))
        if distance.max() > _LEVEL_TOLERANCE:
            value = float(images.flat[distance.argmax()])
            return f"hold {value:g}, which is none of the 256 levels k/255"
    return None


def _split(outputs: Outputs, num: int) -> list[Array]:
    """Return the first, second ... output of every channel."""
    by_channel = outputs.reshape(*outputs.shape[:-1], -1, num)
    return [by_channel[..., i] for i in range(num)]


def _join(*parts: Mean) -> MeanOutputs:
    """Return the inverse of `_split`."""
    return jnp.stack(parts, axis=-1).reshape(*parts[0].shape[:-1], -1)


def _start_location(mean: Mean, scale: float = _START_SCALE) -> Mean:
    """Return the location of a logistic of this scale whose levels have that mean."""
    clipped = jnp.clip(mean, *_MEAN_RANGE)
    log_scale = jnp.asarray(math.log(scale), jnp.float32)
    return _solve(lambda at: DiscretizedLogistic(at, log_scale).mean, clipped, -4.0, 5.0)


def _solve(
    increasing: Callable[[Array], Array],
    value: Float[Array, "*shape"],
    low: float,
    high: float,
) -> Float[Array, "*shape"]:
    """Return the argument in [`low`, `high`] at which a function has `value`, by bisection."""

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = 0.5 * (low + high)
        below = increasing(middle) < value
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    bounds = jnp.full_like(value, low), jnp.full_like(value, high)
    lowest, highest = jax.lax.fori_loop(0, 40, halve, bounds)
    return 0.5 * (lowest + highest)
