"""Train and measure the families of the zoo on several data sets, and write the results.

The workdir has a folder per data set: the runs of a card with a row per family, `second_stages`
with those of second stages, and the classifier. A run's metrics are stored in its own folder once
it is measured, so that the same command continues after it was stopped or killed.

Results stay when their workdir is gone: another one adds to them. For this they have the classifier
and the images that are shown.
"""

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax import plots, trained, workdir
from vae_jax.evaluation import classifier
from vae_jax.evaluation.results_file import Row
from vae_jax.papers import runs as card_runs
from vae_jax.papers.card import BUDGETS, Card
from vae_jax.papers.runs import MAX_SEEDS, Runs
from vae_jax.sweeps.executors import Executor
from vae_jax.sweeps.member_files import read_member
from vae_jax.zoo import measure, plot, report, results, shown_images
from vae_jax.zoo.families import Zoo
from vae_jax.zoo.measure import Yardstick

_REFERENCE = "reference.json"


class Run(NamedTuple):
    """A family on a data set with a seed; its stages are the folders of its runs."""

    family: str
    seed: int
    stages: tuple[Path, ...]

    @property
    def has_ended(self) -> bool:
        """True if its last stage has been trained, or an earlier one has diverged."""
        known = [_member(stage) for stage in self.stages]
        return known[-1] is not None or any(found and "test" not in found for found in known)


@dataclasses.dataclass(frozen=True)
class Table:
    """The runs on a data set.

    Attributes:
      zoo: the families.
      data: name of the data set.
      names: names of the families to train.
      seeds: seeds of each.
      folder: folder of the runs.
    """

    zoo: Zoo
    data: str
    names: Sequence[str]
    seeds: Sequence[int]
    folder: Path

    def first_stages(self) -> Runs:
        """Return the runs of all families."""
        return self._runs(self.zoo.card(self.data), self.names, self.seeds, self.folder)

    def second_stages(self, seed: int) -> Runs | None:
        """Return the second stages that follow a seed's first ones; None if there are none."""
        firsts = {
            run.family: run.stages[0]
            for run in self.runs()
            if run.seed == seed and len(run.stages) > 1 and "test" in (_member(run.stages[0]) or {})
        }
        if not firsts:
            return None
        card = self.zoo.second_card(self.data, firsts)
        return self._runs(card, list(firsts), [seed], self._second_folder)

    def runs(self) -> Iterator[Run]:
        """Yield the runs, family by family."""
        for name in self.names:
            index = list(self.zoo.families).index(name)
            has_second = self.zoo.families[name].second_stage is not None
            folders = [self.folder, *([self._second_folder] if has_second else [])]
            for seed in self.seeds:
                member = MAX_SEEDS * index + seed
                yield Run(name, seed, tuple(workdir.member_folder(f, member) for f in folders))

    @property
    def _second_folder(self) -> Path:
        return self.folder / "second_stages"

    def _runs(self, card: Card, names: Sequence[str], seeds: Sequence[int], folder: Path) -> Runs:
        return Runs(card, BUDGETS[0], card.rows_named(names, BUDGETS[0]), seeds, folder)

    @functools.cached_property
    def yardstick(self) -> Yardstick:
        """The images that samples are compared with, read when the first run is measured."""
        for run in self.runs():
            if run.has_ended and "test" in (_member(run.stages[0]) or {}):
                model = trained.load_images(run.stages[0])
                found = measure.make_yardstick(model, self.folder / "classifier")
                if not (self.folder / _REFERENCE).is_file():
                    reference = {"data": self.data, **found.reference()}
                    workdir.write_json(self.folder / _REFERENCE, reference)
                return found
        raise AssertionError("a yardstick is made for a run that has ended")

    def measure(self, run: Run) -> None:
        """Measure a run that has ended, and write its row."""
        known = [found for stage in run.stages if (found := _member(stage)) is not None]
        row: dict[str, Any] = {
            "data": self.data,
            "family": run.family,
            "label": self.zoo.families[run.family].label,
            "seed": run.seed,
            "diverged": "test" not in known[-1],
            "train_seconds": sum(found["train_seconds"] for found in known),
        }
        if row["diverged"]:
            measure.write(run.stages[-1], row)
            return
        found, images = measure.measure_run(run.stages[-1], self.yardstick)
        measure.write(run.stages[-1], {**row, **found}, images)


def _member(folder: Path) -> dict[str, Any] | None:
    return read_member(folder.parents[1], int(folder.name))


def compare(
    zoo: Zoo,
    *,
    names: Sequence[str],
    datasets: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    out: Path,
    executor: Executor,
    command: str,
) -> None:
    """Train and measure families on data sets; write results, report and plots.

    Args:
      zoo: the families.
      names: names of those to train.
      datasets: names of the data sets.
      seeds: seeds of each family.
      folder: the workdir.
      out: folder of the results.
      executor: trains the runs.
      command: the command of the user, for the report.

    Raises:
      Interrupted: a signal came; the same command continues.
      UserError: runs cannot be trained, or results cannot be trusted.
    """
    tables = [
        Table(zoo, data, zoo.named(names), seeds, folder / Path(data).stem) for data in datasets
    ]
    workdir.make_folder(out)
    results.require_same_budget(out, zoo)
    for table in tables:
        card_runs.check(table.first_stages())
        _share_classifier(table, out)
    progress = _Progress(tables)

    def refresh() -> None:
        for table in tables:
            for run in table.runs():
                if run.has_ended and measure.read(run.stages[-1]) is None:
                    table.measure(run)
                    _share_classifier(table, out)
                    _write(tables, out, command)
                    progress.print(f"{table.data}, {run.family}, seed {run.seed}")

    refresh()
    for table in tables:
        card_runs.train(table.first_stages(), executor, refresh)
        for seed in seeds:
            second = table.second_stages(seed)
            if second is not None:
                card_runs.check(second)
                card_runs.train(second, executor, refresh)
        refresh()
    _write(tables, out, command)
    _draw(tables, out)
    _write(tables, out, command)
    print(f"{report.path_of(out)} is written", flush=True)


class _Progress:
    """The share of the runs that are measured, and the time left at the pace of this command."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._runs = [run for table in tables for run in table.runs()]
        self._before = self._num_done()
        self._start = time.perf_counter()

    def _num_done(self) -> int:
        return sum(measure.read(run.stages[-1]) is not None for run in self._runs)

    def print(self, name: str) -> None:
        """Print that a run has been measured."""
        done = self._num_done()
        pace = (time.perf_counter() - self._start) / max(1, done - self._before)
        hours = pace * (len(self._runs) - done) / 3600
        left = f"; about {hours:.1f} h left" if done < len(self._runs) else ""
        print(f"{name}: {done} of {len(self._runs)} runs measured{left}", flush=True)


def _measured(zoo: Zoo, data: Path) -> list[tuple[Path, Row]]:
    """Return folder and row of each measured run on a data set, family by family."""
    found = {}
    # A second stage comes in place of the first.
    for stage in (data, data / "second_stages"):
        for folder in sorted(stage.glob("members/*")):
            row = measure.read(folder)
            if row is not None and row["family"] in zoo.families:
                found[row["family"], row["seed"]] = folder, row
    order = list(zoo.families)
    return [found[key] for key in sorted(found, key=lambda key: (order.index(key[0]), key[1]))]


def _write(tables: Sequence[Table], out: Path, command: str) -> None:
    """Write the results of all runs in the workdir that have been measured, and the report."""
    zoo, own = tables[0].zoo, [table.folder for table in tables]
    others = sorted(path for path in own[0].parent.iterdir() if path.is_dir())
    folders = list(dict.fromkeys([*own, *others]))
    rows = [row for data in folders for _, row in _measured(zoo, data)]
    paths = [data / _REFERENCE for data in folders]
    references = [workdir.read_json(path) for path in paths if path.is_file()]
    results.write(out, zoo, command, rows, references)
    workdir.write_atomically(report.path_of(out), report.render(out))


def _share_classifier(table: Table, out: Path) -> None:
    """Give the classifier of a data set to the results, or the results' one to a new workdir."""
    own = table.folder / "classifier"
    published = out / results.NAME / f"{table.folder.name}_classifier"
    for source, target in ((published, own), (own, published)):
        if classifier.exists(source) and not classifier.exists(target):
            workdir.make_folder(target)
            classifier.save(target, classifier.load(source))


def _draw(tables: Sequence[Table], out: Path) -> None:
    """Draw the images of the first seed of each family and the plane, per data set."""
    rows = results.read(out).get("rows", [])
    for table in tables:
        folder, name = out / results.NAME, table.folder.name
        whole = [row for row in rows if row["data"] == table.data and not row["diverged"]]
        if not whole:
            continue
        own = {
            (row["family"], row["seed"]): measured
            for measured, row in _measured(table.zoo, table.folder)
        }
        shown = shown_images.read(folder / f"{name}_images.npz")
        first = {row["family"]: row for row in reversed(whole)}
        strips = {}
        for family in reversed(first):
            row = first[family]
            sampler = report.best_sampler([row])
            if (family, row["seed"]) in own:
                images = measure.read_images(own[family, row["seed"]])
                shown |= shown_images.of_family(family, images, sampler)
            label = f"{row['label']}, {sampler}" if sampler else row["label"]
            if (strip := shown_images.strip(shown, family)) is not None:
                strips[label] = strip
        shown_images.write(folder / f"{name}_images.npz", shown)
        figure = plot.reconstructions_and_samples(shown["test"], strips)
        plots.save(figure, folder / f"{name}_images.png")
        plots.save(plot.quality_plane(report.points(whole)), folder / f"{name}_plane.png")
