"""A run killed at random moments ends with the bits of one that was never killed.

    python -m benchmarks.kill_resume --kills=30 --output=benchmarks/results/kill_resume_cpu.json

A small MLP on 2,000 images of MNIST, with a checkpoint after every compiled call. Each start gets a
SIGKILL at a moment drawn uniformly from the life of a whole run, from the first import to the last
plot. A run that ends before its kill is compared and begun anew. Compared are the parameters, the
optimiser's state, the keys and the best parameters bit for bit, metrics.jsonl but for its rates,
and the test metrics of summary.json. Takes about 6 s per kill on 2 cores.
"""

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging

from benchmarks.killing import KILLS, bits, run_until_killed
from experiments import flags as shared
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.evaluation import results_file
from vae_jax.training import checkpoints
from vae_jax.training.records import Record, read_records

shared.define("seed", output="JSON file to write; empty prints only")

_EPOCHS = flags.DEFINE_integer("num_epochs", 12, "length of the run")

# Of any model of images.
SHORT = {
    "batch_size": 50,
    "steps_per_call": 15,
    "data.train_split": "train[:2000]",
    "data.validation_split": "train[55000:55500]",
    "data.test_split": "test[:500]",
    "checkpoints.every_seconds": 0,
    "tensorboard.images_every_epochs": 5,
}
OVERRIDES = {
    **SHORT,
    "model.latent_size": 5,
    "model.encoder.widths": "(64,)",
    "evaluation.num_samples": 20,
}


class Run:
    """One workdir, and how to start its training in a process of its own."""

    def __init__(
        self, folder: Path, epochs: int, cache: Path, config: str, overrides: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        changes = {"epochs": epochs, **overrides}
        self.command = [
            sys.executable,
            "-m",
            "experiments.train",
            f"--config=configs/{config}.py",
            f"--workdir={folder}",
            *(f"--config.{field}={value}" for field, value in changes.items()),
        ]
        self.cache = cache

    def start(self, kill_after: float | None = None) -> bool:
        """Train until done, or until the kill; whether it was killed."""
        return run_until_killed(self.command, self.cache, kill_after)

    def last_step(self) -> int:
        """Return the step of the newest checkpoint; 0 before the first."""
        return (checkpoints.steps(self.folder / "checkpoints") or [0])[-1]

    def torn(self) -> dict[str, int]:
        """Return what the last kill left half done."""
        metrics = self.folder / "metrics.jsonl"
        text = metrics.read_bytes() if metrics.is_file() else b""
        records = read_records(metrics)
        return {
            "unfinished_checkpoints": len(list(self.folder.glob("checkpoints/*.partial"))),
            "unfinished_files": len(list(self.folder.glob("**/*.partial")))
            - len(list(self.folder.glob("checkpoints/*.partial"))),
            "cut_records": int(bool(text) and not text.endswith(b"\n")),
            "records_past_the_checkpoint": sum(r["step"] > self.last_step() for r in records),
        }

    def state(self) -> tuple[int, list[bytes], dict[str, Any]]:
        """Return step, leaves and metadata of the newest checkpoint."""
        config = factory.resolve(workdir.read_config(self.folder))
        template = factory.run_state_template(config, (28, 28, 1))
        checkpoint = checkpoints.restore(self.folder / "checkpoints", template)
        assert checkpoint is not None, "no checkpoint is whole"
        leaves = bits(checkpoint.tree)
        metadata = {k: v for k, v in checkpoint.metadata.items() if k != "train_seconds"}
        return checkpoint.step, leaves, metadata

    def records(self) -> list[Record]:
        """Return the records without their rates, which are about time."""
        return [
            {name: value for name, value in record.items() if name != "examples_per_second"}
            for record in read_records(self.folder / "metrics.jsonl")
        ]

    def test_metrics(self) -> dict[str, Any]:
        """Return the "test" part of the summary."""
        summary = workdir.read_summary(self.folder)
        return {} if summary is None else summary["test"]


def differences(run: Run, reference: Run) -> list[str]:
    """Return how a finished run differs from the one that was never stopped."""
    (step, leaves, metadata), (ref_step, ref_leaves, ref_metadata) = run.state(), reference.state()
    pictures = {path.name for path in (run.folder / "plots").iterdir()}
    expected = {path.name for path in (reference.folder / "plots").iterdir()}
    equal = {
        "step": step == ref_step,
        "state": leaves == ref_leaves,
        "metadata": metadata == ref_metadata,
        "metrics.jsonl": run.records() == reference.records(),
        "summary.json": run.test_metrics() == reference.test_metrics(),
        "plots": pictures == expected,
    }
    return [name for name, same in equal.items() if not same]


def kill_and_compare(
    kills: int,
    seed: int,
    epochs: int,
    scratch: Path,
    config: str = "vanilla",
    overrides: Mapping[str, Any] = OVERRIDES,
) -> dict[str, Any]:
    """Train a reference, then kill runs of the same config until `kills` have hit.

    Args:
      kills: SIGKILLs that must hit.
      seed: of the moments.
      epochs: length of the run.
      scratch: folder of the workdirs and of the compiled programs.
      config: name of a file in configs/.
      overrides: changes to it by dotted name.
    """
    rng = random.Random(seed)
    begun, cache = time.monotonic(), scratch / "cache"
    reference = Run(scratch / "reference", epochs, cache, config, overrides)
    start = time.monotonic()
    reference.start()
    life = time.monotonic() - start
    print(f"a whole run takes {life:.1f} s", flush=True)
    run = Run(scratch / "killed", epochs, cache, config, overrides)
    results: dict[str, Any] = {"kills": 0, "series": [], "torn": {}}
    in_series = 0
    while True:
        moment = rng.uniform(0, life) if results["kills"] < kills else None
        start = time.monotonic()
        if run.start(moment):
            results["kills"] += 1
            in_series += 1
            torn = run.torn()
            for name, count in torn.items():
                results["torn"][name] = results["torn"].get(name, 0) + count
            seen = ", ".join(f"{count} {name}" for name, count in torn.items() if count)
            print(
                f"kill {results['kills']}/{kills} after {moment:.2f} s, newest checkpoint of step "
                f"{run.last_step()}" + (f"; {seen.replace('_', ' ')}" if seen else ""),
                flush=True,
            )
            continue
        differing = differences(run, reference)
        results["series"].append({"kills": in_series, "differing": differing})
        print(f"finished after {in_series} kills; differing: {', '.join(differing) or 'nothing'}")
        if in_series == 0:
            # Shorter than the first one's, which compiled; and the machine's load changes.
            life = time.monotonic() - start
        in_series = 0
        if results["kills"] >= kills:
            break
        shutil.rmtree(run.folder)
    set_aside = list(run.folder.glob("checkpoints/*.torn"))
    return {
        **results,
        "checkpoints_set_aside": len(set_aside),
        "equal": not any(series["differing"] for series in results["series"]),
        "seconds": time.monotonic() - begun,
        "num_cores": os.cpu_count(),
        "jax": jax.__version__,
        "command": f"python -m benchmarks.kill_resume --kills={kills} --seed={seed}",
    }


def main(argv: list[str]) -> None:
    """Kill, compare, write the JSON; exit code 1 if anything differs."""
    del argv
    logging.set_verbosity(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        results = kill_and_compare(KILLS.value, flags.FLAGS.seed, _EPOCHS.value, Path(scratch))
    print(f"{results['kills']} kills in {results['seconds']:.0f} s; equal: {results['equal']}")
    results_file.write(flags.FLAGS.output, results)
    sys.exit(0 if results["equal"] else 1)


if __name__ == "__main__":
    app.run(main)
