"""The runs that a page lets one choose from: a run, the members of a sweep, or several runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax import workdir
from vae_jax.applications.explorer.explored import without_folders
from vae_jax.errors import UserError
from vae_jax.settings import flatten

# Settings that two runs may differ in without being another experiment, or that say nothing.
_UNNAMED = ("workdir", "schema", "checkpoints.", "tensorboard.", "evaluation.")
# Settings named per run, at most.
_MOST_NAMED = 4


class Run(NamedTuple):
    """A run, and where it lies in the rate-distortion plane.

    Attributes:
      folder: its workdir.
      name: what the page calls it.
      settings: those in which it differs from the others, as a text.
      rate: in nats, on the test set; None where it is not measured.
      distortion: in nats, likewise.
    """

    folder: Path
    name: str
    settings: str
    rate: float | None
    distortion: float | None


def of_sweep(folder: Path) -> list[Path]:
    """Return the directories of a sweep's members that have a checkpoint; empty without a sweep.

    Raises:
      UserError: no member has one.
    """
    if workdir.read_sweep(folder) is None:
        return []
    found = [path.parent for path in (folder / "members").glob("*/checkpoints") if path.is_dir()]
    if not found:
        raise UserError(
            f"workdir={str(folder)!r} holds a sweep of which no member is trained; wait for one"
        )
    return sorted(found)


def describe(folders: Sequence[Path]) -> list[Run]:
    """Return runs with their names, what they differ in, and their test metrics.

    Raises:
      UserError: one is named twice, has no config, or a file of it is damaged.
    """
    twice = [path for path in folders if sum(path.resolve() == o.resolve() for o in folders) > 1]
    if twice:
        raise UserError(f"{twice[0]} is named twice; name each run once")
    configs = [flatten(workdir.read_config(folder)) for folder in folders]
    names = [_name(folder) for folder in folders]
    if len(set(names)) < len(names):
        names = list(map(str, folders))
    differing = _differing(configs)
    found = []
    for folder, name, config in zip(folders, names, configs, strict=True):
        test = (workdir.read_summary(folder) or {}).get("test", {})
        settings = ", ".join(
            f"{field.split('.')[-1]}={config[field]:g}"
            if isinstance(config[field], float)
            else f"{field.split('.')[-1]}={_without_folders(field, config[field])}"
            for field in differing
            if field in config
        )
        found.append(Run(folder, name, settings, _nats(test, "rate"), _nats(test, "distortion")))
    return found


def best(runs: Sequence[Run]) -> int:
    """Return the index of the run with the largest ELBO; 0 if none is measured."""
    sums = [
        np.inf if run.rate is None or run.distortion is None else run.rate + run.distortion
        for run in runs
    ]
    return int(np.argmin(sums))


def _without_folders(field: str, value: Any) -> Any:
    return without_folders(value) if field == "data.name" else value


def _name(folder: Path) -> str:
    name = folder.resolve().name
    is_member = folder.resolve().parent.name == "members" and name.isdecimal()
    return f"member {int(name)}" if is_member else name


def _differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    fields = dict.fromkeys(field for config in configs for field in config)
    return [
        field
        for field in fields
        if not field.startswith(_UNNAMED)
        and len({repr(config.get(field)) for config in configs}) > 1
    ][:_MOST_NAMED]


def _nats(test: dict[str, Any], name: str) -> float | None:
    value = test.get(name)
    return float(value) if isinstance(value, int | float) else None
