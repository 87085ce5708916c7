"""The loss of a prior over codes: their negative log likelihood."""

import dataclasses
import math
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Key

from vae_jax.objectives.base import OBJECTIVES, Batch, Metrics, Objective, Scalar
from vae_jax.objectives.bounds import ElboTerms
from vae_jax.settings import name_of, register


@register(OBJECTIVES, "code_likelihood")
@dataclasses.dataclass(frozen=True)
class CodeLikelihood(Objective):
    """-log p(c(x)), the rate of a prior over codes (van den Oord et al. 2017, section 3.3).

    It is the negative evidence lower bound without the distortion, which a prior cannot change.
    """

    needs_differentiable_draws: ClassVar[bool] = False

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        if getattr(model, "has_codes", False):
            return None
        return (
            f"objective={name_of(self)!r} needs a model with a prior over codes, which "
            f"model={name_of(model)!r} does not have; use "
            f"{getattr(model, 'default_objective', 'elbo')!r}, or model='code_prior'"
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
        """Return the rate, and the terms of the bound and the bits per code as metrics."""
        del key, epoch, num_examples, networks
        codes = model.codes(batch.inputs)
        log_likelihood = model.decode(model.embed(codes)).log_prob(batch.targets)
        terms = ElboTerms(log_likelihood, -model.prior.log_prob_of_codes(codes)[:, None])
        means = terms.means()
        bits = means["rate"] / (math.prod(model.code_shape) * math.log(2))
        return means["rate"], {**means, "bits_per_code": bits}
