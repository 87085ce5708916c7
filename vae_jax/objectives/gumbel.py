"""Gumbel-softmax (Jang et al. 2016, arXiv 1611.01144): the ELBO of relaxed categorical latents."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.distributions import kl_by_group
from vae_jax.objectives.base import OBJECTIVES, Batch, Metrics, Objective, Scalar
from vae_jax.objectives.bounds import ElboTerms, draw_noise
from vae_jax.settings import Traced, flag, name_of, register, traced

Latents = Float[Array, "batch latents"]


def annealed_temperature(epoch: Scalar, start: Traced, decay_rate: Traced, least: Traced) -> Scalar:
    """Return max(least, start exp(-decay_rate epoch)) (Jang et al. 2016, section 4)."""
    # After infinitely many epochs, also at rate 0.
    factor = jnp.where(jnp.isfinite(epoch), jnp.exp(-decay_rate * epoch), decay_rate == 0)
    factor = jnp.where(decay_rate == 0, 1, factor)
    return jnp.maximum(least, start * factor)


def straight_through(exact: Latents, relaxed: Latents) -> Latents:
    """Return the exact draws, with the gradient of the relaxed ones (Jang et al. 2016, 2.2)."""
    return jax.lax.stop_gradient(exact) + (relaxed - jax.lax.stop_gradient(relaxed))


@register(OBJECTIVES, "gumbel")
@dataclasses.dataclass(frozen=True)
class GumbelSoftmax(Objective):
    """ELBO of categorical latents that are relaxed by Gumbel noise (Jang et al. 2016).

    The KL is that of the categorical variables, in closed form. In training the decoder sees
    relaxed draws, with which "elbo" and "distortion" are no bound; straight-through draws are
    exact. In validation all draws are exact.
    """

    needs_differentiable_draws: ClassVar[bool] = False

    temperature: Traced = traced(1.0, "Temperature at the start.", above=0.0)
    decay_rate: Traced = traced(
        0.0, "Rate per epoch at which the temperature decays; 0 is never.", at_least=0.0
    )
    least_temperature: Traced = traced(0.5, "Temperature below which it does not fall.", above=0.0)
    beta: Traced = traced(1.0, "Weight of the KL; 1 is the evidence lower bound.", at_least=0.0)
    straight_through: bool = flag(
        False, "Let the decoder see exact draws, with the gradient of relaxed ones."
    )

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        has_codes = getattr(model, "has_codes", False)
        if has_codes or not getattr(model, "has_discrete_latents", False):
            return (
                f"objective='gumbel' relaxes categorical latents, which model={name_of(model)!r} "
                f"does not have; use {getattr(model, 'default_objective', 'elbo')!r}, or "
                "model='categorical'"
            )
        if self.least_temperature > self.temperature:
            return (
                f"objective.least_temperature={self.least_temperature:g} must be at most "
                f"objective.temperature={self.temperature:g}"
            )
        return None

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
        """Return the negative ELBO, its terms and the temperature as metrics."""
        del num_examples, networks
        posterior = model.encode(batch.inputs)
        temperature = annealed_temperature(
            epoch, self.temperature, self.decay_rate, self.least_temperature
        )
        noise = draw_noise(model, 1, len(batch.inputs), key)[0]
        exact, relaxed = posterior.draw(noise).latents, posterior.relaxed(noise, temperature)
        latents = straight_through(exact, relaxed) if self.straight_through else relaxed
        latents = jnp.where(jnp.isfinite(epoch), latents, exact)
        terms = ElboTerms(
            model.decode(latents).log_prob(batch.targets), kl_by_group(posterior, model.prior)
        )
        means = terms.means()
        loss = means["distortion"] + self.beta * means["rate"]
        return loss, {**means, "temperature": temperature}
