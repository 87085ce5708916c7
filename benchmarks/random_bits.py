"""Random numbers in one fused pass against JAX's own.

    python -m benchmarks.random_bits --output=benchmarks/results/accelerator/random_bits.json

Binarised are batches of 784 pixels, by uint16 of `vae_jax.data.random_bits` and by
`jax.random.bernoulli`; normals are drawn by both, 50 per image.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags

from experiments import flags as shared
from vae_jax.data import random_bits
from vae_jax.data.pixels import binarize
from vae_jax.evaluation import results_file

shared.define(output="JSON file to write; empty prints only")

_BATCHES = flags.DEFINE_list("batches", ["128", "8192"], "images at once")
_REPEATS = flags.DEFINE_integer("timed_draws", 20, "timed calls; the fastest counts")

_CALLS = 50
_LATENTS = 50


def seconds_per_draw(draw: Callable[[Any], jax.Array], repeats: int) -> float:
    """Return the seconds of one of many draws in a compiled loop, each with a key of its own."""

    @jax.jit
    def many(key: Any) -> jax.Array:
        keys = jax.random.split(key, _CALLS)
        return jax.lax.map(lambda key: draw(key).sum(), keys).sum()

    key, fastest = random_bits.make_key(0), float("inf")
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        many(key).block_until_ready()
        if repeat:
            fastest = min(fastest, time.perf_counter() - start)
    return fastest / _CALLS


def measure(batch: int, repeats: int) -> dict[str, float]:
    """Return the microseconds of a batch's draws, ours and JAX's."""
    images = jnp.full((batch, 28, 28, 1), 100, jnp.uint8)
    draws: dict[str, Callable[[Any], jax.Array]] = {
        "binarize_ours": lambda key: binarize(key, images),
        "binarize_jax": lambda key: jax.random.bernoulli(key, images / 255.0).astype(jnp.float32),
        "normal_ours": lambda key: random_bits.normal(key, jnp.int32(0), batch, _LATENTS),
        "normal_jax": lambda key: jax.random.normal(key, (batch, _LATENTS)),
    }
    return {name: 1e6 * seconds_per_draw(draw, repeats) for name, draw in draws.items()}


def main(argv: list[str]) -> None:
    """Measure every size, print a line each, write the JSON."""
    del argv
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.random_bits"),
        "microseconds": {},
    }
    for batch in map(int, _BATCHES.value):
        found = results["microseconds"][str(batch)] = measure(batch, _REPEATS.value)
        text = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
        print(f"batch {batch:,}, microseconds: {text}", flush=True)
    results_file.write(flags.FLAGS.output, results)


if __name__ == "__main__":
    app.run(main)
