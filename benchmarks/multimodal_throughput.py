"""Measure the cost of an epoch of images and captions beside one of the images alone.

    python -m benchmarks.multimodal_throughput \
        --output=benchmarks/results/multimodal_throughput_cpu.json

The compiled epochs of MNIST take turns, so that a machine whose speed wanders treats them alike;
the fastest of each counts. The encoder and the decoder of the images are the same in all.
"""

from typing import Any

from absl import flags
from ml_collections import ConfigDict

from benchmarks.epoch_speed import seconds_in_turn
from configs import multimodal, vanilla
from experiments import command_line
from experiments import flags as shared
from vae_jax.evaluation import results_file

shared.define(output="JSON file to write; empty prints only")

_NUM_EXAMPLES = flags.DEFINE_integer("num_train_examples", 12_800, "in an epoch", lower_bound=1000)
_REPEATS = flags.DEFINE_integer("repeats", 5, "timed epochs of each", lower_bound=1)


_OBJECTIVES = {"product": "mvae", "mixture": "mmvae", "mixture_of_products": "mopoe"}


def image_alone() -> ConfigDict:
    """Return a VAE of the networks that `configs/multimodal.py` has for images."""
    config, joint = vanilla.get_config(), multimodal.get_config()
    config.model.encoder.widths = joint.model.encoder.widths
    config.model.latent_size = joint.model.latent_size
    config.batch_size = joint.batch_size
    return config


def with_captions(joint_posterior: str) -> ConfigDict:
    """Return `configs/multimodal.py` with another way to join posteriors."""
    config = multimodal.get_config()
    if joint_posterior != "joint":
        config.model.joint_posterior = joint_posterior
        shared = {k: v for k, v in config.objective.items() if k != "unimodal_kl_weight"}
        config.objective = {**shared, "name": _OBJECTIVES[joint_posterior]}
    return config


def main() -> None:
    """Measure, print a line each, write the JSON."""
    configs = {"image alone": image_alone()}
    for name in ("product", "mixture", "mixture_of_products", "joint"):
        configs[f"image and caption, {name}"] = with_captions(name)
    seconds = seconds_in_turn(configs, _NUM_EXAMPLES.value, _REPEATS.value)
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.multimodal_throughput"),
        "num_examples": _NUM_EXAMPLES.value,
        "experiments": {},
    }
    for name, fastest in seconds.items():
        results["experiments"][name] = {
            "examples_per_second": _NUM_EXAMPLES.value / fastest,
            "times_image_alone": fastest / seconds["image alone"],
        }
        print(f"{name}: {fastest:.2f} s an epoch, {fastest / seconds['image alone']:.2f} times")
    results_file.write(flags.FLAGS.output, results)


if __name__ == "__main__":
    command_line.run(main)
