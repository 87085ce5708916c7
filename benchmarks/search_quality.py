"""TPE against random search: the best validation ELBO by the number of trials.

    python -m benchmarks.search_quality --workdir=runs/search_quality \
        --output=benchmarks/results/search_quality_cpu.json

Both search the learning rate, the warm-up of beta and the latent size of a small run of
configs/vanilla.py (10 epochs over 10,000 images of MNIST), with the same number of trials, three
times. Runs of `experiments.sweep` do the work, so that the command continues after a kill. Takes
about 20 min on 2 cores.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from vae_jax.evaluation import results_file

_WORKDIR = flags.DEFINE_string("workdir", "runs/search_quality", "directory of the sweeps")
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_TRIALS = flags.DEFINE_integer("trials", 48, "settings that each search tries")
_REPETITIONS = flags.DEFINE_integer("repetitions", 3, "searches of each kind, by search seed")

_OVERRIDES = {
    "epochs": 10,
    "data.train_split": "train[:10000]",
    "tensorboard.images_every_epochs": 0,
    "evaluation.num_samples": 10,
}
_SWEEP = '''\
    """Written by benchmarks.search_quality."""

    from vae_jax.sweeps import space


    def get_sweep():
        return space.{method}(
            {{
                "optimizer.learning_rate": space.Uniform(1e-4, 3e-2, log=True),
                "objective.warmup_epochs": space.Uniform(0, 10),
                "model.latent_size": space.Choice((2, 5, 10, 20, 40)),
            }},
            num_trials={trials},
            search_seed={seed},
        )
'''


def search(method: str, seed: int, folder: Path) -> dict[str, Any]:
    """Run one search, or what is left of it, and read what it found."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep = folder / f"{method}_{seed}.py"
    text = _SWEEP.format(method=method, trials=_TRIALS.value, seed=seed)
    sweep.write_text(textwrap.dedent(text), encoding="utf-8")
    workdir = folder / f"{method}_{seed}"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.sweep",
            "--config=configs/vanilla.py",
            f"--sweep={sweep}",
            f"--workdir={workdir}",
            *(f"--config.{field}={value}" for field, value in _OVERRIDES.items()),
        ],
        check=True,
    )
    settings = json.loads((workdir / "results.json").read_text(encoding="utf-8"))["settings"]
    scores = [entry["mean"].get("valid_elbo", -np.inf) for entry in settings]
    best = settings[int(np.argmax(scores))]
    return {
        "search_seed": seed,
        "num_trials": len(settings),
        "best_trial": best["trial"],
        "best_setting": best["setting"],
        "best_valid_elbo": best["mean"]["valid_elbo"],
        "test_elbo": best["mean"]["test_elbo"],
        "best_so_far": [float(score) for score in np.maximum.accumulate(scores)],
    }


def main(argv: list[str]) -> None:
    """Run all searches, print a line each, write the JSON."""
    del argv
    found: dict[str, list[dict[str, Any]]] = {"random": [], "tpe": []}
    for seed in range(_REPETITIONS.value):
        for method, searches in found.items():
            searches.append(search(method, seed, Path(_WORKDIR.value)))
            print(f"{method} {seed}: {searches[-1]['best_valid_elbo']:.2f} nats", flush=True)
    summary = {
        method: {
            "mean": float(np.mean([entry["best_valid_elbo"] for entry in searches])),
            "std": float(np.std([entry["best_valid_elbo"] for entry in searches], ddof=1)),
        }
        for method, searches in found.items()
    }
    results = {
        "command": "python -m benchmarks.search_quality",
        "num_cores": os.cpu_count(),
        "jax": jax.__version__,
        "overrides": _OVERRIDES,
        "best_valid_elbo": summary,
        "searches": found,
    }
    for method, entry in summary.items():
        print(f"{method}: {entry['mean']:.2f} +- {entry['std']:.2f} nats")
    results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    app.run(main)
