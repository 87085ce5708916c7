"""The FactorVAE score: does the latent that varies least predict which factor is fixed?"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from vae_jax.evaluation.disentanglement.encoded import DrawGroups

# Latents whose posterior mean deviates less have collapsed onto the prior, whose deviation is 1.
# Locatello et al. 2019, whose code this follows, take the deviation, too, and not the variance.
DEVIATION_THRESHOLD = 0.05


class FactorVaeScore(NamedTuple):
    """The score and what it is computed from.

    Attributes:
      score: accuracy of the majority vote, from 0 to 1; None where there is one factor only.
      votes: training groups in which this latent varied least and that factor was fixed.
    """

    score: float | None
    votes: Int[np.ndarray, "latents used"]


def least_varying(
    groups: Float[np.ndarray, "groups group_size latents"],
    variance: Float[np.ndarray, " latents"],
) -> Int[np.ndarray, " groups"]:
    """Return the latent whose variance within the group is the smallest share of its variance.

    Latents whose deviation is below `DEVIATION_THRESHOLD` are left out; there must be others.
    """
    kept = np.sqrt(variance) >= DEVIATION_THRESHOLD
    shares = groups.var(axis=1, dtype=np.float64) / np.where(kept, variance, 1)
    return np.where(kept, shares, np.inf).argmin(axis=1)


def factor_vae_score(
    draw_groups: DrawGroups,
    used: list[int],
    key: Key[Array, ""],
    *,
    variance: Float[np.ndarray, " latents"],
    num_train: int,
    num_test: int,
    group_size: int,
) -> FactorVaeScore:
    """Return the accuracy of a majority vote by the latent that varies least in a group.

    One factor is fixed within a group (Kim & Mnih 2018, arXiv 1802.05983, section 4). Every factor
    is fixed in the same number of groups, to within one. Perfect: 1, also where a factor is coded
    twice. Noise: chance, 1/F for F factors. The 45-degree rotation of two factors: chance. No
    latent that varies enough: 0.

    Args:
      draw_groups: codes of images that share a factor.
      used: indices of the factors with several values, in order.
      key: of the draws.
      variance: of each latent over the data.
      num_train: groups that vote, at least as many as factors.
      num_test: groups that the vote is tested on.
      group_size: images per group, at least 2.
    """
    votes = np.zeros((len(variance), len(used)), np.int64)
    if len(used) == 1:
        return FactorVaeScore(None, votes)
    if (np.sqrt(variance) < DEVIATION_THRESHOLD).all():
        return FactorVaeScore(0.0, votes)
    fixed, test_fixed = np.resize(used, num_train), np.resize(used, num_test)
    train_key, test_key = jax.random.split(key)

    def least(key: Key[Array, ""], fixed: Int[np.ndarray, " groups"]) -> np.ndarray:
        return least_varying(draw_groups(key, fixed, group_size), variance)

    np.add.at(votes, (least(train_key, fixed), np.searchsorted(used, fixed)), 1)
    predicted = np.array(used)[votes.argmax(axis=1)][least(test_key, test_fixed)]
    return FactorVaeScore(float((predicted == test_fixed).mean()), votes)
