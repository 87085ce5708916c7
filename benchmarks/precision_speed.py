"""Training speed by precision, as a share of the peak of products in that precision.

    python -m benchmarks.precision_speed --output=benchmarks/results/accelerator/precisions.json

`highest` is float32 in full; `default` is what JAX does with float32 on the device, TF32 on recent
NVIDIA GPUs; `bfloat16` is the networks' compute_dtype. A step's useful work is three times the
matrix products of its forward pass.
"""

from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks.epoch_speed import measure
from benchmarks.matmul_peak import matmul_peak
from configs import celeba, conv, vanilla
from experiments import flags as shared
from vae_jax.evaluation import results_file

shared.define(output="JSON file to write; empty prints only")

_REPEATS = flags.DEFINE_integer("timed_epochs", 5, "timed epochs an experiment; the fastest counts")
_SMALL = flags.DEFINE_boolean(
    "small_networks", False, "few images and small networks, to try the script"
)

PRECISIONS = ("highest", "default", "bfloat16")


def experiments(*, small: bool) -> dict[str, tuple[ConfigDict, int]]:
    """Return configs and the images of an epoch, by name.

    Args:
      small: with small networks on few images.
    """
    mlp, wide, convolutional = vanilla.get_config(), vanilla.get_config(), conv.get_config()
    wide.batch_size = 1024
    residual = celeba.get_config()
    # Drawn, since CelebA has to be downloaded; at the same size the same work.
    residual.data.name = "sprites_color"
    residual.data.train_split, residual.data.validation_split = "train[:2048]", ""
    residual.data.test_split = "train[-8:]"
    residual.batch_size = 64
    found = {
        "mlp 784-400-32-400-784, batch 128": (mlp, 54_912),
        "mlp 784-400-32-400-784, batch 1,024": (wide, 53_248),
        "conv 32-64-32-64-32, batch 128": (convolutional, 12_800),
        "residual 64-128-256-256 of 64x64 in colour, batch 64": (residual, 2048),
    }
    if small:
        residual.data.train_split, residual.batch_size = "train[:8]", 4
        for part in (residual.model.encoder, residual.model.decoder):
            part.channels = (2, 2, 2, 2)
        found = {name: (config, 2 * config.batch_size) for name, (config, _) in found.items()}
    return found


def measure_in(precision: str, config: ConfigDict, num_examples: int, repeats: int) -> Any:
    """Return what `epoch_speed.measure` finds with the networks' products in a precision."""
    config = config.copy_and_resolve_references()
    given = config.model.to_dict()
    for part in ("encoder", "decoder"):
        if part in given:
            given[part]["compute_dtype"] = "bfloat16" if precision == "bfloat16" else "float32"
    config.model = given
    with jax.default_matmul_precision("default" if precision == "bfloat16" else precision):
        return measure(config, num_examples, repeats)


def peak_in(precision: str, sizes: tuple[int, ...] | None = None) -> float:
    """Return the peak of matrix products in a precision, in FLOP/s."""
    if precision == "bfloat16":
        return matmul_peak(sizes, dtype=jnp.bfloat16)
    return matmul_peak(sizes, precision=precision)


def main(argv: list[str]) -> None:
    """Measure every experiment in every precision, print a line each, write the JSON."""
    del argv
    sizes = (256,) if _SMALL.value else None
    peaks = {precision: peak_in(precision, sizes) for precision in PRECISIONS}
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.precision_speed"),
        "matmul_peak_flops": peaks,
        "experiments": {},
    }
    for name, (config, num_examples) in experiments(small=_SMALL.value).items():
        results["experiments"][name] = found = {}
        for precision in PRECISIONS:
            measured = measure_in(precision, config, num_examples, _REPEATS.value)
            work = 3 * measured["forward_flops_per_example"] * measured["examples_per_second"]
            measured["share_of_matmul_peak"] = work / peaks[precision]
            found[precision] = measured
            print(
                f"{name}, {precision}: {measured['examples_per_second']:,.0f} images/s, "
                f"{measured['share_of_matmul_peak']:.1%} of "
                f"{peaks[precision] / 1e12:.1f} TFLOP/s; "
                f"compiled in {measured['compile_seconds']:.1f} s",
                flush=True,
            )
            # What is measured stays if the rest is not reached.
            results_file.write(flags.FLAGS.output, results)


if __name__ == "__main__":
    app.run(main)
