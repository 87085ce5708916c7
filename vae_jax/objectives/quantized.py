"""The loss of models with codes (van den Oord et al. 2017, arXiv 1711.00937, equation 3)."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jax.scipy.special import xlogy
from jaxtyping import Array, Float, Key

from vae_jax.models.vq_vae import code_use
from vae_jax.objectives.base import OBJECTIVES, Batch, Metrics, Objective, Scalar
from vae_jax.settings import Traced, name_of, register, traced

_WEIGHT = 0.25


def perplexity(use: Float[Array, " codes"]) -> Scalar:
    """Return exp of the entropy, in nats, of the use of codes, given as shares."""
    return jnp.exp(-xlogy(use, use).sum())


@register(OBJECTIVES, "quantized")
@dataclasses.dataclass(frozen=True)
class Quantized(Objective):
    """Distortion of quantised latents, and the squared distances from the codebook.

    distortion + |sg[z] - e|^2 + commitment_weight |z - sg[e]|^2, summed over the dimensions and
    positions of an image. The second term is 0 for a codebook that no gradient moves.
    """

    needs_density: ClassVar[bool] = False

    commitment_weight: Traced = traced(
        _WEIGHT, "Weight of the squared distance of latents from their codes.", at_least=0.0
    )

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        if not getattr(model, "has_codes", False):
            return (
                f"objective={name_of(self)!r} needs a model with codes, and model="
                f"{name_of(model)!r} has none; use model='vq_vae', or another objective"
            )
        quantizer = model.quantizer
        if not quantizer.has_commitment and self.commitment_weight != _WEIGHT:
            return (
                f"objective.commitment_weight={self.commitment_weight} has no effect with "
                f"model.quantizer={name_of(quantizer)!r}; leave it out"
            )
        return None

    def score(self, metrics: dict[str, Any]) -> float:
        """Return the negative distortion, which the weight does not change."""
        return -float(metrics["distortion"])

    def finish(self, metrics: Metrics) -> Metrics:
        """Return the metrics with the perplexity of the codes and the share of codes used.

        Both are of the whole batch in training, and of all examples in validation.
        """
        kept = dict(metrics)
        use = kept.pop("code_use")
        return {**kept, "perplexity": perplexity(use), "codes_used": (use > 0).mean()}

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
        """Return the loss and its terms, and move what the codebook learns without a gradient."""
        del key, epoch, num_examples, networks
        outputs = model.outputs(batch.inputs)
        quantized = model.quantizer(outputs)
        latents = model.flatten(quantized.vectors)
        distortion = -model.decode(latents).log_prob(batch.targets).mean()
        commitment = quantized.commitment.sum(axis=(-2, -1)).mean()
        codebook_error = quantized.codebook_error.sum(axis=(-2, -1)).mean()
        model.quantizer.follow(outputs, quantized.codes)
        loss = distortion + codebook_error + self.commitment_weight * commitment
        return loss, {
            "distortion": distortion,
            "commitment": commitment,
            "code_use": code_use(quantized.codes, model.num_codes),
        }
