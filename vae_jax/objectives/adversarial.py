"""The adversarial autoencoder (Makhzani et al. 2015, arXiv 1511.05644)."""

import dataclasses
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Key

from vae_jax.networks.discriminator import Discriminator
from vae_jax.objectives.base import OBJECTIVES, Batch, Metrics, Objective, Opponent, Scalar
from vae_jax.objectives.bounds import ElboTerms, draw_noise, sampled_kl_parts
from vae_jax.objectives.codes import draw_codes
from vae_jax.objectives.games import PlayerSettings, discriminate, generator_loss
from vae_jax.objectives.reconstruction import untrained_codes
from vae_jax.settings import Traced, register, section, sizes, traced


@dataclasses.dataclass(frozen=True)
class CodeDiscriminatorSettings(PlayerSettings):
    """The discriminator of codes, and its Adam."""

    widths: tuple[int, ...] = sizes((400, 400), "Hidden layers.")


@register(OBJECTIVES, "adversarial")
@dataclasses.dataclass(frozen=True)
class AdversarialAutoencoder(Objective):
    """Distortion, and codes that a discriminator takes for draws of the prior (Makhzani 2015).

    distortion - weight E_q(z)[log D(z)], where D is the probability that z is a draw of p(z). No KL
    is computed for the loss; in its place the game lets q(z) match p(z). The prior stays as it
    starts: no player trains it. A model without a posterior has one code per image, and N(0, I) for
    p(z), as most of the paper's.
    """

    needs_density: ClassVar[bool] = False
    matches_codes: ClassVar[bool] = True
    measures_gradients: ClassVar[bool] = True

    weight: Traced = traced(1.0, "Weight of the encoder's loss in the game.", at_least=0.0)
    discriminator: CodeDiscriminatorSettings = section(
        CodeDiscriminatorSettings, "The discriminator and its optimiser."
    )

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        return untrained_codes(self, model)

    def score(self, metrics: dict[str, Any]) -> float:
        """Return the negative distortion, since the discriminator decides on the rest."""
        return -float(metrics["distortion"])

    def networks(self, model: Any, form: Any, *, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        """Return the discriminator with fresh parameters."""
        del form
        widths = list(self.discriminator.widths)
        return {"discriminator": Discriminator(model.latent_size, widths, rngs=rngs)}

    def opponents(self) -> tuple[Opponent, ...]:
        """Return the discriminator's loss and optimiser."""
        return (self.discriminator.opponent("discriminator", self._discriminate),)

    def loss(
        self,
        model: Any,
        batch: Batch,
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: Any,
    ) -> tuple[Scalar, Metrics]:
        """Return the loss and the encoder's loss in the game; terms of the ELBO if there is one."""
        del epoch, num_examples
        if model.has_density:
            posterior = model.encode(batch.inputs)
            draw = posterior.draw(draw_noise(model, 1, len(batch.inputs), key))
            kl = sampled_kl_parts(posterior, model.prior, *draw)[0]
            codes = draw.latents[0]
            means = ElboTerms(model.decode(codes).log_prob(batch.targets), kl).means()
        else:
            codes = model.latents(batch.inputs)
            means = {"distortion": -model.decode(codes).log_prob(batch.targets).mean()}
        fooling = generator_loss(networks["discriminator"](codes))
        return means["distortion"] + self.weight * fooling, {**means, "generator_loss": fooling}

    def _discriminate(
        self,
        model: Any,
        batches: tuple[Batch],
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: Any,
    ) -> tuple[Scalar, Metrics]:
        """Return the discriminator's loss on draws of the prior and codes of a batch."""
        del epoch, num_examples
        codes, drawn = draw_codes(model, batches[0].inputs, key)
        log_ratio = networks["discriminator"]
        return discriminate(log_ratio(drawn), log_ratio(codes))
