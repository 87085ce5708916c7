"""Where the records of a run go: metrics.jsonl, TensorBoard, and the terminal.

A record is a flat dict: "step", "epoch", "split" ("train" or "valid") and metrics in nats.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from vae_jax.errors import UserError

Record = dict[str, Any]


class Writer(Protocol):
    """Takes records."""

    def write(self, record: Record) -> None:
        """Take one record."""

    def flush(self) -> None:
        """Make sure that everything written so far outlives the process."""

    def close(self) -> None:
        """Flush and release."""


def read_records(path: Path) -> list[Record]:
    """The records of a metrics.jsonl; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n") and line.strip()]


class JsonLinesWriter:
    """Appends to a metrics.jsonl from which everything after `last_step` has been removed."""

    def __init__(self, path: Path, last_step: int) -> None:
        kept = [record for record in read_records(path) if record["step"] <= last_step]
        partial = path.with_name(path.name + ".partial")
        partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        os.replace(partial, path)
        self._path = path
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, record: Record) -> None:
        """Append one line."""
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{self._path} cannot be written: {error.strerror}; make room and run the same "
                "command again to continue from the last checkpoint"
            ) from error

    def flush(self) -> None:
        """Wait until the lines are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardWriter:
    """Scalars and images as TensorBoard event files; a resumed run hides what it repeats."""

    def __init__(self, folder: Path, last_step: int) -> None:
        import tensorboardX

        self._writer = tensorboardX.SummaryWriter(
            str(folder), purge_step=last_step + 1, flush_secs=30
        )

    def write(self, record: Record) -> None:
        """Write each metric as the scalar "split/metric"."""
        for name, value in record.items():
            if name not in ("step", "epoch", "split"):
                self._writer.add_scalar(f"{record['split']}/{name}", value, record["step"])

    def write_images(self, name: str, images: np.ndarray, step: int) -> None:
        """Write `[num, height, width, channels]`, in [0, 1], as one mosaic."""
        self._writer.add_images(name, images.clip(0, 1), step, dataformats="NHWC")

    def flush(self) -> None:
        """Hand what is queued to the file."""
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class ProgressWriter:
    """Rate, time left and the current ELBO: a bar on a terminal, now and then a line elsewhere."""

    def __init__(
        self,
        *,
        total_steps: int,
        first_step: int,
        batch_size: int,
        stream: TextIO = sys.stderr,
        seconds_between_lines: float = 10.0,
    ) -> None:
        from tqdm import tqdm

        self._batch_size = batch_size
        self._total_steps = total_steps
        self._stream = stream
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
            file=stream,
            disable=not stream.isatty(),
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
