"""InfoVAE (Zhao et al. 2017, arXiv 1706.02262): the aggregate posterior matched to the prior."""

import dataclasses
from typing import Any, ClassVar

import jax
from flax import nnx
from jaxtyping import Array, Key

from vae_jax.objectives.base import OBJECTIVES, Batch, Metrics, Objective, Scalar
from vae_jax.objectives.bounds import ElboTerms, draw_noise, draw_prior, sampled_kl_parts
from vae_jax.objectives.discrepancy import maximum_mean_discrepancy, normal_kernel
from vae_jax.settings import Traced, bounded, register, traced


@register(OBJECTIVES, "info")
@dataclasses.dataclass(frozen=True)
class InfoVAE(Objective):
    """ELBO and a distance of the aggregate posterior from the prior (Zhao et al. 2017, equation 6).

    distortion + (1 - alpha) rate + mmd_weight MMD(q(z), p(z)), where the paper's lambda is
    mmd_weight + 1 - alpha.
    """

    compares_examples: ClassVar[bool] = True
    least_batch: ClassVar[int] = 2

    mmd_weight: Traced = traced(10.0, "Weight of the distance of q(z) from p(z).", at_least=0.0)
    alpha: Traced = traced(0.0, "Share of the KL that is left out.", at_most=1.0)
    bandwidth: float = bounded(
        1.0, "Width of the kernel, in deviations of a standard normal latent.", above=0.0
    )

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
        """Return the loss, the terms of the ELBO and the discrepancy as metrics."""
        del epoch, num_examples, networks
        noise_key, prior_key = jax.random.split(key)
        posterior, prior = model.encode(batch.inputs), model.prior
        latents, log_posterior = posterior.draw(draw_noise(model, 1, len(batch.inputs), noise_key))
        kl = sampled_kl_parts(posterior, prior, latents, log_posterior)[0]
        terms = ElboTerms(model.decode(latents[0]).log_prob(batch.targets), kl)
        drawn = draw_prior(model, len(batch.inputs), prior_key)
        distance = maximum_mean_discrepancy(latents[0], drawn, normal_kernel(self.bandwidth))
        means = terms.means()
        loss = means["distortion"] + (1 - self.alpha) * means["rate"] + self.mmd_weight * distance
        return loss, {**means, "mmd": distance}
