"""Beta-TCVAE (Chen et al. 2018, arXiv 1802.04942): total correlation from the minibatch."""

import dataclasses
from typing import Any, get_args

from jaxtyping import Array, Key

from vae_jax.objectives.base import OBJECTIVES, Metrics, Scalar
from vae_jax.objectives.disentangling import Encoded, Penalized
from vae_jax.objectives.kl_decomposition import Estimator, decompose, log_importance_weights
from vae_jax.settings import Traced, one_of, register, traced


@register(OBJECTIVES, "tc")
@dataclasses.dataclass(frozen=True)
class BetaTCVAE(Penalized):
    """ELBO with weighted total correlation (Chen et al. 2018, arXiv 1802.04942, equation 4)."""

    beta: Traced = traced(1.0, "Weight of the total correlation.", at_least=0.0)
    estimator: Estimator = one_of(
        "weighted", get_args(Estimator), "Minibatch-weighted or minibatch-stratified sampling."
    )

    def penalty(
        self, encoded: Encoded, key: Key[Array, ""], num_examples: int, **networks: Any
    ) -> tuple[Scalar, Metrics]:
        """Return (beta - 1) times the total correlation, and the parts of the KL as metrics.

        The KL of the ELBO, in closed form, already has all three parts at weight 1.
        """
        del key, networks
        log_weights = log_importance_weights(self.estimator, len(encoded.latents), num_examples)
        parts = decompose(encoded.posterior, encoded.prior, encoded.latents, log_weights)
        means = {name: values.mean() for name, values in parts._asdict().items()}
        return (self.beta - 1) * means["total_correlation"], means
