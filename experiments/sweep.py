r"""Train many settings and seeds of an experiment; started again, continue where it stopped.

    python -m experiments.sweep --config=configs/beta.py \
        --sweep=configs/sweeps/rate_distortion.py --workdir=runs/rd
    python -m experiments.sweep --config=configs/vanilla.py \
        --sweep=configs/sweeps/tpe.py --trials=64 --workdir=runs/tpe

With --executor=ray the same sweep is spread over a cluster; with --storage several machines, each
with a workdir of its own, work on one study. `vae_jax/sweeps/space.py` says what a sweep file is.
"""

import contextlib
import dataclasses
import json
import re
import uuid
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from experiments import command_line
from experiments import flags as shared
from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.settings import flatten
from vae_jax.sweeps import batches as sweep_batches
from vae_jax.sweeps import plan as sweep_plan
from vae_jax.sweeps import results as sweep_results
from vae_jax.sweeps import space as search_space
from vae_jax.sweeps.executors import named_executor
from vae_jax.sweeps.space import Sweep
from vae_jax.sweeps.study import Study, masked, open_study

shared.define("config", "workdir")

_SWEEP = flags.DEFINE_string("sweep", "", "file of the sweep")
_TRIALS = flags.DEFINE_integer("trials", None, "settings to try, in place of the sweep file's")
_BATCH = flags.DEFINE_integer("batch", None, "settings to take on at a time")
_MEMORY_LIMIT = flags.DEFINE_string("memory_limit", "", "of a device, such as 8GiB or 500MiB")
_STORAGE = flags.DEFINE_string("storage", "", "Optuna URL of the study; SQLite in the workdir")
_STUDY = flags.DEFINE_string("study", "", "name of the study; by default from its digest")
_RECLAIM_AFTER = flags.DEFINE_integer(
    "reclaim_after",
    0,
    "seconds without a sign of life until another machine's trials are taken over; 0 never does",
)


def _memory_limit() -> int | None:
    """Bytes; None where the flag is not given.

    Raises:
      UserError: the flag is not an amount.
    """
    text = _MEMORY_LIMIT.value
    if not text:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([KMG]i?B)", text)
    if match is None:
        raise UserError(f"--memory_limit={text!r} must be an amount such as 8GiB or 500MiB")
    base = 1024 if "i" in match[2] else 1000
    return int(float(match[1]) * base ** ("KMG".index(match[2][0]) + 1))


def named_sweep() -> Sweep:
    """The sweep that the flags name.

    Raises:
      UserError: there is none, or it is not understood.
    """
    if not _SWEEP.value:
        raise UserError("--sweep is missing; name a file such as configs/sweeps/rate_distortion.py")
    sweep = search_space.load(_SWEEP.value)
    if _TRIALS.value is not None:
        sweep = search_space.with_num_trials(sweep, _TRIALS.value)
    if _BATCH.value is not None and _BATCH.value < 1:
        raise UserError(f"--batch={_BATCH.value} must be at least 1")
    if sweep.method == "tpe" and _BATCH.value is not None:
        sweep = dataclasses.replace(sweep, batch=_BATCH.value)
    return sweep


def _owner(folder: Path) -> str:
    """The name under which this workdir claims trials."""
    path = folder / "owner.json"
    if not path.is_file():
        workdir.write_json(path, {"owner": uuid.uuid4().hex})
    return str(workdir.read_json(path)["owner"])


def run_sweep(config: ConfigDict, sweep: Sweep, folder: Path) -> None:
    """Train, measure and draw every member that no other process has taken on."""
    # Through JSON, as the members' own config.json will be.
    base: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    search_space.check(sweep, flatten(base))
    sweep_plan.check_configs(sweep, base)
    fields = [field for names, _ in sweep.axes for field in names]
    limit = _memory_limit()
    described = {"config": base, "sweep": search_space.describe(sweep)}
    digest = workdir.config_digest(described)
    storage = _STORAGE.value or f"sqlite:///{folder / 'study.db'}"
    name = _STUDY.value or f"{Path(_SWEEP.value).stem}-{digest}"
    where = {"storage": masked(storage) if _STORAGE.value else "", "study": name}
    with workdir.hold(folder, sweep={**described, **where}), contextlib.ExitStack() as stack:
        sweep_results.check_results(folder, digest)
        executor = named_executor()
        resources = executor.resources
        if limit is not None:
            resources = resources._replace(memory_limit=limit)
        study = open_study(
            storage, name, sweep, digest, _owner(folder), exclusive=not _STORAGE.value
        )
        stack.enter_context(contextlib.closing(study))
        num_members = sweep.size * len(sweep.seeds)
        inside = [field for field in (*fields, "seed") if sweep_plan.varies_inside(field)]
        outside = [field for field in fields if not sweep_plan.varies_inside(field)]
        print(
            f"{folder}: {sweep.size} trials x {len(sweep.seeds)} seeds = {num_members} members; "
            f"vary inside a program: {', '.join(inside)}; by program: {', '.join(outside) or '-'}",
            flush=True,
        )

        def refresh() -> None:
            rows = sweep_batches.rows_of(folder, study, num_members)
            sweep_results.write_results(folder, digest, rows, fields)

        limit_a_batch = sweep.batch or _BATCH.value or sweep.size
        while True:
            if _RECLAIM_AFTER.value:
                study.reclaim(_RECLAIM_AFTER.value)
            batch = sweep_batches.next_batch(
                folder, study, sweep, base, resources, limit=limit_a_batch
            )
            if batch is None:
                break
            with sweep_batches.kept_alive(study, batch):
                executor.run(folder, batch.chunks, refresh)
            sweep_batches.tell(folder, study, sweep, batch)
        refresh()
        rows = sweep_batches.rows_of(folder, study, num_members)
        sweep_results.draw(folder, sweep, rows)
        sweep_results.write_tensorboard(folder, rows, fields)
        _report(folder, study, sweep, sweep_results.over_seeds(rows, fields))


def _report(folder: Path, study: Study, sweep: Sweep, settings: list[dict[str, Any]]) -> None:
    column = f"valid_{sweep.objective}"
    judged = [entry for entry in settings if column in entry["mean"]]
    judged.sort(key=lambda entry: entry["mean"][column], reverse=sweep.maximize)
    metrics = {column: f"valid {sweep.objective}", "test_elbo": "test ELBO"}
    metrics |= {"test_rate": "rate", "test_distortion": "distortion"}
    print(sweep_results.table(judged, metrics, top=10), end="")
    counts = study.counts()
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    print(f"{folder}: {told}; results.json, results.csv and figures/ are there")


def main() -> None:
    """Check the config and the sweep, then train what is left of it."""
    folder, config = shared.required_workdir(), shared.required_config()
    sweep = named_sweep()
    run_sweep(config, sweep, folder)


if __name__ == "__main__":
    command_line.run(main)
