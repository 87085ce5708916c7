"""The runs and sweeps below a folder: what each trains, how far it is, and its test metrics."""

import os
from pathlib import Path

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import reports
from vae_jax.evaluation.summary import COLUMNS
from vae_jax.settings import name_of
from vae_jax.trained import read_experiment
from vae_jax.training.records import read_records

_METRICS = ("elbo", "rate", "distortion", "iwae_bound")


def find(folder: Path) -> list[Path]:
    """Return the directories of runs and sweeps in a folder or below it, without members."""
    found = []
    for name, below, files in os.walk(folder):
        if {"config.json", "sweep.json"} & set(files):
            found.append(Path(name))
            below.clear()
    return sorted(found)


def table(folder: Path) -> str:
    """Return a Markdown table with a line per run or sweep.

    Raises:
      UserError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name one that has runs below it")
    runs = find(folder)
    if not runs:
        raise UserError(f"{folder} has no run; name a folder that has runs below it")
    heading = ["run", "model", "objective", "data", "status", *(COLUMNS[name] for name in _METRICS)]
    return reports.table(heading, [[_name(run, folder), *_described(run)] for run in runs])


def _name(run: Path, folder: Path) -> str:
    return run.relative_to(folder).as_posix() if run != folder else run.name


def _described(run: Path) -> list[str]:
    """Return the cells of a run but for its name; a damaged file is named in place of a status."""
    empty = [""] * len(_METRICS)
    try:
        if workdir.read_sweep(run) is not None:
            members = sorted((run / "members").glob("[0-9]*"))
            done = sum(workdir.read_summary(member) is not None for member in members)
            return ["", "", "", f"sweep, {done} of {len(members)} members finished", *empty]
        config = read_experiment(run)
        summary = workdir.read_summary(run)
    except UserError as error:
        return ["", "", "", str(error), *empty]
    parts = [name_of(config.model), name_of(config.objective), str(config.data.name)]
    if summary is None:
        records = read_records(run / "metrics.jsonl")
        epoch = records[-1]["epoch"] if records else 0
        return [*parts, f"epoch {epoch} of {config.epochs}", *empty]
    test = summary.get("test", {})
    found = [test.get(name) for name in _METRICS]
    return [*parts, "finished", *("" if value is None else f"{value:.2f}" for value in found)]
