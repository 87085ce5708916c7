"""Speed of rendering sprites against that of the training step which they are rendered in.

    python -m benchmarks.sprites --output=benchmarks/results/sprites_cpu.json

Rendering is timed by itself: batches of random factors, one after the other in a compiled loop.
Training is the compiled epoch on images in memory, and on factors that each step renders.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags
from jaxtyping import Array, Key, UInt8
from ml_collections import ConfigDict

from benchmarks.epoch_speed import measure
from configs import vanilla
from vae_jax.data.sprites.rendering import render
from vae_jax.data.sprites.variants import VARIANTS, Variant
from vae_jax.evaluation import results_file

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_REPEATS = flags.DEFINE_integer("repeats", 7, "timed calls each; the fastest counts")

_BATCH_SIZE = 64
_BATCHES_RENDERED = 400


def rendering_speed(variant: Variant, image_size: int, repeats: int) -> float:
    """Return images per second."""

    def render_batches(key: Key[Array, ""]) -> UInt8[Array, "batch height width channels"]:
        sizes = jnp.asarray(variant.sizes)
        shape = (_BATCHES_RENDERED, _BATCH_SIZE, len(variant.sizes))
        batches = jax.random.randint(key, shape, 0, sizes).astype(jnp.uint8)

        def body(total: Array, factors: Array) -> tuple[Array, None]:
            # Every pixel is read, so that none is left out.
            return total ^ render(factors, variant, image_size), None

        empty = jnp.zeros((_BATCH_SIZE, image_size, image_size, variant.num_channels), jnp.uint8)
        return jax.lax.scan(body, empty, batches)[0]

    compiled = jax.jit(render_batches).lower(jax.random.key(0)).compile()
    seconds = []
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(compiled(jax.random.key(repeat)))
        seconds.append(time.perf_counter() - start)
    return _BATCH_SIZE * _BATCHES_RENDERED / min(seconds[1:])


def config_of(name: str, image_size: int, mode: str) -> ConfigDict:
    """Return the configs of sprites: an mlp for 32x32, convolutions for 64x64."""
    config = vanilla.get_config()
    config.batch_size = _BATCH_SIZE
    config.data.name, config.data.image_size, config.data.mode = name, image_size, mode
    config.data.train_split, config.data.validation_split = "train[:6400]", ""
    config.data.test_split = "train[-64:]"
    config.data.binarization = "none"
    config.model.latent_size = 10
    layers = {"name": "mlp", "widths": (256, 256)}
    if image_size == 64:
        layers = {"name": "conv", "channels": (32, 32, 64, 64), "widths": (256,)}
    config.model.encoder = {**layers, "activation": "relu"}
    return config


def main(argv: list[str]) -> None:
    """Measure every variant at both sizes, print a line each, write the JSON."""
    del argv
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.sprites"),
        "batch_size": _BATCH_SIZE,
        "experiments": {},
    }
    for image_size, network in ((32, "mlp 1024-256-256-10"), (64, "conv 32-32-64-64-256-10")):
        num_examples = 6400 if image_size == 32 else 640
        for name in ("sprites", "sprites_smooth"):
            rendered = rendering_speed(VARIANTS[name], image_size, _REPEATS.value)
            stored, in_step = (
                measure(config_of(name, image_size, mode), num_examples, _REPEATS.value)[
                    "examples_per_second"
                ]
                for mode in ("memory", "render")
            )
            results["experiments"][f"{name} {image_size}x{image_size}, {network}"] = {
                "rendered_per_second": rendered,
                "trained_per_second": stored,
                "trained_per_second_while_rendering": in_step,
                "rendered_to_trained": rendered / stored,
            }
            print(
                f"{name} {image_size}x{image_size}: renders {rendered:,.0f} images/s, "
                f"{rendered / stored:.0f} times the {stored:,.0f} of {network}; {in_step:,.0f} "
                "where it renders them itself",
                flush=True,
            )
    results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    app.run(main)
