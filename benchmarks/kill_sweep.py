"""A sweep killed at random moments ends with the members of one that was never killed.

    python -m benchmarks.kill_sweep --kills=10 --output=benchmarks/results/kill_sweep_cpu.json

TPE over two latent sizes and the learning rate, 8 settings in batches of 4, two seeds each, with
successive halving: small MLPs on 2,000 images of MNIST. Each start gets a SIGKILL at a moment drawn
uniformly from the life of a whole sweep. Compared are every member's parameters, optimiser state
and keys bit for bit, its records and test metrics, the settings that the search suggested, and the
content of the study. Takes about 12 s per kill on 2 cores.
"""

import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import optuna
from absl import app, flags, logging
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.killing import KILLS, bits, run_until_killed
from experiments import flags as shared
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.evaluation import results_file
from vae_jax.training import checkpoints
from vae_jax.training.records import read_records

shared.define("seed", output="JSON file to write; empty prints only")

_OVERRIDES = {
    "epochs": 6,
    "batch_size": 50,
    "steps_per_call": 15,
    "data.train_split": "train[:2000]",
    "data.validation_split": "train[55000:55500]",
    "data.test_split": "test[:500]",
    "model.encoder.widths": "(64,)",
    "checkpoints.every_seconds": 0,
    "evaluation.num_samples": 20,
}
_SWEEP = """\
from vae_jax.sweeps import space


def get_sweep():
    return space.tpe(
        {
            "optimizer.learning_rate": space.Uniform(1e-3, 1e-1, log=True),
            "model.latent_size": space.Choice((3, 5)),
        },
        num_trials=8,
        batch=4,
        seeds=(0, 1),
        halving=space.Halving(epochs=(2, 4), reduction=2),
    )
"""
# Fields that differ between two equal sweeps: times, and digests of files that have times.
_OF_THIS_START = (
    "train_seconds",
    "evaluation_seconds",
    "workdir",
    "examples_per_second",
    "files",
    "digest",
)


def _lasting(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in _OF_THIS_START}


# The shapes of a member's state by its latent size; nothing else that members differ in has one.
_TEMPLATES: dict[int, Any] = {}


def member_state(folder: Path) -> dict[str, Any]:
    """Return all that is to be equal of one member."""
    config = factory.resolve(workdir.read_config(folder))
    size = config.model.latent_size
    if size not in _TEMPLATES:
        _TEMPLATES[size] = factory.run_state_template(config, (28, 28, 1))
    checkpoint = checkpoints.restore(folder / "checkpoints", _TEMPLATES[size])
    assert checkpoint is not None, f"no checkpoint of {folder} is whole"
    return {
        "state": bits(checkpoint.tree),
        "config": config.to_dict(),
        "records": [_lasting(record) for record in read_records(folder / "metrics.jsonl")],
        "member": _lasting(workdir.read_json(folder / "member.json")),
    }


def study_state(folder: Path) -> list[Any]:
    """Return setting, values and state of every trial in a search's study; nothing of others."""
    journal = folder / "journal.log"
    if not journal.is_file():
        return []
    storage = JournalStorage(JournalFileBackend(str(journal)))
    (name,) = optuna.get_all_study_names(storage)
    return [
        (trial.number, trial.params, trial.values, trial.state, trial.intermediate_values)
        for trial in optuna.load_study(study_name=name, storage=storage).trials
    ]


def differences(folder: Path, reference: Path) -> list[str]:
    """Return how a finished sweep differs from the one that was never stopped."""
    found = []
    names = [sorted(p.name for p in (f / "members").iterdir()) for f in (folder, reference)]
    if names[0] != names[1]:
        return ["members"]
    for name in names[0]:
        ours, theirs = (member_state(f / "members" / name) for f in (folder, reference))
        found += [f"{part} of member {name}" for part in ours if ours[part] != theirs[part]]
    rows = [
        [_lasting(row) for row in workdir.read_json(f / "results.json")["members"]]
        for f in (folder, reference)
    ]
    if rows[0] != rows[1]:
        found.append("results.json")
    if study_state(folder) != study_state(reference):
        found.append("study")
    return found


def command(folder: Path) -> list[str]:
    """Return the command that runs the sweep in `folder`; write its file beside it."""
    sweep = folder.with_name("killed_sweep.py")
    sweep.write_text(_SWEEP, encoding="utf-8")
    return [
        sys.executable,
        "-m",
        "experiments.sweep",
        "--config=configs/vanilla.py",
        f"--sweep={sweep}",
        f"--workdir={folder}",
        *(f"--config.{field}={value}" for field, value in _OVERRIDES.items()),
    ]


def kill_and_compare(kills: int, seed: int, scratch: Path) -> dict[str, Any]:
    """Run a reference, then kill sweeps until `kills` have hit."""
    rng, begun = random.Random(seed), time.monotonic()
    reference, folder, cache = scratch / "reference", scratch / "killed", scratch / "cache"
    run_until_killed(command(reference), cache)
    start = time.monotonic()
    run_until_killed(command(folder), cache)
    # The second one finds its programs compiled, as the killed ones do.
    life = time.monotonic() - start
    series: list[dict[str, Any]] = [{"kills": 0, "differing": differences(folder, reference)}]
    print(f"a whole sweep takes {life:.1f} s; differing: {series[0]['differing'] or 'nothing'}")
    shutil.rmtree(folder)
    total = in_series = 0
    while total < kills or in_series:
        moment = rng.uniform(0, life) if total < kills else None
        if run_until_killed(command(folder), cache, moment):
            total += 1
            in_series += 1
            members = len(list(folder.glob("members/*/member.json")))
            print(f"kill {total}/{kills} after {moment:.2f} s: {members} members ended", flush=True)
            continue
        series.append({"kills": in_series, "differing": differences(folder, reference)})
        differing = ", ".join(series[-1]["differing"]) or "nothing"
        print(f"finished after {in_series} kills; differing: {differing}", flush=True)
        in_series = 0
        shutil.rmtree(folder)
    return {
        "command": f"python -m benchmarks.kill_sweep --kills={kills} --seed={seed}",
        "kills": total,
        "series": series,
        "equal": not any(entry["differing"] for entry in series),
        "seconds": time.monotonic() - begun,
        "num_cores": os.cpu_count(),
        "jax": jax.__version__,
    }


def main(argv: list[str]) -> None:
    """Kill, compare, write the JSON; exit code 1 if anything differs."""
    del argv
    logging.set_verbosity(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        results = kill_and_compare(KILLS.value, flags.FLAGS.seed, Path(scratch))
    print(f"{results['kills']} kills in {results['seconds']:.0f} s; equal: {results['equal']}")
    results_file.write(flags.FLAGS.output, results)
    sys.exit(0 if results["equal"] else 1)


if __name__ == "__main__":
    app.run(main)
