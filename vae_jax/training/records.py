"""Writers of a run's records: metrics.jsonl, TensorBoard, and the terminal.

A record is a flat dict: "step", "epoch", "split" ("train" or "valid") and metrics in nats.
"""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO, runtime_checkable

import numpy as np

from vae_jax.errors import UserError

Record = dict[str, Any]


@runtime_checkable
class Writer(Protocol):
    """Takes records."""

    def write(self, record: Record) -> None:
        """Take one record."""

    def flush(self) -> None:
        """Make sure that everything written so far outlives the process."""

    def close(self) -> None:
        """Flush and release."""


def read_records(path: Path) -> list[Record]:
    """Return the records of a metrics.jsonl; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, start=1):
        if line.endswith("\n") and line.strip():
            try:
                records.append(dict(json.loads(line)))
            except ValueError as error:
                raise UserError(f"{path}, line {number} is damaged: {error}") from None
    return records


@contextlib.contextmanager
def _told_in_one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}; make room and run the same "
            "command again to continue from the last checkpoint"
        ) from error


def _without_non_finite(record: Record) -> Record:
    """Return the record with null for what JSON has no number for."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }


def _forget_after(path: Path, last_step: int) -> None:
    """Make `path` a file of its records up to `last_step`."""
    kept = [record for record in read_records(path) if record["step"] <= last_step]
    lines = "".join(json.dumps(record) + "\n" for record in kept)
    partial = path.with_name(path.name + ".partial")
    with _told_in_one_line(path):
        partial.write_text(lines, encoding="utf-8")
        os.replace(partial, path)


class JsonLinesWriter:
    """Appends to a metrics.jsonl from which everything after `last_step` has been removed."""

    def __init__(self, path: Path, last_step: int) -> None:
        _forget_after(path, last_step)
        self._path = path
        with _told_in_one_line(path):
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, record: Record) -> None:
        """Append one line."""
        with _told_in_one_line(self._path):
            self._file.write(json.dumps(_without_non_finite(record)) + "\n")
            self._file.flush()

    def flush(self) -> None:
        """Wait until the lines are on the disk."""
        with _told_in_one_line(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with _told_in_one_line(self._path):
            self._file.close()


class MembersJsonLinesWriter:
    """Appends the records of a sweep's members to a metrics.jsonl each, at every flush.

    What a file holds after its member's `last_steps` is removed first. Records of members without a
    path are left out.
    """

    def __init__(self, paths: Mapping[int, Path], last_steps: Mapping[int, int]) -> None:
        self._paths = paths
        self._lines: dict[int, list[str]] = {member: [] for member in paths}
        for member, path in paths.items():
            _forget_after(path, last_steps[member])

    def write(self, record: Record) -> None:
        """Keep one record until the next flush."""
        own = _without_non_finite(record)
        member = own.pop("member")
        if member in self._lines:
            self._lines[member].append(json.dumps(own) + "\n")

    def flush(self) -> None:
        """Append what was kept, and wait until it is on the disk."""
        # Opened only for this: there may be more members than a process may hold files open.
        for member, lines in self._lines.items():
            if lines:
                path = self._paths[member]
                with _told_in_one_line(path), open(path, "a", encoding="utf-8") as file:
                    file.writelines(lines)
                    file.flush()
                    os.fsync(file.fileno())
                lines.clear()

    def close(self) -> None:
        """Close without flushing: a continued run writes those steps again."""


class TensorBoardWriter:
    """Scalars and images as TensorBoard event files; a resumed run hides what it repeats.

    The events are tensorboardX's, but not its SummaryWriter: that one queues them for a thread,
    which loses the last ones at a kill, and on a full disk dies and leaves the run waiting.
    """

    def __init__(self, folder: Path, last_step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self._folder = folder
        with _told_in_one_line(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # The suffix keeps apart two files that are begun within a second.
            self._events = EventsWriter(str(folder / "events"), f".{last_step}")
        self._add(last_step + 1, session_log=SessionLog(status=SessionLog.START))

    def _add(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with _told_in_one_line(self._folder):
            self._events.write_event(Event(step=step, wall_time=time.time(), **content))

    def write(self, record: Record) -> None:
        """Write each metric as the scalar "split/metric"."""
        from tensorboardX import summary

        for name, value in record.items():
            if name not in ("step", "epoch", "split"):
                scalar = summary.scalar(f"{record['split']}/{name}", value)
                self._add(record["step"], summary=scalar)

    def write_images(self, name: str, images: np.ndarray, step: int) -> None:
        """Write `[num, height, width, channels]`, in [0, 1], as one mosaic."""
        from tensorboardX import summary

        mosaic = summary.image(name, images.clip(0, 1), dataformats="NHWC")
        self._add(step, summary=mosaic)

    def write_hyperparameters(
        self, values: Mapping[str, Any], metrics: Mapping[str, float], step: int
    ) -> None:
        """Write what the run was, and what came of it, for TensorBoard's HParams."""
        from tensorboardX import summary

        told = {
            name: v if isinstance(v, bool | int | float) else str(v) for name, v in values.items()
        }
        for part in summary.hparams(told, dict(metrics)):
            self._add(step, summary=part)
        for name, value in metrics.items():
            self._add(step, summary=summary.scalar(name, value))

    def flush(self) -> None:
        """Hand everything written to the file."""
        with _told_in_one_line(self._folder):
            self._events.flush()

    def close(self) -> None:
        """Close the event file."""
        with _told_in_one_line(self._folder):
            self._events.close()


class ProgressWriter:
    """Rate, time left and the current ELBO: a bar on a terminal, now and then a line elsewhere."""

    def __init__(
        self,
        *,
        total_steps: int,
        first_step: int,
        batch_size: int,
        stream: TextIO | None = None,
        seconds_between_lines: float = 10.0,
    ) -> None:
        from tqdm import tqdm

        self._batch_size = batch_size
        self._total_steps = total_steps
        self._stream = stream or sys.stderr
        self._seconds_between_lines = seconds_between_lines
        self._latest = ""
        self._start = self._last_line = time.monotonic()
        self._first_step = self._step = first_step
        self._bar = tqdm(
            total=total_steps * batch_size,
            initial=first_step * batch_size,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            file=self._stream,
            disable=not self._stream.isatty(),
        )

    def write(self, record: Record) -> None:
        """Move on to the record's step and show its ELBO, or its distortion if it has none."""
        name = "elbo" if "elbo" in record else "distortion"
        self._latest = f"epoch {record['epoch']:g}, {record['split']} {name} {record[name]:.2f}"
        if record["step"] > self._step:
            self._bar.update((record["step"] - self._step) * self._batch_size)
            self._step = record["step"]
        self._bar.set_description_str(self._latest, refresh=False)
        now = time.monotonic()
        finished = self._step == self._total_steps and record["split"] == "valid"
        if self._bar.disable and (finished or now - self._last_line > self._seconds_between_lines):
            self._last_line = now
            rate = (self._step - self._first_step) / max(now - self._start, 1e-9)
            left = (self._total_steps - self._step) / max(rate, 1e-9)
            print(
                f"{self._latest} nats; {rate * self._batch_size:,.0f} images/s, {left:.0f} s left",
                file=self._stream,
                flush=True,
            )

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()
