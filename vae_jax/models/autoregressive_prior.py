"""A prior that draws one dimension after the other, each from a mixture given those before it."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vae_jax.distributions import Normal, bounded_log_scale, unbounded_log_scale
from vae_jax.models.interfaces import PRIORS, Encode
from vae_jax.networks.activations import ACTIVATIONS, Activation
from vae_jax.networks.initializers import INITIALIZERS, LECUN, Initializer
from vae_jax.networks.masked import MaskedMLP
from vae_jax.settings import integer, one_of, register

# Each dimension starts with unit variance: this much within a component, the rest between them.
_START_VARIANCE = 0.5

# Means, log-scales and log-weights of the components of each dimension.
_Components = tuple[
    Float[Array, "*batch components latents"],
    Float[Array, "*batch components latents"],
    Float[Array, "*batch components latents"],
]


@dataclasses.dataclass(frozen=True)
class AutoregressiveMixture:
    """prod_d p(z_d | z_1 ... z_{d-1}), each factor a mixture of normals.

    Attributes:
      latent_size: number of dimensions.
      components: maps latents to the mixture of each dimension, which depends on the dimensions
        before it alone.
      temperature: factor of the standard deviations within the components.
    """

    latent_size: int
    components: Callable[[Array], _Components]
    temperature: float | Float[Array, ""] = 1.0

    @property
    def mean(self) -> Float[Array, " latents"]:
        """The expected value of each dimension, given those of the dimensions before it."""

        def fill(dimension: Int[Array, ""], latents: Array) -> Array:
            means, _, log_weights = self.components(latents)
            expected = (jnp.exp(log_weights) * means).sum(axis=-2)
            return latents.at[dimension].set(expected[dimension])

        return jax.lax.fori_loop(0, self.latent_size, fill, jnp.zeros(self.latent_size))

    def tempered(self, temperature: float | Float[Array, ""]) -> "AutoregressiveMixture":
        """Return the distribution with the deviations within the components times `temperature`."""
        return dataclasses.replace(self, temperature=temperature * self.temperature)

    def log_prob_by_dimension(
        self, latents: Float[Array, "*batch latents"]
    ) -> Float[Array, "*batch latents"]:
        """Return log density of each dimension given those before it, in nats."""
        means, log_scales, log_weights = self.components(latents)
        normals = Normal(means, log_scales).tempered(self.temperature)
        exponents = normals.log_prob_by_dimension(latents[..., None, :])
        return jax.nn.logsumexp(exponents + log_weights, axis=-2)

    def log_prob(self, latents: Float[Array, "*batch latents"]) -> Float[Array, "*batch"]:
        """Return log density in nats."""
        return self.log_prob_by_dimension(latents).sum(axis=-1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " latents"]:
        """Return one draw, by a pass through the network for each dimension."""
        choice_key, noise_key = jax.random.split(key)
        choice_keys = jax.random.split(choice_key, self.latent_size)
        noise = self.temperature * jax.random.normal(noise_key, (self.latent_size,))

        def fill(dimension: Int[Array, ""], latents: Array) -> Array:
            means, log_scales, log_weights = (
                part[:, dimension] for part in self.components(latents)
            )
            component = jax.random.categorical(choice_keys[dimension], log_weights)
            value = means[component] + jnp.exp(log_scales[component]) * noise[dimension]
            return latents.at[dimension].set(value)

        return jax.lax.fori_loop(0, self.latent_size, fill, jnp.zeros(self.latent_size))


class AutoregressivePrior(nnx.Module):
    """Mixtures of normals whose parameters a masked network computes from earlier dimensions.

    The network is that of Germain et al. 2015 (arXiv 1502.03509), the mixtures are those of Uria,
    Murray, Larochelle 2013 (arXiv 1306.0186, section 2). Log-scales are bounded to +-8. At
    the start the dimensions are independent, each with mean 0 and variance 1.
    """

    def __init__(
        self,
        latent_size: int,
        *,
        num_components: int,
        num_layers: int,
        width: int,
        activation: Activation,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.network = MaskedMLP(
            latent_size,
            None,
            [width] * num_layers,
            num_outputs=3 * num_components,
            activation=activation,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        steps = jnp.arange(num_components) - 0.5 * (num_components - 1)
        between = 1 - _START_VARIANCE if num_components > 1 else 0.0
        means = steps * math.sqrt(12 * between / max(1, num_components**2 - 1))
        log_scales = unbounded_log_scale(0.5 * math.log(1 - between))
        start = jnp.stack([means, jnp.full(num_components, log_scales), jnp.zeros(num_components)])
        # All dimensions of the means come first, then those of the log-scales and the logits.
        self.network.output.bias = nnx.Param(jnp.repeat(start.reshape(-1), latent_size))
        self.latent_size = latent_size

    def __call__(self, encode: Encode) -> AutoregressiveMixture:
        del encode
        return AutoregressiveMixture(self.latent_size, self._components)

    def _components(self, latents: Float[Array, "*batch latents"]) -> _Components:
        means, raw, logits = jnp.split(self.network(latents), 3, axis=-2)
        return means, bounded_log_scale(raw), jax.nn.log_softmax(logits, axis=-2)


@register(PRIORS, "autoregressive")
@dataclasses.dataclass(frozen=True)
class AutoregressiveSettings:
    """A mixture of normals for each dimension, given those before it (Uria et al. 2013)."""

    components: int = integer(10, "Normals in the mixture of each dimension.", at_least=1)
    layers: int = integer(2, "Hidden layers.", at_least=1, at_most=1000)
    width: int = integer(256, "Units of the hidden layers.", at_least=1)
    activation: str = one_of("silu", list(ACTIVATIONS), "Activation of the hidden layers.")
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the matrices.")

    def build(
        self, latent_size: int, start: Float[Array, "height width channels"], *, rngs: nnx.Rngs
    ) -> AutoregressivePrior:
        """Return the prior with fresh parameters."""
        del start
        return AutoregressivePrior(
            latent_size,
            num_components=self.components,
            num_layers=self.layers,
            width=self.width,
            activation=ACTIVATIONS[self.activation],
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )
