"""The trials of a sweep in batches: claimed from the study, dealt out, trained, told of.

What a batch is, is written down before it is trained (batches/NNNN.json), so that a process that
was killed goes on with the same one.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.sweeps import plan as sweep_plan
from vae_jax.sweeps.chunks import Chunk
from vae_jax.sweeps.results import Row, member_row
from vae_jax.sweeps.space import Sweep
from vae_jax.sweeps.study import State, Study
from vae_jax.training.records import read_records

_SECONDS_BETWEEN_SIGNS = 60.0


class Batch(NamedTuple):
    """Some trials and the chunks that train them."""

    trials: list[int]
    chunks: list[Chunk]


def next_batch(
    folder: Path,
    study: Study,
    sweep: Sweep,
    base: Mapping[str, Any],
    resources: sweep_plan.Resources,
    *,
    limit: int,
) -> Batch | None:
    """What to train now: the batch that was begun, or a new one; None if no trials are left.

    Args:
      folder: the workdir.
      study: where trials come from.
      sweep: what is tried.
      base: the base config.
      resources: what there is.
      limit: trials of a batch.

    Raises:
      UserError: the memory limit is too low.
    """
    directory = folder / "batches"
    written = sorted(directory.glob("*.json"))
    begun = study.mine()
    if written:
        last = Batch(**workdir.read_json(written[-1]))
        if set(last.trials) & {trial.number for trial in begun}:
            return last
    claimed = sorted([*begun, *study.claim(limit - len(begun))])
    if not claimed:
        return None
    chunks, told = sweep_plan.deal(
        sweep,
        base,
        [(trial.number, trial.setting) for trial in claimed],
        batch=len(written),
        rivals=study.rivals(claimed[0].number) if sweep.halving is not None else {},
        resources=resources,
    )
    batch = Batch([trial.number for trial in claimed], chunks)
    directory.mkdir(exist_ok=True)
    workdir.write_json(directory / f"{len(written):04d}.json", batch._asdict())
    print(f"batch {len(written)}: {len(claimed)} trials\n{told}", flush=True)
    return batch


@contextlib.contextmanager
def kept_alive(study: Study, batch: Batch) -> Iterator[None]:
    """Give the study a sign of life now and then, so that no other machine takes the batch over."""
    ended = threading.Event()

    def give_signs() -> None:
        while not ended.wait(_SECONDS_BETWEEN_SIGNS):
            # What is wrong with the storage will be told of when the batch is.
            with contextlib.suppress(UserError):
                study.alive(batch.trials)

    study.alive(batch.trials)
    thread = threading.Thread(target=give_signs, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def tell(folder: Path, study: Study, sweep: Sweep, batch: Batch) -> None:
    """Tell the study how the trials of a batch ended; harmless if it was told before."""
    for trial in batch.trials:
        members = [
            entry["member"]
            for chunk in batch.chunks
            for entry in chunk["members"]
            if entry["trial"] == trial
        ]
        rows = [row for row in (member_row(folder, member) for member in members) if row]
        assert len(rows) == len(members), "a batch is told of when all its members have ended"
        statuses = {row["status"] for row in rows}
        state: State = "pruned" if "pruned" in statuses else "complete"
        if "diverged" in statuses:
            state = "failed"
        epochs = max(row["epoch"] for row in rows)
        marks = [] if sweep.halving is None else [e for e in sweep.halving.epochs if e <= epochs]
        curves = [_curve(Path(row["workdir"]), sweep.objective) for row in rows]
        reports = {
            epoch: float(np.mean([_latest(curve, epoch) for curve in curves]))
            for epoch in ({*marks, epochs} if all(curves) and state != "failed" else ())
        }
        value = reports.get(epochs) if state == "pruned" else _value(rows, sweep.objective)
        study.tell(trial, value=value, state=state, reports=reports, rows=rows)


def _curve(folder: Path, objective: str) -> dict[int, float]:
    """A member's validation figure by epoch."""
    return {
        int(record["epoch"]): record[objective]
        for record in read_records(folder / "metrics.jsonl")
        if record["split"] == "valid" and record.get(objective) is not None
    }


def _latest(curve: Mapping[int, float], epoch: int) -> float:
    """The value at an epoch; of a member that stopped before, its last."""
    return curve[max((e for e in curve if e <= epoch), default=min(curve))]


def _value(rows: Sequence[Row], objective: str) -> float | None:
    """The objective at the best epoch, the mean over seeds; on test data where none validated.

    Without a validation set nothing is searched by the value: it is there to be looked at.
    """
    for part in ("valid", "test"):
        values = [row[name] for row in rows if (name := f"{part}_{objective}") in row]
        if len(values) == len(rows):
            return float(np.mean(values))
    return None


def rows_of(folder: Path, study: Study, num_members: int) -> list[Row]:
    """Rows of all members that have ended, here or on another machine."""
    here = {m: row for m in range(num_members) if (row := member_row(folder, m)) is not None}
    elsewhere = {row["member"]: row for row in study.rows() if row["member"] not in here}
    return [*here.values(), *elsewhere.values()]
