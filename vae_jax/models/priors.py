"""Priors p(z): the standard normal, the uniform sphere, and learned ones.

A prior network takes the model's own encoder, which only the VampPrior uses, and returns p(z).
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.distributions import (
    Normal,
    NormalMixture,
    UniformSphere,
    bounded_log_scale,
    unbounded_log_scale,
)
from vae_jax.models.interfaces import PRIORS, Encode
from vae_jax.networks.activations import ACTIVATIONS, Activation
from vae_jax.networks.coupling import AffineCoupling
from vae_jax.networks.initializers import INITIALIZERS, LECUN, Initializer
from vae_jax.settings import integer, one_of, register

# A mixture starts with unit variance: this much within each component, the rest between them.
_START_VARIANCE = 0.5

# Bounds and noise of the initial pseudo-inputs: a pixel at 0.05 gets a deviation near 0.01, as in
# the authors' code.
_START_RANGE = (0.05, 0.95)
_START_NOISE = 0.2


class StandardNormalPrior(nnx.Module):
    """N(0, I), without parameters."""

    is_standard = True

    def __init__(self, latent_size: int) -> None:
        self.latent_size = latent_size

    def __call__(self, encode: Encode) -> Normal:
        del encode
        return Normal(jnp.zeros(self.latent_size), jnp.zeros(self.latent_size))


class UniformSpherePrior(nnx.Module):
    """The uniform distribution on the unit sphere, without parameters (Davidson et al. 2018)."""

    def __init__(self, latent_size: int) -> None:
        self.latent_size = latent_size

    def __call__(self, encode: Encode) -> UniformSphere:
        del encode
        return UniformSphere(self.latent_size)


class MixturePrior(nnx.Module):
    """A mixture of diagonal normals with learned means, log-scales (bounded to +-8) and weights."""

    def __init__(self, latent_size: int, num_components: int, *, rngs: nnx.Rngs) -> None:
        shape = (num_components, latent_size)
        spread = math.sqrt(1 - _START_VARIANCE)
        self.means = nnx.Param(spread * jax.random.normal(rngs.params(), shape))
        raw = unbounded_log_scale(0.5 * math.log(_START_VARIANCE))
        self.log_scales = nnx.Param(jnp.full(shape, raw, jnp.float32))
        self.logits = nnx.Param(jnp.zeros(num_components))

    def __call__(self, encode: Encode) -> NormalMixture:
        del encode
        return NormalMixture(
            self.means[...],
            bounded_log_scale(self.log_scales[...]),
            jax.nn.log_softmax(self.logits[...]),
        )


class VampPrior(nnx.Module):
    """The equal mixture of the posteriors of learned pseudo-inputs.

    p(z) = 1/K sum_k q(z|u_k), Tomczak & Welling 2017 (arXiv 1705.07120, section 3). The pixels of
    u_k are sigmoids of the parameters, and so stay in the unit interval. All u_k start at the image
    `start`, each with its own noise.
    """

    def __init__(
        self,
        start: Float[Array, "height width channels"],
        num_components: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        pixels = jnp.clip(start, *_START_RANGE)
        noise = jax.random.normal(rngs.params(), (num_components, *start.shape))
        logits = jnp.log(pixels) - jnp.log1p(-pixels) + _START_NOISE * noise
        self.pseudo_input_logits = nnx.Param(logits)

    @property
    def pseudo_inputs(self) -> Float[Array, "components height width channels"]:
        """The images whose posteriors are mixed, in the unit interval."""
        return jax.nn.sigmoid(self.pseudo_input_logits[...])

    def __call__(self, encode: Encode) -> NormalMixture:
        posterior = encode(self.pseudo_inputs)
        if not isinstance(posterior, Normal):
            raise TypeError(f"a VampPrior mixes normals, and {type(posterior).__name__} is none")
        num_components = posterior.mean.shape[0]
        log_weights = jnp.full(num_components, -math.log(num_components), jnp.float32)
        return NormalMixture(posterior.mean, posterior.log_scale, log_weights)


@dataclasses.dataclass(frozen=True)
class NormalizingFlow:
    """Standard normal noise under an invertible map f.

    log p(z) = log N(f^-1(z); 0, I) + log |det d f^-1(z) / dz|.

    Attributes:
      latent_size: number of dimensions.
      forward: f, which maps noise to latents.
      inverse: maps latents to f^-1 and the log |determinant| of its Jacobian.
    """

    latent_size: int
    forward: Callable[[Array], Array]
    inverse: Callable[[Array], tuple[Array, Array]]

    @property
    def mean(self) -> Float[Array, " latents"]:
        """The draw at zero noise: the expected value has no closed form."""
        return self.forward(jnp.zeros(self.latent_size))

    def log_prob(self, latents: Float[Array, "*batch latents"]) -> Float[Array, "*batch"]:
        """Return log density in nats."""
        noise, log_determinant = self.inverse(latents)
        zeros = jnp.zeros(self.latent_size)
        return Normal(zeros, zeros).log_prob(noise) + log_determinant

    def sample(self, key: Key[Array, ""]) -> Float[Array, " latents"]:
        """Return one reparameterised draw."""
        return self.forward(jax.random.normal(key, (self.latent_size,)))


class FlowPrior(nnx.Module):
    """A normalising flow of affine couplings (Real NVP: Dinh et al. 2016, arXiv 1605.08803).

    In each layer the first half of the dimensions is scaled and shifted by functions of the second,
    then the second by functions of the first. It starts as the standard normal.
    """

    def __init__(
        self,
        latent_size: int,
        *,
        num_layers: int,
        width: int,
        activation: Activation,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        half = latent_size // 2

        def coupling(condition_size: int) -> AffineCoupling:
            return AffineCoupling(
                condition_size,
                latent_size - condition_size,
                (width, width),
                activation=activation,
                kernel_init=kernel_init,
                rngs=rngs,
            )

        self.first = nnx.List([coupling(latent_size - half) for _ in range(num_layers)])
        self.second = nnx.List([coupling(half) for _ in range(num_layers)])
        self.latent_size = latent_size

    def __call__(self, encode: Encode) -> NormalizingFlow:
        del encode
        return NormalizingFlow(self.latent_size, self._forward, self._inverse)

    def _forward(self, noise: Float[Array, "*batch latents"]) -> Float[Array, "*batch latents"]:
        a, b = jnp.split(noise, [self.latent_size // 2], axis=-1)
        for first, second in zip(self.first, self.second, strict=True):
            shift, log_scale = first(b)
            a = a * jnp.exp(log_scale) + shift
            shift, log_scale = second(a)
            b = b * jnp.exp(log_scale) + shift
        return jnp.concatenate([a, b], axis=-1)

    def _inverse(
        self, latents: Float[Array, "*batch latents"]
    ) -> tuple[Float[Array, "*batch latents"], Float[Array, "*batch"]]:
        a, b = jnp.split(latents, [self.latent_size // 2], axis=-1)
        log_scale_sum = jnp.zeros(latents.shape[:-1])
        for first, second in zip(list(self.first)[::-1], list(self.second)[::-1], strict=True):
            shift, log_scale = second(a)
            b = (b - shift) * jnp.exp(-log_scale)
            log_scale_sum += log_scale.sum(axis=-1)
            shift, log_scale = first(b)
            a = (a - shift) * jnp.exp(-log_scale)
            log_scale_sum += log_scale.sum(axis=-1)
        return jnp.concatenate([a, b], axis=-1), -log_scale_sum


@register(PRIORS, "standard")
@dataclasses.dataclass(frozen=True)
class StandardNormalSettings:
    """The standard normal N(0, I)."""

    is_standard = True

    def build(
        self, latent_size: int, start: Float[Array, "height width channels"], *, rngs: nnx.Rngs
    ) -> StandardNormalPrior:
        """Return the prior."""
        del start, rngs
        return StandardNormalPrior(latent_size)


@register(PRIORS, "uniform_sphere")
@dataclasses.dataclass(frozen=True)
class UniformSphereSettings:
    """The uniform distribution on the unit sphere (Davidson et al. 2018)."""

    is_on_sphere = True
    least_latents = 2

    def build(
        self, latent_size: int, start: Float[Array, "height width channels"], *, rngs: nnx.Rngs
    ) -> UniformSpherePrior:
        """Return the prior."""
        del start, rngs
        return UniformSpherePrior(latent_size)


@register(PRIORS, "mixture")
@dataclasses.dataclass(frozen=True)
class MixtureSettings:
    """A mixture of normals."""

    components: int = integer(500, "Normals in the mixture.", at_least=1)

    def build(
        self, latent_size: int, start: Float[Array, "height width channels"], *, rngs: nnx.Rngs
    ) -> MixturePrior:
        """Return the prior with fresh parameters."""
        del start
        return MixturePrior(latent_size, self.components, rngs=rngs)


@register(PRIORS, "vamp")
@dataclasses.dataclass(frozen=True)
class VampSettings:
    """The mixture of the posteriors of learned images (Tomczak & Welling 2017)."""

    needs_normal_posterior = True
    needs_unit_interval = True

    components: int = integer(500, "Learned images.", at_least=1)

    def build(
        self, latent_size: int, start: Float[Array, "height width channels"], *, rngs: nnx.Rngs
    ) -> VampPrior:
        """Return the prior with fresh parameters; its images begin at `start`."""
        del latent_size
        return VampPrior(start, self.components, rngs=rngs)


@register(PRIORS, "flow")
@dataclasses.dataclass(frozen=True)
class FlowSettings:
    """A normalising flow of affine couplings (Dinh et al. 2016)."""

    least_latents = 2

    layers: int = integer(2, "Steps of the flow.", at_least=1, at_most=1000)
    width: int = integer(128, "Units of the hidden layers.", at_least=1)
    activation: str = one_of("silu", list(ACTIVATIONS), "Activation of the hidden layers.")
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the matrices.")

    def build(
        self, latent_size: int, start: Float[Array, "height width channels"], *, rngs: nnx.Rngs
    ) -> FlowPrior:
        """Return the prior with fresh parameters."""
        del start
        return FlowPrior(
            latent_size,
            num_layers=self.layers,
            width=self.width,
            activation=ACTIVATIONS[self.activation],
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )
