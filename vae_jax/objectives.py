"""The objectives, one function an equation. Nats; sums over pixels and latents, batch means last.

With x the clean image and x' what the encoder sees (the same image, unless it is corrupted):

    log_likelihood = log p(x|z),  z ~ q(z|x')        [batch]
    kl             = KL(q(z|x') || p(z))             [batch, latents]
    elbo           = log_likelihood - kl, summed     [batch]
    distortion     = E[-log_likelihood],  rate = E[kl summed]
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions import kl_by_dimension
from vae_jax.models import VAE, Autoencoder

Images = Float[Array, "batch height width channels"]
Scalar = Float[Array, ""]


class ElboTerms(NamedTuple):
    """The two terms of the evidence lower bound, one value an example, in nats."""

    log_likelihood: Float[Array, " batch"]
    kl: Float[Array, "batch latents"]

    @property
    def elbo(self) -> Float[Array, " batch"]:
        """Log p(x|z) - KL(q(z|x) || p(z)): a one-sample estimate of the bound, in nats."""
        return self.log_likelihood - self.kl.sum(axis=-1)

    def means(self) -> dict[str, Scalar]:
        """Batch means in nats: "elbo", "rate" and "distortion"."""
        rate, distortion = self.kl.sum(axis=-1).mean(), -self.log_likelihood.mean()
        return {"elbo": -(distortion + rate), "rate": rate, "distortion": distortion}


def elbo_terms(model: VAE, inputs: Images, targets: Images, key: Key[Array, ""]) -> ElboTerms:
    """Terms of the bound with one reparameterised sample (Kingma & Welling 2013, equation 10).

    `inputs` is what the encoder sees and `targets` what the likelihood is asked about: equal for a
    plain VAE, corrupted and clean for a denoising one (Im et al. 2015, arXiv 1511.06406).
    """
    posterior = model.encode(inputs)
    latents = posterior.sample(key)
    return ElboTerms(
        log_likelihood=model.decode(latents).log_prob(targets),
        kl=kl_by_dimension(posterior, model.prior),
    )


def warmup(epoch: Scalar, warmup_epochs: Scalar) -> Scalar:
    """Weight of the KL: a linear ramp from 0 to 1 over `warmup_epochs`; without any, 1.

    Bowman et al. 2015 (arXiv 1511.06349, section 3.1).
    """
    return jnp.where(warmup_epochs > 0, jnp.minimum(epoch / jnp.maximum(warmup_epochs, 1e-6), 1), 1)


def negative_elbo(
    terms: ElboTerms, *, distortion_weight: Scalar, kl_weight: Scalar, free_nats: Scalar
) -> Scalar:
    """Weighted negative evidence lower bound, in nats an example.

    distortion_weight * distortion + kl_weight * sum_d max(free_nats, rate_d), the rate of each
    latent dimension averaged over the batch before it is compared with its free nats (Kingma et
    al. 2016, arXiv 1606.04934, equation 15). `kl_weight` is the beta of Higgins et al. 2017.
    """
    distortion = -terms.log_likelihood.mean()
    rate_by_dimension = jnp.maximum(terms.kl.mean(axis=0), free_nats)
    return distortion_weight * distortion + kl_weight * rate_by_dimension.sum()


def autoencoder_loss(
    model: Autoencoder, inputs: Images, targets: Images
) -> tuple[Scalar, dict[str, Scalar]]:
    """Distortion of a deterministic code, -log p(x|z), and the same as the metric "distortion"."""
    distortion = -model.decode(model.latents(inputs)).log_prob(targets).mean()
    return distortion, {"distortion": distortion}
