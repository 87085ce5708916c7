"""The objectives, one function per equation. Nats; sums over pixels and latents, batch means last.

With x the clean image, x' the encoder's input (x itself, unless it is corrupted), and k samples
z_1..z_k of q(z|x'):

    log_likelihood = log p(x|z),  log_prior = log p(z),  log_posterior = log q(z|x')
    log_weights    = log_likelihood + log_prior - log_posterior      [num_samples, batch]
    elbo           = E[log_weights]
    distortion     = E[-log_likelihood],  rate = E[KL(q(z|x') || p(z))]

A bound is a function of log weights. An estimator of its gradient chooses the paths by which the
log weights are differentiated: `log_weight_terms` and `doubly_reparameterized`.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.distributions import Normal, closed_kl
from vae_jax.models.interfaces import (
    DensityModel,
    Factorized,
    Posterior,
    Prior,
    TopDown,
    TractablePosterior,
)
from vae_jax.objectives.base import OBJECTIVES, Batch, Images, Metrics, Objective, Scalar
from vae_jax.settings import Traced, integer, name_of, one_of, register, traced

_Module = TypeVar("_Module", bound=nnx.Module)
LogWeights = Float[Array, "num_samples batch"]


class ElboTerms(NamedTuple):
    """The two terms of the evidence lower bound, one value per example, in nats.

    With several conditions per example, they are the first axis of all.

    Attributes:
      log_likelihood: log p(x|z), averaged over the samples.
      kl: KL(q(z|x) || p(z)) in parts: one per latent dimension if posterior and prior factorise,
        given the layers above, else a single one.
    """

    log_likelihood: Float[Array, "*batch"]
    kl: Float[Array, "*batch parts"]

    @property
    def elbo(self) -> Float[Array, "*batch"]:
        """An estimate of the bound, log p(x|z) - KL(q(z|x) || p(z)), in nats."""
        return self.log_likelihood - self.kl.sum(axis=-1)

    def means(self) -> dict[str, Scalar]:
        """Return batch means in nats: "elbo", "rate" and "distortion"."""
        rate, distortion = self.kl.sum(axis=-1).mean(), -self.log_likelihood.mean()
        return {"elbo": -(distortion + rate), "rate": rate, "distortion": distortion}


class LogWeightTerms(NamedTuple):
    """The terms of an importance weight p(x, z) / q(z|x), in nats."""

    log_likelihood: LogWeights
    log_prior: LogWeights
    log_posterior: LogWeights

    @property
    def log_weights(self) -> LogWeights:
        """The log weights, log p(x, z) - log q(z|x), in nats."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    def means(self) -> dict[str, Scalar]:
        """Return means over samples and batch in nats: "elbo", "rate" and "distortion"."""
        return {
            "elbo": self.log_weights.mean(),
            "rate": (self.log_posterior - self.log_prior).mean(),
            "distortion": -self.log_likelihood.mean(),
        }


def frozen(model: _Module) -> _Module:
    """Return the model with parameters through which no gradient flows."""
    graphdef, params = nnx.split(model)
    return nnx.merge(graphdef, jax.lax.stop_gradient(params))


def _frozen_posterior(model: DensityModel, inputs: Images) -> TractablePosterior:
    posterior = frozen(model).encode(inputs)
    if not isinstance(posterior, TractablePosterior):
        raise TypeError(f"{type(posterior).__name__} has no density at given latents")
    return posterior


def draw_noise(
    model: DensityModel, num_samples: int, batch: int, key: Key[Array, ""]
) -> Float[Array, "num_samples batch noise"]:
    """Return standard normal noise for `Posterior.draw`."""
    return jax.random.normal(key, (num_samples, batch, model.noise_size))


def draw_prior(model: DensityModel, num: int, key: Key[Array, ""]) -> Float[Array, "num latents"]:
    """Return draws of p(z)."""
    return jax.vmap(model.prior.sample)(jax.random.split(key, num))


def elbo_terms(
    model: DensityModel,
    inputs: Images,
    targets: Images,
    key: Key[Array, ""],
    *,
    num_samples: int = 1,
    sampled_kl: bool = False,
) -> ElboTerms:
    """Return terms of the bound by reparameterised samples (Kingma & Welling 2013, equation 10).

    The encoder takes `inputs`, the likelihood `targets`. They are equal for a plain VAE, corrupted
    and clean images for a denoising one (Im et al. 2015, arXiv 1511.06406).

    Args:
      model: the model.
      inputs: `[batch, height, width, channels]`.
      targets: same shape.
      key: key of the samples.
      num_samples: samples per image, over which the terms are averaged.
      sampled_kl: estimate the KL by the samples (equation 7) even if it has a closed form.
    """
    posterior, prior = model.encode(inputs), model.prior
    if isinstance(posterior, TopDown):
        passed = posterior.descend(draw_noise(model, num_samples, len(inputs), key))
        log_ratio = (passed.log_posterior - passed.log_prior)[..., None]
        parts = log_ratio if sampled_kl else passed.kl
        log_likelihood = passed.likelihood.log_prob(targets)
        return ElboTerms(log_likelihood.mean(axis=0), parts.mean(axis=0))
    kl = None if sampled_kl else closed_kl(posterior, prior)
    if kl is not None and num_samples == 1 and isinstance(posterior, Normal):
        latents = posterior.sample(key)
        return ElboTerms(model.decode(latents).log_prob(targets), kl)
    latents, log_posterior = posterior.draw(draw_noise(model, num_samples, len(inputs), key))
    if kl is None:
        kl = sampled_kl_parts(posterior, prior, latents, log_posterior).mean(axis=0)
    return ElboTerms(model.decode(latents).log_prob(targets).mean(axis=0), kl)


def sampled_kl_parts(
    posterior: Posterior,
    prior: Prior,
    latents: Float[Array, "samples batch latents"],
    log_posterior: Float[Array, "samples batch"],
) -> Float[Array, "samples batch parts"]:
    """Return log q(z|x) - log p(z) at draws of the posterior, in nats.

    There is one part per latent dimension if both factorise, given the layer before, else one.
    """
    if isinstance(posterior, Factorized) and isinstance(prior, Factorized):
        return posterior.log_prob_by_dimension(latents) - prior.log_prob_by_dimension(latents)
    return (log_posterior - prior.log_prob(latents))[..., None]


def by_layer(
    kl: Float[Array, "*batch latents"], layer_sizes: Sequence[int]
) -> Float[Array, "*batch layers"]:
    """Return the sums over the latents of each layer."""
    parts = jnp.split(kl, np.cumsum(layer_sizes)[:-1].tolist(), axis=-1)
    return jnp.stack([part.sum(axis=-1) for part in parts], axis=-1)


def rates_by_layer(model: DensityModel, terms: ElboTerms) -> dict[str, Scalar]:
    """Return the batch mean of each layer's KL in nats, "rate_layer_1" nearest to the image.

    There is none of a model with a single layer, or whose KL is not a sum over the latents.
    """
    layer_sizes = model.layer_sizes
    if len(layer_sizes) == 1 or terms.kl.shape[-1] != sum(layer_sizes):
        return {}
    rates = by_layer(terms.kl, layer_sizes).mean(axis=0)
    return {f"rate_layer_{index + 1}": rate for index, rate in enumerate(rates)}


def log_weight_terms(
    model: DensityModel,
    inputs: Images,
    targets: Images,
    key: Key[Array, ""],
    *,
    num_samples: int,
    sticking: bool = False,
) -> LogWeightTerms:
    """Return terms of the importance weights of `num_samples` draws from the posterior.

    Args:
      model: the model.
      inputs: images for the encoder, `[batch, height, width, channels]`.
      targets: images for the likelihood, same shape.
      key: key of the samples.
      num_samples: samples per image.
      sticking: leave out the score of the posterior, d log q(z|x) / d parameters at fixed z, whose
        expectation in the ELBO is zero (sticking the landing: Roeder et al. 2017, arXiv
        1703.09194). The posterior must have a `log_prob`.
    """
    noise, posterior = draw_noise(model, num_samples, len(inputs), key), model.encode(inputs)
    if isinstance(posterior, TopDown) and not sticking:
        passed = posterior.descend(noise)
        log_likelihood = passed.likelihood.log_prob(targets)
        return LogWeightTerms(log_likelihood, passed.log_prior, passed.log_posterior)
    latents, log_posterior = posterior.draw(noise)
    if sticking:
        log_posterior = _frozen_posterior(model, inputs).log_prob(latents)
    return _complete(model, targets, latents, log_posterior)


def _complete(
    model: DensityModel,
    targets: Images,
    latents: Float[Array, "samples batch latents"],
    log_q: LogWeights,
) -> LogWeightTerms:
    return LogWeightTerms(
        log_likelihood=model.decode(latents).log_prob(targets),
        log_prior=model.prior.log_prob(latents),
        log_posterior=log_q,
    )


def with_gradient_of(
    value: Float[Array, "*shape"], surrogate: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Return `value`, with the gradient of `surrogate` added to its own."""
    return value + surrogate - jax.lax.stop_gradient(surrogate)


def elbo(log_weights: LogWeights) -> Float[Array, " batch"]:
    """Return E[log w], the mean over samples: the "VAE" objective of Burda et al. 2015, Table 1."""
    return log_weights.mean(axis=0)


def iwae_bound(log_weights: LogWeights) -> Float[Array, " batch"]:
    """Return log mean_k w_k, the importance-weighted bound (Burda et al. 2015, equation 8)."""
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(log_weights.shape[0])


def miwae_bound(log_weights: LogWeights, num_groups: int) -> Float[Array, " batch"]:
    """Return the mean of the importance-weighted bounds of groups of samples.

    MIWAE(M, K) of Rainforth et al. 2018 (arXiv 1802.04537, section 5), M groups of K samples.
    """
    groups = log_weights.reshape(num_groups, -1, log_weights.shape[1])
    return jax.vmap(iwae_bound)(groups).mean(axis=0)


def ciwae_bound(log_weights: LogWeights, elbo_weight: Traced) -> Float[Array, " batch"]:
    """Return beta ELBO + (1 - beta) IWAE: CIWAE(beta) of Rainforth et al. 2018, 1802.04537."""
    return elbo_weight * elbo(log_weights) + (1 - elbo_weight) * iwae_bound(log_weights)


def piwae_bound(
    model: DensityModel,
    inputs: Images,
    targets: Images,
    key: Key[Array, ""],
    *,
    num_samples: int,
    num_groups: int,
) -> tuple[Float[Array, " batch"], LogWeightTerms]:
    """Return the importance-weighted bound with the gradient of MIWAE in the encoder.

    The value is the bound of all `num_groups * num_samples` samples, and so is the gradient in the
    generative parameters. The gradient in the inference network is that of `miwae_bound` (PIWAE(M,
    K) of Rainforth et al. 2018, arXiv 1802.04537, section 5).

    Returns:
      The bound of each example, and the terms of its weights.
    """
    noise = draw_noise(model, num_groups * num_samples, len(inputs), key)
    latents, log_posterior = model.encode(inputs).draw(noise)
    stopped = jax.lax.stop_gradient((latents, log_posterior))
    generative = _complete(model, targets, *stopped)
    inference = miwae_bound(
        _complete(frozen(model), targets, latents, log_posterior).log_weights, num_groups
    )
    value = iwae_bound(generative.log_weights)
    return with_gradient_of(value, inference), generative


@jax.custom_vjp
def _scale_gradient(
    value: Float[Array, "samples batch latents"], scale: LogWeights
) -> Float[Array, "samples batch latents"]:
    return value


_scale_gradient.defvjp(
    lambda value, scale: (value, scale),
    lambda scale, gradient: (gradient * scale[..., None], jnp.zeros_like(scale)),
)


def doubly_reparameterized(
    model: DensityModel,
    inputs: Images,
    targets: Images,
    key: Key[Array, ""],
    *,
    num_samples: int,
) -> tuple[Float[Array, " batch"], LogWeightTerms]:
    """Return the importance-weighted bound with the doubly reparameterised gradient, IWAE-DReG.

    With normalised weights v_i, the gradient in the generative parameters is sum_i v_i d log w_i.
    In the posterior's parameters it is sum_i v_i^2 (d log w_i / d z_i) (d z_i / d parameters), with
    a signal-to-noise ratio that does not fall with the number of samples (Tucker et al. 2018, arXiv
    1810.04152, section 3).

    Returns:
      The bound of each example, and the terms of its weights.
    """
    latents, _ = model.encode(inputs).draw(draw_noise(model, num_samples, len(inputs), key))
    stopped, log_posterior = frozen(model), _frozen_posterior(model, inputs).log_prob

    # The compiler merges these two equal forward passes. The first gives the weights by which the
    # second scales the gradient in the latents.
    constant = jax.lax.stop_gradient(latents)
    log_weights = _complete(stopped, targets, constant, log_posterior(constant)).log_weights
    weights = jax.nn.softmax(log_weights, axis=0)
    scaled = _scale_gradient(latents, weights)
    terms = _complete(model, targets, scaled, log_posterior(scaled))
    surrogate = (weights * terms.log_weights).sum(axis=0)
    return with_gradient_of(iwae_bound(log_weights), surrogate), terms


class _Bound(Objective):
    """An objective that is a bound on log p(x), a function of log weights."""

    @abc.abstractmethod
    def bound(
        self, model: DensityModel, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, " batch"], LogWeightTerms]:
        """Return the bound of each example, and the terms of its weights."""

    def loss(
        self,
        model: Any,
        batch: Batch,
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: nnx.Module,
    ) -> tuple[Scalar, Metrics]:
        """Return minus the bound, and its terms as metrics."""
        del epoch, num_examples, networks
        bound, terms = self.bound(model, batch, key)
        return -bound.mean(), {**terms.means(), "bound": bound.mean()}


def _density_problem(name: str, model: Any) -> str | None:
    if getattr(model, "has_posterior_density", False):
        return None
    posterior = getattr(model, "posterior", None)
    whose = f"model={name_of(model)!r}"
    if posterior is not None:
        whose = f"model.posterior={name_of(posterior)!r}"
    return f"{name} needs the posterior's density at given latents, which {whose} does not have"


@register(OBJECTIVES, "stl")
@dataclasses.dataclass(frozen=True)
class StickingTheLanding(_Bound):
    """ELBO whose gradient leaves out the posterior's score (Roeder et al. 2017)."""

    num_samples: int = integer(1, "Samples of the latents per image.", at_least=1)

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        return _density_problem("objective='stl'", model)

    def bound(
        self, model: DensityModel, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, " batch"], LogWeightTerms]:
        """Return E[log w] of each example, and the terms of its weights."""
        terms = log_weight_terms(model, *batch, key, num_samples=self.num_samples, sticking=True)
        return elbo(terms.log_weights), terms


@register(OBJECTIVES, "iwae")
@dataclasses.dataclass(frozen=True)
class IWAE(_Bound):
    """The bound log mean_k w_k (Burda et al. 2015, arXiv 1509.00519, equation 8)."""

    num_samples: int = integer(1, "Samples of the latents per image.", at_least=1)
    gradient: str = one_of(
        "plain",
        ["dreg", "plain"],
        "plain; dreg, doubly reparameterised (Tucker et al. 2018, arXiv 1810.04152).",
    )

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        if self.gradient == "dreg":
            return _density_problem("objective.gradient='dreg'", model)
        return None

    def bound(
        self, model: DensityModel, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, " batch"], LogWeightTerms]:
        """Return the bound of each example, and the terms of its weights."""
        if self.gradient == "dreg":
            return doubly_reparameterized(model, *batch, key, num_samples=self.num_samples)
        terms = log_weight_terms(model, *batch, key, num_samples=self.num_samples)
        return iwae_bound(terms.log_weights), terms


@register(OBJECTIVES, "miwae")
@dataclasses.dataclass(frozen=True)
class MIWAE(_Bound):
    """Mean of importance-weighted bounds (Rainforth et al. 2018, arXiv 1802.04537)."""

    num_samples: int = integer(1, "Samples of the latents per group and image.", at_least=1)
    num_groups: int = integer(1, "Groups of samples, each of which gives a bound.", at_least=1)

    def bound(
        self, model: DensityModel, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, " batch"], LogWeightTerms]:
        """Return the bound of each example, and the terms of its weights."""
        num_samples = self.num_groups * self.num_samples
        terms = log_weight_terms(model, *batch, key, num_samples=num_samples)
        return miwae_bound(terms.log_weights, self.num_groups), terms


@register(OBJECTIVES, "piwae")
@dataclasses.dataclass(frozen=True)
class PIWAE(_Bound):
    """IWAE for the decoder, MIWAE for the encoder (Rainforth et al. 2018, arXiv 1802.04537)."""

    num_samples: int = integer(1, "Samples of the latents per group and image.", at_least=1)
    num_groups: int = integer(1, "Groups of samples, each of which gives a bound.", at_least=1)

    def bound(
        self, model: DensityModel, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, " batch"], LogWeightTerms]:
        """Return the bound of each example, and the terms of its weights."""
        return piwae_bound(
            model, *batch, key, num_samples=self.num_samples, num_groups=self.num_groups
        )


@register(OBJECTIVES, "ciwae")
@dataclasses.dataclass(frozen=True)
class CIWAE(_Bound):
    """Combination of ELBO and IWAE (Rainforth et al. 2018, arXiv 1802.04537)."""

    num_samples: int = integer(1, "Samples of the latents per image.", at_least=1)
    elbo_weight: Traced = traced(0.0, "Share of the ELBO.", at_least=0.0, below=1.0)

    def bound(
        self, model: DensityModel, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, " batch"], LogWeightTerms]:
        """Return the bound of each example, and the terms of its weights."""
        terms = log_weight_terms(model, *batch, key, num_samples=self.num_samples)
        return ciwae_bound(terms.log_weights, self.elbo_weight), terms
