"""Conditions c of a model p(x|c): labels, or a part of the image.

Sohn, Lee, Yan 2015 (Learning Structured Output Representation using Deep Conditional Generative
Models). Features of the condition are concatenated to what enters the posterior, the decoder and,
if it is conditional, the prior:

    q(z|x, c),  p(z|c) or p(z),  p(x|z, c).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from vae_jax.distributions import Distribution, Normal, bounded_log_scale
from vae_jax.errors import UserError
from vae_jax.models.interfaces import Likelihood
from vae_jax.networks.choices import LAYERS, ImageShape, LayersPart
from vae_jax.settings import flag, integer, part, register

CONDITIONS: dict[str, type] = {}
# What a condition is made from: nothing, the labels of the data, or the image itself.
Reads = Literal["nothing", "labels", "images"]


@runtime_checkable
class Condition(Protocol):
    """Maps a condition to features, and outputs of the decoder to p(x|z, c).

    Attributes:
      num_features: the size of its features.
    """

    num_features: int

    def __call__(self, condition: Array, /) -> Float[Array, "*batch features"]:
        """Return features of each condition."""

    def likelihood(
        self, likelihood: Likelihood, outputs: Float[Array, "..."], condition: Array, /
    ) -> Distribution:
        """Return p(x|z, c) from the decoder's outputs."""


@runtime_checkable
class ConditionPart(Protocol):
    """Settings of a condition.

    Attributes:
      reads: what a condition is made from.
      joint: layers before the posterior, which see the features of image and condition.
      conditional_prior: whether the prior sees the condition.
      prior_layers: layers of that prior.
    """

    reads: ClassVar[Reads]
    joint: LayersPart
    conditional_prior: bool
    prior_layers: LayersPart

    def build(self, image_shape: ImageShape, *, rngs: nnx.Rngs) -> Any:
        """Return the condition (`Condition`) with fresh parameters; None without one."""

    def checked(self, condition: ArrayLike, num: int, image_shape: ImageShape) -> np.ndarray:
        """Return `num` conditions from what a user gave.

        Raises:
          UserError: there is no such condition, or a wrong number of them.
        """


@register(CONDITIONS, "none")
@dataclasses.dataclass(frozen=True)
class NoCondition:
    """No condition: the model is of p(x)."""

    reads: ClassVar[Reads] = "nothing"
    joint: ClassVar[Any] = None
    conditional_prior: ClassVar[bool] = False
    prior_layers: ClassVar[Any] = None

    def build(self, image_shape: ImageShape, *, rngs: nnx.Rngs) -> None:
        """Return None."""
        del image_shape, rngs

    def checked(self, condition: ArrayLike, num: int, image_shape: ImageShape) -> np.ndarray:
        """Raise UserError: the model takes no condition."""
        raise UserError(
            f"condition={condition!r}: this model is of p(x) and takes no condition; leave it out"
        )


def reads_of(model: Any) -> Reads:
    """Return what the condition of a model with these settings is made from."""
    reads: Reads = getattr(model, "condition", NoCondition()).reads
    return reads


class LabelCondition(nnx.Module):
    """One-hot classes, without parameters."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.num_features = num_classes

    def __call__(self, condition: Int[Array, "*batch"]) -> Float[Array, "*batch classes"]:
        return jax.nn.one_hot(condition, self.num_classes)

    def likelihood(
        self, likelihood: Likelihood, outputs: Float[Array, "..."], condition: Array
    ) -> Distribution:
        """Return p(x|z, c) over whole images."""
        del condition
        return likelihood(outputs)


@register(CONDITIONS, "label")
@dataclasses.dataclass(frozen=True)
class LabelSettings:
    """The class of the image, one-hot.

    Its prior is independent of the class by default, so that z is the style, which can be kept
    while the class changes (Kingma et al. 2014).
    """

    reads: ClassVar[Reads] = "labels"

    classes: int = integer(10, "Classes, numbered from 0.", at_least=2, at_most=10_000)
    joint: LayersPart = part(
        "mlp", LAYERS, LayersPart, "Layers from image features and class to the posterior."
    )
    conditional_prior: bool = flag(False, "Whether the prior is p(z|class), by its own layers.")
    prior_layers: LayersPart = part("mlp", LAYERS, LayersPart, "Layers of that prior.")

    def build(self, image_shape: ImageShape, *, rngs: nnx.Rngs) -> LabelCondition:
        """Return the condition."""
        del image_shape, rngs
        return LabelCondition(self.classes)

    def checked(self, condition: ArrayLike, num: int, image_shape: ImageShape) -> np.ndarray:
        """Return `num` classes; one class stands for all.

        Raises:
          UserError: there is no such class, or another number of them.
        """
        del image_shape
        array = np.asarray(condition)
        known = f"the classes are 0 to {self.classes - 1}"
        if not np.issubdtype(array.dtype, np.integer) or array.ndim > 1 or array.size == 0:
            raise UserError(f"condition={condition!r} must be a class, or one per image; {known}")
        unknown = (array < 0) | (array >= self.classes)
        if unknown.any():
            wrong = int(array[unknown].flat[0]) if array.ndim else int(array)
            raise UserError(f"condition={wrong} is not a class of this model; {known}")
        if array.ndim and len(array) != num:
            raise UserError(
                f"condition has {len(array)} classes for {num} images; give one per image, or a "
                "single one for all"
            )
        return np.broadcast_to(array, num).astype(np.int32)


class ConditionalPrior(nnx.Module):
    """p(z|c), independent normals by layers from the condition's features (Sohn et al. 2015)."""

    def __init__(
        self, num_features: int, layers: LayersPart, latent_size: int, *, rngs: nnx.Rngs
    ) -> None:
        self.layers = layers.build(num_features, rngs=rngs)
        self.output = nnx.Linear(
            self.layers.num_features,
            2 * latent_size,
            # It starts as the standard normal.
            kernel_init=nnx.initializers.normal(1e-2),
            rngs=rngs,
        )

    def __call__(self, features: Float[Array, "*batch features"]) -> Normal:
        mean, raw = jnp.split(self.output(self.layers(features)), 2, axis=-1)
        return Normal(mean, bounded_log_scale(raw))


def joined(parts: Sequence[Float[Array, "..."]]) -> Float[Array, "*batch features"]:
    """Return arrays joined along their last axis; their leading axes are broadcast."""
    batch = jnp.broadcast_shapes(*(array.shape[:-1] for array in parts))
    whole = [jnp.broadcast_to(array, (*batch, array.shape[-1])) for array in parts]
    return jnp.concatenate(whole, axis=-1)
