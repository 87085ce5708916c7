"""Steps per second of the IWAE table's rows, alone and with several seeds side by side.

    python -m benchmarks.iwae_speed --output=benchmarks/results/accelerator/iwae.json

The rows are those of `configs/papers/iwae_mnist_1layer.py`: 784-200-200-50, batch 20, with k
samples per image. `full_table_hours` is the time of the 3,280 epochs of one seed at that speed.
"""

from typing import Any

import jax
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks.members_speed import Experiment
from configs.papers import iwae_mnist_1layer
from experiments import flags as shared
from vae_jax.evaluation import results_file
from vae_jax.sweeps.members import MemberFunctions, SideBySide

shared.define(output="JSON file to write; empty prints only")

_SAMPLES = flags.DEFINE_list("samples", ["1", "5", "50"], "samples per image")
_SEEDS = flags.DEFINE_list("seeds", ["3", "16"], "seeds side by side")
_STEPS = flags.DEFINE_integer("steps", 500, "steps of a timed call")
_REPEATS = flags.DEFINE_integer("repeats", 3, "timed calls; the fastest counts")

_EPOCHS = 3280
_STEPS_PER_EPOCH = 3000


def row(num_samples: int) -> ConfigDict:
    """Return the config of the row with this number of samples per image."""
    config = iwae_mnist_1layer.get_card().base
    config.objective = {"name": "iwae", "num_samples": num_samples}
    return config


def main(argv: list[str]) -> None:
    """Measure every row, print a line each, write the JSON."""
    del argv
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.iwae_speed"),
        "rows": [],
    }
    for num_samples in map(int, _SAMPLES.value):
        experiment = Experiment(row(num_samples), _STEPS.value)
        solo = experiment.solo_seconds(_REPEATS.value)
        measured = {1: solo}
        for num_seeds in map(int, _SEEDS.value):
            functions: MemberFunctions[Any] = SideBySide(
                experiment.program, experiment.images, None, jax.devices()[:1]
            )
            found = experiment.measure(functions, num_seeds, _REPEATS.value)
            measured[num_seeds] = found["call_seconds"]
        for num_seeds, seconds in measured.items():
            rate = num_seeds * _STEPS.value / seconds
            hours = _EPOCHS * _STEPS_PER_EPOCH / rate / 3600
            results["rows"].append(
                {
                    "num_samples": num_samples,
                    "num_seeds": num_seeds,
                    "steps_per_second": rate,
                    "examples_per_second": rate * experiment.batch_size,
                    "full_table_hours": hours,
                }
            )
            print(
                f"k = {num_samples}, {num_seeds} seeds side by side: {rate:,.0f} steps/s of all "
                f"seeds; 3,280 epochs of one seed in {hours:.2f} h",
                flush=True,
            )
        results_file.write(flags.FLAGS.output, results)


if __name__ == "__main__":
    app.run(main)
