"""The common part of the disentangling objectives: a batch encoded by independent normals.

All of them compare the examples of a batch with each other: none is a mean over examples, so none
can be computed on parts of a batch.
"""

import abc
from typing import Any, ClassVar, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.distributions import Normal, kl_by_dimension
from vae_jax.models.interfaces import DensityModel
from vae_jax.objectives.base import Batch, Images, Metrics, Objective, Scalar
from vae_jax.objectives.bounds import ElboTerms
from vae_jax.objectives.elbo import has_normals
from vae_jax.settings import name_of

Latents = Float[Array, "batch latents"]


class Encoded(NamedTuple):
    """The prior, the posteriors of a batch, a draw of each, and the terms of the bound."""

    prior: Normal
    posterior: Normal
    latents: Latents
    terms: ElboTerms


def encode_normal(
    model: DensityModel, inputs: Images, targets: Images, key: Key[Array, ""]
) -> Encoded:
    """Return the terms of `elbo_terms` by one draw, for a normal posterior and prior.

    Raises:
      TypeError: the posterior or the prior is not normal.
    """
    posterior, prior = model.encode(inputs), model.prior
    if not (isinstance(posterior, Normal) and isinstance(prior, Normal)):
        raise TypeError("the posterior and the prior must be independent normals")
    latents = posterior.sample(key)
    log_likelihood = model.decode(latents).log_prob(targets)
    terms = ElboTerms(log_likelihood, kl_by_dimension(posterior, prior))
    return Encoded(prior, posterior, latents, terms)


class Penalized(Objective):
    """The negative ELBO and a penalty on the codes of a batch."""

    compares_examples: ClassVar[bool] = True
    least_batch: ClassVar[int] = 2

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        if has_normals(model):
            return None
        return (
            f"objective={name_of(self)!r} needs independent normals; use model='vae' with "
            "posterior='diagonal' and prior='standard'"
        )

    @abc.abstractmethod
    def penalty(
        self, encoded: Encoded, key: Key[Array, ""], num_examples: int, **networks: Any
    ) -> tuple[Scalar, Metrics]:
        """Return the penalty in nats, and its metrics."""

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
        """Return the penalised negative ELBO, and its terms as metrics."""
        del epoch
        sample_key, penalty_key = jax.random.split(key)
        encoded = encode_normal(model, *batch, sample_key)
        added, metrics = self.penalty(encoded, penalty_key, num_examples, **networks)
        means = encoded.terms.means()
        return added - means["elbo"], {**means, **metrics}
