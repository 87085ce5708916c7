"""Paths and grids through latent space for plots.

Paths between two codes, walks along one latent dimension, and the grid that covers a
two-dimensional prior evenly. Everything here is geometry: no model, no randomness. Each function is
one compiled program; run as they are called, its operations would be dozens.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, Int

# Below this sine of the angle between two codes, float32 cannot resolve the great circle between
# them: the weights grow like the inverse of the sine, and so does their rounding error.
_SMALLEST_TRUSTED_SINE = 1e-3


@jax.jit
def linear_interpolation(
    start: Float[Array | np.ndarray, "*batch latents"],
    end: Float[Array | np.ndarray, "*batch latents"],
    degrees: Float[Array | np.ndarray, " steps"],
) -> Float[Array, "steps *batch latents"]:
    """Return the straight line (1 - t) start + t end, at every t of `degrees`.

    Exact at t = 0 and t = 1. In many dimensions the middle of the line between two draws of a
    normal prior is shorter than a draw ever is; see `spherical_interpolation`.
    """
    start, end = jnp.asarray(start)[None], jnp.asarray(end)[None]
    t = _along_first_axis(degrees, start.ndim)
    return (1 - t) * start + t * end


@jax.jit
def spherical_interpolation(
    start: Float[Array | np.ndarray, "*batch latents"],
    end: Float[Array | np.ndarray, "*batch latents"],
    degrees: Float[Array | np.ndarray, " steps"],
) -> Float[Array, "steps *batch latents"]:
    """Return the great circle between two codes (slerp), at every t of `degrees`.

        direction(t) = [sin((1 - t) w) start/|start| + sin(t w) end/|end|] / sin(w)
        |z(t)| = (1 - t) |start| + t |end|

    with w the angle between the two codes. For endpoints of one norm this is the formula of
    White, "Sampling Generative Networks" (2016), arXiv:1609.04468. He weights the codes
    themselves rather than their directions; for codes of unequal norm that nearly oppose each
    other his path then grows without bound, whereas here the norm lies between the two.

    Exact at t = 0 and t = 1. For parallel codes the limit is the line. Opposite codes have no
    unique great circle: the path blends into the line as codes approach opposition. A code at the
    origin has no direction, and its path is the line, too.
    """
    line = linear_interpolation(start, end, degrees)
    start, end = jnp.asarray(start)[None], jnp.asarray(end)[None]
    t = _along_first_axis(degrees, start.ndim)

    start_norm = jnp.linalg.norm(start, axis=-1, keepdims=True)
    end_norm = jnp.linalg.norm(end, axis=-1, keepdims=True)
    has_directions = (start_norm > 0) & (end_norm > 0)
    safe_start_norm = jnp.where(has_directions, start_norm, 1)
    safe_end_norm = jnp.where(has_directions, end_norm, 1)
    start_direction, end_direction = start / safe_start_norm, end / safe_end_norm

    # Kahan's form of the angle: arccos of the dot product loses half the digits near 0 and pi.
    angle = 2 * jnp.arctan2(
        jnp.linalg.norm(start_direction - end_direction, axis=-1, keepdims=True),
        jnp.linalg.norm(start_direction + end_direction, axis=-1, keepdims=True),
    )
    sine = jnp.sin(angle)
    safe_sine = jnp.maximum(sine, _SMALLEST_TRUSTED_SINE / 2)
    norm = (1 - t) * start_norm + t * end_norm
    circle = (
        jnp.sin((1 - t) * angle) / safe_sine * (norm / safe_start_norm) * start
        + jnp.sin(t * angle) / safe_sine * (norm / safe_end_norm) * end
    )
    trust = jnp.clip(2 * sine / _SMALLEST_TRUSTED_SINE - 1, 0, 1) * has_directions
    path = trust * circle + (1 - trust) * line
    # XLA does not promise that sin(w) / sin(w) is 1; the line is exact at its ends.
    return jnp.where((t == 0) | (t == 1), line, path)


def traversal(
    latents: Float[Array | np.ndarray, "*batch latents"],
    dimension: int,
    values: Float[Array | np.ndarray, " steps"],
) -> Float[Array, "steps *batch latents"]:
    """Return copies of `latents` in which one dimension takes each of `values` in turn.

    Raises:
      IndexError: `dimension` is not the index of a latent.
    """
    if not 0 <= dimension < latents.shape[-1]:
        # JAX would drop the write and give back the same code `steps` times.
        raise IndexError(f"dimension={dimension} is not one of {latents.shape[-1]} latents")
    return _with_dimension(latents, dimension, values)


# The dimension is traced, so that the walks along all of them are one program.
@jax.jit
def _with_dimension(
    latents: Float[Array, "*batch latents"],
    dimension: Int[Array, ""],
    values: Float[Array, " steps"],
) -> Float[Array, "steps *batch latents"]:
    copies = jnp.broadcast_to(latents[None], (len(values), *latents.shape))
    steps = _along_first_axis(values, latents.ndim)
    return copies.at[..., dimension].set(jnp.broadcast_to(steps, copies.shape[:-1]))


@functools.partial(jax.jit, static_argnums=0)
def normal_quantile_grid(size: int) -> Float[Array, "size size 2"]:
    """Return a grid of latents (z1, z2) whose cells have equal mass under a unit normal prior.

    Evenly spaced points of the unit square through the inverse Gaussian CDF, as for Figure 4 of
    Kingma and Welling, "Auto-Encoding Variational Bayes" (2013), arXiv:1312.6114. The points are
    the middles of the cells, so the outermost are finite.

    The grid is laid out like a plot: z1 grows to the right, with the column; z2 grows upwards, so
    that row 0 has the largest z2.
    """
    if size < 1:
        raise ValueError(f"size={size}: the grid needs at least one point per side")
    quantiles = ndtri((jnp.arange(size) + 0.5) / size)
    z1, z2 = jnp.meshgrid(quantiles, quantiles[::-1])
    return jnp.stack([z1, z2], axis=-1)


def _along_first_axis(
    values: Float[Array | np.ndarray, " steps"], num_axes: int
) -> Float[Array, "steps ..."]:
    return jnp.asarray(values).reshape(-1, *(1,) * (num_axes - 1))
