"""All metrics of disentanglement of one model."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from vae_jax.data.simulators import Simulator
from vae_jax.distributions import Normal
from vae_jax.errors import UserError
from vae_jax.evaluation.disentanglement import unsupervised, usable
from vae_jax.evaluation.disentanglement.beta_vae import beta_vae_score
from vae_jax.evaluation.disentanglement.binned_information import NUM_BINS
from vae_jax.evaluation.disentanglement.dci import dci
from vae_jax.evaluation.disentanglement.encoded import (
    DrawGroups,
    Encode,
    choose_groups,
    encode_groups,
    encode_points,
)
from vae_jax.evaluation.disentanglement.factor_vae import factor_vae_score
from vae_jax.evaluation.disentanglement.irs import interventional_robustness
from vae_jax.evaluation.disentanglement.mig import mutual_information_gap
from vae_jax.evaluation.disentanglement.modularity import modularity
from vae_jax.evaluation.disentanglement.sap import separated_attribute_predictability


class MetricSizes(NamedTuple):
    """Numbers of draws for the metrics; the defaults encode 368,000 images.

    Attributes:
      num_train: points that MIG, modularity, IRS and the unsupervised metrics are computed from,
        and that SAP and DCI are trained on.
      num_test: points that SAP and DCI are tested on.
      num_bins: per latent.
      beta_train: points, of `num_pairs` pairs each, that the beta-VAE score's classifier is
        trained on.
      beta_test: points it is tested on; 500 give the score to within 0.02.
      num_pairs: pairs of images per point.
      factor_train: groups of images that vote in the FactorVAE score.
      factor_test: groups that the vote is tested on.
      group_size: images per group.
    """

    num_train: int = 10_000
    num_test: int = 5_000
    num_bins: int = NUM_BINS
    beta_train: int = 1_000
    beta_test: int = 500
    num_pairs: int = 64
    factor_train: int = 1_500
    factor_test: int = 1_000
    group_size: int = 64


# Locatello et al. 2019 (arXiv 1811.12359): 2.9 million images.
PAPER_SIZES = MetricSizes(
    beta_train=10_000, beta_test=5_000, factor_train=10_000, factor_test=5_000
)


def _require_sizes(sizes: MetricSizes, num_factors: int) -> None:
    least = dict.fromkeys(sizes._fields, 1) | {
        "num_train": max(2, sizes.num_bins),
        "group_size": 2,
        "beta_train": num_factors,
        "factor_train": num_factors,
    }
    for field, size in sizes._asdict().items():
        if size < least[field]:
            raise UserError(
                f"{field}={size} is too few for {num_factors} factors and num_bins="
                f"{sizes.num_bins}; use at least {least[field]}"
            )


def disentanglement_metrics(
    encode: Encode,
    simulator: Simulator,
    key: Key[Array, ""],
    sizes: MetricSizes,
    *,
    reuse_points: bool = False,
    posterior: Callable[[np.ndarray], Normal] | None = None,
) -> dict[str, Any]:
    """Return the metrics of one model and the matrices they are made of.

    Factors with a single value are left out.

    Args:
      encode: from images as stored to posterior means, NumPy in and out.
      simulator: draws the images.
      key: of all draws.
      sizes: numbers of draws.
      reuse_points: choose the groups of the beta-VAE and FactorVAE scores among the training points
        instead of drawing images for them, for encoders that are slow: 16,000 images instead of
        368,000 with the default sizes, or of 2.9 million with those of the paper.
      posterior: q(z|x) of images, for the metrics of samples.

    Returns:
      "factors", the names of those used;
      "beta_vae_score", "factor_vae_score", "mig", "sap", "dci_disentanglement",
      "dci_completeness", "dci_informativeness", "modularity" and "irs", from 0 to 1;
      of the means "gaussian_total_correlation" (nats), "gaussian_wasserstein_correlation" and
      "average_mutual_information" (nats), and "sampled_gaussian_total_correlation" and
      "sampled_gaussian_wasserstein_correlation" of samples;
      as lists with a row per latent and a column per factor, "mutual_information_matrix" (nats),
      "sap_accuracy_matrix", "dci_importance_matrix", "irs_matrix" and "factor_vae_votes".
      A metric that is not defined is None, as with one factor or latent only, and those of samples
      without a posterior.

    Raises:
      UserError: no factor with several values, sizes too small, codes that are not finite.
    """
    used = usable.several_valued(simulator.sizes)
    _require_sizes(sizes, len(used))
    points_key, trees_key, beta_key, factor_key = jax.random.split(key, 4)
    num_points = sizes.num_train + sizes.num_test
    all_codes, all_factors = encode_points(encode, simulator, points_key, num_points)
    codes, test_codes = np.split(all_codes, [sizes.num_train])
    factors, test_factors = np.split(all_factors[:, used], [sizes.num_train])

    gap = mutual_information_gap(codes, factors, num_bins=sizes.num_bins)
    predictability = separated_attribute_predictability(codes, factors, test_codes, test_factors)
    seed = int(jax.random.randint(trees_key, (), 0, np.iinfo(np.int32).max))
    trees = dci(codes, factors, test_codes, test_factors, seed=seed)
    robustness = interventional_robustness(codes, factors)
    covariance = unsupervised.covariance(codes)
    draw_groups: DrawGroups = (
        functools.partial(choose_groups, codes, all_factors[: sizes.num_train])
        if reuse_points
        else functools.partial(encode_groups, encode, simulator)
    )
    vote = factor_vae_score(
        draw_groups,
        used,
        factor_key,
        variance=np.diag(covariance),
        num_train=sizes.factor_train,
        num_test=sizes.factor_test,
        group_size=sizes.group_size,
    )
    metrics: dict[str, Any] = {
        "factors": [simulator.names[index] for index in used],
        "beta_vae_score": beta_vae_score(
            draw_groups,
            used,
            beta_key,
            num_train=sizes.beta_train,
            num_test=sizes.beta_test,
            num_pairs=sizes.num_pairs,
        ),
        "factor_vae_score": vote.score,
        "mig": gap.score,
        "sap": predictability.score,
        "dci_disentanglement": trees.disentanglement,
        "dci_completeness": trees.completeness,
        "dci_informativeness": trees.informativeness,
        "modularity": modularity(gap.information),
        "irs": robustness.score,
        "gaussian_total_correlation": unsupervised.gaussian_total_correlation(covariance),
        "gaussian_wasserstein_correlation": unsupervised.gaussian_wasserstein_correlation(
            covariance
        ),
        "average_mutual_information": unsupervised.average_mutual_information(
            codes, num_bins=sizes.num_bins
        ),
        "sampled_gaussian_total_correlation": None,
        "sampled_gaussian_wasserstein_correlation": None,
        "mutual_information_matrix": gap.information.tolist(),
        "sap_accuracy_matrix": predictability.accuracy.tolist(),
        "dci_importance_matrix": trees.importance.tolist(),
        "irs_matrix": robustness.robustness.tolist(),
        "factor_vae_votes": vote.votes.tolist(),
    }
    if posterior is not None:
        # The same key draws the same images as above.
        scales, _ = encode_points(
            lambda images: np.exp(posterior(images).log_scale),
            simulator,
            points_key,
            num_points,
        )
        sampled = unsupervised.sample_covariance(codes, scales[: sizes.num_train])
        metrics["sampled_gaussian_total_correlation"] = unsupervised.gaussian_total_correlation(
            sampled
        )
        metrics["sampled_gaussian_wasserstein_correlation"] = (
            unsupervised.gaussian_wasserstein_correlation(sampled)
        )
    return metrics
