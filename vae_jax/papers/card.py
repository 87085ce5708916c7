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


class Metric(NamedTuple):
    """A metric of a row.

    Attributes:
      label: name in tables.
      sign: 1 where higher is better, -1 where lower is better, 0 where neither.
      digits: after the point, in tables.
    """

    label: str
    sign: int
    digits: int


# Numbers of labelled images, by metric.
NEIGHBOUR_METRICS = {f"knn_accuracy_{number}": number for number in (100, 600, 1000)}
# Labels of metrics of several modalities, in percent: coherence by the number of modalities given,
# and the share of real examples whose class is read correctly, in the modality where it is lowest.
COHERENCE_METRICS = {
    "coherence_1": "coherence (%), one modality given",
    "coherence_4": "coherence (%), four given",
    "joint_coherence": "joint coherence (%)",
    "reader_accuracy": "real examples recognised (%)",
}
# Metrics of runs on tables whose hidden cells are known: squared errors in units of each column's
# variance, and the share of hidden numbers within the model's intervals.
IMPUTATION_METRICS = {
    "imputation_error": Metric("squared error of hidden cells", -1, 3),
    "imputation_error_of_iterative_imputer": Metric("squared error, IterativeImputer", -1, 3),
    "imputation_error_of_mean": Metric("squared error, mean of the column", -1, 3),
    "gain_over_iterative_imputer": Metric("gain over IterativeImputer (squared error)", 1, 3),
    "interval_coverage": Metric("hidden cells in 90 % intervals (%)", 0, 1),
}
METRICS = {
    "nll": Metric("NLL", -1, 2),
    "negative_elbo": Metric("-ELBO", -1, 2),
    "rate": Metric("rate", 0, 2),
    "distortion": Metric("distortion", 0, 2),
    "active_units": Metric("active units", 0, 1),
    **{
        name: Metric(f"k-NN accuracy (%), {number} labels", 1, 1)
        for name, number in NEIGHBOUR_METRICS.items()
    },
    "joint_nll": Metric("NLL of all modalities", -1, 2),
    "image_nll": Metric("NLL of the image", -1, 2),
    "image_nll_given_others": Metric("NLL of the image given the others", -1, 2),
    "gain_for_image": Metric("gain on the image from the others (nats)", 1, 2),
    **{name: Metric(label, 1, 1) for name, label in COHERENCE_METRICS.items()},
    "guess_nll": Metric("NLL without latents", -1, 2),
    "accuracy": Metric("accuracy (%)", 1, 1),
    "accuracy_of_classifier_alone": Metric("accuracy (%), classifier alone", 1, 1),
    **IMPUTATION_METRICS,
}


@dataclasses.dataclass(frozen=True)
class Expected:
    """A metric as the source printed it.

    Attributes:
      value: as printed; None if there is none.
      tolerance: the largest difference at the full budget that counts as agreement; None without
        one.
      verified: whether the value was read in the source itself. Other values are never shown.
    """

    value: float | int | None = None
    tolerance: float | int | None = None
    verified: bool = True


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
      name: of the row.
      settings: its changes to the base config, by dotted field name.
      metrics: its metrics and their expected values, by a name in `METRICS`.
    """

    name: str
    settings: Setting
    metrics: Mapping[str, Expected]


@dataclasses.dataclass(frozen=True)
class Check:
    """An ordering of rows, each better than the one before it, or a bound on a single row.

    Attributes:
      metric: the metric compared.
      rows: from the worst to the best, or the single row.
      least: lower bound of each improvement, or of the single row's value.
      most: upper bound of each improvement, or of the single row's value.
    """

    metric: str
    rows: Sequence[str]
    least: float | int = 0.0
    most: float | int = float("inf")


@dataclasses.dataclass(frozen=True)
class Budget:
    """A budget of a table.

    Attributes:
      changes: to the base config, by dotted field name.
      judged: whether values are compared with the paper's, beside orderings.
      left_out: rows too expensive for it, which are trained only if --rows names them.
    """

    changes: Setting
    judged: bool = False
    left_out: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Card:
    """A table to reproduce.

    Attributes:
      title: of the table.
      source: where it was published.
      setup: a paragraph on what is trained and measured, and how that differs from the source.
      base: the config that the rows share.
      rows: of the table. The index of a row numbers its runs: add new rows at the end.
      budgets: by a name in `BUDGETS`.
      checks: orderings and bounds that should hold.
      manifold: the row whose two-dimensional latent space is drawn; empty draws none.
      findings: a paragraph on the results, above all on unexpected verdicts.
      name: of its file; set by `load`.

    Raises:
      UserError: the card contradicts itself.
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
            if len(check.rows) > 1 and not METRICS.get(check.metric, Metric("", 0, 0)).sign:
                raise UserError(
                    f"{check.metric!r} cannot order rows: neither more nor less is better"
                )
            for row in self.rows:
                if row.name in check.rows and check.metric not in row.metrics:
                    raise UserError(f"the row {row.name!r} lacks the metric {check.metric!r}")
        for metric in (metric for row in self.rows for metric in row.metrics):
            if metric not in METRICS:
                raise UserError(f"{metric!r} is not a metric; there are {', '.join(METRICS)}")

    def base_config(self, budget: str) -> dict[str, Any]:
        """Return every setting that the rows share at a budget, as read from JSON."""
        return fields.resolved(with_values(self.base, self.budgets[budget].changes))

    def config(self, row: Row, budget: str) -> dict[str, Any]:
        """Return every setting of a row except its seed, as read from JSON."""
        return fields.resolved(fields.with_values(self.base_config(budget), row.settings))

    def sweep(self, rows: Sequence[Row], budget: str, seeds: Sequence[int]) -> Sweep:
        """Return the rows, in order, as the trials of a grid with one axis."""
        base = self.base_config(budget)
        names = tuple(dict.fromkeys(name for row in rows for name in row.settings))
        values = [
            tuple(row.settings.get(name, value_at(base, name)) for name in names) for row in rows
        ]
        axes: dict[Any, Any] = {names: values} if names else {}
        if len(names) == 1:
            axes = {names[0]: [value for (value,) in values]}
        # Every model has a distortion, by which the rows are not compared.
        return search_space.grid(axes, seeds=seeds, objective="distortion")

    def rows_named(self, names: Sequence[str], budget: str) -> list[Row]:
        """Return the named rows in the card's order; by default those that the budget trains.

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
    """Return the names of all cards."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def load(name: str) -> Card:
    """Return a card by its name, or by the path of its file.

    Raises:
      UserError: there is no such card, or its file does not work.
    """
    path = Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if not name.endswith(".py") and name not in names():
        raise UserError(f"--card={name}: there is no such card{_nearest(name, names())}")
    card: Card = python_file.call(path, "get_card", "card", Card, "a Card")
    return dataclasses.replace(card, name=path.stem)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
