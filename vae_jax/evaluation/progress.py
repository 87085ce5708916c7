"""The progress bar of a measurement, with rate and time left."""

import sys

from tqdm import tqdm


def progress_bar(total: int, unit: str, name: str = "evaluating", *, show: bool = True) -> tqdm:
    """Return a bar on standard error; outside of a terminal it is a line every 30 seconds."""
    seconds = 0.1 if sys.stderr.isatty() else 30
    return tqdm(total=total, desc=name, unit=unit, mininterval=seconds, disable=not show)
