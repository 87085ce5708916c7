"""Writers of a run's records: metrics.jsonl, TensorBoard, and the terminal.

A record is a flat dict: "step", "epoch", "split" ("train" or "valid") and metrics in nats.
"""

import contextlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
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
        """Make sure that all records written so far outlive the process."""

    def close(self) -> None:
        """Flush and close the files."""


def read_records(path: Path) -> list[Record]:
    """Return the records of a metrics.jsonl, without a last line that a kill cut off."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, start=1):
        if line.endswith("\n") and line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number} is damaged: {error}") from None
            if not isinstance(record, dict) or not {"step", "epoch", "split"} <= record.keys():
                raise UserError(
                    f"{path}, line {number} is damaged: it is no object with step, epoch and split"
                )
            records.append(record)
    return records


def missing_steps(records: Sequence[Record], last_step: int) -> list[int]:
    """Return the steps up to `last_step` at which a run's records have a gap.

    Records lie at the same steps of every epoch: what one epoch has, all must have.
    """
    missing: set[int] = set()
    ends = {int(r["step"]) // r["epoch"] for r in records if r["epoch"] and r["epoch"] % 1 == 0}
    steps_per_epoch = max(1, int(max(ends, default=last_step)))
    for split in ("train", "valid"):
        steps = {record["step"] for record in records if record["split"] == split}
        within = {(step - 1) % steps_per_epoch + 1 for step in steps}
        epochs = range(0, last_step, steps_per_epoch)
        expected = {first + step for first in epochs for step in within}
        missing |= {step for step in expected - steps if step <= last_step}
    if last_step > 0 and all(record["step"] != last_step for record in records):
        missing.add(last_step)
    return sorted(missing)


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}; make room and run the same "
            "command again to continue from the last checkpoint"
        ) from error


def _without_non_finite(record: Record) -> Record:
    """Return the record with None for numbers that JSON cannot have."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }


def _remove_after(path: Path, last_step: int) -> None:
    """Remove the records after `last_step` from a file, which is created if it is missing.

    Of records that are there twice the later one stays. A gap before `last_step` is said, and no
    reason to stop: the state to go on from does not depend on the records.
    """
    found = [record for record in read_records(path) if record["step"] <= last_step]
    kept = list({(record["step"], record["split"]): record for record in found}.values())
    if len(kept) < len(found):
        logging.warning("%s had %d records twice", path, len(found) - len(kept))
    missing = missing_steps(kept, last_step)
    if missing:
        logging.warning(
            "%s lacks records from step %d to %d; what is drawn from it has a gap there",
            path,
            missing[0],
            missing[-1],
        )
    lines = "".join(json.dumps(record) + "\n" for record in kept)
    partial = path.with_name(path.name + ".partial")
    with _write_errors(path):
        partial.write_text(lines, encoding="utf-8")
        os.replace(partial, path)


class JsonLinesWriter:
    """Removes the records after `last_step` from a metrics.jsonl, then appends to it."""

    def __init__(self, path: Path, last_step: int) -> None:
        _remove_after(path, last_step)
        self._path = path
        with _write_errors(path):
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, record: Record) -> None:
        """Append one line."""
        with _write_errors(self._path):
            self._file.write(json.dumps(_without_non_finite(record)) + "\n")
            self._file.flush()

    def flush(self) -> None:
        """Wait until the lines are on the disk."""
        with _write_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with _write_errors(self._path):
            self._file.close()


class MembersJsonLinesWriter:
    """Appends the records of each member of a sweep to its metrics.jsonl, at every flush.

    Records after the member's `last_steps` are removed first. Records of members without a path are
    dropped.
    """

    def __init__(self, paths: Mapping[int, Path], last_steps: Mapping[int, int]) -> None:
        self._paths = paths
        self._lines: dict[int, list[str]] = {member: [] for member in paths}
        for member, path in paths.items():
            _remove_after(path, last_steps[member])

    def write(self, record: Record) -> None:
        """Keep one record until the next flush."""
        own = _without_non_finite(record)
        member = own.pop("member")
        if member in self._lines:
            self._lines[member].append(json.dumps(own) + "\n")

    def flush(self) -> None:
        """Append the kept records, and wait until they are on the disk."""
        # Files are open only here: a process may have fewer open files than there are members.
        for member, lines in self._lines.items():
            if lines:
                path = self._paths[member]
                with _write_errors(path), open(path, "a", encoding="utf-8") as file:
                    file.writelines(lines)
                    file.flush()
                    os.fsync(file.fileno())
                lines.clear()

    def close(self) -> None:
        """Close without flushing: a continued run writes those steps again."""


class TensorBoardWriter:
    """Scalars and images as TensorBoard event files; a resumed run hides the steps that it repeats.

    The events are those of tensorboardX, but not its SummaryWriter: its thread loses the last
    events at a kill, and on a full disk it dies, which leaves the run waiting.
    """

    def __init__(self, folder: Path, last_step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self._folder = folder
        with _write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # The suffix distinguishes two files that are created within a second.
            self._events = EventsWriter(str(folder / "events"), f".{last_step}")
        self._add(last_step + 1, session_log=SessionLog(status=SessionLog.START))

    def _add(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with _write_errors(self._folder):
            self._events.write_event(Event(step=step, wall_time=time.time(), **content))

    def write(self, record: Record) -> None:
        """Write each metric as the scalar "split/metric"."""
        from tensorboardX import summary

        for name, value in record.items():
            if name not in ("step", "epoch", "split"):
                scalar = summary.scalar(f"{record['split']}/{name}", value)
                self._add(record["step"], summary=scalar)

    def write_images(self, name: str, images: np.ndarray, step: int) -> None:
        """Write images `[num, height, width, channels]` in [0, 1] as one mosaic."""
        from tensorboardX import summary

        mosaic = summary.image(name, images.clip(0, 1), dataformats="NHWC")
        self._add(step, summary=mosaic)

    def write_hyperparameters(
        self, values: Mapping[str, Any], metrics: Mapping[str, float], step: int
    ) -> None:
        """Write the settings and the final metrics of a run, for TensorBoard's HParams.

        Without a list of all settings: of several lists TensorBoard takes any one, and of none it
        shows the settings of all runs.
        """
        from tensorboardX import summary

        settings = {
            name: v if isinstance(v, bool | int | float) else str(v) for name, v in values.items()
        }
        _, begun, ended = summary.hparams(settings, dict(metrics))
        for part in (begun, ended):
            self._add(step, summary=part)
        for name, value in metrics.items():
            self._add(step, summary=summary.scalar(name, value))

    def flush(self) -> None:
        """Write all events to the file."""
        with _write_errors(self._folder):
            self._events.flush()

    def close(self) -> None:
        """Close the event file."""
        with _write_errors(self._folder):
            self._events.close()


class ProgressWriter:
    """Rate, time left and the current ELBO: a bar on a terminal, occasional lines elsewhere."""

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
        """Advance to the record's step and show its ELBO, else its distortion, else its loss."""
        name = next(name for name in ("elbo", "distortion", "loss") if name in record)
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
        """Do nothing: each line is written at once."""

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
