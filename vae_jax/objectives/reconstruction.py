"""The reconstruction loss of models without a posterior."""

import dataclasses
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Key

from vae_jax.models.interfaces import Model
from vae_jax.objectives.base import OBJECTIVES, Batch, Images, Metrics, Objective, Scalar
from vae_jax.settings import name_of, register


def autoencoder_loss(
    model: Model, inputs: Images, targets: Images
) -> tuple[Scalar, dict[str, Scalar]]:
    """Return the distortion -log p(x|z) of a deterministic code z, also as a metric."""
    distortion = -model.decode(model.latents(inputs)).log_prob(targets).mean()
    return distortion, {"distortion": distortion}


def deterministic_problem(objective: Objective, model: Any) -> str | None:
    """Return why an objective of deterministic codes cannot train a model; None if it can."""
    if model.has_density:
        return (
            f"objective={name_of(objective)!r} leaves out the posterior and the prior of "
            f"model={name_of(model)!r}; use 'elbo', or model='autoencoder'"
        )
    return untrained_codes(objective, model)


def untrained_codes(objective: Objective, model: Any) -> str | None:
    """Return why an objective without terms for a codebook cannot train a model; None if it can."""
    if not getattr(model, "has_codes", False):
        return None
    return (
        f"objective={name_of(objective)!r} does not train the codes of model={name_of(model)!r}; "
        f"use {model.default_objective!r}"
    )


@register(OBJECTIVES, "reconstruction")
@dataclasses.dataclass(frozen=True)
class Reconstruction(Objective):
    """Distortion -log p(x|z) of a deterministic code z."""

    needs_density: ClassVar[bool] = False

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        return deterministic_problem(self, model)

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
        """Return the distortion, also as a metric."""
        del key, epoch, num_examples, networks
        return autoencoder_loss(model, *batch)
