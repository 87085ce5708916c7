"""The cards' tables: ours beside the paper's, with verdicts."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.errors import UserError
from vae_jax.evaluation import markdown
from vae_jax.papers import results as card_results
from vae_jax.papers.card import BUDGETS, FIGURES, Card, Check, Expected
from vae_jax.papers.results import Measured, Measurement

NOT_MEASURED = "not measured"

_INTRODUCTION = """## Tables of papers, ours beside theirs

A card, `configs/papers/NAME.py`, says what is trained and what counts as agreement:

```sh
python -m experiments.reproduce --card=NAME --seeds=3 --budget=full
```

Ours is the mean ± standard deviation over seeds. Nats an image, on the test set; NLL is minus the
importance-weighted bound. A value is compared with the paper's at the full budget; at the smaller
one, made for two cores without an accelerator, only orderings are, unless a card says otherwise. A
verdict "outside by" names the distance from the tolerance; where there is none, the verdict is the
difference. Where the paper's value was not read in its source, the table says "unverified" in its
place. A check counts in how many seeds it holds beside the means.
"""


def value_verdict(card: Card, figure: str, expected: Expected, row: Mapping[str, Any]) -> str:
    """Whether our value is the paper's, as far as it is measured.

    Args:
      card: the card.
      figure: which.
      expected: what the paper says.
      row: the row's measurements by budget.
    """
    if expected.value is None or not expected.verified:
        return ""
    budgets = [name for name in ("full", "cpu") if name == "full" or card.budgets[name].judged]
    found = [values for name in budgets if (values := _found(row[name], figure)) is not None]
    if not found:
        return NOT_MEASURED
    difference = statistics.fmean(found[0].values()) - expected.value
    if expected.tolerance is None:
        return f"{difference:+.{FIGURES[figure].digits}f}"
    beyond = abs(difference) - expected.tolerance
    return "within" if beyond <= 0 else f"outside by {_number(beyond)}"


def check_verdict(check: Check, measured: Measured, budget: str) -> str:
    """Whether an ordering holds at a budget, by the means and in how many seeds."""
    found = [_found(measured[name][budget], check.figure) for name in check.rows]
    rows = [row for row in found if row is not None]
    if len(rows) < len(found):
        return NOT_MEASURED
    gains = _gains(check, [statistics.fmean(row.values()) for row in rows])
    common = set.intersection(*(set(row) for row in rows))
    by_seed = [_gains(check, [row[seed] for row in rows]) for seed in sorted(common)]
    held = sum(_beyond(check, of_seed) <= 0 for of_seed in by_seed)
    told = ", ".join(f"{gain:+.{FIGURES[check.figure].digits}f}" for gain in gains)
    told += f"; in {held} of {len(by_seed)} seeds" if by_seed else ""
    beyond = _beyond(check, gains)
    return f"{'holds' if beyond <= 0 else f'fails by {_number(beyond)}'} ({told})"


def _found(measurement: Measurement | None, figure: str) -> dict[int, float] | None:
    """A figure by seed; None where it is not measured."""
    if measurement is None or figure not in measurement["figures"]:
        return None
    values = measurement["figures"][figure]["by_seed"]
    return dict(zip(measurement["seeds"], values, strict=True))


def _gains(check: Check, values: Sequence[float]) -> list[float]:
    """How much better each value is than the one before it; a single value itself."""
    sign = FIGURES[check.figure].sign
    if len(values) == 1:
        return list(values)
    return [sign * (after - before) for before, after in itertools.pairwise(values)]


def _beyond(check: Check, gains: Sequence[float]) -> float:
    """How far the gains are from what the check allows; 0 or less where it holds."""
    return max(max(check.least - gain, gain - check.most) for gain in gains)


def _number(value: float) -> str:
    """Two digits that count."""
    return f"{value:.2g}"


def table(card: Card, measured: Measured) -> str:
    """A line a figure of a row."""
    rows = []
    for row in card.rows:
        for figure, expected in row.figures.items():
            digits = FIGURES[figure].digits
            paper = tolerance = ""
            if expected.value is not None:
                whole = float(expected.value).is_integer()
                paper = f"{expected.value:.{0 if whole else digits}f}"
            if expected.value is not None and not expected.verified:
                paper = "unverified"
            if expected.tolerance is not None and expected.verified:
                tolerance = f"± {expected.tolerance:g}"
            rows.append(
                [
                    row.name,
                    FIGURES[figure].label,
                    paper,
                    tolerance,
                    *(_cell(measured[row.name][budget], figure) for budget in BUDGETS),
                    value_verdict(card, figure, expected, measured[row.name]),
                ]
            )
    heading = ["row", "figure", "paper", "tolerance", "cpu budget", "full budget", "verdict"]
    return markdown.table(heading, rows)


def _cell(measurement: Measurement | None, figure: str) -> str:
    if measurement is not None and not measurement["seeds"]:
        return f"diverged ({_seeds(measurement['diverged'])})"
    if measurement is None or figure not in measurement["figures"]:
        return NOT_MEASURED
    found, digits = measurement["figures"][figure], FIGURES[figure].digits
    seeds = _seeds(found["by_seed"])
    if measurement["diverged"]:
        seeds += f", {len(measurement['diverged'])} diverged"
    deviation = "" if found["std"] is None else f" ± {found['std']:.{digits}f}"
    return f"{found['mean']:.{digits}f}{deviation} ({seeds})"


def _seeds(of_seeds: Sequence[Any]) -> str:
    return f"{len(of_seeds)} seed{'s'[: len(of_seeds) > 1]}"


def checks_table(card: Card, measured: Measured) -> str:
    """A line a check; nothing without any."""
    if not card.checks:
        return ""
    rows = [
        [_claim(check), *(check_verdict(check, measured, budget) for budget in BUDGETS)]
        for check in card.checks
    ]
    return markdown.table(["check", "cpu budget", "full budget"], rows)


def _claim(check: Check) -> str:
    if check.most == float("inf"):
        amount = f" by at least {check.least:g}" if check.least else ""
    elif check.least == -float("inf"):
        amount = f" by less than {check.most:g}"
    else:
        amount = f" by {check.least:g} to {check.most:g}"
    if len(check.rows) == 1:
        bound = amount.removeprefix(" by ")
        return f"{FIGURES[check.figure].label} of {check.rows[0]}: {bound}"
    return f"{FIGURES[check.figure].label} gets better from {' to '.join(check.rows)}{amount}"


def conditions(card: Card, measured: Measured, budget: str) -> str:
    """How the rows of a budget were measured, in a line; nothing if none was."""
    rows = [found for row in measured.values() if (found := row[budget]) and found["seeds"]]
    if not rows:
        return ""

    def values(name: str) -> str:
        found = {str(row[name]) for row in rows}
        return ", ".join(sorted(found, key=lambda text: (len(text), text)))

    epochs = sorted({epoch for row in rows for epoch in row["epochs"]})
    told = [
        f"{epochs[0]} epochs" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]} epochs",
        f"{values('num_training_images')} training images",
        f"{values('num_test_images')} test images",
        f"binarisation {values('binarization')}",
        f"latent size {values('latent_size')}",
        f"checkpoint: {values('checkpoint')}",
        f"{values('importance_samples')} importance samples",
        *_standard_error(card, rows),
        f"{values('device')} with {_cores(rows)}",
        f"{_duration(sum(map(card_results.hours, rows)))} of training",
    ]
    return f"{'CPU' if budget == 'cpu' else 'Full'} budget: {'; '.join(told)}.\n"


def _standard_error(card: Card, rows: Sequence[Measurement]) -> list[str]:
    """That of the first figure of the card which has one."""
    for figure in dict.fromkeys(figure for row in card.rows for figure in row.figures):
        found = [row["figures"][figure] for row in rows if figure in row["figures"]]
        known = [part["standard_error"] for part in found if part["standard_error"] is not None]
        if known:
            label = FIGURES[figure].label
            return [f"standard error of the {label} over images {statistics.fmean(known):.2f}"]
    return []


def _cores(rows: Sequence[Measurement]) -> str:
    numbers = sorted({number for row in rows for number in row["num_cores"]})
    return f"{' or '.join(map(str, numbers))} core{'s'[: numbers != [1]]}"


def section(card: Card, folder: Path) -> str:
    """All on one card.

    Raises:
      UserError: its results file cannot be trusted.
    """
    measured = card_results.read(card, folder)
    parts = [
        f"### {card.title}\n",
        f"`configs/papers/{card.name}.py`. {card.source}\n",
        f"{card.setup}\n",
        table(card, measured),
        checks_table(card, measured),
        *(conditions(card, measured, budget) for budget in BUDGETS),
        f"{card.findings}\n" if card.findings else "",
        *(
            f"![Manifold of {card.manifold}, {budget} budget]({picture.name})\n"
            for budget in BUDGETS
            if (picture := manifold_path(card, folder, budget)).is_file()
        ),
    ]
    return "\n".join(part for part in parts if part)


def manifold_path(card: Card, folder: Path, budget: str) -> Path:
    """Where the picture of a card's two-dimensional latent space is."""
    return folder / f"{card.name}_manifold_{budget}.png"


def render(cards: Sequence[Card], folder: Path) -> str:
    """The README of the folder of results.

    Raises:
      UserError: a results file cannot be trusted, or is of no card.
    """
    for path in sorted(folder.glob("*.json")):
        if path.stem not in [card.name for card in cards]:
            raise UserError(f"{path} is the results file of no card; take it away")
    return "\n".join([_INTRODUCTION, *(section(card, folder) for card in cards)])


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
