"""VAEs with two stochastic layers: x - h1 - h2, with latents the concatenation [h1, h2].

Both have the generative model p(h2) p(h1|h2) p(x|h1). `MarkovVAE` infers h2 from h1, `LadderVAE`
both from x.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vae_jax.distributions import Distribution, Draw, Normal
from vae_jax.models.interfaces import (
    LIKELIHOODS,
    MODELS,
    PRIORS,
    Decoder,
    DensityModel,
    Encoder,
    Likelihood,
    LikelihoodPart,
    Prior,
    PriorNetwork,
    PriorPart,
)
from vae_jax.models.networks import Networks
from vae_jax.models.posteriors import DiagonalNormal
from vae_jax.models.rows import build_likelihood
from vae_jax.networks.choices import LAYERS, ImageShape, LayersPart
from vae_jax.networks.initializers import INITIALIZERS, LECUN, Initializer
from vae_jax.networks.mlp import MLP
from vae_jax.settings import integer, name_of, one_of, part, register

Latents = Float[Array, "*shape latents"]


class ConditionalNormal(nnx.Module):
    """A vector through hidden layers to the means and log-scales of independent normals."""

    def __init__(
        self,
        layers: MLP,
        latent_size: int,
        *,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.mlp = layers
        self.head = DiagonalNormal(
            layers.num_features, latent_size, kernel_init=kernel_init, rngs=rngs
        )
        self.latent_size = latent_size

    def start_at_unit_scale(self) -> None:
        """Let the log-scales begin at 0, whatever the input."""
        kernel = self.head.linear.kernel
        kernel[...] = kernel[...].at[:, self.latent_size :].set(0)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Normal:
        return self.head(self.mlp(x))


@dataclasses.dataclass(frozen=True)
class Chain:
    """The distribution of one layer and, given it, that of the other: p(first) p(second|first).

    Attributes:
      first: the distribution of the first layer.
      second: maps values of the first layer to the distribution of the second.
      bottom_size: size of h1, the first part of the latents.
      top_first: whether the first layer is h2, the last part of the latents.
    """

    first: Prior
    second: Callable[[Array], Normal]
    bottom_size: int
    top_first: bool

    @property
    def mean(self) -> Latents:
        """The mean of the first layer, and the mean of the second given it."""
        return self._join(self.first.mean, self.second(self.first.mean).mean)

    def log_prob(self, latents: Latents) -> Float[Array, "*batch"]:
        """Return log density in nats, of latents that broadcast to the batch."""
        first, second = self._split(latents)
        return self.first.log_prob(first) + self.second(first).log_prob(second)

    def sample(self, key: Key[Array, ""]) -> Latents:
        """Return one reparameterised draw."""
        first_key, second_key = jax.random.split(key)
        first = self.first.sample(first_key)
        return self._join(first, self.second(first).sample(second_key))

    def _split(self, latents: Latents) -> tuple[Array, Array]:
        bottom, top = jnp.split(latents, [self.bottom_size], axis=-1)
        return (top, bottom) if self.top_first else (bottom, top)

    def _join(self, first: Array, second: Array) -> Latents:
        parts = (second, first) if self.top_first else (first, second)
        return jnp.concatenate(parts, axis=-1)


@dataclasses.dataclass(frozen=True)
class NormalChain(Chain):
    """A chain of two independent normals, which factorises over the dimensions."""

    first: Normal

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The numbers of latents of h1 and h2."""
        top = self.first if self.top_first else self.second(self.first.mean)
        return (self.bottom_size, top.mean.shape[-1])

    def tempered(self, temperature: float | Float[Array, ""]) -> "NormalChain":
        """Return the chain with the standard deviations of both layers times `temperature`."""
        return dataclasses.replace(
            self,
            first=self.first.tempered(temperature),
            second=lambda first: self.second(first).tempered(temperature),
        )

    def sample_below(
        self, latents: Latents, num_drawn: int | Int[Array, ""], key: Key[Array, ""]
    ) -> Latents:
        """Return latents with the lowest `num_drawn` layers drawn anew, given those above.

        Raises:
          ValueError: the first layer of the chain is h1, so that h1 is not given h2.
        """
        if not self.top_first:
            raise ValueError("h1 of this chain is not given h2")
        top_key, bottom_key = jax.random.split(key)
        top, bottom = self._split(latents)
        top = jnp.where(num_drawn > 1, self.first.sample(top_key), top)
        drawn = self.second(top).sample(bottom_key)
        return self._join(top, jnp.where(num_drawn > 0, drawn, bottom))

    def log_prob_by_dimension(self, latents: Latents) -> Latents:
        """Return log density per dimension given the first layer, in nats; sums to `log_prob`."""
        first, second = self._split(latents)
        return self._join(
            self.first.log_prob_by_dimension(first),
            self.second(first).log_prob_by_dimension(second),
        )

    def draw(self, noise: Latents) -> Draw:
        """Return reparameterised draws from standard normal noise, and their log density."""
        first_noise, second_noise = self._split(noise)
        first, first_log_prob = self.first.draw(first_noise)
        second, second_log_prob = self.second(first).draw(second_noise)
        return Draw(self._join(first, second), first_log_prob + second_log_prob)


def precision_weighted(a: Normal, b: Normal) -> Normal:
    """Return the normalised product of two normal densities (Sonderby et al. 2016)."""
    weight = jax.nn.sigmoid(2 * (b.log_scale - a.log_scale))
    log_precision = jnp.logaddexp(-2 * a.log_scale, -2 * b.log_scale)
    return Normal(b.mean + weight * (a.mean - b.mean), -0.5 * log_precision)


class _TwoLayers(DensityModel):
    """The generative half of both models: p(h2) p(h1|h2) p(x|h1).

    The constructor takes `bottom`, which maps the encoder's features to a distribution of h1;
    `top`, which maps the input named by the subclass to a distribution of h2; `generative`,
    p(h1|h2); and the prior of h2.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        likelihood: Likelihood,
        bottom: DiagonalNormal,
        top: ConditionalNormal,
        generative: ConditionalNormal,
        prior_network: PriorNetwork,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.posterior = bottom
        self.prior_network = prior_network
        self.top = top
        self.generative = generative
        self.bottom_size = bottom.latent_size
        self.latent_size = bottom.latent_size + top.latent_size

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The numbers of latents of h1 and h2."""
        return (self.bottom_size, self.latent_size - self.bottom_size)

    @property
    def has_posterior_density(self) -> bool:
        """True if q(z|x) has a density at any latents."""
        return True

    @property
    def prior(self) -> Chain:
        """p(h2) p(h1|h2) over `[latents]`."""
        top = self.prior_network(self.encode)
        if isinstance(top, Normal):
            return NormalChain(top, self.generative, self.bottom_size, top_first=True)
        return Chain(top, self.generative, self.bottom_size, top_first=True)

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """Return p(x|h1) over `[*batch, height, width, channels]`; h2 is not used."""
        return self.likelihood(self.decoder(latents[..., : self.bottom_size]))


class MarkovVAE(_TwoLayers):
    """q(h1|x) q(h2|h1): the two-layer model of Burda et al. 2015 (arXiv 1509.00519, section 2).

    `top` takes h1.
    """

    def encode(self, images: Float[Array, "*batch height width channels"]) -> NormalChain:
        """Return q(h1|x) q(h2|h1) over `[*batch, latents]`."""
        bottom = self.posterior(self.encoder(images))
        return NormalChain(bottom, self.top, self.bottom_size, top_first=False)


class LadderVAE(_TwoLayers):
    """q(h2|x) q(h1|h2, x) of Sonderby et al. 2016 (arXiv 1602.02282), without batch normalisation.

    The encoder's features give an estimate of h1 and, through `top`, q(h2|x). Then q(h1|h2, x) is
    the product of that estimate and p(h1|h2).
    """

    def encode(self, images: Float[Array, "*batch height width channels"]) -> NormalChain:
        """Return q(h2|x) q(h1|h2, x) over `[*batch, latents]`."""
        features = self.encoder(images)
        estimate = self.posterior(features)

        def bottom(top: Array) -> Normal:
            return precision_weighted(estimate, self.generative(top))

        return NormalChain(self.top(features), bottom, self.bottom_size, top_first=True)


def _reversed(layers: Any) -> LayersPart:
    return dataclasses.replace(layers, widths=layers.widths[::-1])


@dataclasses.dataclass(frozen=True)
class _TwoLayerSettings(Networks):
    """The settings that both models share; `latent_size` is that of the lower layer, h1."""

    has_density: ClassVar[bool] = True
    has_normal_posterior: ClassVar[bool] = False
    has_posterior_density: ClassVar[bool] = True
    has_standard_prior: ClassVar[bool] = False

    top_latent_size: int = integer(50, "Latent dimensions of the upper layer, h2.", at_least=1)
    top: LayersPart = part(
        "mlp",
        LAYERS,
        LayersPart,
        "Hidden layers of the upper layer's encoder; its decoder has them in reverse.",
    )
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the normals.")
    prior: PriorPart = part("standard", PRIORS, PriorPart, "p(h2).")
    likelihood: LikelihoodPart = part("bernoulli", LIKELIHOODS, LikelihoodPart, "p(x|h1).")

    @property
    def num_layers(self) -> int | None:
        """The number of stochastic layers; None where their rates are not recorded."""
        return 2 if getattr(self.prior, "is_standard", False) else None

    def problem(self) -> str | None:
        """Return why these parts do not fit together; None if they do."""
        least = getattr(self.prior, "least_latents", 1)
        if self.top_latent_size < least:
            return (
                f"top_latent_size={self.top_latent_size} must be at least {least} with "
                f"prior={name_of(self.prior)!r}, where one dimension depends on another"
            )
        if getattr(self.prior, "needs_normal_posterior", False):
            return (
                f"prior={name_of(self.prior)!r} mixes independent normals, which two layers do not "
                "give; use another prior"
            )
        return super().problem()

    def _parts(
        self,
        image_shape: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        top_takes_features: bool,
        rngs: nnx.Rngs,
    ) -> tuple[Any, ...]:
        """Return the arguments of the model's constructor, with fresh parameters."""
        likelihood: Any = build_likelihood(self.likelihood, image_shape)
        encoder, decoder = self.build_networks(image_shape, likelihood, mean_image, rngs=rngs)
        dense: dict[str, Any] = {"kernel_init": INITIALIZERS[self.initializer], "rngs": rngs}
        bottom = DiagonalNormal(encoder.num_features, self.latent_size, **dense)
        num_inputs = encoder.num_features if top_takes_features else self.latent_size
        reverse = _reversed(self.top)
        top_layers = self.top.build(num_inputs, rngs=rngs)
        top = ConditionalNormal(top_layers, self.top_latent_size, **dense)
        generative = ConditionalNormal(
            reverse.build(self.top_latent_size, rngs=rngs), self.latent_size, **dense
        )
        if not getattr(self.top, "widths", True):
            # Latents vary more than features: small scales would put the other layer's draws a
            # hundred deviations off, and the rate at 10,000s of nats.
            top.start_at_unit_scale()
            generative.start_at_unit_scale()
        start = jnp.full(image_shape, 0.5) if mean_image is None else mean_image
        prior = self.prior.build(self.top_latent_size, start, rngs=rngs)
        return encoder, decoder, likelihood, bottom, top, generative, prior


@register(MODELS, "markov")
@dataclasses.dataclass(frozen=True)
class MarkovSettings(_TwoLayerSettings):
    """Two stochastic layers, q(h1|x) q(h2|h1) (Burda et al. 2015, arXiv 1509.00519)."""

    def build(
        self,
        spec: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> MarkovVAE:
        """Return the model with fresh parameters."""
        return MarkovVAE(*self._parts(spec, mean_image, top_takes_features=False, rngs=rngs))


@register(MODELS, "ladder")
@dataclasses.dataclass(frozen=True)
class LadderSettings(_TwoLayerSettings):
    """Two stochastic layers, q(h2|x) q(h1|h2, x) (Sonderby et al. 2016, arXiv 1602.02282)."""

    def build(
        self,
        spec: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> LadderVAE:
        """Return the model with fresh parameters."""
        return LadderVAE(*self._parts(spec, mean_image, top_takes_features=True, rngs=rngs))
