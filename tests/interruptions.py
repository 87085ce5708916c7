"""Training that is stopped again and again."""

import signal

from vae_jax.sweeps import chunks
from vae_jax.training.interruption import Interruption
from vae_jax.training.loop import Interrupted


class StopsAfter(Interruption):
    """Asks to stop when it has been asked so many times."""

    def __init__(self, num_questions):
        super().__init__()
        self._left = num_questions

    def __bool__(self):
        self._left -= 1
        if self._left < 0:
            self.signal = signal.SIGTERM
        return self._left < 0


def stopped_again_and_again(monkeypatch, command):
    """Run `command()`, whose chunks are stopped, until it comes to an end; how often it was."""
    original, num_stops = chunks.train_chunk, 0

    def train_chunk(folder, chunk, interruption, on_end):
        # More patient each time, or a stop before the first save would come for ever.
        original(folder, chunk, StopsAfter(6 + 3 * num_stops), on_end)

    monkeypatch.setattr(chunks, "train_chunk", train_chunk)
    while True:
        try:
            command()
            return num_stops
        except Interrupted:
            num_stops += 1
