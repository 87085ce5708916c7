"""TFDS's split syntax, such as `train[:90%]+test`, for every source of data.

https://www.tensorflow.org/datasets/splits describes it. Expressions have the same meaning here;
shards, `all` and slices whose ends have different units are not supported.
"""

import re
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from vae_jax.errors import UserError

_TERM = re.compile(
    r"(?P<name>[\w-]+)(\[(?P<start>-?[\d_.]+%?)?:(?P<stop>-?[\d_.]+%?)?\])?", re.ASCII
)


def parse(split: str, sizes: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Return the ranges of examples that a split expression names.

    Percentages are rounded to the closest example, as TFDS does.

    Args:
        split: such as `train`, `train[:55000]`, `train[-10%:]` or `train[:10]+test`.
        sizes: the number of examples in each split.

    Returns:
        `(name, start, stop)` for each term, in order, with 0 <= start < stop <= sizes[name].

    Raises:
        UserError: the syntax is wrong, a split is unknown, or a range is empty or too large.
    """
    return [_parse_term(term, split, sizes) for term in re.split(r"\s*\+\s*", split.strip())]


def overlap(split_a: str, split_b: str, sizes: Mapping[str, int]) -> int:
    """Return the number of different examples that two split expressions share.

    Raises:
        UserError: as `parse`, for either expression.
    """
    members_a, members_b = _members(split_a, sizes), _members(split_b, sizes)
    return sum(
        int(np.count_nonzero(members & members_b[name]))
        for name, members in members_a.items()
        if name in members_b
    )


def _members(split: str, sizes: Mapping[str, int]) -> dict[str, Bool[np.ndarray, " examples"]]:
    """Return a mask of each named split's examples."""
    members: dict[str, np.ndarray] = {}
    for name, start, stop in parse(split, sizes):
        members.setdefault(name, np.zeros(sizes[name], np.bool_))[start:stop] = True
    return members


def _parse_term(term: str, split: str, sizes: Mapping[str, int]) -> tuple[str, int, int]:
    match = _TERM.fullmatch(term)
    if not match:
        raise _bad_syntax(split)
    name, start_text, stop_text = match["name"], match["start"], match["stop"]
    sliced = "[" in term
    if sliced and start_text is None and stop_text is None:
        raise _bad_syntax(split)
    if name not in sizes:
        known = ", ".join(f"{known} ({size})" for known, size in sizes.items())
        raise UserError(f"split {split!r} names {name!r}, which is not known; known: {known}")
    if start_text and stop_text and start_text.endswith("%") != stop_text.endswith("%"):
        raise UserError(f"split {split!r} mixes examples and percent in one slice; use one unit")
    size = sizes[name]
    start = _boundary(start_text, 0, split, size, name)
    stop = _boundary(stop_text, size, split, size, name)
    if start >= stop:
        raise UserError(
            f"split {split!r} is empty: {term!r} is examples {start} to {stop} of {size}"
        )
    return name, start, stop


def _boundary(text: str | None, default: int, split: str, size: int, name: str) -> int:
    if text is None:
        return default
    try:
        if text.endswith("%"):
            percent = float(text[:-1])
            # round(), as in TFDS: a tie goes to the even number.
            boundary = round(percent * size / 100.0)
            too_large = abs(percent) > 100
        else:
            boundary = int(text)
            too_large = abs(boundary) > size
    except ValueError:
        raise _bad_syntax(split) from None
    if too_large:
        raise UserError(
            f"split {split!r} is out of range: {text!r}, but {name!r} has {size} examples"
        )
    return boundary + size if boundary < 0 else boundary


def _bad_syntax(split: str) -> UserError:
    return UserError(
        f"split {split!r} is not understood; write it like 'train', 'train[:55000]', "
        "'train[-10%:]' or 'train[:90%]+test'"
    )
