"""A ladder of convolutional latents: z_L, ..., z_1, inferred and generated from the top down.

A bottom-up network halves the image from level to level and keeps its features. A top-down network
starts from a learned constant at the smallest level. In each layer l, its state, a function of the
layers above, gives p(z_l|z_{>l}); with the bottom-up features of the level it gives
q(z_l|x, z_{>l}). The layer's latents then change the state, and the state after layer 1 gives
p(x|z):

    q(z|x) = prod_l q(z_l|x, z_{>l}),   p(z) = prod_l p(z_l|z_{>l})

Posterior and generative model share the top-down network, as in the ladder VAE (Sonderby et al.
2016, arXiv 1602.02282). Blocks, initial weights and the path of the latents are those of the very
deep VAE (Child 2021, arXiv 2011.10650). Layer 1 is nearest to the image, and the first part of the
latents.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vae_jax.data.random_bits import LONGEST
from vae_jax.distributions import (
    Distribution,
    Draw,
    Normal,
    bounded_log_scale,
    kl_by_dimension,
)
from vae_jax.models.interfaces import (
    LIKELIHOODS,
    MODELS,
    DensityModel,
    Likelihood,
    LikelihoodPart,
    TopDownPass,
)
from vae_jax.models.rows import build_likelihood
from vae_jax.networks.activations import ACTIVATIONS, Activation, Link
from vae_jax.networks.bottleneck import BottleneckBlock, scaled_lecun
from vae_jax.networks.choices import ImageShape
from vae_jax.networks.conv import doubling_layer, halving_layer
from vae_jax.networks.convolution import Conv
from vae_jax.networks.initializers import LECUN, Initializer
from vae_jax.networks.precision import COMPUTE_DTYPES, ComputeDtype
from vae_jax.settings import integer, one_of, part, register, sizes

# Side of the kernels that halve and double the image.
_KERNEL_SIZE = 4
_ZEROS = nnx.initializers.zeros
# A pixel of a transposed convolution is a sum over a quarter of the kernel. The image starts near
# the bias, and so near the data's mean.
_DOUBLING_INIT = nnx.initializers.variance_scaling(4.0, "fan_in", "normal")
_OUTPUT_INIT = nnx.initializers.variance_scaling(0.2, "fan_in", "normal")

# Of one image where a state, which does not depend on the images yet, is the same for all.
State = Float[Array, "batch rows columns channels"]
Context = Float[Array, "num rows columns width"]
LayerLatents = Float[Array, "num layer_latents"]


def _flat(x: State) -> Float[Array, "batch values"]:
    return x.reshape(len(x), -1)


def _as_normal(parameters: State) -> Normal:
    """Return normals over flattened latents; the log-scales are bounded to +-8."""
    mean, raw = jnp.split(parameters, 2, axis=-1)
    return Normal(_flat(mean), bounded_log_scale(_flat(raw)))


class Layer(nnx.Module):
    """The stochastic layer l: p(z_l|z_{>l}), q(z_l|x, z_{>l}), and the way of z_l into the state.

    The heads of both start at 0, so that both start as N(0, I) and the KL between them at 0.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        latent_channels: int,
        *,
        depth: int,
        activation: Activation,
        dtype: ComputeDtype,
        rngs: nnx.Rngs,
    ) -> None:
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        block: dict[str, Any] = {"activation": activation, **options}
        scaled = scaled_lecun(depth)
        normals = 2 * latent_channels
        self.generative = BottleneckBlock(
            channels, width, normals + channels, last_init=_ZEROS, **block
        )
        self.features = Conv(channels, width, 1, kernel_init=LECUN, **options)
        self.inference = BottleneckBlock(channels, width, normals, last_init=_ZEROS, **block)
        self.latents = Conv(latent_channels, channels, 1, kernel_init=scaled, **options)
        self.residual = BottleneckBlock(channels, width, channels, last_init=scaled, **block)
        self.latent_channels = latent_channels
        self.activation = activation

    def context(self, features: Float[Array, "num rows columns channels"]) -> Context:
        """Return what the posterior takes from the bottom-up features; it is the same for all z."""
        return self.features(self.activation(features))

    def prior(self, state: State) -> tuple[Normal, State]:
        """Return p(z_l|z_{>l}) over `[batch, layer_latents]`, and the state without z_l."""
        outputs = self.generative(state)
        normals = 2 * self.latent_channels
        return _as_normal(outputs[..., :normals]), state + outputs[..., normals:]

    def posterior(self, state: State, context: Context) -> Normal:
        """Return q(z_l|x, z_{>l}) over `[batch, layer_latents]`."""
        return _as_normal(self.inference(state, context))

    def add(self, state: State, latents: LayerLatents) -> Float[Array, "num rows columns channels"]:
        """Return the state with z_l."""
        grid = (len(latents), *state.shape[1:3], self.latent_channels)
        state = state + self.latents(latents.reshape(grid))
        return state + self.residual(state)


class Level(nnx.Module):
    """The networks of one size of images: bottom-up blocks, layers, and the steps between sizes.

    `halving` comes from the next larger level, `doubling` goes there; `outputs` are its channels.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        width: int,
        outputs: int,
        latent_channels: int,
        *,
        num_layers: int,
        num_blocks: int,
        depth: int,
        doubling_init: Initializer,
        activation: Activation,
        dtype: ComputeDtype,
        rngs: nnx.Rngs,
    ) -> None:
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        self.halving = halving_layer(
            inputs, channels, _KERNEL_SIZE, "stride", kernel_init=LECUN, **options
        )
        self.blocks = nnx.List(
            [
                BottleneckBlock(
                    channels,
                    width,
                    channels,
                    activation=activation,
                    last_init=scaled_lecun(depth),
                    **options,
                )
                for _ in range(num_blocks)
            ]
        )
        self.layers = nnx.List(
            [
                Layer(
                    channels, width, latent_channels, depth=depth, activation=activation, **options
                )
                for _ in range(num_layers)
            ]
        )
        self.doubling = doubling_layer(
            channels, outputs, _KERNEL_SIZE, "transpose", kernel_init=doubling_init, **options
        )
        self.activation = activation

    def up(self, images: Float[Array, "num height width inputs"]) -> State:
        """Return the features of images, or of the features of the next larger level."""
        x = self.halving(images)
        for block in self.blocks:
            x = x + block(x)
        return x

    def down(self, state: State) -> Float[Array, "batch height width outputs"]:
        """Return the state of the next larger level."""
        return self.doubling(self.activation(state))


# Returns the latents of a layer, given its index from 0 at the bottom, the layer, the state and the
# prior there.
Choose = Callable[[int, Layer, State, Normal], LayerLatents]


@dataclasses.dataclass(frozen=True)
class TopDownPosterior:
    """q(z|x) = prod_l q(z_l|x, z_{>l}), which a pass from the top down draws from.

    Attributes:
      model: the model, whose prior and likelihood come from the same pass.
      contexts: what the posterior of each layer takes from the images, from the bottom up.
      batch_shape: leading axes of the images.
    """

    model: "TopDownVAE"
    contexts: tuple[Array, ...]
    batch_shape: tuple[int, ...]

    @property
    def mean(self) -> Float[Array, "*batch latents"]:
        """The mean of each layer, given the means above."""
        return self.descend(jnp.zeros((*self.batch_shape, self.model.latent_size))).latents

    def draw(self, noise: Float[Array, "*shape latents"]) -> Draw:
        """Return latents from standard normal noise, and log q(z|x) in nats."""
        passed = self.descend(noise)
        return Draw(passed.latents, passed.log_posterior)

    def descend(self, noise: Float[Array, "*shape latents"]) -> TopDownPass:
        """Return draws of the posterior, and all that the pass down computes on the way.

        Args:
          noise: standard normal, `[*samples, *batch, latents]`.
        """
        model, shape = self.model, noise.shape[:-1]
        num, num_images = math.prod(shape), math.prod(self.batch_shape)
        noise_by_layer = model.by_layer(noise.reshape(num, -1))
        # Filled from the top down, in the order of the latents.
        latents: list[Any] = [None] * len(noise_by_layer)
        kl, log_posterior, log_prior = latents.copy(), latents.copy(), latents.copy()

        def choose(index: int, layer: Layer, state: State, prior: Normal) -> LayerLatents:
            context = self.contexts[index]
            if num > num_images:
                # The same images for all samples.
                context = jnp.broadcast_to(context, (num // num_images, *context.shape))
                context = context.reshape(num, *context.shape[2:])
            posterior = layer.posterior(state, context)
            z, log_posterior[index] = posterior.draw(noise_by_layer[index])
            kl[index] = kl_by_dimension(posterior, prior)
            log_prior[index] = prior.log_prob(z)
            latents[index] = z
            return z

        outputs = model.descend(choose)
        return TopDownPass(
            latents=jnp.concatenate(latents, axis=-1).reshape(*shape, -1),
            likelihood=model.likelihood(outputs.reshape(*shape, *outputs.shape[1:])),
            kl=jnp.concatenate(kl, axis=-1).reshape(*shape, -1),
            log_posterior=sum(log_posterior).reshape(shape),
            log_prior=sum(log_prior).reshape(shape),
        )


@dataclasses.dataclass(frozen=True)
class TopDownPrior:
    """p(z) = prod_l p(z_l|z_{>l}).

    Attributes:
      model: the model.
      temperature: factor of the standard deviations in every layer.
    """

    model: "TopDownVAE"
    temperature: float | Float[Array, ""] = 1.0

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The number of latents of each layer, from the bottom up."""
        return self.model.layer_sizes

    @property
    def mean(self) -> Float[Array, " latents"]:
        """The mean of each layer, given the means above."""
        return self._drawn(jnp.zeros((1, self.model.latent_size)))[0]

    def log_prob(self, latents: Float[Array, "*shape latents"]) -> Float[Array, "*shape"]:
        """Return log p(z) in nats."""
        parts = self.model.by_layer(latents.reshape(-1, self.model.latent_size))
        log_probs: list[Array] = []

        def choose(index: int, layer: Layer, state: State, prior: Normal) -> LayerLatents:
            log_probs.append(prior.tempered(self.temperature).log_prob(parts[index]))
            return parts[index]

        self.model.descend(choose)
        return jnp.asarray(sum(log_probs)).reshape(latents.shape[:-1])

    def sample(self, key: Key[Array, ""]) -> Float[Array, " latents"]:
        """Return one draw."""
        return self._drawn(jax.random.normal(key, (1, self.model.latent_size)))[0]

    def sample_below(
        self,
        latents: Float[Array, " latents"],
        num_drawn: int | Int[Array, ""],
        key: Key[Array, ""],
    ) -> Float[Array, " latents"]:
        """Return latents with the lowest `num_drawn` layers drawn anew, given those above."""
        noise = jax.random.normal(key, (1, self.model.latent_size))
        given = self.model.by_layer(latents[None])
        return self._drawn(
            noise, lambda index, drawn: jnp.where(index < num_drawn, drawn, given[index])
        )[0]

    def tempered(self, temperature: float | Float[Array, ""]) -> "TopDownPrior":
        """Return the prior with the standard deviations of every layer times `temperature`."""
        return dataclasses.replace(self, temperature=temperature * self.temperature)

    def _drawn(
        self,
        noise: Float[Array, "batch latents"],
        select: Callable[[int, LayerLatents], LayerLatents] = lambda index, drawn: drawn,
    ) -> Float[Array, "batch latents"]:
        """Return draws from noise; `select` may replace those of a layer before the next one."""
        noise_by_layer = self.model.by_layer(noise)
        chosen: list[Any] = [None] * len(noise_by_layer)

        def choose(index: int, layer: Layer, state: State, prior: Normal) -> LayerLatents:
            drawn = prior.tempered(self.temperature).draw(noise_by_layer[index]).latents
            chosen[index] = select(index, drawn)
            return chosen[index]

        self.model.descend(choose)
        return jnp.concatenate(chosen, axis=-1)


class TopDownVAE(DensityModel):
    """A VAE of any number of layers, whose latents are images of their own at several sizes.

    `levels` go from the largest to the smallest; `layer_sizes` from the bottom layer up.
    """

    def __init__(
        self, levels: list[Level], grids: list[tuple[int, int]], likelihood: Likelihood
    ) -> None:
        self.levels = nnx.List(levels)
        self.likelihood = likelihood
        channels = levels[-1].doubling.kernel.shape[2]
        self.start = nnx.Param(jnp.zeros((1, *grids[-1], channels)))
        self._layer_sizes = tuple(
            math.prod(grid) * layer.latent_channels
            for level, grid in zip(levels, grids, strict=True)
            for layer in level.layers
        )
        self.latent_size = sum(self._layer_sizes)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The number of latents of each layer, from the bottom up."""
        return self._layer_sizes

    def by_layer(self, values: Float[Array, "*shape latents"]) -> list[Array]:
        """Return the parts of values that belong to each layer, from the bottom up."""
        return jnp.split(values, np.cumsum(self._layer_sizes)[:-1].tolist(), axis=-1)

    @property
    def prior(self) -> TopDownPrior:
        """p(z) over `[latents]`."""
        return TopDownPrior(self)

    def encode(self, images: Float[Array, "*batch height width channels"]) -> TopDownPosterior:
        """Return q(z|x) over `[*batch, latents]`."""
        features = images.reshape(-1, *images.shape[-3:])
        contexts: list[Array] = []
        for level in self.levels:
            features = level.up(features)
            contexts += [layer.context(features) for layer in level.layers]
        return TopDownPosterior(self, tuple(contexts), images.shape[:-3])

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """Return p(x|z) over `[*batch, height, width, channels]`."""
        parts = self.by_layer(latents.reshape(-1, self.latent_size))
        outputs = self.descend(lambda index, layer, state, prior: parts[index])
        return self.likelihood(outputs.reshape(*latents.shape[:-1], *outputs.shape[1:]))

    def descend(self, choose: Choose) -> Float[Array, "batch height width outputs"]:
        """Return the likelihood's outputs after a pass from the top down.

        The state is that of a single image until latents are added: above the first layer it is the
        same for all.
        """
        state, index = self.start[...], len(self._layer_sizes)
        for level in reversed(self.levels):
            for layer in reversed(level.layers):
                index -= 1
                prior, without = layer.prior(state)
                state = layer.add(without, choose(index, layer, state, prior))
            state = level.down(state)
        return state

    def set_output_bias(
        self, mean_image: Float[Array, "height width channels"], link: Link
    ) -> None:
        """Start the last convolution's bias, one value per output, at `link` of the mean pixel."""
        self.levels[0].doubling.bias = nnx.Param(link(mean_image.mean(axis=(0, 1))))


def layers_by_level(num_layers: int, num_levels: int) -> tuple[int, ...]:
    """Return the number of layers of each level, from the largest; smaller ones come first.

    All levels have as many if that can be, and the smallest ones one more if it cannot.
    """
    each, more = divmod(num_layers, num_levels)
    return tuple(each + (num_levels - level <= more) for level in range(num_levels))


@register(MODELS, "top_down")
@dataclasses.dataclass(frozen=True)
class TopDownSettings:
    """Any number of layers of convolutional latents (Sonderby et al. 2016; Child 2021)."""

    takes: ClassVar[Literal["images", "modalities"]] = "images"
    has_density: ClassVar[bool] = True
    has_normal_posterior: ClassVar[bool] = False
    # It has one, but each value takes a pass of its own.
    has_posterior_density: ClassVar[bool] = False
    has_standard_prior: ClassVar[bool] = False
    has_closed_kl: ClassVar[bool] = True
    takes_rows: ClassVar[bool] = False

    layers: int = integer(
        3,
        "Stochastic layers, shared out evenly among the levels, the smallest first.",
        at_least=1,
        at_most=1000,
    )
    channels: tuple[int, ...] = sizes(
        (32, 32), "Channels of each level, which halves the image once."
    )
    width: int = integer(16, "Channels inside the blocks.", at_least=1)
    latent_channels: int = integer(4, "Latents of a layer per pixel of its level.", at_least=1)
    blocks: int = integer(
        1, "Residual blocks of each level, from the image up.", at_least=1, at_most=1000
    )
    activation: str = one_of("silu", list(ACTIVATIONS), "Activation between the layers.")
    compute_dtype: str = one_of(
        "float32", list(COMPUTE_DTYPES), "Type of the products; parameters and sums stay float32."
    )
    likelihood: LikelihoodPart = part("bernoulli", LIKELIHOODS, LikelihoodPart, "p(x|z).")

    @property
    def num_layers(self) -> int:
        """The number of stochastic layers, whose rates are recorded."""
        return self.layers

    def smallest_side(self) -> int:
        """Return the smallest side of an image, in pixels."""
        return 2 ** len(self.channels)

    def unfit(self, image_shape: ImageShape) -> str | None:
        """Return why images of this shape cannot be encoded; None if they can."""
        height, width, _ = image_shape
        num_levels, parts = len(self.channels), 2 ** len(self.channels)
        if height % parts or width % parts:
            return (
                f"channels={self.channels!r} has {num_levels} levels, each of which halves the "
                f"image, and {height}x{width} pixels cannot be halved so often; use fewer levels, "
                f"or images whose sides are multiples of {parts}"
            )
        num_latents = sum(
            number * self.latent_channels * height * width // 4 ** (level + 1)
            for level, number in enumerate(layers_by_level(self.layers, num_levels))
        )
        if num_latents > LONGEST:
            return (
                f"layers={self.layers} and latent_channels={self.latent_channels} make "
                f"{num_latents} latents of an image of {height}x{width} pixels; {LONGEST} is the "
                "most"
            )
        return None

    def build(
        self,
        spec: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> TopDownVAE:
        """Return the model with fresh parameters; it starts at the mean pixel."""
        likelihood: Any = build_likelihood(self.likelihood, spec)
        height, width, image_channels = spec
        inputs = [image_channels, *self.channels]
        outputs = [image_channels * likelihood.outputs_per_channel, *self.channels]
        numbers = layers_by_level(self.layers, len(self.channels))
        levels = [
            Level(
                inputs[index],
                channels,
                self.width,
                outputs[index],
                self.latent_channels,
                num_layers=numbers[index],
                num_blocks=self.blocks,
                depth=self.layers,
                doubling_init=_DOUBLING_INIT if index else _OUTPUT_INIT,
                activation=ACTIVATIONS[self.activation],
                dtype=COMPUTE_DTYPES[self.compute_dtype],
                rngs=rngs,
            )
            for index, channels in enumerate(self.channels)
        ]
        grids = [
            (height // 2 ** (level + 1), width // 2 ** (level + 1)) for level in range(len(levels))
        ]
        model = TopDownVAE(levels, grids, likelihood)
        if mean_image is not None:
            model.set_output_bias(mean_image, likelihood.output_for_mean)
        return model
