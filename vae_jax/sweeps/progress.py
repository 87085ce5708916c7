"""The lines that a sweep prints while it works: step, rate, time left and best ELBO of a chunk."""

import io
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from vae_jax.sweeps.loop import MemberProgress


class ChunkProgress:
    """Prints a line on a chunk now and then."""

    def __init__(
        self,
        *,
        name: str,
        num_members: int,
        total_steps: int,
        batch_size: int,
        stream: io.TextIOBase | TextIO | None = None,
        seconds_between_lines: float = 10.0,
    ) -> None:
        self._name = name
        self._num_members = num_members
        self._total_steps = total_steps
        self._batch_size = batch_size
        self._stream = stream or sys.stderr
        self._seconds_between_lines = seconds_between_lines
        self._start = self._last_line = time.monotonic()
        self._done = 0

    def trained(self, step: int, num_steps: int, progress: Sequence[MemberProgress]) -> None:
        """Report that the members in training are at `step`, by `num_steps` steps of them all."""
        self._done += num_steps
        training = sum(entry.status == "training" for entry in progress)
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        left = training * (self._total_steps - step) / rate
        elbos = [entry.best["elbo"] for entry in progress if "elbo" in entry.best]
        best = f", best elbo {max(elbos):.2f} nats" if elbos else ""
        self._say(
            f"step {step:,} of {self._total_steps:,}, {training} of {self._num_members} members in "
            f"training{best}; {rate * self._batch_size:,.0f} images/s, {left:.0f} s left"
        )

    def measured(self, num_measured: int) -> None:
        """Report the number of members that have been measured and written."""
        last = num_measured == self._num_members
        self._say(f"{num_measured} of {self._num_members} members measured", at_once=last)

    def _say(self, line: str, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._last_line >= self._seconds_between_lines:
            self._last_line = now
            print(f"chunk {self._name}: {line}", file=self._stream, flush=True)
