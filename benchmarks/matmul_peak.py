"""The float32 matrix-product peak of this process, which speeds are shares of."""

import time

import jax
import jax.numpy as jnp


def matmul_peak(sizes: tuple[int, ...] = (1024, 1536, 2048, 3072), repeats: int = 8) -> float:
    """Return fastest float32 product of two square matrices, in FLOP/s."""
    matmul = jax.jit(jnp.matmul)
    best = 0.0
    for size in sizes:
        matrix = jax.random.normal(jax.random.key(0), (size, size))
        matmul(matrix, matrix).block_until_ready()
        for _ in range(repeats):
            start = time.perf_counter()
            matmul(matrix, matrix).block_until_ready()
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best
