"""The matrix-product peak of this process, which speeds are shares of."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Products of these sizes reach the peak.
_SIZES: dict[str, tuple[int, ...]] = {"cpu": (1024, 1536, 2048, 3072)}
_SIZES_OF_ACCELERATORS = (2048, 4096, 8192)


def matmul_peak(
    sizes: tuple[int, ...] | None = None,
    repeats: int = 8,
    *,
    dtype: Any = jnp.float32,
    precision: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the fastest product of two square matrices, in FLOP/s.

    Args:
      sizes: rows of the matrices; by default some that suit the device.
      repeats: timed products of each size.
      dtype: of the matrices.
      precision: of the products, as `jax.default_matmul_precision` takes it; by default JAX's.
      clock: in seconds.
    """
    matmul = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    best = 0.0
    if sizes is None:
        sizes = _SIZES.get(jax.default_backend(), _SIZES_OF_ACCELERATORS)
    for size in sizes:
        matrix = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
        matmul(matrix, matrix).block_until_ready()
        for _ in range(repeats):
            start = clock()
            matmul(matrix, matrix).block_until_ready()
            best = max(best, 2 * size**3 / (clock() - start))
    return best
