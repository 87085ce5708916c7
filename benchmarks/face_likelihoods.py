"""Bits per dimension and squared error of the likelihoods of 8-bit values, on drawn faces.

    python -m experiments.prepare --name=avatars
    python -m benchmarks.face_likelihoods --output=benchmarks/results/face_likelihoods_cpu.json

Each likelihood trains the network of configs/faces.py on the same images, for the same number of
steps. Others are left out: the last layer alone would have 57 million parameters for mixtures of
three logistics, and 1.6 billion for 256 logits per value.
"""

import tempfile
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

import vae_jax
from configs import faces
from vae_jax.evaluation import results_file
from vae_jax.training import host

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the prepared data set avatars")
_SEEDS = flags.DEFINE_integer("seeds", 2, "runs of each likelihood", lower_bound=1)
_IMAGES = flags.DEFINE_integer("images", 19_000, "training images", lower_bound=64)

_EPOCHS = 2

LIKELIHOODS: dict[str, dict[str, Any]] = {
    "logistic, one learned scale": {},
    "logistic, scales per pixel": {"name": "discretized_logistic"},
}


def run(likelihood: dict[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    """Train and measure; return bits per dimension, squared error and training images/s."""
    config = faces.get_config()
    config.seed, config.epochs = seed, _EPOCHS
    config.data.dir = str(Path(_DATA_DIR.value).resolve())
    config.data.train_split = f"train[:{_IMAGES.value}]"
    config.data.test_split = "test[:1000]"
    config.evaluation.num_samples = 1
    if likelihood:
        config.model.likelihood = likelihood
    found = vae_jax.train(config, folder)
    speeds = [r["examples_per_second"] for r in found.records if r["split"] == "train"]
    return {
        "seed": seed,
        "bits_per_dim": found.test["bits_per_dim"],
        "reconstruction_error": found.test["reconstruction_error"],
        "images_per_second": speeds[-1],
    }


def main(argv: list[str]) -> None:
    """Train with every likelihood and seed, print the results and write the JSON."""
    del argv
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in LIKELIHOODS}
    with tempfile.TemporaryDirectory() as folder:
        for name, likelihood in LIKELIHOODS.items():
            for seed in range(_SEEDS.value):
                row = run(likelihood, seed, Path(folder) / f"{name} {seed}")
                measured[name].append(row)
                print(f"{name}: {row}", flush=True)
    results_file.write(_OUTPUT.value, results(measured))


def results(measured: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the content of the results file, given the rows of each likelihood."""
    return {
        "command": "python -m benchmarks.face_likelihoods",
        "device": jax.default_backend(),
        "num_cores": host.num_cores(),
        "jax": jax.__version__,
        "images_seen": _EPOCHS * _IMAGES.value,
        "likelihoods": measured,
    }


if __name__ == "__main__":
    app.run(main)
