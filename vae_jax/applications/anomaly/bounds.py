"""Scores that are bounds on log p(x), or their terms, all from the same samples."""

import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.evaluation import likelihood
from vae_jax.trained import TrainedModel


def bound_scores(
    model: TrainedModel,
    images: Float[np.ndarray, "images height width channels"],
    key: Key[Array, ""],
    *,
    num_samples: int,
) -> dict[str, Float[np.ndarray, " images"]]:
    """Return minus each bound, and distortion and rate, in nats.

    Bishop 1994 takes a low density as the sign of an outlier; Nalisnick et al. 2018 (arXiv
    1810.09136) show that this fails between some data sets.

    Args:
      model: a VAE.
      images: as the model sees them.
      key: of the samples.
      num_samples: posterior samples per image.

    Returns:
      "elbo", distortion + rate; "iwae_bound", -log mean_k p(x, z_k) / q(z_k|x); "distortion",
      E[-log p(x|z)]; "rate", KL(q(z|x) || p(z)).
    """
    estimates = likelihood.estimate(
        model.graphdef,
        model.state,
        images,
        key,
        num_samples=num_samples,
        batch_size=model.evaluation.batch_size,
        condition=images if model.condition_reads == "images" else None,
    )
    return {
        "elbo": -np.asarray(estimates.elbo),
        "iwae_bound": -np.asarray(estimates.iwae_bound),
        "distortion": np.asarray(estimates.distortion),
        "rate": np.asarray(estimates.kl).sum(axis=-1),
    }


def typicality(
    scores: Float[np.ndarray, " images"], training_scores: Float[np.ndarray, " known"]
) -> Float[np.ndarray, " images"]:
    """Return |-log p(x) - H| in nats, with H the mean of -log p over training images.

    The test of Nalisnick et al. 2019 (arXiv 1906.02994, section 4) for a batch of one image, with
    minus the ELBO in place of -log p(x).

    Args:
      scores: minus the ELBO of each image.
      training_scores: the same of training images.
    """
    return np.abs(scores - training_scores.mean(dtype=np.float64))
