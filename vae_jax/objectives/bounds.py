"""The objectives, one function an equation. Nats; sums over pixels and latents, batch means last.

With x the clean image and x' what the encoder sees (the same image, unless it is corrupted), and k
samples z_1..z_k of q(z|x'):

    log_likelihood = log p(x|z),  log_prior = log p(z),  log_posterior = log q(z|x')
    log_weights    = log_likelihood + log_prior - log_posterior      [num_samples, batch]
    elbo           = E[log_weights]
    distortion     = E[-log_likelihood],  rate = E[KL(q(z|x') || p(z))]

A bound is a function of log weights. An estimator of its gradient is a choice of what the log
weights are differentiated through: `log_weight_terms` and `doubly_reparameterized`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.distributions import Normal, kl_by_dimension
from vae_jax.models import VAE, Autoencoder
from vae_jax.models.interfaces import Factorized, Posterior, Prior, TractablePosterior

Images = Float[Array, "batch height width channels"]
Scalar = Float[Array, ""]
LogWeights = Float[Array, "num_samples batch"]


class ElboTerms(NamedTuple):
    """The two terms of the evidence lower bound, one value an example, in nats.

    Attributes:
      log_likelihood: log p(x|z), averaged over the samples.
      kl: KL(q(z|x) || p(z)), its parts last: one a latent dimension where posterior and prior
        factorise, else a single one.
    """

    log_likelihood: Float[Array, " batch"]
    kl: Float[Array, "batch parts"]

    @property
    def elbo(self) -> Float[Array, " batch"]:
        """Log p(x|z) - KL(q(z|x) || p(z)): an estimate of the bound, in nats."""
        return self.log_likelihood - self.kl.sum(axis=-1)

    def means(self) -> dict[str, Scalar]:
        """Batch means in nats: "elbo", "rate" and "distortion"."""
        rate, distortion = self.kl.sum(axis=-1).mean(), -self.log_likelihood.mean()
        return {"elbo": -(distortion + rate), "rate": rate, "distortion": distortion}


class LogWeightTerms(NamedTuple):
    """What an importance weight p(x, z) / q(z|x) is made of, in nats."""

    log_likelihood: LogWeights
    log_prior: LogWeights
    log_posterior: LogWeights

    @property
    def log_weights(self) -> LogWeights:
        """Log p(x, z) - log q(z|x)."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    def means(self) -> dict[str, Scalar]:
        """Means over samples and batch in nats: "elbo", "rate" and "distortion"."""
        return {
            "elbo": self.log_weights.mean(),
            "rate": (self.log_posterior - self.log_prior).mean(),
            "distortion": -self.log_likelihood.mean(),
        }


def frozen(model: VAE) -> VAE:
    """The same model, through whose parameters no gradient flows."""
    graphdef, params = nnx.split(model)
    return nnx.merge(graphdef, jax.lax.stop_gradient(params))


def _frozen_posterior(model: VAE, inputs: Images) -> TractablePosterior:
    posterior = frozen(model).encode(inputs)
    if not isinstance(posterior, TractablePosterior):
        raise TypeError(f"{type(posterior).__name__} has no density at given latents")
    return posterior


def draw_noise(
    model: VAE, num_samples: int, batch: int, key: Key[Array, ""]
) -> Float[Array, "num_samples batch latents"]:
    """Standard normal noise for `Posterior.draw`."""
    return jax.random.normal(key, (num_samples, batch, model.latent_size))


def elbo_terms(
    model: VAE,
    inputs: Images,
    targets: Images,
    key: Key[Array, ""],
    *,
    num_samples: int = 1,
    sampled_kl: bool = False,
) -> ElboTerms:
    """Terms of the bound by reparameterised samples (Kingma & Welling 2013, equation 10).

    `inputs` is what the encoder sees and `targets` what the likelihood is asked about: equal for a
    plain VAE, corrupted and clean for a denoising one (Im et al. 2015, arXiv 1511.06406).

    Args:
      model: the model.
      inputs: `[batch, height, width, channels]`.
      targets: as many images.
      key: of the samples.
      num_samples: samples an image, over which the terms are averaged.
      sampled_kl: estimate the KL by the samples (equation 7) even where it has a closed form.
    """
    posterior, prior = model.encode(inputs), model.prior
    kl = None
    if isinstance(posterior, Normal) and isinstance(prior, Normal) and not sampled_kl:
        kl = kl_by_dimension(posterior, prior)
        if num_samples == 1:
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
    """Log q(z|x) - log p(z) at draws of the posterior, in nats.

    One part a latent dimension where both factorise, given the layer before; else a single one.
    """
    if isinstance(posterior, Factorized) and isinstance(prior, Factorized):
        return posterior.log_prob_by_dimension(latents) - prior.log_prob_by_dimension(latents)
    return (log_posterior - prior.log_prob(latents))[..., None]


def log_weight_terms(
    model: VAE,
    inputs: Images,
    targets: Images,
    key: Key[Array, ""],
    *,
    num_samples: int,
    sticking: bool = False,
) -> LogWeightTerms:
    """Terms of the importance weights of `num_samples` draws from the posterior.

    Args:
      model: the model.
      inputs: what the encoder sees, `[batch, height, width, channels]`.
      targets: what the likelihood is asked about.
      key: of the samples.
      num_samples: samples an image.
      sticking: leave out the score of the posterior, d log q(z|x) / d parameters at fixed z, whose
        expectation in the ELBO is zero (sticking the landing: Roeder et al. 2017, arXiv
        1703.09194). The posterior must have a `log_prob`.
    """
    noise = draw_noise(model, num_samples, len(inputs), key)
    latents, log_posterior = model.encode(inputs).draw(noise)
    if sticking:
        log_posterior = _frozen_posterior(model, inputs).log_prob(latents)
    return _complete(model, targets, latents, log_posterior)


def _complete(
    model: VAE, targets: Images, latents: Float[Array, "samples batch latents"], log_q: LogWeights
) -> LogWeightTerms:
    return LogWeightTerms(
        log_likelihood=model.decode(latents).log_prob(targets),
        log_prior=model.prior.log_prob(latents),
        log_posterior=log_q,
    )


def with_gradient_of(
    value: Float[Array, "*shape"], surrogate: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`value`, with the gradient of `surrogate` added to its own."""
    return value + surrogate - jax.lax.stop_gradient(surrogate)


def elbo(log_weights: LogWeights) -> Float[Array, " batch"]:
    """E[log w], the mean over the samples: the "VAE" objective of Burda et al. 2015, Table 1."""
    return log_weights.mean(axis=0)


def iwae_bound(log_weights: LogWeights) -> Float[Array, " batch"]:
    """Log mean_k w_k, the importance-weighted bound (Burda et al. 2015, equation 8)."""
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(log_weights.shape[0])


def miwae_bound(log_weights: LogWeights, num_groups: int) -> Float[Array, " batch"]:
    """The mean of `num_groups` importance-weighted bounds of equally many samples each.

    MIWAE(M, K) of Rainforth et al. 2018 (arXiv 1802.04537, section 5), M groups of K samples.
    """
    groups = log_weights.reshape(num_groups, -1, log_weights.shape[1])
    return jax.vmap(iwae_bound)(groups).mean(axis=0)


def ciwae_bound(log_weights: LogWeights, elbo_weight: Scalar) -> Float[Array, " batch"]:
    """Beta ELBO + (1 - beta) IWAE: CIWAE(beta) of Rainforth et al. 2018 (arXiv 1802.04537)."""
    return elbo_weight * elbo(log_weights) + (1 - elbo_weight) * iwae_bound(log_weights)


def piwae_bound(
    model: VAE,
    inputs: Images,
    targets: Images,
    key: Key[Array, ""],
    *,
    num_samples: int,
    num_groups: int,
) -> tuple[Float[Array, " batch"], LogWeightTerms]:
    """The importance-weighted bound of all samples, for the decoder; MIWAE for the encoder.

    The value is the bound of all `num_groups * num_samples` samples. Its gradient in the generative
    parameters is that bound's, its gradient in the inference network that of `miwae_bound`
    (PIWAE(M, K) of Rainforth et al. 2018, arXiv 1802.04537, section 5).

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
    model: VAE,
    inputs: Images,
    targets: Images,
    key: Key[Array, ""],
    *,
    num_samples: int,
) -> tuple[Float[Array, " batch"], LogWeightTerms]:
    """The importance-weighted bound with the doubly reparameterised gradient, IWAE-DReG.

    With normalised weights v_i, the generative parameters get sum_i v_i d log w_i, and the
    posterior's sum_i v_i^2 (d log w_i / d z_i) (d z_i / d parameters), whose signal-to-noise ratio
    does not fall with the number of samples (Tucker et al. 2018, arXiv 1810.04152, section 3).

    Returns:
      The bound of each example, and the terms of its weights.
    """
    latents, _ = model.encode(inputs).draw(draw_noise(model, num_samples, len(inputs), key))
    stopped, log_posterior = frozen(model), _frozen_posterior(model, inputs).log_prob

    # Twice the same forward pass, which the compiler sees and makes once: the first for the weights
    # by which the second scales what flows back into the latents.
    at_rest = jax.lax.stop_gradient(latents)
    log_weights = _complete(stopped, targets, at_rest, log_posterior(at_rest)).log_weights
    weights = jax.nn.softmax(log_weights, axis=0)
    scaled = _scale_gradient(latents, weights)
    terms = _complete(model, targets, scaled, log_posterior(scaled))
    surrogate = (weights * terms.log_weights).sum(axis=0)
    return with_gradient_of(iwae_bound(log_weights), surrogate), terms


def warmup(epoch: Scalar, warmup_epochs: Scalar, cycle_epochs: Scalar) -> Scalar:
    """Weight of the KL: a linear ramp from 0 to 1 over `warmup_epochs`; without any, 1.

    Bowman et al. 2015 (arXiv 1511.06349, section 3.1). With `cycle_epochs` above 0 the ramp begins
    anew every so many epochs (Fu et al. 2019, arXiv 1903.10145).
    """
    # An infinite epoch, which is after any ramp, has no remainder.
    cyclic = (cycle_epochs > 0) & jnp.isfinite(epoch)
    epoch = jnp.where(cyclic, epoch % jnp.where(cyclic, cycle_epochs, 1), epoch)
    return jnp.where(warmup_epochs > 0, jnp.minimum(epoch / jnp.maximum(warmup_epochs, 1e-6), 1), 1)


def negative_elbo(
    terms: ElboTerms, *, distortion_weight: Scalar, kl_weight: Scalar, free_nats: Scalar
) -> Scalar:
    """Weighted negative evidence lower bound, in nats an example.

    distortion_weight * distortion + kl_weight * sum_d max(free_nats, rate_d), the rate of each
    latent dimension averaged over the batch before it is compared with its free nats (Kingma et
    al. 2016, arXiv 1606.04934, equation 15). `kl_weight` is the beta of Higgins et al. 2017. A KL
    in one part, which does not divide over the dimensions, is granted its free nats once.
    """
    distortion = -terms.log_likelihood.mean()
    rate_by_part = jnp.maximum(terms.kl.mean(axis=0), free_nats)
    return distortion_weight * distortion + kl_weight * rate_by_part.sum()


def autoencoder_loss(
    model: Autoencoder, inputs: Images, targets: Images
) -> tuple[Scalar, dict[str, Scalar]]:
    """Distortion of a deterministic code, -log p(x|z), and the same as the metric "distortion"."""
    distortion = -model.decode(model.latents(inputs)).log_prob(targets).mean()
    return distortion, {"distortion": distortion}
