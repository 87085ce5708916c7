"""Measure the cost of a run beside its training steps: start-up, memory, and the loop.

    python -m benchmarks.run_costs --output=benchmarks/results/run_costs_cpu.json

The first start compiles, or finds its programs in the compilation cache; the second start is that
of a run which was stopped after its first epoch, and ends at its first optimiser step. The loop's
share is the time of `fit` outside the compiled epochs and validations: records, TensorBoard,
progress, copies, checkpoints. Memory is the peak of the whole process, evaluation and plots
included.
"""

import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

from configs import vanilla
from experiments import train
from vae_jax.config import run
from vae_jax.evaluation import results_file
from vae_jax.training import compilation_cache
from vae_jax.training import loop as training_loop
from vae_jax.training.records import read_records

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_EPOCHS = flags.DEFINE_integer("epochs", 60, "epochs over which the loop's share is measured")

_CONFIG = "configs/vanilla.py"


def seconds_to_first_step(folder: Path) -> float:
    """Start or continue the run in `folder`, stop it after an epoch; time until the first step."""
    records = folder / "metrics.jsonl"
    start = time.perf_counter()
    before = max((record["step"] for record in read_records(records)), default=0)
    with subprocess.Popen(
        [sys.executable, "-m", "experiments.train", f"--config={_CONFIG}", f"--workdir={folder}"],
        stderr=subprocess.DEVNULL,
    ) as process:
        while True:
            new = [r for r in read_records(records) if r["step"] > before]
            if new:
                elapsed = time.perf_counter() - start
                break
            if process.poll() is not None:
                raise RuntimeError(f"the run ended with {process.returncode} before its first step")
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
    steps = new[0]["step"] - before
    epoch_seconds = steps * vanilla.get_config().batch_size / new[0]["examples_per_second"]
    return elapsed - epoch_seconds * (1 - 1 / steps)


def measure_loop(folder: Path, epochs: int) -> dict[str, float]:
    """Return seconds of `fit`, and of the compiled calls in it, in a run of the main experiment."""
    config = vanilla.get_config()
    config.epochs = epochs
    config.evaluation = {"num_samples": 1}
    seconds = {"fit": 0.0, "compiled": 0.0}

    def timed(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = jax.block_until_ready(function(*args, **kwargs))
            seconds[name] += time.perf_counter() - start
            return result

        return call

    def timed_fit(*args: Any, run_steps: Any, validate: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = training_loop.fit(
            *args,
            run_steps=timed(run_steps, "compiled"),
            validate=timed(validate, "compiled"),
            **kwargs,
        )
        seconds["fit"] += time.perf_counter() - start
        return result

    run.fit = timed_fit
    train.train(config, folder)
    return seconds


def main(argv: list[str]) -> None:
    """Measure, print, write the JSON."""
    del argv
    compilation_cache.use_compilation_cache()
    with tempfile.TemporaryDirectory() as scratch:
        stopped = Path(scratch) / "stopped"
        first_start = seconds_to_first_step(stopped)
        second_start = seconds_to_first_step(stopped)
        start = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", "experiments.train", f"--config={_CONFIG}"),
                *("--config.epochs=3", f"--workdir={scratch}/whole"),
            ],
            check=True,
        )
        whole_seconds = time.perf_counter() - start
        # On Linux in KiB: the largest of the processes waited for, which are all of this kind.
        peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        loop = measure_loop(Path(scratch) / "loop", _EPOCHS.value)
    results = {
        **results_file.circumstances("benchmarks.run_costs"),
        "first_start_seconds": first_start,
        "second_start_seconds": second_start,
        "three_epochs_and_evaluation_seconds": whole_seconds,
        "peak_memory_gib": peak_bytes / 2**30,
        "fit_seconds": loop["fit"],
        "loop_share": 1 - loop["compiled"] / loop["fit"],
    }
    print(json.dumps(results, indent=2))
    results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    app.run(main)
