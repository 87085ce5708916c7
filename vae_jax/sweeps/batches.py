"""The trials of a sweep in batches, which are dealt out and whose results a search learns from.

A batch is written down before it is trained (batches/NNNN.json), and its chunks are held by those
who train them. So whoever comes next, beside another process or after one that was killed, takes
the chunks that nobody holds, and deals the next batch where there are none.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from optuna.trial import TrialState

from vae_jax import workdir
from vae_jax.sweeps import plan
from vae_jax.sweeps.chunks import Chunk, check_chunk, is_done, is_free
from vae_jax.sweeps.member_files import is_lost, read_member
from vae_jax.sweeps.results import Row, curve, member_row
from vae_jax.sweeps.search import Outcome, Search, Trial
from vae_jax.sweeps.space import Setting, Sweep, settings


class Batch(NamedTuple):
    """Some trials and the chunks that train them."""

    trials: list[int]
    chunks: list[Chunk]


@dataclasses.dataclass(frozen=True)
class Work:
    """The work on a sweep in one workdir, which several processes may share.

    Attributes:
      folder: the workdir.
      sweep: what is tried.
      base: the config that it is tried on.
      resources: what a process may use.
      search: where settings come from that depend on results; None if all are known.
    """

    folder: Path
    sweep: Sweep
    base: Mapping[str, Any]
    resources: plan.Resources
    search: Search | None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the other processes of the workdir from looking for work or writing results."""
        with workdir.hold(self.folder, wait=math.inf):
            yield

    def next_chunks(self, limit: int) -> list[Chunk]:
        """Return the chunks to train now: those begun that nobody holds, or those of a new batch.

        Args:
          limit: the most trials of a new batch.

        Raises:
          UserError: the memory limit is too low, or a shared storage fails.
        """
        with self.alone():
            paths = sorted((self.folder / "batches").glob("*.json"))
            batches = list(map(_read_batch, paths))
            if self.search is None:
                trials = [Trial(*numbered) for numbered in enumerate(self._settings)]
            else:
                self._report_ended(self.search, batches)
                trials = self.search.mine()
            open_trials = {trial.number for trial in trials} | self._lost_trials(batches)
            begun = [
                chunk
                for batch in batches
                if open_trials & set(batch.trials)
                for chunk in batch.chunks
                if not is_done(self.folder, chunk) and is_free(self.folder, chunk)
            ]
            return begun or self._new_batch(trials, batches, limit)

    def rows(self) -> list[Row]:
        """Return the rows of all members that have ended, here or on another machine."""
        numbers = range(self.sweep.size * len(self.sweep.seeds))
        here = {m: row for m in numbers if (row := self._row(m)) is not None}
        others = [] if self.search is None else self.search.rows()
        return [*here.values(), *(row for row in others if row["member"] not in here)]

    def outcome(self, trial: int) -> Outcome | None:
        """Return how a trial ended that was trained here; None while one of its members is left."""
        numbers = [plan.member_number(self.sweep, trial, i) for i in range(len(self.sweep.seeds))]
        rows = [row for row in map(self._row, numbers) if row is not None]
        if len(rows) < len(numbers):
            return None
        statuses = {row["status"] for row in rows}
        state = TrialState.PRUNED if "pruned" in statuses else TrialState.COMPLETE
        if "diverged" in statuses:
            state = TrialState.FAIL
        last = max(row["epoch"] for row in rows)
        marks = () if self.sweep.halving is None else self.sweep.halving.epochs
        curves = [curve(row, self.sweep.objective) for row in rows]
        reports = {
            epoch: float(np.mean([_latest(by_epoch, epoch) for by_epoch in curves]))
            for epoch in sorted({last, *(mark for mark in marks if mark <= last)})
            if all(curves) and state is not TrialState.FAIL
        }
        is_pruned = state is TrialState.PRUNED
        value = reports.get(last) if is_pruned else _value(rows, self.sweep.objective)
        return Outcome(state, value, reports, rows)

    @functools.cached_property
    def _settings(self) -> list[Setting]:
        return settings(self.sweep)

    def _row(self, member: int) -> Row | None:
        known = read_member(self.folder, member)
        if known is None:
            return None
        # An earlier version may have had other names, and one setting for several of today.
        if self.search is None:
            setting = self._settings[known["trial"]]
        else:
            setting = dict(zip(self.sweep.fields, known["setting"].values(), strict=True))
        return member_row(self.folder, known, setting)

    def _report_ended(self, search: Search, batches: Sequence[Batch]) -> None:
        """Report to the search how the trials of whole batches ended."""
        running = search.running()
        for batch in batches:
            if running & set(batch.trials) and all(is_done(self.folder, c) for c in batch.chunks):
                for trial in batch.trials:
                    outcome = self.outcome(trial)
                    assert outcome is not None, "all members of the batch have ended"
                    search.finish(trial, outcome)

    def _lost_trials(self, batches: Sequence[Batch]) -> set[int]:
        """Return the trials of which a member that had ended was damaged."""
        entries = [
            entry for batch in batches for chunk in batch.chunks for entry in chunk["members"]
        ]
        return {entry["trial"] for entry in entries if is_lost(self.folder, entry["member"])}

    def _new_batch(
        self, trials: Sequence[Trial], batches: Sequence[Batch], limit: int
    ) -> list[Chunk]:
        """Deal out the next trials, up to `limit`, and write them down."""
        dealt = {number for batch in batches for number in batch.trials}
        new = [trial for trial in trials if trial.number not in dealt][:limit]
        if self.search is not None:
            new += self.search.claim(limit - len(new))
        if not new:
            return []
        new.sort(key=lambda trial: trial.number)
        # The file of an earlier batch may be gone.
        names = [path.stem for path in (self.folder / "batches").glob("*.json")]
        number = 1 + max((int(name) for name in names if name.isdecimal()), default=-1)
        chunks, described = plan.deal(
            self.sweep,
            self.base,
            new,
            batch=number,
            rivals={} if self.sweep.halving is None else self._rivals(new[0].number),
            resources=self.resources,
        )
        batch = Batch([trial.number for trial in new], chunks)
        workdir.make_folder(self.folder / "batches")
        workdir.write_json(self.folder / "batches" / f"{number:04d}.json", batch._asdict())
        print(f"batch {number}: {len(new)} trials\n{described}", flush=True)
        return chunks

    def _rivals(self, before: int) -> dict[int, list[float]]:
        """Return the objective by epoch of ended trials with a smaller number."""
        if self.search is not None:
            reports = self.search.reports(before)
        else:
            reports = [found.reports for found in map(self.outcome, range(before)) if found]
        rivals: dict[int, list[float]] = {}
        for values in reports:
            for epoch, value in sorted(values.items()):
                rivals.setdefault(epoch, []).append(value)
        return rivals


def _read_batch(path: Path) -> Batch:
    content = workdir.read_json(path, {"trials": list, "chunks": list})
    return Batch(content["trials"], [check_chunk(chunk, path) for chunk in content["chunks"]])


def _latest(by_epoch: Mapping[int, float], epoch: int) -> float:
    """Return the value at an epoch; the last one of a member that stopped before."""
    return by_epoch[max((e for e in by_epoch if e <= epoch), default=min(by_epoch))]


def _value(rows: Sequence[Row], objective: str) -> float | None:
    """Return the objective at the best epoch, the mean over seeds; on test data if none validated.

    Without a validation set nothing is searched by the value: it is there to be looked at.
    """
    for part in ("valid", "test"):
        values = [row[name] for row in rows if (name := f"{part}_{objective}") in row]
        if len(values) == len(rows):
            return float(np.mean(values))
    return None
