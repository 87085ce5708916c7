"""Training that is stopped repeatedly."""

import signal

from vae_jax.sweeps import chunks
from vae_jax.training.interruption import Interruption
from vae_jax.training.loop import Interrupted


class StopsAfter(Interruption):
    """An interruption that comes after `num_checks` checks."""

    def __init__(self, num_checks):
        super().__init__()
        self._left = num_checks

    def __bool__(self):
        self._left -= 1
        if self._left < 0:
            self.signal = signal.SIGTERM
        return self._left < 0


def stopped_again_and_again(monkeypatch, command):
    """Run `command()`, whose chunks are stopped, until it ends; return the number of stops."""
    original, num_stops = chunks.train_chunk, 0

    def train_chunk(folder, chunk, interruption, on_end):
        # Later each time: otherwise every stop might come before the first save.
        original(folder, chunk, StopsAfter(6 + 3 * num_stops), on_end)

    monkeypatch.setattr(chunks, "train_chunk", train_chunk)
    while True:
        try:
            command()
            return num_stops
        except Interrupted:
            num_stops += 1
