"""The posterior given any subset of the modalities, from the posteriors given single ones.

Every encoder gives a factor N(z; m_i, s_i^2), and the expert of a modality is

    q(z|x_i) = N(z; m_i, s_i^2) p(z) / constant,   p(z) = N(z; 0, I),

the convention of Wu & Goodman 2018 (arXiv 1802.05335, section 2.2). The product over a subset S
then has the prior as a factor once:

    q(z|x_S) = p(z) prod_{i in S} N(z; m_i, s_i^2) / constant
    precision = 1 + sum_{i in S} 1 / s_i^2,   mean = sum_{i in S} m_i / s_i^2 / precision.

Without modalities it is the prior, and with a single one it is that modality's expert. Mixtures are
uniform over subsets of the present modalities, and have the same two properties.
"""

import itertools
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from vae_jax.distributions import Normal, SubsetMixture

# product: of all experts (MVAE, Wu & Goodman 2018, arXiv 1802.05335); mixture: of the experts
# (MMVAE, Shi et al. 2019, arXiv 1911.03393); mixture_of_products: of the products over all subsets
# (MoPoE, Sutter et al. 2021, arXiv 2105.02470); joint: an encoder of all modalities beside those of
# single ones (JMVAE, Suzuki et al. 2016, arXiv 1611.01891).
JointPosterior = Literal["product", "mixture", "mixture_of_products", "joint"]
JOINT_POSTERIORS: tuple[str, ...] = get_args(JointPosterior)

Present = Bool[Array, "*batch modalities"]


def product_of_experts(
    factors: Normal, members: Bool[Array, "*subsets batch modalities"]
) -> Normal:
    """Return p(z) times the factors of some modalities, normalised.

    Factors outside an example's subset have no influence and exactly no gradient.

    Args:
      factors: the factor of each modality, `[modalities, batch, latents]`.
      members: a mask of the modalities in each example's product.

    Returns:
      `[*subsets, batch, latents]`.
    """
    is_member = jnp.moveaxis(members, -1, 0)[..., None]
    shape = (-1, *(1,) * (members.ndim - 2), *factors.mean.shape[1:])
    means, log_scales = (x.reshape(shape) for x in (factors.mean, factors.log_scale))
    precisions = jnp.where(is_member, jnp.exp(-2 * log_scales), 0)
    total = precisions.sum(axis=0)
    weighted = (precisions * jnp.where(is_member, means, 0)).sum(axis=0)
    return Normal(weighted / (1 + total), -0.5 * jnp.log1p(total))


def subsets_of(kind: JointPosterior, num_modalities: int) -> Bool[np.ndarray, "subsets modalities"]:
    """Return masks of the subsets whose products a mixture has; the first is empty, the prior."""
    if kind == "mixture":
        singles = np.eye(num_modalities, dtype=bool)
        return np.concatenate([np.zeros((1, num_modalities), bool), singles])
    choices = itertools.product([False, True], repeat=num_modalities)
    return np.array(list(choices))


def mixture_over_subsets(
    factors: Normal, present: Present, subsets: Bool[np.ndarray, "subsets modalities"]
) -> SubsetMixture:
    """Return the uniform mixture of the products over subsets of an example's modalities.

    Args:
      factors: the factor of each modality, `[modalities, batch, latents]`.
      present: a mask of each example's modalities, `[batch, modalities]`.
      subsets: masks of subsets. The empty one counts only for examples without modalities.
    """
    members = jnp.asarray(subsets)[:, None, :]
    is_present = (present | ~members).all(axis=-1)
    is_empty = ~jnp.asarray(subsets).any(axis=-1)[:, None]
    counts = is_present & (~is_empty | ~present.any(axis=-1))
    log_weights = jnp.where(counts, 0.0, -jnp.inf) - jnp.log(counts.sum(axis=0))
    products = product_of_experts(factors, members & present)
    return SubsetMixture(products, log_weights)
