"""Runs of several families of models, killed at random moments, end with the bits of whole ones.

    python -m benchmarks.kill_families --kills=3 --output=benchmarks/results/kill_families_cpu.json

As `benchmarks.kill_resume`, with a config of each family: codebooks that move without a gradient, a
second stage, games of several players, and other posteriors and objectives. `--families=vq_vae,aae`
are some of them. Takes about two minutes per family at 3 kills on 2 cores.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging

from benchmarks.kill_resume import SHORT, Run, kill_and_compare
from benchmarks.killing import KILLS
from experiments import flags as shared
from vae_jax.evaluation import results_file

shared.define("seed", output="JSON file to write; empty prints only")

_EPOCHS = 4
_CODES = {"model.channels": 8, "model.blocks": 1}
_ONE_LAYER = {"model.encoder.widths": "(64,)"}
_FEW_SAMPLES = {"evaluation.num_samples": 5}
# Changes to the config of a family, whose runs are short.
_FAMILIES: dict[str, dict[str, Any]] = {
    "vq_vae": _CODES,
    "code_prior": {},
    "gumbel": {**_ONE_LAYER, **_FEW_SAMPLES},
    "wae": _ONE_LAYER,
    "rae": _ONE_LAYER,
    "hyperspherical": {**_ONE_LAYER, **_FEW_SAMPLES},
    "aae": _ONE_LAYER,
    "vae_gan": {**_ONE_LAYER, **_FEW_SAMPLES},
}

_NAMES = flags.DEFINE_list("families", list(_FAMILIES), "names of configs")


def _first_stage(scratch: Path) -> Path:
    """Train a VQ-VAE whose codes a second stage learns, and return its workdir."""
    run = Run(scratch / "first_stage", 1, scratch / "cache", "vq_vae", {**SHORT, **_CODES})
    run.start()
    return run.folder


def kill_family(name: str, kills: int, seed: int, scratch: Path) -> dict[str, Any]:
    """Return the counts of a family (see `kill_and_compare`)."""
    overrides = {**SHORT, **_FAMILIES[name]}
    if name == "code_prior":
        overrides["model.first_stage"] = _first_stage(scratch)
    return kill_and_compare(kills, seed, _EPOCHS, scratch, name, overrides)


def main(argv: list[str]) -> None:
    """Kill and compare each family, write the JSON; exit code 1 if anything differs."""
    del argv
    logging.set_verbosity(logging.WARNING)
    kills, seed = KILLS.value, flags.FLAGS.seed
    families: dict[str, Any] = {}
    for name in _NAMES.value:
        print(f"{name}:", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            found = kill_family(name, kills, seed, Path(scratch))
        families[name] = {key: found[key] for key in ("kills", "series", "torn", "equal")}
        circumstances = {
            "num_cores": os.cpu_count(),
            "jax": jax.__version__,
            "command": f"python -m benchmarks.kill_families --kills={kills} --seed={seed}",
        }
        results_file.write(flags.FLAGS.output, {"families": families, **circumstances})
    equal = all(found["equal"] for found in families.values())
    print(f"{len(families)} families; equal: {equal}")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    app.run(main)
