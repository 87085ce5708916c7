"""The test metrics of a model of images, for its summary."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.data.pixels import Prepare
from vae_jax.evaluation import collapse, likelihood
from vae_jax.models.likelihoods import nats_of
from vae_jax.trained import TrainedModel

_BATCH_SIZE = 1000


def prepare_targets(
    prepare: Prepare, images: np.ndarray, key: Key[Array, ""]
) -> Float[np.ndarray, "examples height width channels"]:
    """Return the images as the model sees them, binarised if it was trained so, one draw each."""
    compiled = jax.jit(lambda keys, batch: likelihood.prepare_each(prepare, keys, batch))
    parts = []
    for first in range(0, len(images), _BATCH_SIZE):
        batch = images[first : first + _BATCH_SIZE]
        keys = likelihood.image_keys(key, first, len(batch))
        parts.append(np.asarray(compiled(keys, batch)))
    return np.concatenate(parts)


def reconstruction_error(
    model: TrainedModel,
    targets: Float[np.ndarray, "examples height width channels"],
    condition: np.ndarray | None = None,
) -> float:
    """Return the mean squared error of the reconstructions per seen pixel, or cell of a row.

    Numbers of a row are standardised, and other values count one where they are wrong. Columns that
    are conditions do not count.
    """
    reconstructed = model.reconstruct(targets, condition)
    if model.columns is None:
        squares = np.square(reconstructed - targets)
        return float(np.nanmean(squares) if model.may_miss_pixels else squares.mean())
    return float(np.nanmean(model.squared_errors(reconstructed, targets)))


def distortion(
    model: TrainedModel, targets: Float[np.ndarray, "examples height width channels"]
) -> float:
    """Return the mean of -log p(x|z) in nats, z the code of each image."""
    return float(-model.reconstruction_log_likelihood(targets).mean(dtype=np.float64))


def code_metrics(
    model: TrainedModel, targets: Float[np.ndarray, "examples height width channels"]
) -> dict[str, float]:
    """Return the perplexity of all images' codes, and the share of codes that they use."""
    num_codes = model.num_codes
    assert num_codes is not None
    use = np.bincount(model.encode(targets).ravel(), minlength=num_codes)
    used = use[use > 0] / use.sum()
    entropy = -(used * np.log(used)).sum()
    return {"perplexity": float(np.exp(entropy)), "codes_used": len(used) / num_codes}


def vae_metrics(
    model: TrainedModel,
    targets: Float[np.ndarray, "examples height width channels"],
    key: Key[Array, ""],
    *,
    num_samples: int,
    batch_size: int,
    condition: np.ndarray | None = None,
    on_batch: Callable[[int], None] = lambda num_images: None,
) -> dict[str, Any]:
    """Return bounds, their terms and the use of the latents, averaged over the test set.

    Args:
      model: the trained model.
      targets: the test images as the model sees them.
      key: of the samples.
      num_samples: importance samples per image.
      batch_size: images per compiled call.
      condition: of each image, for a model of p(x|c): bounds are of log p(x|c), and where the prior
        depends on c, there is no aggregate prior to compare with.
      on_batch: called with the number of images done.

    Returns:
      "elbo" and "iwae_bound" with standard errors over images, "rate" and "distortion", in nats.
      "nats_of" says whether they are of a log probability, a log density or a cross-entropy.
      "bits_per_dim" of the ELBO, if it is a log probability, since only then it is a code length,
      and no pixel may be missing.
      "active_units", None where the posterior means are single samples, or where single latents
      have no meaning of their own.
      "kl_by_dimension" in nats and "collapsed_share", None where the KL is not a sum over
      dimensions, and "rate_by_layer", from the layer nearest to the image up, None also with a
      single layer. "mutual_information" of images and latents and "aggregate_kl" of the aggregate
      posterior from the prior, in nats, None where the posterior has no density at given latents.
      The mutual information is one of N test images and at most "mutual_information_cap", log N:
      "mutual_information_at_cap" is true where it is too close to log N to be informative: the
      aggregate KL and the total correlation then describe N separate peaks, and the mutual
      information lies between it and "mutual_information_upper_bound", which has no cap.
      "total_correlation" of the aggregate posterior, None where the posterior is not a diagonal
      normal. "dimensionwise_kl", the sum of the KLs of its dimensions from the prior's, None also
      where the prior is not standard. The rate is the sum of mutual information, total correlation
      and dimension-wise KL.
    """
    samples_key, information_key = key, jax.random.fold_in(key, len(targets))
    estimates = likelihood.estimate(
        model.graphdef,
        model.state,
        targets,
        samples_key,
        num_samples=num_samples,
        batch_size=batch_size,
        condition=condition,
        on_batch=on_batch,
    )

    def mean(values: np.ndarray) -> float:
        return float(values.mean(dtype=np.float64))

    def standard_error(values: np.ndarray) -> float | None:
        if len(values) < 2:
            return None
        return float(values.std(dtype=np.float64, ddof=1) / np.sqrt(len(values)))

    elbo, kl = np.asarray(estimates.elbo), np.asarray(estimates.kl)
    iwae_bound = np.asarray(estimates.iwae_bound)
    metrics: dict[str, Any] = {
        "elbo": mean(elbo),
        "elbo_standard_error": standard_error(elbo),
        "rate": mean(kl.sum(axis=-1)),
        "distortion": mean(np.asarray(estimates.distortion)),
        "iwae_bound": mean(iwae_bound),
        "iwae_bound_standard_error": standard_error(iwae_bound),
        "num_samples": num_samples,
        "num_examples": len(targets),
        "active_units": None
        if model.has_spherical_latents
        else collapse.active_units(
            np.asarray(estimates.posterior_mean), np.asarray(estimates.posterior_mean_variance)
        ),
        "kl_by_dimension": None,
        "collapsed_share": None,
        "rate_by_layer": None,
        "mutual_information": None,
        "mutual_information_cap": float(np.log(len(targets))),
        "mutual_information_at_cap": None,
        "mutual_information_upper_bound": None,
        "aggregate_kl": None,
        "total_correlation": None,
        "dimensionwise_kl": None,
    }
    if kl.shape[1] == model.latent_size:
        metrics["kl_by_dimension"] = [float(nats) for nats in kl.mean(axis=0)]
        metrics["collapsed_share"] = collapse.collapsed_share(kl.mean(axis=0))
        if len(model.layer_sizes) > 1:
            starts = np.cumsum((0, *model.layer_sizes[:-1]))
            rates = np.add.reduceat(kl.mean(axis=0, dtype=np.float64), starts)
            metrics["rate_by_layer"] = rates.tolist()
    upper_bounds = [metrics["rate"]]
    if model.has_normal_posterior:
        posterior = model.posterior(targets, condition)
        aggregate = collapse.aggregate_posterior(posterior, information_key)
        metrics["mutual_information"] = aggregate.mutual_information
        metrics["total_correlation"] = aggregate.total_correlation
        upper_bounds.append(aggregate.leave_one_out)
        if not model.has_conditional_prior:
            metrics["aggregate_kl"] = metrics["rate"] - aggregate.mutual_information
        if model.has_standard_prior:
            metrics["dimensionwise_kl"] = metrics["aggregate_kl"] - aggregate.total_correlation
    elif model.has_posterior_density and condition is None:
        metrics["mutual_information"] = collapse.mutual_information(
            model.graphdef, model.state, targets, information_key
        )
        metrics["aggregate_kl"] = metrics["rate"] - metrics["mutual_information"]
    if metrics["mutual_information"] is not None:
        metrics["mutual_information_at_cap"] = collapse.is_at_cap(
            metrics["mutual_information"], len(targets)
        )
        metrics["mutual_information_upper_bound"] = min(filter(np.isfinite, upper_bounds))
    metrics["nats_of"] = nats_of(model.likelihood, targets)
    # Where pixels may be missing, images have different numbers of values.
    if metrics["nats_of"] == "log probability" and not model.may_miss_pixels:
        bits = -metrics["elbo"] / np.log(2)
        metrics["bits_per_dim"] = float(bits / model.num_values)
    return metrics
