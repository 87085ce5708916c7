r"""Train many settings and seeds of an experiment; started again, continue where it stopped.

    python -m experiments.sweep --config=configs/beta.py \
        --sweep=configs/sweeps/rate_distortion.py --workdir=runs/rd
    python -m experiments.sweep --config=configs/vanilla.py \
        --sweep=configs/sweeps/tpe.py --trials=64 --workdir=runs/tpe

Beside the first, or on another machine that shares the workdir, the same command takes part.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

from absl import flags

from experiments import command_line
from experiments import flags as shared
from experiments.executor_flags import named_executor
from vae_jax.errors import UserError
from vae_jax.sweeps import run, space
from vae_jax.sweeps.space import Sweep

shared.define("format", "config", "workdir", "init_from", "accept_data", "log")

_SWEEP = flags.DEFINE_string("sweep", "", "required; file of the sweep (vae_jax/sweeps/space.py)")
_TRIALS = flags.DEFINE_integer("trials", None, "settings to try, in place of the sweep file's")
_BATCH = flags.DEFINE_integer("batch", None, "settings to try at a time")
_MEMORY_LIMIT = flags.DEFINE_string("memory_limit", "", "memory per device, as 8GiB or 500MiB")
_STORAGE = flags.DEFINE_string(
    "storage", "", "Optuna URL of a search shared by machines without a common workdir"
)
_STUDY = flags.DEFINE_string("study", "", "name of the study in --storage; else a digest")
_RECLAIM_AFTER = flags.DEFINE_float(
    "reclaim_after",
    0.0,
    "seconds without a sign of life after which other machines' trials are taken over; 0 never",
)


def _memory_limit() -> int | None:
    """Return the limit in bytes; None without the flag.

    Raises:
      UserError: the flag is not an amount.
    """
    if not (text := _MEMORY_LIMIT.value):
        return None
    if (match := re.fullmatch(r"(\d+(?:\.\d*)?)\s*([KMG]i?B)", text)) is None:
        raise UserError(f"--memory_limit={text!r} must be an amount such as 8GiB or 500MiB")
    base = 1024 if "i" in match[2] else 1000
    return int(float(match[1]) * base ** ("KMG".index(match[2][0]) + 1))


def named_sweep() -> Sweep:
    """Return the sweep that the flags name.

    Raises:
      UserError: the flag is missing, or the file does not work.
    """
    if not _SWEEP.value:
        raise UserError("--sweep is missing; name a file such as configs/sweeps/rate_distortion.py")
    sweep = space.load(_SWEEP.value)
    if _TRIALS.value is not None:
        sweep = space.with_num_trials(sweep, _TRIALS.value)
    if _BATCH.value is not None and _BATCH.value < 1:
        raise UserError(f"--batch={_BATCH.value} must be at least 1")
    if sweep.method == "tpe" and _BATCH.value is not None:
        sweep = dataclasses.replace(sweep, batch=_BATCH.value)
    return sweep


def run_sweep(config: Any, sweep: Sweep, folder: Path) -> None:
    """Run a sweep with the options of the flags."""
    run.run_sweep(
        config,
        sweep,
        folder,
        named_executor,
        batch=_BATCH.value,
        memory_limit=_memory_limit(),
        storage=_STORAGE.value,
        study=_STUDY.value,
        reclaim_after=_RECLAIM_AFTER.value,
        accept_data=flags.FLAGS.accept_data,
        log=flags.FLAGS.log,
    )


@shared.in_formats
def main() -> None:
    """Check the config and the sweep, then train its remaining members."""
    folder = shared.required_workdir()
    run_sweep(shared.required_config(folder), named_sweep(), folder)


if __name__ == "__main__":
    command_line.run(main)
