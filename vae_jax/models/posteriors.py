"""Posteriors q(z|x): features of an encoder to distributions over latents."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import (
    Draw,
    Normal,
    VonMisesFisher,
    bounded_log_scale,
    on_sphere,
    softplus,
)
from vae_jax.distributions.von_mises_fisher import noise_size
from vae_jax.models.interfaces import POSTERIORS
from vae_jax.networks.activations import ACTIVATIONS, Activation
from vae_jax.networks.initializers import INITIALIZERS, LECUN, Initializer
from vae_jax.networks.masked import MaskedMLP
from vae_jax.settings import integer, one_of, register

# Lets the steps start near the identity (Kingma et al. 2016, section 4).
_GATE_BIAS = 2.0


class DiagonalNormal(nnx.Module):
    """Features to independent normals, by one dense layer; the log-scale is bounded to +-8."""

    is_normal = True
    has_density = True

    def __init__(
        self,
        num_features: int,
        latent_size: int,
        *,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.linear = nnx.Linear(num_features, 2 * latent_size, kernel_init=kernel_init, rngs=rngs)
        self.latent_size = latent_size

    def __call__(self, features: Float[Array, "*batch features"]) -> Normal:
        mean, raw = jnp.split(self.linear(features), 2, axis=-1)
        return Normal(mean, bounded_log_scale(raw))


class VonMisesFisherPosterior(nnx.Module):
    """Features to a von Mises-Fisher distribution, by one dense layer (Davidson et al. 2018).

    The mean direction is normalised; the concentration is 1 + softplus, as in the authors' code.
    """

    is_normal = False
    has_density = True
    is_on_sphere = True

    def __init__(
        self,
        num_features: int,
        latent_size: int,
        *,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.linear = nnx.Linear(num_features, latent_size + 1, kernel_init=kernel_init, rngs=rngs)
        self.latent_size = latent_size

    @property
    def noise_size(self) -> int:
        """The number of normals that a draw takes."""
        return noise_size(self.latent_size)

    def __call__(self, features: Float[Array, "*batch features"]) -> VonMisesFisher:
        outputs = self.linear(features)
        return VonMisesFisher(on_sphere(outputs[..., :-1]), 1 + softplus(outputs[..., -1]))


@dataclasses.dataclass(frozen=True)
class TransformedNormal:
    """A normal under an invertible map; its density is known only at its own draws.

    Attributes:
      base: the normal, over `[*batch, latents]`.
      transform: maps draws of the base to latents and the log |determinant| of its Jacobian.
    """

    base: Normal
    transform: Callable[[Array], tuple[Array, Array]]

    @property
    def mean(self) -> Float[Array, "*batch latents"]:
        """The draw at zero noise: the expected value has no closed form."""
        return self.transform(self.base.mean)[0]

    def draw(self, noise: Float[Array, "*shape latents"]) -> Draw:
        """Return latents from standard normal noise, and log q(z|x) = log q(base) - log |det|."""
        start, log_prob = self.base.draw(noise)
        latents, log_determinant = self.transform(start)
        return Draw(latents, log_prob - log_determinant)


class AutoregressiveFlow(nnx.Module):
    """The inverse autoregressive flow posterior of Kingma et al. 2016 (arXiv 1606.04934).

    z_t = gate_t z_{t-1} + (1 - gate_t) shift_t with gate_t = sigmoid(raw_t) (algorithm 1). The
    shift and raw of a dimension are functions of the encoder's features and of the dimensions
    before it. The order of the dimensions reverses from step to step.
    """

    is_normal = False
    has_density = False

    def __init__(
        self,
        num_features: int,
        latent_size: int,
        *,
        num_layers: int,
        width: int,
        activation: Activation,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        self.base = DiagonalNormal(num_features, latent_size, kernel_init=kernel_init, rngs=rngs)
        self.steps = nnx.List(
            [
                MaskedMLP(
                    latent_size,
                    num_features,
                    (width, width),
                    from_last=index % 2 == 1,
                    activation=activation,
                    kernel_init=kernel_init,
                    rngs=rngs,
                )
                for index in range(num_layers)
            ]
        )
        self.latent_size = latent_size

    def __call__(self, features: Float[Array, "*batch features"]) -> TransformedNormal:
        return TransformedNormal(self.base(features), functools.partial(self._transform, features))

    def _transform(
        self, features: Float[Array, "*batch features"], latents: Float[Array, "*shape latents"]
    ) -> tuple[Float[Array, "*shape latents"], Float[Array, "*shape"]]:
        log_gates = jnp.zeros_like(latents)
        for step in self.steps:
            shift, raw = jnp.moveaxis(step(latents, features), -2, 0)
            raw = bounded_log_scale(raw) + _GATE_BIAS
            latents = shift + jax.nn.sigmoid(raw) * (latents - shift)
            log_gates -= softplus(-raw)
        return latents, log_gates.sum(axis=-1)


@register(POSTERIORS, "diagonal")
@dataclasses.dataclass(frozen=True)
class DiagonalNormalSettings:
    """Independent normals."""

    is_normal = True
    has_density = True

    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the matrix.")

    def build(self, num_features: int, latent_size: int, *, rngs: nnx.Rngs) -> DiagonalNormal:
        """Return the posterior with fresh parameters."""
        kernel_init = INITIALIZERS[self.initializer]
        return DiagonalNormal(num_features, latent_size, kernel_init=kernel_init, rngs=rngs)


@register(POSTERIORS, "von_mises_fisher")
@dataclasses.dataclass(frozen=True)
class VonMisesFisherSettings:
    """Points on the unit sphere (Davidson et al. 2018, arXiv 1804.00891).

    Their sphere of d dimensions has a latent_size of d + 1.
    """

    has_density = True
    is_on_sphere = True
    least_latents = 2

    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the matrix.")

    def build(
        self, num_features: int, latent_size: int, *, rngs: nnx.Rngs
    ) -> VonMisesFisherPosterior:
        """Return the posterior with fresh parameters."""
        kernel_init = INITIALIZERS[self.initializer]
        return VonMisesFisherPosterior(
            num_features, latent_size, kernel_init=kernel_init, rngs=rngs
        )


@register(POSTERIORS, "iaf")
@dataclasses.dataclass(frozen=True)
class AutoregressiveFlowSettings:
    """Independent normals through an inverse autoregressive flow (Kingma et al. 2016)."""

    least_latents = 2

    layers: int = integer(2, "Steps of the flow.", at_least=1, at_most=1000)
    width: int = integer(128, "Units of the hidden layers.", at_least=1)
    activation: str = one_of("silu", list(ACTIVATIONS), "Activation of the hidden layers.")
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the matrices.")

    def build(self, num_features: int, latent_size: int, *, rngs: nnx.Rngs) -> AutoregressiveFlow:
        """Return the posterior with fresh parameters."""
        return AutoregressiveFlow(
            num_features,
            latent_size,
            num_layers=self.layers,
            width=self.width,
            activation=ACTIVATIONS[self.activation],
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )
