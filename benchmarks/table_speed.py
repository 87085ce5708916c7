"""Training speed on a table of 1,000,000 rows and 20 columns, beside the same network on images.

    taskset -c 0 python -m benchmarks.table_speed --output=benchmarks/results/table_speed_cpu.json

The network is that of configs/table.py: two hidden layers of 128, 6 latents. What bounds a speed
are matrix products, three times those of the forward pass, at the peak of benchmarks.matmul_peak.
All are timed by the processor's seconds that the process takes, so that the core may be shared; run
it on one core. The peak memory is that of experiments.train on the table, for an epoch.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from benchmarks.epoch_speed import measure
from benchmarks.matmul_peak import matmul_peak
from configs import table, vanilla
from experiments import command_line
from experiments import flags as shared
from vae_jax.errors import UserError
from vae_jax.evaluation import results_file
from vae_jax.training import host

shared.define(output="JSON file to write; empty prints only")
# No names of other commands' flags: the tests import several of them.
_ROWS = flags.DEFINE_integer("table_rows", 1_000_000, "training rows of the table", lower_bound=512)
_IMAGES = flags.DEFINE_integer("epoch_images", 54_784, "images of an epoch", lower_bound=512)
_REPEATS = flags.DEFINE_integer("repeats_of_each", 3, "timed epochs of each; the fastest counts")

NUM_COLUMNS = 20
_BATCH_SIZE = 512
_SIZES = (1024, 2048)
_OTHER_ROWS = 1_000


def write_table(path: Path, num_rows: int) -> None:
    """Write training and test rows of real columns, linear in 5 latents, with noise."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(5, NUM_COLUMNS)).astype(np.float32)

    def rows(num: int) -> np.ndarray:
        latents = rng.standard_normal((num, 5), np.float32)
        return latents @ weights + rng.standard_normal((num, NUM_COLUMNS), np.float32)

    np.savez(path, train_rows=rows(num_rows), test_rows=rows(_OTHER_ROWS))


def table_settings(path: Path) -> dict[str, Any]:
    """Return what differs from configs/table.py."""
    return {
        "data.name": str(path),
        "data.train_split": "train",
        "data.validation_split": "",
        "data.test_split": "test",
        "data.numbers": "real",
        "batch_size": _BATCH_SIZE,
        "patience": 0,
        "objective": "elbo",
    }


def table_config(path: Path) -> ConfigDict:
    """Return the config of the compiled epoch on the table."""
    config = table.get_config()
    config.objective = {"name": "elbo"}
    config.update_from_flattened_dict(table_settings(path) | {"objective": config.objective})
    return config


def images_config() -> ConfigDict:
    """Return the config of the same network on grey images of MNIST."""
    config = vanilla.get_config()
    config.batch_size, config.data.binarization = _BATCH_SIZE, "none"
    config.model = {**table.get_config().model.to_dict(), "likelihood": "bernoulli"}
    return config


def peak_memory_gib(path: Path, folder: Path) -> float:
    """Return the most memory of experiments.train on the table, for an epoch.

    Raises:
      RuntimeError: the run failed.
    """
    fields = {
        **table_settings(path),
        "epochs": 1,
        "evaluation.num_samples": 1,
    }
    command = [
        *(sys.executable, "-m", "experiments.train", "--config=configs/table.py"),
        f"--workdir={folder}",
        *(f"--config.{field}={value}" for field, value in fields.items()),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    return usage.ru_maxrss / 2**20


def compare(num_rows: int, num_images: int, repeats: int) -> dict[str, Any]:
    """Return the speeds on a table and on images, their bounds, and the memory of the command."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        write_table(path, num_rows)
        peaks, found = [], {}
        for name, config, num in (
            ("table", table_config(path), num_rows),
            ("images", images_config(), num_images),
        ):
            peaks.append(matmul_peak(_SIZES, clock=time.process_time))
            found[name] = measure(config, num, repeats, time.process_time)
        memory = peak_memory_gib(path, Path(folder) / "run")
    for measured in found.values():
        # The machine's speed wanders; the highest peak is the strict one.
        measured["bound"] = max(peaks) / (3 * measured["forward_flops_per_example"])
        measured["share_of_bound"] = measured["examples_per_second"] / measured["bound"]
    return {
        "num_rows": num_rows,
        "num_columns": NUM_COLUMNS,
        "matmul_peak_flops": max(peaks),
        **found,
        "times_bound_on_images": found["table"]["examples_per_second"] / found["images"]["bound"],
        "peak_memory_gib": memory,
    }


def main() -> None:
    """Measure both, print a line each, write the JSON."""
    if host.num_cores() > 1:
        raise UserError("processor seconds of several cores add up; run this on one, by taskset")
    circumstances = results_file.circumstances("benchmarks.table_speed")
    results = compare(_ROWS.value, _IMAGES.value, _REPEATS.value)
    for name in ("table", "images"):
        measured = results[name]
        print(
            f"{name}: {measured['examples_per_second']:,.0f} examples/s, "
            f"{measured['share_of_bound']:.0%} of what its matrix products allow",
            flush=True,
        )
    print(
        f"rows/s are {results['times_bound_on_images']:.1f} times what the products on images "
        f"allow; experiments.train takes {results['peak_memory_gib']:.2f} GiB"
    )
    results_file.write(flags.FLAGS.output, {**circumstances, **results})


if __name__ == "__main__":
    command_line.run(main)
