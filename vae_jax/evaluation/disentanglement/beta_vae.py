"""The beta-VAE score: do differences of codes predict which factor two images share?"""

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from vae_jax.evaluation.disentanglement.encoded import DrawGroups


def mean_differences(
    draw_groups: DrawGroups,
    key: Key[Array, ""],
    shared: Int[np.ndarray, " points"],
    num_pairs: int,
) -> Float[np.ndarray, "points latents"]:
    """Return the mean of |z_1 - z_2| over pairs of images that share the value of one factor.

    Args:
      draw_groups: codes of images that share a factor.
      key: of the draws.
      shared: the factor that the pairs of each point share.
      num_pairs: pairs per point.
    """
    pairs = draw_groups(key, np.repeat(shared, num_pairs), 2)
    differences = np.abs(pairs[:, 0] - pairs[:, 1])
    return differences.reshape(len(shared), num_pairs, -1).mean(axis=1)


def beta_vae_score(
    draw_groups: DrawGroups,
    used: list[int],
    key: Key[Array, ""],
    *,
    num_train: int,
    num_test: int,
    num_pairs: int,
) -> float | None:
    """Return the accuracy of a linear classifier of the shared factor by the mean difference.

    Higgins et al. 2017 ("beta-VAE", section 3), with the differences averaged over pairs and
    logistic regression as in Locatello et al. 2019 (arXiv 1811.12359). Differences are
    standardised over the points, so that the regression's weak penalty treats latents of any scale
    alike. Every factor is shared in the same number of points, to within one.

    Perfect: 1, also where a factor is coded twice. Noise: chance, 1/F for F factors. The 45-degree
    rotation of two factors: chance.

    Args:
      draw_groups: codes of images that share a factor.
      used: indices of the factors with several values.
      key: of the draws.
      num_train: points the classifier learns from, at least as many as factors.
      num_test: points it is tested on.
      num_pairs: pairs of images per point.

    Returns:
      From 0 to 1; None where there is one factor only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(used) == 1:
        return None
    shared, test_shared = np.resize(used, num_train), np.resize(used, num_test)
    train_key, test_key = jax.random.split(key)
    differences = mean_differences(draw_groups, train_key, shared, num_pairs)
    test_differences = mean_differences(draw_groups, test_key, test_shared, num_pairs)
    # Differences are all positive: uncentred, the fit takes thousands of iterations instead of ten.
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(differences, shared)
    return float(classifier.score(test_differences, test_shared))
