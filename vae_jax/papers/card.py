"""Cards: a paper's table as configs, what it printed, and what counts as agreement.

A card is a plain Python file, configs/papers/NAME.py, with a function `get_card()` that returns a
`Card`. Its rows are settings of config fields over a base config; a budget, "full" or "cpu", says
what else is changed, such as the number of epochs.
"""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.config import python_file
from vae_jax.config.experiment import AnyExperiment
from vae_jax.config.overrides import value_at, with_values
from vae_jax.errors import UserError
from vae_jax.sweeps import fields
from vae_jax.sweeps import space as search_space
from vae_jax.sweeps.space import Setting, Sweep

FOLDER = Path(__file__).parents[2] / "configs" / "papers"
BUDGETS = ("cpu", "full")


class Figure(NamedTuple):
    """A figure that a row can be asked for.

    Attributes:
      label: in tables.
      sign: 1 where more is better, -1 where less is, 0 where neither.
      digits: after the point, in tables.
    """

    label: str
    sign: int
    digits: int


# By the number of labelled images.
NEIGHBOUR_FIGURES = {f"knn_accuracy_{number}": number for number in (100, 600, 1000)}
# Of several modalities, in percent: coherence by the number of modalities given, and the share of
# real examples whose class is read right, of the modality in which it is lowest.
COHERENCE_FIGURES = {
    "coherence_1": "coherence (%), one modality given",
    "coherence_4": "coherence (%), four given",
    "joint_coherence": "joint coherence (%)",
    "reader_accuracy": "real examples recognised (%)",
}
FIGURES = {
    "nll": Figure("NLL", -1, 2),
    "negative_elbo": Figure("-ELBO", -1, 2),
    "rate": Figure("rate", 0, 2),
    "distortion": Figure("distortion", 0, 2),
    "active_units": Figure("active units", 0, 1),
    **{
        name: Figure(f"k-NN accuracy (%), {number} labels", 1, 1)
        for name, number in NEIGHBOUR_FIGURES.items()
    },
    "joint_nll": Figure("NLL of all modalities", -1, 2),
    "image_nll": Figure("NLL of the image", -1, 2),
    "image_nll_given_others": Figure("NLL of the image given the others", -1, 2),
    "gain_for_image": Figure("gain on the image from the others (nats)", 1, 2),
    **{name: Figure(label, 1, 1) for name, label in COHERENCE_FIGURES.items()},
}


@dataclasses.dataclass(frozen=True)
class Expected:
    """A metric as the source printed it.

    Attributes:
      value: that it printed; None if it printed none.
      tolerance: how far ours may be off at the full budget; None where no bound was agreed on.
      verified: whether the value was read in the source. One that was not is never shown.
    """

    value: float | int | None = None
    tolerance: float | int | None = None
    verified: bool = True


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
      name: of the row.
      settings: what it changes in the base config, by dotted field name.
      figures: those asked of it, by name of `FIGURES`.
    """

    name: str
    settings: Setting
    figures: Mapping[str, Expected]


@dataclasses.dataclass(frozen=True)
class Check:
    """An ordering: each of some rows is better than the one before it; or a bound on one row.

    Attributes:
      figure: by which.
      rows: from the worst to the best; or the one that is bounded.
      least: how much better each must be at least, or what the one must be at least.
      most: how much better each must be less than, or what the one must be less than.
    """

    figure: str
    rows: Sequence[str]
    least: float | int = 0.0
    most: float | int = float("inf")


@dataclasses.dataclass(frozen=True)
class Budget:
    """The budget of a table.

    Attributes:
      changes: to the base config, by dotted field name.
      judged: whether values are compared with the paper's, and not orderings alone.
      left_out: rows too long for it, which are trained only where --rows names them.
    """

    changes: Setting
    judged: bool = False
    left_out: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Card:
    """A table to reproduce.

    Attributes:
      title: of the table.
      source: where it was printed.
      setup: a paragraph on what is trained and measured, and where it departs from the source.
      base: the config that the rows share.
      rows: of the table. The place of a row numbers its runs: add new ones at the end.
      budgets: by name, those of `BUDGETS`.
      checks: what must hold between rows.
      manifold: the row whose two-dimensional latent space is drawn; empty draws none.
      findings: a paragraph on what was found, above all where a verdict is not as expected.
      name: its file's; set by `load`.

    Raises:
      UserError: the card does not fit together.
    """

    title: str
    source: str
    setup: str
    base: AnyExperiment
    rows: Sequence[Row]
    budgets: Mapping[str, Budget]
    checks: Sequence[Check] = ()
    manifold: str = ""
    findings: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        known = [row.name for row in self.rows]
        if not known or len(set(known)) < len(known):
            raise UserError(f"rows={known!r} must be one or more different names")
        if set(self.budgets) != set(BUDGETS):
            raise UserError(f"budgets={sorted(self.budgets)!r} must be {' and '.join(BUDGETS)}")
        named = [name for check in self.checks for name in check.rows]
        named += [name for budget in self.budgets.values() for name in budget.left_out]
        for name in [*named, *([self.manifold] if self.manifold else [])]:
            if name not in known:
                raise UserError(f"{name!r} is not a row{_nearest(name, known)}")
        for budget in self.budgets.values():
            with_values(self.base, budget.changes)
        for row in self.rows:
            with_values(self.base, row.settings)
        for check in self.checks:
            if not FIGURES.get(check.figure, Figure("", 0, 0)).sign:
                raise UserError(f"{check.figure!r} is no figure of which more or less is better")
            for row in self.rows:
                if row.name in check.rows and check.figure not in row.figures:
                    raise UserError(f"the row {row.name!r} is not asked for {check.figure!r}")
        for figure in (figure for row in self.rows for figure in row.figures):
            if figure not in FIGURES:
                raise UserError(f"{figure!r} is not a figure; there are {', '.join(FIGURES)}")

    def base_config(self, budget: str) -> dict[str, Any]:
        """Return every setting that the rows share at a budget, as JSON gives it back."""
        return fields.resolved(with_values(self.base, self.budgets[budget].changes))

    def config(self, row: Row, budget: str) -> dict[str, Any]:
        """Return every setting of a row but for its seed, as JSON gives it back."""
        return fields.resolved(fields.with_values(self.base_config(budget), row.settings))

    def sweep(self, rows: Sequence[Row], budget: str, seeds: Sequence[int]) -> Sweep:
        """Return the rows as the trials of a grid with one axis, in their order."""
        base = self.base_config(budget)
        names = tuple(dict.fromkeys(name for row in rows for name in row.settings))
        values = [
            tuple(row.settings.get(name, value_at(base, name)) for name in names) for row in rows
        ]
        if not names:
            return search_space.grid({}, seeds=seeds)
        if len(names) == 1:
            return search_space.grid({names[0]: [value for (value,) in values]}, seeds=seeds)
        return search_space.grid({names: values}, seeds=seeds)

    def rows_named(self, names: Sequence[str], budget: str) -> list[Row]:
        """Return the named rows in the card's order; by default those that the budget has.

        Raises:
          UserError: there is no row of that name.
        """
        known = [row.name for row in self.rows]
        for name in names:
            if name not in known:
                raise UserError(
                    f"--rows={name}: the card {self.name!r} has no such row{_nearest(name, known)}"
                )
        left_out = self.budgets[budget].left_out
        wanted = names or [name for name in known if name not in left_out]
        return [row for row in self.rows if row.name in wanted]


def names() -> list[str]:
    """Return the cards that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def load(name: str) -> Card:
    """Return a card by its name, or by the path of its file.

    Raises:
      UserError: there is none, or its file does not work.
    """
    path = Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if not name.endswith(".py") and name not in names():
        raise UserError(f"--card={name}: there is no such card{_nearest(name, names())}")
    card: Card = python_file.call(path, "get_card", "card", Card, "a Card")
    return dataclasses.replace(card, name=path.stem)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
