"""Samplers: distributions of latents for new images from a trained model.

A VAE is trained to decode draws from its aggregate posterior q(z) = E_x[q(z|x)], but samples from
its prior, which differs from it. A density fitted to the latents of the training images closes the
gap after training, and lets a deterministic autoencoder generate too (Ghosh et al. 2019, arXiv
1903.12436, section 4).
"""

import dataclasses
import math
import warnings
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.applications.generation import diffusion
from vae_jax.applications.generation.diffusion import LatentDiffusion
from vae_jax.applications.generation.fitting import minimize
from vae_jax.distributions import Normal, NormalMixture
from vae_jax.distributions.pytree import register_pytree
from vae_jax.errors import UserError
from vae_jax.evaluation.latent_draws import draw_latents
from vae_jax.models import FlowPrior
from vae_jax.models.autoregressive_prior import AutoregressiveMixture
from vae_jax.models.interfaces import LayeredPrior, Posterior
from vae_jax.models.priors import NormalizingFlow
from vae_jax.trained import TrainedModel

SAMPLERS = ("prior", "mixture", "flow", "diffusion")

# With full covariances, as in Ghosh et al.
_NUM_COMPONENTS = 10
# Latent vectors that the mixture is fitted to: about three per parameter at 32 dimensions.
_MOST_FITTED = 20_000

_FLOW_LAYERS = 4
_FLOW_WIDTH = 128
_FLOW_STEPS = 3000
_FLOW_BATCH_SIZE = 256
_FLOW_LEARNING_RATE = 2e-3


@runtime_checkable
class LatentDistribution(Protocol):
    """A distribution that latents are drawn from."""

    def sample(self, key: Key[Array, ""], /) -> Float[Array, "*batch latents"]:
        """Return one draw."""


@register_pytree
@dataclasses.dataclass(frozen=True)
class CorrelatedNormalMixture:
    """sum_k weight_k N(mean_k, L_k L_k^T).

    Attributes:
      means: `[components, latents]`.
      factors: the lower triangular L_k, `[components, latents, latents]`.
      log_weights: log of weights that sum to 1, `[components]`.
    """

    means: Float[Array, "components latents"]
    factors: Float[Array, "components latents latents"]
    log_weights: Float[Array, " components"]

    def sample(self, key: Key[Array, ""]) -> Float[Array, " latents"]:
        """Return one draw."""
        component_key, noise_key = jax.random.split(key)
        component = jax.random.categorical(component_key, self.log_weights)
        noise = jax.random.normal(noise_key, self.means.shape[1:])
        return self.means[component] + self.factors[component] @ noise


def build(
    name: str,
    model: TrainedModel,
    images: np.ndarray,
    key: Key[Array, ""],
    *,
    flow_steps: int = _FLOW_STEPS,
) -> LatentDistribution:
    """Return the distribution that a sampler draws latents from.

    Where latents are points on the sphere, draws of a fitted one are not: `TrainedModel.decode`
    normalises them.

    Args:
      name: "prior", the model's own, or "mixture" (of normals), "flow" or "diffusion", fitted to
        latents.
      model: the trained model.
      images: the training images as the model sees them; not used for the prior.
      key: of the fit.
      flow_steps: steps in which a flow is fitted.

    Raises:
      UserError: there is no such sampler, the model has no prior, its latents are discrete, or
        there are too few of them.
    """
    require_known(name)
    if name == "prior":
        if not model.has_samples:
            raise UserError(
                f"sampler='prior' needs a prior, which model={model.name!r} does not have; use "
                "'mixture', 'flow' or 'diffusion'"
            )
        return model.prior
    if model.has_discrete_latents:
        raise UserError(
            f"sampler={name!r} fits a density to latents, and those of model={model.name!r} are "
            "discrete; use 'prior'"
        )
    latents_key, fit_key = jax.random.split(key)
    latents = draw_latents(model, images, latents_key)
    if name == "mixture":
        return fit_mixture(latents, fit_key)
    if name == "diffusion":
        return diffusion.fit(latents, fit_key)
    return fit_flow(latents, fit_key, flow_steps)


def available(model: TrainedModel) -> tuple[str, ...]:
    """Return the names of the samplers that a model has."""
    fitted = () if model.has_discrete_latents else SAMPLERS[1:]
    return (*SAMPLERS[:1], *fitted) if model.has_samples else fitted


def require_known(name: str) -> None:
    """Refuse a name that is not a sampler's.

    Raises:
      UserError: it is not in `SAMPLERS`.
    """
    if name not in SAMPLERS:
        raise UserError(f"sampler={name!r} is not known; use one of {', '.join(SAMPLERS)}")


def require_temperature(temperature: float) -> None:
    """Refuse a temperature at which nothing can be drawn.

    Raises:
      UserError: it is negative or not finite.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise UserError(f"temperature={temperature:g} must be a finite number of at least 0")


def fit_mixture(
    latents: Float[np.ndarray, "num latents"],
    key: Key[Array, ""],
    num_components: int = _NUM_COMPONENTS,
) -> CorrelatedNormalMixture:
    """Return a mixture of normals fitted by expectation maximisation, started by k-means.

    At most 20,000 latent vectors, drawn at random, are used.

    Raises:
      UserError: there are fewer latents than components.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if len(latents) < num_components:
        raise UserError(
            f"sampler='mixture' fits {num_components} components, to {len(latents)} latents; use "
            "at least as many training images"
        )
    chosen_key, seed_key = jax.random.split(key)
    num = min(len(latents), _MOST_FITTED)
    chosen = np.asarray(jax.random.permutation(chosen_key, len(latents)))[:num]
    seed = int(jax.random.randint(seed_key, (), 0, np.iinfo(np.int32).max))
    mixture = GaussianMixture(num_components, random_state=seed, reg_covar=1e-5)
    with warnings.catch_warnings():
        # A likelihood that still rises by a thousandth of a nat is good enough to draw from.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(latents[chosen].astype(np.float64))
    return CorrelatedNormalMixture(
        jnp.asarray(mixture.means_, jnp.float32),
        jnp.asarray(np.linalg.cholesky(mixture.covariances_), jnp.float32),
        jnp.log(jnp.asarray(mixture.weights_, jnp.float32)),
    )


def fit_flow(
    latents: Float[np.ndarray, "num latents"], key: Key[Array, ""], num_steps: int = _FLOW_STEPS
) -> NormalizingFlow:
    """Return affine couplings fitted to standardised latents by maximum likelihood.

    Raises:
      UserError: the latents have a single dimension, which a coupling cannot split.
    """
    size = latents.shape[1]
    if size < 2:
        raise UserError("sampler='flow' needs at least 2 latents; use 'mixture'")
    mean, scale = latents.mean(axis=0), latents.std(axis=0) + 1e-6
    init_key, steps_key = jax.random.split(key)
    network = FlowPrior(
        size,
        num_layers=_FLOW_LAYERS,
        width=_FLOW_WIDTH,
        activation=jax.nn.silu,
        rngs=nnx.Rngs(init_key),
    )
    graphdef, params = nnx.split(network)

    def loss_fn(params: nnx.State, batch: Array, step: Array) -> Array:
        del step
        return -nnx.merge(graphdef, params)(_unasked).log_prob(batch).mean()

    minimised = minimize(
        loss_fn,
        params,
        jnp.asarray((latents - mean) / scale),
        steps_key,
        num_steps=num_steps,
        batch_size=_FLOW_BATCH_SIZE,
        learning_rate=_FLOW_LEARNING_RATE,
        name="fitting a flow",
    )
    fitted = nnx.merge(graphdef, minimised)(_unasked)

    def inverse(latents: Array) -> tuple[Array, Array]:
        noise, log_determinant = fitted.inverse((latents - mean) / scale)
        return noise, log_determinant - np.log(scale).sum()

    return NormalizingFlow(size, lambda noise: mean + scale * fitted.forward(noise), inverse)


def _unasked(images: Float[Array, "*batch height width channels"]) -> Posterior:
    raise AssertionError("a flow asks no encoder")


def tempered(distribution: LatentDistribution, temperature: float) -> LatentDistribution:
    """Return the distribution with the standard deviation of its noise times `temperature`.

    The noise is around the mean; in a mixture, around the mean of a component, also where each
    dimension has a mixture given those before it; in several layers, around the mean of each layer
    given those above; in a flow or a diffusion, it is the base variable (Kingma & Dhariwal 2018,
    arXiv 1807.03039, section 6). Temperature 1 changes nothing; 0 leaves the mean, the means of the
    components, or the flow of zero noise.

    Raises:
      UserError: the temperature is negative or not finite, or the distribution has no such noise.
    """
    require_temperature(temperature)
    match distribution:
        case Normal() | LayeredPrior() | AutoregressiveMixture() | LatentDiffusion():
            return distribution.tempered(temperature)
        case NormalMixture():
            log_scales = distribution.log_scales + jnp.log(jnp.float32(temperature))
            return dataclasses.replace(distribution, log_scales=log_scales)
        case CorrelatedNormalMixture():
            return dataclasses.replace(distribution, factors=temperature * distribution.factors)
        case NormalizingFlow():
            return _tempered_flow(distribution, temperature)
    if temperature != 1:
        raise UserError(
            f"temperature={temperature:g} has no meaning for a {type(distribution).__name__}; use "
            "1, or sampler='mixture', 'flow' or 'diffusion'"
        )
    return distribution


def _tempered_flow(flow: NormalizingFlow, temperature: float) -> NormalizingFlow:
    def inverse(latents: Array) -> tuple[Array, Array]:
        noise, log_determinant = flow.inverse(latents)
        shrunk = flow.latent_size * jnp.log(jnp.float32(temperature))
        return noise / temperature, log_determinant - shrunk

    return NormalizingFlow(
        flow.latent_size, lambda noise: flow.forward(temperature * noise), inverse
    )


def sample_latents(
    distribution: LatentDistribution, key: Key[Array, ""], num: int, temperature: float = 1.0
) -> Float[np.ndarray, "num latents"]:
    """Return independent draws of latents.

    Raises:
      UserError: `num` is below 1; as `tempered`.
    """
    if num < 1:
        raise UserError(f"num_images={num} must be at least 1")
    draw = jax.jit(jax.vmap(tempered(distribution, temperature).sample))
    return np.asarray(draw(jax.random.split(key, num)))
