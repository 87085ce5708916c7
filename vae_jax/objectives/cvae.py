"""The conditional bound, and the log likelihood of a network without latents.

Sohn, Lee, Yan 2015 (Learning Structured Output Representation using Deep Conditional Generative
Models, equation 4): E_q(z|x, c)[log p(x|z, c)] - KL(q(z|x, c) || p(z|c)), where p(z|c) sees the
guess of a network that predicts x from c alone.
"""

import dataclasses
from typing import Any

from flax import nnx
from jaxtyping import Array, Key

from vae_jax.models.conditions import has_guess
from vae_jax.objectives.base import OBJECTIVES, Batch, Metrics, Scalar
from vae_jax.objectives.elbo import ELBO
from vae_jax.settings import name_of, register


@register(OBJECTIVES, "cvae")
@dataclasses.dataclass(frozen=True)
class CVAE(ELBO):
    """The ELBO of p(x|c), and the likelihood of the guess that it sees (Sohn et al. 2015)."""

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        if has_guess(model):
            return super().problem(model)
        return (
            f"objective='cvae' trains the guess of a condition, which model={name_of(model)!r} "
            "does not have here; use objective='elbo', or model.condition='quadrants'"
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
        """Return the negative bound and the guess's negative log likelihood, in nats.

        No gradient of one flows into the other.
        """
        loss, metrics = super().loss(
            model, batch, key, epoch=epoch, num_examples=num_examples, **networks
        )
        guess_nll = -model.guess().log_prob(batch.targets).mean()
        return loss + guess_nll, {**metrics, "guess_nll": guess_nll}

    def score(self, metrics: dict[str, Any]) -> float:
        """Return the bound alone, at the weights of the loss."""
        return -float(metrics["loss"]) + float(metrics["guess_nll"])
