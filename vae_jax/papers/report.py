"""The part on papers in the results' README: our tables beside theirs, with verdicts."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.errors import UserError
from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Number
from vae_jax.papers import results as card_results
from vae_jax.papers.card import BUDGETS, METRICS, Card, Check, Expected
from vae_jax.papers.results import Measured, Measurement

NOT_MEASURED = "not measured"


def value_verdict(card: Card, metric: str, expected: Expected, row: Mapping[str, Any]) -> str:
    """Return the verdict on our value against the paper's, if it is measured.

    Args:
      card: the card.
      metric: name of the metric.
      expected: the value in the paper.
      row: the row's measurements by budget.
    """
    if expected.value is None or not expected.verified:
        return ""
    budgets = [name for name in ("full", "cpu") if name == "full" or card.budgets[name].judged]
    found = [values for name in budgets if (values := _found(row[name], metric)) is not None]
    if not found:
        return NOT_MEASURED
    difference = statistics.fmean(found[0].values()) - expected.value
    if expected.tolerance is None:
        return f"{difference:+.{METRICS[metric].digits}f}"
    beyond = abs(difference) - expected.tolerance
    return "within" if beyond <= 0 else f"outside by {_number(beyond)}"


def check_verdict(check: Check, measured: Measured, budget: str) -> str:
    """Return the verdict on a check at a budget: by the means, and in how many seeds it holds."""
    found = [_found(measured[name][budget], check.metric) for name in check.rows]
    rows = [row for row in found if row is not None]
    if len(rows) < len(found):
        return NOT_MEASURED
    gains = _gains(check, [statistics.fmean(row.values()) for row in rows])
    common = set.intersection(*(set(row) for row in rows))
    by_seed = [_gains(check, [row[seed] for row in rows]) for seed in sorted(common)]
    held = sum(_beyond(check, of_seed) <= 0 for of_seed in by_seed)
    details = ", ".join(f"{gain:+.{METRICS[check.metric].digits}f}" for gain in gains)
    details += f"; in {held} of {reports.counted(len(by_seed), 'seed')}" if by_seed else ""
    beyond = _beyond(check, gains)
    return f"{'holds' if beyond <= 0 else f'fails by {_number(beyond)}'} ({details})"


def _found(measurement: Measurement | None, metric: str) -> dict[int, Number] | None:
    """Return a metric by seed; None where it is not measured."""
    if measurement is None or metric not in measurement["figures"]:
        return None
    values = measurement["figures"][metric]["by_seed"]
    return dict(zip(measurement["seeds"], values, strict=True))


def _gains(check: Check, values: Sequence[Number]) -> list[Number]:
    """Return how much better each value is than the one before it, or a single value itself."""
    sign = METRICS[check.metric].sign
    if len(values) == 1:
        return list(values)
    return [sign * (after - before) for before, after in itertools.pairwise(values)]


def _beyond(check: Check, gains: Sequence[Number]) -> Number:
    """Return the largest violation of the check's bounds; 0 or less where it holds."""
    return max(max(check.least - gain, gain - check.most) for gain in gains)


def _number(value: Number) -> str:
    """Format a number with two significant digits."""
    return f"{value:.2g}"


def table(card: Card, measured: Measured) -> str:
    """Return a table with one line per row and metric."""
    rows = []
    for row in card.rows:
        for metric, expected in row.metrics.items():
            digits = METRICS[metric].digits
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
                    METRICS[metric].label,
                    paper,
                    tolerance,
                    *(_cell(measured[row.name][budget], metric) for budget in BUDGETS),
                    value_verdict(card, metric, expected, measured[row.name]),
                ]
            )
    heading = ["row", "metric", "paper", "tolerance", "cpu budget", "full budget", "verdict"]
    return reports.table(heading, rows)


def _cell(measurement: Measurement | None, metric: str) -> str:
    if measurement is not None and not measurement["seeds"]:
        return f"diverged ({reports.counted(len(measurement['diverged']), 'seed')})"
    if measurement is None or metric not in measurement["figures"]:
        return NOT_MEASURED
    found, digits = measurement["figures"][metric], METRICS[metric].digits
    seeds = reports.counted(len(found["by_seed"]), "seed")
    if measurement["diverged"]:
        seeds += f", {len(measurement['diverged'])} diverged"
    deviation = "" if found["std"] is None else f" ± {found['std']:.{digits}f}"
    return f"{found['mean']:.{digits}f}{deviation} ({seeds})"


def checks_table(card: Card, measured: Measured) -> str:
    """Return a table with one line per check; nothing without checks."""
    if not card.checks:
        return ""
    rows = [
        [_claim(check), *(check_verdict(check, measured, budget) for budget in BUDGETS)]
        for check in card.checks
    ]
    return reports.table(["check", "cpu budget", "full budget"], rows)


def _claim(check: Check) -> str:
    label = METRICS[check.metric].label
    if check.most == float("inf"):
        bound = f"at least {check.least:g}"
    elif check.least == -float("inf"):
        bound = f"less than {check.most:g}"
    else:
        bound = f"{check.least:g} to {check.most:g}"
    if len(check.rows) == 1:
        return f"{check.rows[0]}: {label} {bound}"
    amount = "" if bound == "at least 0" else f" by {bound}"
    return f"{label} gets better from {' to '.join(check.rows)}{amount}"


def conditions(card: Card, measured: Measured, budget: str) -> str:
    """Return one line on how the rows of a budget were measured; empty if none was."""
    rows = [found for row in measured.values() if (found := row[budget]) and found["seeds"]]
    if not rows:
        return ""

    def values(name: str) -> str:
        found = {str(row[name]) for row in rows if row[name] is not None}
        return ", ".join(sorted(found, key=lambda text: (len(text), text)))

    binarization = values("binarization")
    examples = "images" if binarization else "rows"
    epochs = sorted({epoch for row in rows for epoch in row["epochs"]})
    facts = [
        f"{epochs[0]} epochs" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]} epochs",
        f"{values('num_training_images')} training {examples}",
        f"{values('num_test_images')} test {examples}",
        *([f"binarisation {binarization}"] if binarization else []),
        *([f"latent size {sizes}"] if (sizes := values("latent_size")) else []),
        f"checkpoint: {values('checkpoint')}",
        f"{values('importance_samples')} importance samples",
        *_standard_error(card, rows),
        f"{values('device')} with {_cores(rows)}",
        f"{_duration(sum(map(card_results.hours, rows)))} of training",
    ]
    return f"{'CPU' if budget == 'cpu' else 'Full'} budget: {'; '.join(facts)}.\n"


def _standard_error(card: Card, rows: Sequence[Measurement]) -> list[str]:
    """Return the standard error of the first metric of the card that has one."""
    for metric in dict.fromkeys(metric for row in card.rows for metric in row.metrics):
        found = [row["figures"][metric] for row in rows if metric in row["figures"]]
        known = [part["standard_error"] for part in found if part["standard_error"] is not None]
        if known:
            label = METRICS[metric].label
            return [f"standard error of the {label} over images {statistics.fmean(known):.2f}"]
    return []


def _cores(rows: Sequence[Measurement]) -> str:
    numbers = sorted({number for row in rows for number in row["num_cores"]})
    return f"{' or '.join(map(str, numbers))} core{'s'[: numbers != [1]]}"


def section(card: Card, folder: Path) -> str:
    """Return the section of a card.

    Raises:
      UserError: its results file cannot be trusted.
    """
    measured = card_results.read(card, folder)
    manifolds = {
        manifold_path(card, folder, budget).name: f"Manifold of {card.manifold}, {budget} budget"
        for budget in BUDGETS
    }
    return reports.fill(
        Path(__file__).with_name("card.md"),
        title=card.title,
        name=card.name,
        source=card.source,
        setup=card.setup,
        metrics=table(card, measured),
        checks=checks_table(card, measured),
        conditions="\n".join(filter(None, (conditions(card, measured, b) for b in BUDGETS))),
        findings=card.findings,
        plots=reports.plots(folder, manifolds, folder),
    )


def manifold_path(card: Card, folder: Path, budget: str) -> Path:
    """Return the path of the plot of a card's two-dimensional latent space."""
    return folder / f"{card.name}_manifold_{budget}.png"


def render(cards: Sequence[Card], folder: Path, others: Sequence[str] = ()) -> str:
    """Return the part of the results' README on papers.

    Args:
      cards: all cards.
      folder: the folder of the results files.
      others: names of results files there that belong to no card.

    Raises:
      UserError: a results file cannot be trusted, or belongs to no card.
    """
    for path in sorted(folder.glob("*.json")):
        if path.stem not in [*(card.name for card in cards), *others]:
            raise UserError(f"{path} is the results file of no card; move it away")
    sections = "\n".join(section(card, folder) for card in cards)
    return reports.fill(Path(__file__).with_suffix(".md"), cards=sections)


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
