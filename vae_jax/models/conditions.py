"""Conditions c of a model p(x|c): labels, numbers, or a part of the image.

A part of a row is one in `column_conditions`.

Sohn, Lee, Yan 2015 (Learning Structured Output Representation using Deep Conditional Generative
Models). Features of the condition are concatenated to what enters the posterior, the decoder and,
if it is conditional, the prior:

    q(z|x, c),  p(z|c) or p(z),  p(x|z, c).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vae_jax.data.columns import RowShape
from vae_jax.data.condition_arrays import ConditionedShape
from vae_jax.distributions import Distribution, Normal, bounded_log_scale
from vae_jax.errors import UserError
from vae_jax.models.interfaces import Likelihood
from vae_jax.networks.activations import ACTIVATIONS, Activation
from vae_jax.networks.choices import LAYERS, ImageShape, LayersPart
from vae_jax.networks.mlp import MLP
from vae_jax.networks.precision import Dense
from vae_jax.settings import flag, integer, one_of, part, register, shown, sizes

CONDITIONS: dict[str, type] = {}
# What a condition is made from: nothing, the labels of the data, the image or row itself, or the
# numbers beside it.
Reads = Literal["nothing", "labels", "images", "conditions"]


@runtime_checkable
class Condition(Protocol):
    """Maps a condition to features, and outputs of the decoder to p(x|z, c).

    Attributes:
      num_features: the size of its features.
    """

    num_features: int

    def __call__(
        self, condition: Array, likelihood: Likelihood, /
    ) -> Float[Array, "*batch features"]:
        """Return features of each condition; `likelihood` is that of the model."""

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

    Optional are `has_guess`, True if a network without latents guesses what is not seen; and of a
    condition of rows `takes_rows`, True, and `given(shape)`, the indices of its columns.
    """

    reads: ClassVar[Reads]
    joint: LayersPart
    conditional_prior: bool
    prior_layers: LayersPart

    def build(self, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs) -> Any:
        """Return the condition (`Condition`) with fresh parameters; None without one."""

    def checked(self, condition: Any, num: int, image_shape: ImageShape) -> np.ndarray:
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

    def build(self, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs) -> None:
        """Return None."""
        del image_shape, outputs_per_channel, rngs

    def checked(self, condition: Any, num: int, image_shape: ImageShape) -> np.ndarray:
        """Raise UserError: the model takes no condition."""
        raise UserError(
            f"condition={condition!r}: this model is of p(x) and takes no condition; leave it out"
        )


def condition_of(model: Any) -> Any:
    """Return the condition, a `ConditionPart`, of a model with these settings."""
    return getattr(model, "condition", NoCondition())


def reads_of(model: Any) -> Reads:
    """Return what the condition of a model with these settings is made from."""
    reads: Reads = condition_of(model).reads
    return reads


def has_guess(model: Any) -> bool:
    """Return whether a network without latents guesses what the condition leaves open."""
    return bool(getattr(condition_of(model), "has_guess", False))


def given_columns(model: Any, shape: Any) -> tuple[int, ...]:
    """Return the indices of the columns of a row that are conditions; () for images."""
    condition = condition_of(model)
    if not isinstance(shape, RowShape) or not getattr(condition, "takes_rows", False):
        return ()
    indices: tuple[int, ...] = condition.given(shape)
    return indices


class LabelCondition(nnx.Module):
    """One-hot classes, without parameters."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.num_features = num_classes

    def __call__(
        self, condition: Int[Array, "*batch"], likelihood: Likelihood
    ) -> Float[Array, "*batch classes"]:
        del likelihood
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

    def build(
        self, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs
    ) -> LabelCondition:
        """Return the condition."""
        del image_shape, outputs_per_channel, rngs
        return LabelCondition(self.classes)

    def checked(self, condition: Any, num: int, image_shape: ImageShape) -> np.ndarray:
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


# Rows and columns of the rectangles that are not seen, in halves of the image, by the number of
# quadrants that are: the lower left, then the upper left, then the upper right.
_UNSEEN = {
    1: (((0, 1), (0, 2)), ((1, 2), (1, 2))),
    2: (((0, 2), (1, 2)),),
    3: (((1, 2), (1, 2)),),
}


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The rectangles of an image that are not seen.

    Attributes:
      seen: the number of quadrants that are seen.
      image_shape: height, width, channels.
    """

    seen: int
    image_shape: ImageShape

    @property
    def _slices(self) -> list[tuple[slice, slice]]:
        height, width, _ = self.image_shape
        rows, columns = (0, height // 2, height), (0, width // 2, width)
        return [
            (slice(rows[top], rows[bottom]), slice(columns[left], columns[right]))
            for (top, bottom), (left, right) in _UNSEEN[self.seen]
        ]

    @property
    def _shapes(self) -> list[tuple[int, int]]:
        return [(r.stop - r.start, c.stop - c.start) for r, c in self._slices]

    @property
    def num_pixels(self) -> int:
        """The number of pixels in all rectangles together."""
        return sum(height * width for height, width in self._shapes)

    def take(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch 1 pixels channels"]:
        """Return the pixels of the rectangles, side by side in one row."""
        parts = [
            (part := images[..., rows, columns, :]).reshape(*part.shape[:-3], 1, -1, part.shape[-1])
            for rows, columns in self._slices
        ]
        return jnp.concatenate(parts, axis=-2)

    def fill(
        self,
        images: Float[Array, "..."],
        pixels: Float[Array, "..."],
    ) -> Float[Array, "*batch height width channels"]:
        """Return images `[*batch, height, width, channels]` with other pixels in the rectangles.

        Pixels are as `take` returns them. Leading axes are broadcast.
        """
        batch = jnp.broadcast_shapes(images.shape[:-3], pixels.shape[:-3])
        images = jnp.broadcast_to(images, (*batch, *images.shape[-3:]))
        ends = np.cumsum([height * width for height, width in self._shapes])
        parts = jnp.split(pixels, ends[:-1], axis=-2)
        for (rows, columns), shape, row in zip(self._slices, self._shapes, parts, strict=True):
            block = row.reshape(*row.shape[:-3], *shape, row.shape[-1])
            images = images.at[..., rows, columns, :].set(block)
        return images


@dataclasses.dataclass(frozen=True)
class Completion:
    """p(the pixels that are not seen|those that are), as a distribution over whole images.

    Attributes:
      of_unseen: over `[*batch, 1, pixels, channels]`.
      seen: images whose seen pixels count.
      blocks: the rectangles that are not seen.
    """

    of_unseen: Distribution
    seen: Float[Array, "..."]
    blocks: Blocks

    @property
    def mean(self) -> Float[Array, "*batch height width channels"]:
        """The seen pixels and the mean of the others."""
        return self.blocks.fill(self.seen, self.of_unseen.mean)

    def log_prob(self, value: Float[Array, "*batch height width channels"]) -> Float[Array, "..."]:
        """Return log probability in nats of the pixels that are not seen."""
        return self.of_unseen.log_prob(self.blocks.take(value))

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch height width channels"]:
        """Return the seen pixels and a draw of the others."""
        return self.blocks.fill(self.seen, self.of_unseen.sample(key))


class QuadrantCondition(nnx.Module):
    """A part of the image, completed by a guess, through dense layers to features.

    The guess is the mean image of a network without latents, which is trained beside the model
    (objective='cvae'); no gradient of the model flows into it. Without a guess, 0 is in its place.
    """

    def __init__(
        self,
        seen: int,
        image_shape: ImageShape,
        outputs_per_channel: int,
        widths: Sequence[int],
        guess_widths: Sequence[int],
        *,
        activation: Activation,
        rngs: nnx.Rngs,
    ) -> None:
        options: Any = {"activation": activation, "gated": False, "rngs": rngs}
        size, self.blocks = math.prod(image_shape), nnx.static(Blocks(seen, image_shape))
        self.layers = MLP(size, widths, **options)
        self.num_features = self.layers.num_features
        layers = MLP(size, guess_widths, **options) if guess_widths else None
        outputs = self.blocks.num_pixels * image_shape[2] * outputs_per_channel
        self.guess_layers = layers
        self.guess_output = layers and Dense(layers.num_features, outputs, rngs=rngs)

    def guess(
        self, condition: Float[Array, "*batch height width channels"], likelihood: Likelihood
    ) -> Completion:
        """Return p(x|c) without latents, from the seen part of images."""
        assert self.guess_layers is not None
        assert self.guess_output is not None
        features = self.guess_layers(self._flat(self._seen(condition)))
        outputs = self.guess_output(features)
        outputs = outputs.reshape(*outputs.shape[:-1], 1, self.blocks.num_pixels, -1)
        return Completion(likelihood(outputs), condition, self.blocks)

    def _seen(self, images: Float[Array, "..."]) -> Float[Array, "..."]:
        blank = jnp.zeros((1, self.blocks.num_pixels, images.shape[-1]))
        return self.blocks.fill(images, blank)

    def _flat(self, images: Float[Array, "..."]) -> Float[Array, "*batch pixels"]:
        return images.reshape(*images.shape[:-3], -1)

    def __call__(
        self, condition: Float[Array, "*batch height width channels"], likelihood: Likelihood
    ) -> Float[Array, "*batch features"]:
        if self.guess_layers is None:
            return self.layers(self._flat(self._seen(condition)))
        guessed = jax.lax.stop_gradient(self.guess(condition, likelihood).mean)
        return self.layers(self._flat(guessed))

    def likelihood(
        self, likelihood: Likelihood, outputs: Float[Array, "..."], condition: Float[Array, "..."]
    ) -> Completion:
        """Return p(the pixels that are not seen|z, c)."""
        return Completion(likelihood(self.blocks.take(outputs)), condition, self.blocks)


@register(CONDITIONS, "quadrants")
@dataclasses.dataclass(frozen=True)
class QuadrantSettings:
    """Quadrants of the image: the model is of the others given these (Sohn et al. 2015).

    Its prior sees them by default: what can be in the other quadrants depends on them.
    """

    reads: ClassVar[Reads] = "images"

    seen: int = integer(
        1, "Quadrants seen: the lower left, the upper left, the upper right.", at_least=1, at_most=3
    )
    widths: tuple[int, ...] = sizes((400,), "Layers from the seen part to its features.")
    guess_widths: tuple[int, ...] = sizes(
        (400,),
        "Layers of a network without latents, whose guess completes the seen part; () is none.",
        may_be_empty=True,
    )
    activation: str = one_of("silu", list(ACTIVATIONS), "Activation of these layers.")
    joint: LayersPart = part(
        "mlp", LAYERS, LayersPart, "Layers from features of image and seen part to the posterior."
    )
    conditional_prior: bool = flag(True, "Whether the prior is p(z|seen), by its own layers.")
    prior_layers: LayersPart = part(
        "mlp", LAYERS, LayersPart, "Layers of that prior, from features of the seen part."
    )

    @property
    def has_guess(self) -> bool:
        """True if a network without latents guesses what is not seen."""
        return bool(self.guess_widths)

    def build(
        self, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs
    ) -> QuadrantCondition:
        """Return the condition with fresh parameters."""
        return QuadrantCondition(
            self.seen,
            image_shape,
            outputs_per_channel,
            list(self.widths),
            list(self.guess_widths),
            activation=ACTIVATIONS[self.activation],
            rngs=rngs,
        )

    def checked(self, condition: Any, num: int, image_shape: ImageShape) -> np.ndarray:
        """Return `num` images, of which a part is seen; one image stands for all.

        Raises:
          UserError: there is another number of them.
        """
        images = np.asarray(condition)
        if len(images) not in (1, num):
            raise UserError(
                f"condition has {len(images)} images for {num}; give one for each, or a single one "
                "for all"
            )
        return np.broadcast_to(images, (num, *image_shape))


class ArrayCondition(nnx.Module):
    """Standardised numbers, without parameters."""

    def __init__(self, center: Sequence[float], scale: Sequence[float]) -> None:
        # Tuples are static: statistics are no parameters.
        self.center, self.scale = tuple(center), tuple(scale)
        self.num_features = len(self.center)

    def __call__(
        self, condition: Float[Array, "*batch features"], likelihood: Likelihood
    ) -> Float[Array, "*batch features"]:
        del likelihood
        center, scale = np.array(self.center, np.float32), np.array(self.scale, np.float32)
        return (condition - center) / scale

    def likelihood(
        self, likelihood: Likelihood, outputs: Float[Array, "..."], condition: Array
    ) -> Distribution:
        """Return p(x|z, c) over whole images."""
        del condition
        return likelihood(outputs)


@register(CONDITIONS, "array")
@dataclasses.dataclass(frozen=True)
class ArraySettings:
    """Numbers that the data have beside each image, standardised by those of training images.

    Its prior sees them by default: what an image can be depends on them.
    """

    reads: ClassVar[Reads] = "conditions"

    joint: LayersPart = part(
        "mlp", LAYERS, LayersPart, "Layers from image features and numbers to the posterior."
    )
    conditional_prior: bool = flag(True, "Whether the prior is p(z|numbers), by its own layers.")
    prior_layers: LayersPart = part("mlp", LAYERS, LayersPart, "Layers of that prior.")

    def build(
        self, image_shape: ImageShape, outputs_per_channel: int, *, rngs: nnx.Rngs
    ) -> ArrayCondition:
        """Return the condition."""
        del outputs_per_channel, rngs
        assert isinstance(image_shape, ConditionedShape), "the data are refused before"
        return ArrayCondition(image_shape.center, image_shape.scale)

    def checked(self, condition: Any, num: int, image_shape: ImageShape) -> np.ndarray:
        """Return `num` rows of numbers; one row stands for all.

        Raises:
          UserError: they are no finite numbers, or there is another number of them.
        """
        assert isinstance(image_shape, ConditionedShape), "the data are refused before"
        size = image_shape.num_features
        known = f"give [{size}] numbers for all images, or [{num}, {size}], a row per image"
        try:
            array = np.asarray(condition, np.float32)
        except (TypeError, ValueError):
            raise UserError(
                f"condition={shown(condition)} is no array of numbers; {known}"
            ) from None
        if array.ndim not in (1, 2) or array.shape[-1] != size:
            raise UserError(f"condition has shape {list(array.shape)}; {known}")
        if array.ndim == 2 and len(array) not in (1, num):
            raise UserError(f"condition has {len(array)} rows for {num} images; {known}")
        if not np.isfinite(array).all():
            raise UserError("condition holds NaN or infinite numbers; all must be finite")
        return np.broadcast_to(array, (num, size))


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
