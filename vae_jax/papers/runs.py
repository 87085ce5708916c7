"""The runs of a card: its rows times seeds, trained as members of a sweep.

A run is a member in WORKDIR/CARD/BUDGET, numbered by its row's index and its seed, so that rows and
seeds can be added later. Chunks are written to batches/NNNN.json before they are trained, so that a
killed process continues with the same chunks.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.data import idx_builder, splits
from vae_jax.errors import UserError
from vae_jax.papers.card import Card, Row
from vae_jax.sweeps import checks, chunks, fields
from vae_jax.sweeps import plan as sweep_plan
from vae_jax.sweeps import space as search_space
from vae_jax.sweeps.chunks import Chunk
from vae_jax.sweeps.executors import Executor
from vae_jax.sweeps.member_files import read_member
from vae_jax.sweeps.plan import Resources

# Member numbers per row.
MAX_SEEDS = 100


@dataclasses.dataclass(frozen=True)
class Runs:
    """Runs of one card at one budget.

    Attributes:
      card: the card.
      budget: the budget's name.
      rows: the rows to train.
      seeds: the seeds of each row.
      folder: the workdir.
    """

    card: Card
    budget: str
    rows: Sequence[Row]
    seeds: Sequence[int]
    folder: Path

    def member(self, row: Row, seed: int) -> int:
        """Return a run's member number in the workdir."""
        return MAX_SEEDS * [other.name for other in self.card.rows].index(row.name) + seed

    def members(self) -> list[int]:
        """Return the member numbers of all runs, row by row."""
        return [self.member(row, seed) for row in self.rows for seed in self.seeds]

    def row_of(self, member: int) -> Row:
        """Return the row of a run."""
        return self.card.rows[member // MAX_SEEDS]

    def config(self, member: int) -> factory.AnyExperiment:
        """Return the experiment of a run."""
        config = self.card.config(self.row_of(member), self.budget)
        return factory.resolve({**config, "seed": member % MAX_SEEDS})

    def is_done(self, member: int) -> bool:
        """Return whether a run has been trained and measured."""
        return read_member(self.folder, member) is not None


def check(runs: Runs) -> None:
    """Refuse runs that cannot be trained, before any training.

    Raises:
      UserError: a config cannot work, data are missing, or the workdir has runs of other configs.
    """
    try:
        base = runs.card.base_config(runs.budget)
        checks.check_configs(runs.card.sweep(runs.rows, runs.budget, runs.seeds), base)
    except UserError as error:
        raise UserError(
            f"the card {runs.card.name!r} at the {runs.budget} budget: {error}"
        ) from None
    for row in runs.rows:
        _check_data(runs.card, runs.card.config(row, runs.budget))
    for member in runs.members():
        folder = workdir.member_folder(runs.folder, member)
        if (folder / "config.json").is_file():
            with factory.hold_run(folder, runs.config(member)):
                pass


def _check_data(card: Card, config: dict[str, Any]) -> None:
    experiment = factory.resolve(config)
    factory.refuse_stream(experiment)
    name, folder = experiment.data.name, experiment.data.dir
    try:
        factory.split_sizes(experiment)
    except UserError as error:
        message = str(error)
        if name in idx_builder.FAMILY:
            message = (
                f"data.name={name!r} is not prepared under data.dir={folder!r}: python -m "
                f"experiments.prepare --name={name} --data_dir={folder}, with --source=DIR where "
                "the idx files are on a disk"
            )
        raise UserError(f"the card {card.name!r} needs its data: {message}") from None


def train(runs: Runs, executor: Executor, on_progress: Callable[[], None]) -> None:
    """Train and measure every run that is not done.

    Args:
      runs: runs that passed `check`.
      executor: trains the chunks.
      on_progress: called when runs may have ended.

    Raises:
      Interrupted: a signal came; the same command continues.
      UserError: the workdir is of another card, or in use.
    """
    described = {
        "card": runs.card.name,
        "budget": runs.budget,
        "config": runs.card.base_config(runs.budget),
    }

    def as_now(found: dict[str, Any]) -> dict[str, Any]:
        # A setting that came later has its default there.
        return {**found, "config": fields.resolved(found.get("config", {}))}

    with workdir.hold(runs.folder, sweep=described, as_now=as_now):
        missing = {member for member in runs.members() if not runs.is_done(member)}
        begun = _begun(runs, missing)
        left = missing - {entry["member"] for chunk in begun for entry in chunk["members"]}
        executor.run(runs.folder, [*begun, *_deal(runs, left, executor.resources)], on_progress)


def _begun(runs: Runs, missing: set[int]) -> list[Chunk]:
    """Return the chunks with a checkpoint of a missing run, as they were dealt."""
    written = [
        chunk
        for path in sorted((runs.folder / "batches").glob("*.json"))
        for chunk in workdir.read_json(path, {"chunks": list})["chunks"]
    ]
    return [
        chunk
        for chunk in written
        if chunks.chunk_folder(runs.folder, chunk).is_dir()
        and missing & {entry["member"] for entry in chunk["members"]}
    ]


def _deal(runs: Runs, members: set[int], resources: Resources) -> list[Chunk]:
    """Return new chunks for some runs, after writing them to a file."""
    rows_by_seeds: dict[tuple[int, ...], list[Row]] = {}
    for row in runs.rows:
        seeds = tuple(seed for seed in runs.seeds if runs.member(row, seed) in members)
        if seeds:
            rows_by_seeds.setdefault(seeds, []).append(row)
    directory, dealt = runs.folder / "batches", []
    directory.mkdir(exist_ok=True)
    base = runs.card.base_config(runs.budget)
    for seeds, rows in rows_by_seeds.items():
        sweep = runs.card.sweep(rows, runs.budget, seeds)
        number = len(list(directory.glob("*.json")))
        batch, description = sweep_plan.deal(
            sweep,
            base,
            list(enumerate(search_space.settings(sweep))),
            batch=number,
            rivals={},
            resources=resources,
        )
        for entry in (entry for chunk in batch for entry in chunk["members"]):
            entry["member"] = runs.member(rows[entry["trial"]], entry["seed"])
        workdir.write_json(directory / f"{number:04d}.json", {"chunks": batch})
        names = ", ".join(row.name for row in rows)
        seeds_text = ", ".join(map(str, seeds))
        print(f"batch {number}: {names}, seeds {seeds_text}\n{description}", flush=True)
        dealt += batch
    return dealt


def num_training_images(config: dict[str, Any]) -> int:
    """Return the number of training images, or of training rows of a table."""
    sizes = factory.split_sizes(factory.resolve(config))
    return num_images(config["data"]["train_split"], sizes)


def num_images(split: str, sizes: dict[str, int]) -> int:
    """Return the number of examples of a split, given the sizes of the data set's own."""
    return sum(stop - start for _, start, stop in splits.parse(split, sizes))
