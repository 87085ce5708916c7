"""A diffusion model of latents, fitted to those of the training images.

Latents of a precise decoder lie in many narrow groups, one per combination of what images show.
Between the groups, images mix features that exclude each other. A diffusion model draws latents in
many steps, the last of which move them into the groups (Rombach et al. 2021, arXiv 2112.10752;
Vahdat et al. 2021, arXiv 2106.05931). The formulation is that of Karras et al. 2022 (arXiv
2206.00364), for data of unit variance.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.applications.generation.fitting import minimize
from vae_jax.networks.denoiser import Denoiser

# Mean and deviation of the log noise in training. The groups of latents can be narrower than a
# hundredth of the whole, so that small noise matters more than for images.
_LOG_NOISE_MEAN, _LOG_NOISE_DEVIATION = -1.8, 1.6

# Noise levels of a draw, from the largest to the smallest (Karras et al., equation 5).
_MOST_NOISE, _LEAST_NOISE, _EXPONENT = 40.0, 0.004, 7.0
_NUM_LEVELS = 40

_WIDTH, _NUM_BLOCKS = 512, 3
_BATCH_SIZE = 256
_LEARNING_RATE = 1e-3
_MOST_STEPS = 10_000
# More passes over few latents would only learn them by heart.
_MOST_PASSES = 100


@dataclasses.dataclass(frozen=True)
class LatentDiffusion:
    """The distribution of draws of the probability flow of a denoiser.

    Draws are a deterministic function of standard normal noise, the base variable.

    Attributes:
      denoise: E[y | y + noise], for noisy standardised latents `[latents]` and the noise's standard
        deviation.
      mean: mean of the latents.
      scale: by which latents were divided, one number for all dimensions.
      temperature: factor of the base variable.
    """

    denoise: Callable[[Array, Array], Array]
    mean: Float[Array, " latents"]
    scale: Float[Array, ""]
    temperature: float = 1.0

    def sample(self, key: Key[Array, ""]) -> Float[Array, " latents"]:
        """Return one draw, by Heun's method (Karras et al., algorithm 1)."""
        base = self.temperature * jax.random.normal(key, self.mean.shape)
        return self.mean + self.scale * flowed(self.denoise, base)

    def tempered(self, temperature: float) -> "LatentDiffusion":
        """Return the distribution with the base variable times `temperature`."""
        return dataclasses.replace(self, temperature=temperature * self.temperature)


def noise_levels() -> Float[np.ndarray, " levels"]:
    """Return the standard deviations of the noise in the steps of a draw; the last is 0."""
    ends = _MOST_NOISE ** (1 / _EXPONENT), _LEAST_NOISE ** (1 / _EXPONENT)
    levels = np.linspace(*ends, _NUM_LEVELS) ** _EXPONENT
    return np.append(levels, 0.0).astype(np.float32)


def flowed(
    denoise: Callable[[Array, Array], Array], base: Float[Array, " latents"]
) -> Float[Array, " latents"]:
    """Return where the probability flow takes standard normal noise."""
    levels = jnp.asarray(noise_levels())

    def slope(x: Array, level: Array) -> Array:
        return (x - denoise(x, level)) / level

    def step(x: Array, ends: tuple[Array, Array]) -> tuple[Array, None]:
        level, lower = ends
        first = slope(x, level)
        guess = x + (lower - level) * first
        return x + (lower - level) * 0.5 * (first + slope(guess, lower)), None

    x, _ = jax.lax.scan(step, levels[0] * base, (levels[:-2], levels[1:-1]))
    # At no noise the slope has no value; Euler's step to it is the denoised vector.
    return denoise(x, levels[-2])


def denoised(
    network: Denoiser, x: Float[Array, "*batch latents"], level: Float[Array, "*batch"]
) -> Float[Array, "*batch latents"]:
    """Return the network's estimate of E[y | x] (Karras et al., equation 7 and table 1)."""
    wide = level[..., None]
    variance = 1 + jnp.square(wide)
    outputs = network(x / jnp.sqrt(variance), 0.25 * jnp.log(level))
    return x / variance + wide / jnp.sqrt(variance) * outputs


def fit(
    latents: Float[np.ndarray, "num latents"],
    key: Key[Array, ""],
    num_steps: int | None = None,
) -> LatentDiffusion:
    """Return a diffusion model of latents, which minimises the error of denoising them.

    It takes 10,000 steps by default, or 100 passes over the latents if that is less.
    """
    num, size = latents.shape
    if num_steps is None:
        num_steps = min(_MOST_STEPS, math.ceil(_MOST_PASSES * num / _BATCH_SIZE))
    init_key, batches_key, noise_key = jax.random.split(key, 3)
    mean = jnp.asarray(latents.mean(axis=0))
    # One scale keeps the shape of the groups, which are about as wide in all dimensions.
    scale = jnp.std(jnp.asarray(latents) - mean) + 1e-6
    network = Denoiser(size, num_blocks=_NUM_BLOCKS, width=_WIDTH, rngs=nnx.Rngs(init_key))
    graphdef, params = nnx.split(network)

    def loss_fn(params: nnx.State, batch: Array, step: Array) -> Array:
        level_key, draw_key = jax.random.split(jax.random.fold_in(noise_key, step))
        log_level = jax.random.normal(level_key, batch.shape[:1])
        level = jnp.exp(_LOG_NOISE_MEAN + _LOG_NOISE_DEVIATION * log_level)
        noisy = batch + level[:, None] * jax.random.normal(draw_key, batch.shape)
        error = jnp.square(denoised(nnx.merge(graphdef, params), noisy, level) - batch)
        # Weights under which the network's outputs count alike at each level.
        return (error.mean(axis=-1) * (1 + 1 / jnp.square(level))).mean()

    standardised = (jnp.asarray(latents) - mean) / scale
    fitted = nnx.merge(
        graphdef,
        minimize(
            loss_fn,
            params,
            standardised,
            batches_key,
            num_steps=num_steps,
            batch_size=_BATCH_SIZE,
            learning_rate=_LEARNING_RATE,
            name="fitting a diffusion",
        ),
    )
    return LatentDiffusion(lambda x, level: denoised(fitted, x, level), mean, scale)
