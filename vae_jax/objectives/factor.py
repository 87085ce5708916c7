"""FactorVAE (Kim & Mnih 2018, arXiv 1802.05983): total correlation by a discriminator."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.distributions import softplus
from vae_jax.models.interfaces import DensityModel
from vae_jax.networks.discriminator import Discriminator
from vae_jax.objectives.base import OBJECTIVES, Batch, Metrics, Opponent, Scalar
from vae_jax.objectives.disentangling import Encoded, Latents, Penalized
from vae_jax.settings import Traced, bounded, integer, register, section, sizes, traced

# Maps latents to log D / (1 - D).
LogRatio = Callable[[Latents], Float[Array, " batch"]]


def permute_dimensions(latents: Latents, key: Key[Array, ""]) -> Latents:
    """Return the latents with each dimension permuted over the batch: draws of prod_j q(z_j).

    Algorithm 1 of Kim & Mnih 2018 (arXiv 1802.05983).
    """
    return jax.random.permutation(key, latents, axis=0, independent=True)


def density_ratio_total_correlation(log_ratio: LogRatio, latents: Latents) -> Scalar:
    """Return E[log D(z) / (1 - D(z))] over draws of q(z), in nats.

    For the best discriminator it is KL(q(z) || prod_j q(z_j)) (Kim & Mnih 2018, arXiv 1802.05983,
    equation 3).
    """
    return log_ratio(latents).mean()


def discriminator_loss(log_ratio: LogRatio, joint: Latents, product: Latents) -> Scalar:
    """Return -(E_joint[log D] + E_product[log(1 - D)]) / 2, in nats; log 2 for a guess.

    Algorithm 2 of Kim & Mnih 2018 (arXiv 1802.05983).

    Args:
      log_ratio: log D / (1 - D).
      joint: draws of q(z).
      product: draws of prod_j q(z_j), from other examples.
    """
    return 0.5 * (softplus(-log_ratio(joint)).mean() + softplus(log_ratio(product)).mean())


def _draw(model: DensityModel, batch: Batch, key: Key[Array, ""]) -> Latents:
    noise = jax.random.normal(key, (len(batch.inputs), model.noise_size))
    return model.encode(batch.inputs).draw(noise).latents


@dataclasses.dataclass(frozen=True)
class DiscriminatorSettings:
    """The discriminator of a FactorVAE, and its Adam (Kim & Mnih 2018, appendix A)."""

    widths: tuple[int, ...] = sizes((1000,) * 6, "Hidden layers.")
    learning_rate: Traced = traced(1e-4, "Learning rate.", above=0.0)
    b1: float = bounded(0.5, "Decay of the mean of the gradients.", at_least=0.0, below=1.0)
    b2: float = bounded(0.9, "Decay of the mean of their squares.", at_least=0.0, below=1.0)
    epsilon: float = bounded(1e-8, "Added to the root of the mean square.", above=0.0)
    every: int = integer(1, "Steps between two updates.", at_least=1)


@register(OBJECTIVES, "factor")
@dataclasses.dataclass(frozen=True)
class FactorVAE(Penalized):
    """ELBO and gamma times the total correlation, by a discriminator (Kim & Mnih 2018)."""

    gamma: Traced = traced(1.0, "Weight of the total correlation.", at_least=0.0)
    discriminator: DiscriminatorSettings = section(
        DiscriminatorSettings, "The discriminator and its optimiser."
    )

    def score(self, metrics: dict[str, Any]) -> float:
        """Return the ELBO, since the loss contains the discriminator's estimate."""
        return float(metrics["elbo"])

    def networks(self, model: Any, form: Any, *, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        """Return the discriminator with fresh parameters."""
        del form
        widths = list(self.discriminator.widths)
        return {"discriminator": Discriminator(model.latent_size, widths, rngs=rngs)}

    def opponents(self) -> tuple[Opponent, ...]:
        """Return the discriminator's loss and optimiser."""
        section = self.discriminator
        adam = optax.adam(section.learning_rate, section.b1, section.b2, section.epsilon)
        return (Opponent("discriminator", self._discriminate, adam, section.every, num_batches=2),)

    def penalty(
        self, encoded: Encoded, key: Key[Array, ""], num_examples: int, **networks: Any
    ) -> tuple[Scalar, Metrics]:
        """Return gamma times the total correlation, which is also a metric."""
        del key, num_examples
        ratio = density_ratio_total_correlation(networks["discriminator"], encoded.latents)
        return self.gamma * ratio, {"total_correlation": ratio}

    def _discriminate(
        self,
        model: DensityModel,
        batches: tuple[Batch, Batch],
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: Any,
    ) -> tuple[Scalar, Metrics]:
        """Return the discriminator's loss on codes of one batch and permuted codes of another."""
        del epoch, num_examples
        first_key, second_key, permutation_key = jax.random.split(key, 3)
        joint = _draw(model, batches[0], first_key)
        other = _draw(model, batches[1], second_key)
        product = permute_dimensions(other, permutation_key)
        loss = discriminator_loss(networks["discriminator"], joint, product)
        return loss, {"discriminator_loss": loss}
