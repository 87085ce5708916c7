"""SIGTERM and Ctrl-C as a flag that the training loop checks between compiled calls."""

import contextlib
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
        print(
            f"{interruption.signal.name}: saving at the next stop; once more stops at once",
            file=sys.stderr,
            flush=True,
        )

    previous = {number: signal.signal(number, record) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
