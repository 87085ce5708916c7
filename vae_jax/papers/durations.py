"""How long runs take, from measured ones: the arithmetic.

A run that was measured says how much *work* it was: the seconds that it took, times the speed of
the machine. That speed is the one of a standard training, in examples per second, so that work is
the number of the standard's examples that take as long. Divided by the speed of another machine it
is the time there. A row's *pace* is its work per multiplication.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Costs(NamedTuple):
    """What a run costs: multiplications up to a common factor, or seconds.

    Attributes:
      training: of all its epochs.
      evaluation: of its test likelihood.
    """

    training: float
    evaluation: float

    def times(self, training: float, evaluation: float) -> "Costs":
        """Return both costs, each times a factor of its own."""
        return Costs(self.training * training, self.evaluation * evaluation)


class Record(NamedTuple):
    """A measured training or evaluation.

    Attributes:
      multiplications: up to the same factor as `Costs`.
      work: seconds times the speed of the machine.
    """

    multiplications: float
    work: float

    @property
    def pace(self) -> float:
        """The work per multiplication."""
        return self.work / self.multiplications


class CardTime(NamedTuple):
    """The time of a card's runs that are not done.

    Attributes:
      card: its name.
      num_runs: their number.
      seconds: of those that can be estimated, together.
      unknown: the rows of the others.
    """

    card: str
    num_runs: int
    seconds: float
    unknown: tuple[str, ...] = ()


def fastest(records: Iterable[Record]) -> Record | None:
    """Return the record of the lowest pace, since what else a machine does only slows it down."""
    return min(records, key=lambda record: record.pace, default=None)


def unhindered(records: Mapping[str, Record]) -> dict[str, Record]:
    """Return the records of networks that differ in sizes alone, none with more work than a larger.

    Where one had more, the machine had other things to do.

    Args:
      records: of one example, by row.
    """
    return {
        row: Record(
            record.multiplications,
            min(
                other.work
                for other in records.values()
                if other.multiplications >= record.multiplications
            ),
        )
        for row, record in records.items()
    }


def filled(paces: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the paces of a card's rows; a missing one is the median of the others.

    The networks of a card are alike. All stay None if none is known.
    """
    known = [value for value in paces.values() if value is not None]
    typical = statistics.median(known) if known else None
    return {row: typical if value is None else value for row, value in paces.items()}


def described(seconds: float) -> str:
    """Return a duration in words: "50 s", "41 min", "6 h 40 min"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def lines(cards: Sequence[CardTime], ratio: float | None) -> str:
    """Return a line per card with runs that are not done, and one for all of them.

    Args:
      cards: their times.
      ratio: the speed of this machine by that of one core of the one that made the results; None
        if it was not measured.
    """
    cards = [card for card in cards if card.num_runs]
    total = CardTime(
        "all", sum(card.num_runs for card in cards), sum(card.seconds for card in cards)
    )
    where = ""
    if ratio is not None and total.seconds:
        where = (
            f" on this machine ({ratio:.1f} times the speed of one core of the one that made the "
            "results)"
        )
    left_out = sum(len(card.unknown) for card in cards)
    rows = f"; {left_out} row{'s'[: left_out > 1]} not estimated" if left_out else ""
    return "\n".join([*map(_line, cards), f"{_line(total)}{where}{rows}"])


def _line(card: CardTime) -> str:
    time = f", {described(card.seconds)}" if card.seconds else ""
    unknown = f"; not estimated: {', '.join(card.unknown)}" if card.unknown else ""
    return f"{card.card}: {card.num_runs} run{'s'[: card.num_runs > 1]}{time}{unknown}"
