"""Measure the speed and the memory of a training, in a process of its own.

A process can ask for its peak of memory, but not begin to count anew. On a GPU the process that
measures must leave memory to it: set XLA_PYTHON_CLIENT_PREALLOCATE=false.
"""

import concurrent.futures
import contextlib
import io
import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from vae_jax import config as factory
from vae_jax.config import run
from vae_jax.training.records import Record, read_records


def peak_memory() -> dict[str, float]:
    """Return the peaks of this process's memory in GiB, and of a device's own if it has such."""
    # Not ru_maxrss, which begins with what the parent had.
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    peaks = {"peak_memory_gib": int(kib) / 2**20}
    device = jax.local_devices()[0]
    stats = (device.memory_stats() or {}) if device.platform != "cpu" else {}
    if "peak_bytes_in_use" in stats:
        peaks["peak_device_memory_gib"] = stats["peak_bytes_in_use"] / 2**30
    return peaks


def last_epoch_speed(records: Sequence[Record], batch_size: int) -> float:
    """Return the images per second of the last epoch, whose calls may differ in length."""
    calls = [record for record in records if record["split"] == "train"]
    first_of_last = calls[-1]["epoch"] - 1
    images, seconds, step = 0, 0.0, 0
    for call in calls:
        if call["epoch"] > first_of_last:
            images += (call["step"] - step) * batch_size
            seconds += (call["step"] - step) * batch_size / call["examples_per_second"]
        step = call["step"]
    return images / seconds


def _train(given: Mapping[str, Any]) -> dict[str, float]:
    config = factory.resolve(given)
    # Its progress would stand between the lines of the benchmark.
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
        run.train(config, Path(name), evaluate=lambda splits: {})
        records = read_records(Path(name) / "metrics.jsonl")
    return {"images_per_second": last_epoch_speed(records, config.batch_size), **peak_memory()}


def measure(given: Mapping[str, Any]) -> dict[str, float]:
    """Train in a process of its own; return images per second and peaks of memory in GiB.

    Args:
      given: the experiment, of two epochs at least, since the first compiles. It is not evaluated.

    Raises:
      UserError: the experiment or its data are not as they must be.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_train, given).result()


def in_words(measured: Mapping[str, float]) -> str:
    """Return what `measure` found as a phrase."""
    phrase = f"{measured['images_per_second']:,.0f} images/s, {measured['peak_memory_gib']:.2f} GiB"
    if "peak_device_memory_gib" in measured:
        phrase += f", {measured['peak_device_memory_gib']:.2f} GiB of the device's"
    return phrase
