"""Training speed as a share of the machine's matrix-product peak.

    python -m benchmarks.train_throughput --output=benchmarks/results/train_throughput_cpu.json

The peak is the fastest float32 product of two square matrices in the same process. A step's useful
work is three times the matrix products of its forward pass, the usual convention: it counts the
gradient with respect to the images, which nobody needs and the step does not compute.
"""

import json
import multiprocessing
import os
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict

from benchmarks.epoch_speed import measure
from benchmarks.matmul_peak import matmul_peak
from configs import conv, vanilla
from vae_jax.evaluation import results_file
from vae_jax.sweeps.executors import shares_of_cores
from vae_jax.training import host

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_REPEATS = flags.DEFINE_integer("repeats", 7, "timed epochs an experiment; the fastest counts")


def _measure_on(
    cores: set[int], config_json: str, num_examples: int, repeats: int, results: Any
) -> None:
    # Before JAX counts the cores for its thread pool.
    os.sched_setaffinity(0, cores)
    results.put(measure(ConfigDict(json.loads(config_json)), num_examples, repeats))


def measure_at_once(config: ConfigDict, num_examples: int, repeats: int) -> dict[str, Any]:
    """Return the throughput of as many runs at once as there are cores, taken together."""
    spawn = multiprocessing.get_context("spawn")
    results = spawn.SimpleQueue()
    shares = shares_of_cores(host.num_cores())
    arguments = (json.dumps(config.to_dict()), num_examples, repeats, results)
    processes = [spawn.Process(target=_measure_on, args=(cores, *arguments)) for cores in shares]
    for process in processes:
        process.start()
    # A queue that is read late would keep the processes from ending.
    measured = [results.get() for _ in processes]
    for process in processes:
        process.join()
    rates = [entry["examples_per_second"] for entry in measured]
    return {**measured[0], "examples_per_second": sum(rates), "processes": len(processes)}


def main(argv: list[str]) -> None:
    """Measure every experiment, print a line each, write the JSON."""
    del argv
    mlp, grey, convolutional = vanilla.get_config(), vanilla.get_config(), conv.get_config()
    grey.data.binarization = "none"
    for config in (mlp, grey, convolutional):
        config.model.latent_size = 20
        config.model.encoder.activation = "relu"
    small_batch = vanilla.get_config()
    small_batch.batch_size, small_batch.optimizer.epsilon = 20, 1e-4
    small_batch.model.latent_size = 50
    small_batch.model.encoder = {"name": "mlp", "widths": (200, 200), "activation": "tanh"}
    several = "mlp 784-200-200-50-200-200-784, batch 20, as many runs as cores"
    experiments = {
        "mlp 784-400-20-400-784, dynamic binarisation": (mlp, 54_912),
        "mlp 784-400-20-400-784, grey": (grey, 54_912),
        "mlp 784-200-200-50-200-200-784, batch 20, dynamic binarisation": (small_batch, 12_000),
        several: (small_batch, 12_000),
        "conv 32-64-20-64-32, dynamic binarisation": (convolutional, 12_800),
    }
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.train_throughput"),
        "experiments": {},
    }
    peaks = [matmul_peak()]
    for name, (config, num_examples) in experiments.items():
        measure_it = measure_at_once if name == several else measure
        # Long enough that the processes, which do not begin at once, are timed beside each other.
        repeats = 5 * _REPEATS.value if name == several else _REPEATS.value
        measured = measure_it(config, num_examples, repeats)
        peaks.append(matmul_peak())
        work = 3 * measured["forward_flops_per_example"] * measured["examples_per_second"]
        # The machine's speed wanders: the higher peak of before and after is the strict one.
        measured["matmul_peak_flops"] = max(peaks[-2:])
        measured["share_of_matmul_peak"] = work / measured["matmul_peak_flops"]
        results["experiments"][name] = measured
        print(
            f"{name}: {measured['examples_per_second']:,.0f} images/s, "
            f"{measured['share_of_matmul_peak']:.1%} of {measured['matmul_peak_flops'] / 1e9:.0f} "
            f"GFLOP/s; compiled in {measured['compile_seconds']:.1f} s",
            flush=True,
        )
    results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    app.run(main)
