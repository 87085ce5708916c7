"""Batches of one size over any number of rows, so that one compiled program serves all."""

from collections.abc import Iterator


def full_batches(num: int, batch_size: int) -> Iterator[tuple[slice, int]]:
    """Return slices of `batch_size` that cover `num` rows; the last one reaches back.

    Args:
      num: number of rows, at least one.
      batch_size: rows per slice; all of them where there are fewer.

    Yields:
      A slice, and how many of its first rows were in the previous slice.
    """
    size = min(batch_size, num)
    for first in range(0, num, size):
        begin = min(first, num - size)
        yield slice(begin, begin + size), first - begin
