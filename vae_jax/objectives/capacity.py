"""Beta-VAE with a given rate (Burgess et al. 2018, arXiv 1804.03599)."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from vae_jax.objectives.base import OBJECTIVES, Batch, Metrics, Objective, Scalar
from vae_jax.objectives.bounds import ElboTerms, elbo_terms
from vae_jax.objectives.elbo import sampled_kl_problem, warmup
from vae_jax.settings import Traced, flag, integer, register, traced


def capacity_loss(terms: ElboTerms, gamma: Traced, capacity: Traced) -> Scalar:
    """Return distortion + gamma |rate - C|, in nats.

    Equation 8 of Burgess et al. 2018 (arXiv 1804.03599). C rises linearly in training.
    """
    means = terms.means()
    return means["distortion"] + gamma * jnp.abs(means["rate"] - capacity)


@register(OBJECTIVES, "capacity")
@dataclasses.dataclass(frozen=True)
class Capacity(Objective):
    """Distortion + gamma |rate - C| (Burgess et al. 2018, arXiv 1804.03599, equation 8)."""

    compares_examples: ClassVar[bool] = True

    gamma: Traced = traced(1.0, "Weight of |rate - capacity|.", at_least=0.0)
    capacity: Traced = traced(0.0, "Nats that the rate is drawn to.", at_least=0.0)
    capacity_epochs: Traced = traced(
        0.0, "Epochs over which the capacity rises from 0; 0 is at once.", at_least=0.0
    )
    num_samples: int = integer(1, "Samples of the latents per image.", at_least=1)
    sampled_kl: bool = flag(False, "Estimate the KL by samples even if it has a closed form.")

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        return sampled_kl_problem(model) if self.sampled_kl else None

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
        """Return the loss of Burgess et al. 2018, its terms and the capacity as metrics."""
        del num_examples, networks
        terms = elbo_terms(
            model, *batch, key, num_samples=self.num_samples, sampled_kl=self.sampled_kl
        )
        capacity = warmup(epoch, self.capacity_epochs, 0.0) * self.capacity
        loss = capacity_loss(terms, self.gamma, capacity)
        return loss, {**terms.means(), "capacity": jnp.asarray(capacity)}
