"""The evidence lower bound, its terms weighted, and the schedules of its weights."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from vae_jax.objectives.base import OBJECTIVES, Batch, Metrics, Objective, Scalar
from vae_jax.objectives.bounds import ElboTerms, by_layer, elbo_terms, rates_by_layer
from vae_jax.settings import Traced, flag, integer, name_of, one_of, register, traced


def warmup(epoch: Scalar, warmup_epochs: Traced, cycle_epochs: Traced) -> Scalar:
    """Return the weight of the KL: a linear ramp from 0 to 1 over `warmup_epochs`, or 1 if it is 0.

    Bowman et al. 2015 (arXiv 1511.06349, section 3.1). With `cycle_epochs` above 0 the ramp
    restarts after every cycle (Fu et al. 2019, arXiv 1903.10145).
    """
    # An infinite epoch is after any ramp and has no remainder.
    cyclic = jnp.asarray(cycle_epochs > 0) & jnp.isfinite(epoch)
    epoch = jnp.where(cyclic, epoch % jnp.where(cyclic, cycle_epochs, 1), epoch)
    return jnp.where(warmup_epochs > 0, jnp.minimum(epoch / jnp.maximum(warmup_epochs, 1e-6), 1), 1)


def warmup_problem(warmup_epochs: Traced, cycle_epochs: Traced) -> str | None:
    """Return why a warm-up cannot be; None if it can."""
    if cycle_epochs > 0 and (cycle_epochs < warmup_epochs or warmup_epochs == 0):
        return (
            f"objective.warmup_cycle_epochs={cycle_epochs} must be at least "
            f"objective.warmup_epochs={warmup_epochs}, and that above 0"
        )
    return None


def negative_elbo(
    terms: ElboTerms, *, distortion_weight: Traced, kl_weight: Traced, free_nats: Traced
) -> Scalar:
    """Return the weighted negative evidence lower bound, in nats per example.

    distortion_weight * distortion + kl_weight * sum_d max(free_nats, rate_d). The rate of each part
    of the KL, a latent dimension or a layer, is averaged over the batch before it is compared with
    its free nats (Kingma et al. 2016, arXiv 1606.04934, equation 15). `kl_weight` is the beta of
    Higgins et al. 2017. A KL that does not factorise over the dimensions has its free nats once.
    """
    distortion = -terms.log_likelihood.mean()
    rate_by_part = jnp.maximum(terms.kl.mean(axis=0), free_nats)
    return distortion_weight * distortion + kl_weight * rate_by_part.sum()


def has_normals(model: Any) -> bool:
    """Return True if a model with these settings has a normal posterior and a standard prior."""
    properties = ("has_normal_posterior", "has_standard_prior")
    return all(getattr(model, name, False) for name in properties)


def sampled_kl_problem(model: Any) -> str | None:
    """Return why `sampled_kl` has no effect on a model; None if it has."""
    properties = ("has_spherical_latents", "has_closed_kl")
    if has_normals(model) or any(getattr(model, name, False) for name in properties):
        return None
    return "objective.sampled_kl=True has no effect: this model's KL is always sampled; use False"


@register(OBJECTIVES, "elbo")
@dataclasses.dataclass(frozen=True)
class ELBO(Objective):
    """Evidence lower bound, its terms weighted (Kingma & Welling 2013; Higgins et al. 2017)."""

    beta: Traced = traced(1.0, "Weight of the KL; 1 is the evidence lower bound.", at_least=0.0)
    distortion_weight: Traced = traced(
        1.0, "Weight of the distortion; 0 leaves the KL alone.", at_least=0.0
    )
    warmup_epochs: Traced = traced(
        0.0, "Epochs over which the weight of the KL rises from 0; 0 is no warm-up.", at_least=0.0
    )
    warmup_cycle_epochs: Traced = traced(
        0.0, "Epochs after which that rise restarts; 0 is never.", at_least=0.0
    )
    free_nats: Traced = traced(
        0.0,
        "Nats of KL that a latent dimension, or a layer, may use, in the mean of a batch, at no "
        "cost.",
        at_least=0.0,
    )
    free_nats_per: str = one_of(
        "dimension", ["dimension", "layer"], "What has the free nats: a latent or a whole layer."
    )
    num_samples: int = integer(1, "Samples of the latents per image.", at_least=1)
    sampled_kl: bool = flag(False, "Estimate the KL by samples even if it has a closed form.")

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        problem = warmup_problem(self.warmup_epochs, self.warmup_cycle_epochs)
        if problem is not None:
            return problem
        if self.free_nats_per == "layer":
            if getattr(model, "num_layers", None) is None:
                return (
                    "objective.free_nats_per='layer' needs a KL that is a sum over stochastic "
                    f"layers, which model={name_of(model)!r} does not have; use 'dimension', or "
                    "model='top_down'"
                )
            if self.sampled_kl:
                return (
                    "objective.sampled_kl=True does not tell layers apart, which "
                    "objective.free_nats_per='layer' needs; use False"
                )
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
        """Return the weighted negative ELBO, and the unweighted terms as metrics."""
        del num_examples, networks
        terms = elbo_terms(
            model, *batch, key, num_samples=self.num_samples, sampled_kl=self.sampled_kl
        )
        ramp = warmup(epoch, self.warmup_epochs, self.warmup_cycle_epochs)
        per_layer = self.free_nats_per == "layer"
        loss = negative_elbo(
            terms._replace(kl=by_layer(terms.kl, model.layer_sizes)) if per_layer else terms,
            distortion_weight=self.distortion_weight,
            kl_weight=self.beta * ramp,
            free_nats=self.free_nats,
        )
        return loss, {**terms.means(), **rates_by_layer(model, terms)}
