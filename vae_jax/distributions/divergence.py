"""The divergence between two distributions, where it has a closed form."""

from typing import Any

from jaxtyping import Array, Float

from vae_jax.distributions.normal import Normal, kl_by_dimension
from vae_jax.distributions.one_hot import OneHot, kl_by_group


def closed_kl(q: Any, p: Any) -> Float[Array, "*batch parts"] | None:
    """Return KL(q || p) in nats by latent dimension or group; None if it has no closed form."""
    if isinstance(q, Normal) and isinstance(p, Normal):
        return kl_by_dimension(q, p)
    if isinstance(q, OneHot) and isinstance(p, OneHot):
        return kl_by_group(q, p)
    return None
