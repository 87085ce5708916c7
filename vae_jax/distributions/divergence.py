"""The divergence between two distributions, where it has a closed form."""

from typing import Any

from jaxtyping import Array, Float

from vae_jax.distributions.normal import Normal, kl_by_dimension
from vae_jax.distributions.one_hot import OneHot, kl_by_group
from vae_jax.distributions.von_mises_fisher import (
    UniformSphere,
    VonMisesFisher,
    kl_from_uniform,
)


def closed_kl(q: Any, p: Any) -> Float[Array, "*batch parts"] | None:
    """Return KL(q || p) in nats by latent dimension, by group or as a whole.

    It is None if there is no closed form.
    """
    if isinstance(q, Normal) and isinstance(p, Normal):
        return kl_by_dimension(q, p)
    if isinstance(q, OneHot) and isinstance(p, OneHot):
        return kl_by_group(q, p)
    if isinstance(q, VonMisesFisher) and isinstance(p, UniformSphere):
        return kl_from_uniform(q)[..., None]
    return None
