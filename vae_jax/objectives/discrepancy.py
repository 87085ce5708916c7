"""The maximum mean discrepancy between two sets of draws, and its kernels."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.objectives.base import Scalar

Latents = Float[Array, "batch latents"]
Others = Float[Array, "others latents"]
# kernel(u, v) of every pair of rows.
Kernel = Callable[[Latents, Others], Float[Array, "batch others"]]


def squared_distances(u: Latents, v: Others) -> Float[Array, "batch others"]:
    """Return |u - v|^2 of every pair of rows."""
    return jnp.square(u[:, None] - v).sum(axis=-1)


def normal_kernel(bandwidth: float) -> Kernel:
    """Return k(u, v) = exp(-|u - v|^2 / (2 bandwidth^2 d)) in d dimensions."""

    def kernel(u: Latents, v: Others) -> Float[Array, "batch others"]:
        return jnp.exp(-squared_distances(u, v) / (2 * bandwidth**2 * u.shape[1]))

    return kernel


def inverse_multiquadratic_kernel(bandwidth: float) -> Kernel:
    """Return k(u, v) = C / (C + |u - v|^2) with C = 2 bandwidth^2 d in d dimensions.

    For bandwidth 1, C is the mean squared distance of two draws of N(0, I) (Tolstikhin et al. 2017,
    arXiv 1711.01558, section 4). Its tails are heavier than those of `normal_kernel`.
    """

    def kernel(u: Latents, v: Others) -> Float[Array, "batch others"]:
        return 1 / (1 + squared_distances(u, v) / (2 * bandwidth**2 * u.shape[1]))

    return kernel


def sum_of_kernels(kernels: Sequence[Kernel]) -> Kernel:
    """Return the sum of kernels, which is a kernel."""

    def kernel(u: Latents, v: Others) -> Float[Array, "batch others"]:
        return jnp.stack([one(u, v) for one in kernels]).sum(axis=0)

    return kernel


def maximum_mean_discrepancy(a: Latents, b: Others, kernel: Kernel) -> Scalar:
    """Return an unbiased estimate of the squared MMD between two sets of draws; it has no unit.

    E[k(a, a')] + E[k(b, b')] - 2 E[k(a, b)] (Gretton et al. 2012, equation 3). It has mean 0 for
    draws of one density, and may be negative. A set of a single draw has no pairs, and 0 in place
    of the mean over them.
    """

    def within(u: Latents) -> Scalar:
        others = 1 - jnp.eye(len(u))
        return (kernel(u, u) * others).sum() / jnp.maximum(others.sum(), 1)

    return within(a) + within(b) - 2 * kernel(a, b).mean()
