"""SIGTERM and Ctrl-C as a flag that the training loop checks between compiled calls."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType


class Interruption:
    """The signal that asked the process to stop, if one did."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def deferred() -> Iterator[Interruption]:
    """Record SIGTERM and SIGINT instead of stopping; a second one stops at once."""
    interruption = Interruption()

    def record(number: int, _: FrameType | None) -> None:
        if interruption:
            raise KeyboardInterrupt(number)
        interruption.signal = signal.Signals(number)
        message = f"{interruption.signal.name}: saving at the next stop; once more stops at once"
        try:
            print(message, file=sys.stderr, flush=True)
        except RuntimeError:
            # The signal came while the stream was being written, which it refuses to be again.
            with contextlib.suppress(OSError):
                os.write(2, f"{message}\n".encode())

    previous = {number: signal.signal(number, record) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
