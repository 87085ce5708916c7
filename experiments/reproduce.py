"""Reproduce a paper's table: train what a card says, measure it, write results/CARD.json.

    python -m experiments.reproduce --card=iwae_mnist_1layer --seeds=3
    python -m experiments.reproduce --card=iwae_mnist_1layer --seeds=1 --budget=full --rows=vae_1
    python -m experiments.reproduce --card=all --seeds=3

`configs/papers/` has the cards. The budget "cpu" is made for two cores without an accelerator. The
same command continues where it was stopped or killed, and later ones may add rows and seeds.
Afterwards `python -m experiments.report` writes results/README.md.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import command_line
from experiments import flags as shared
from experiments.executor_flags import named_executor
from vae_jax import trained, workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import drawing
from vae_jax.papers import card as cards
from vae_jax.papers import report as card_report
from vae_jax.papers import results as card_results
from vae_jax.papers import runs as card_runs
from vae_jax.papers.card import BUDGETS, Card
from vae_jax.papers.runs import MAX_SEEDS, Runs
from vae_jax.sweeps import chunks
from vae_jax.sweeps.executors import Executor

shared.define("results", workdir="directory of the runs; by default runs/papers")

_CARD = flags.DEFINE_list("card", [], "names of cards, or paths of their files; all for all")
_SEEDS = flags.DEFINE_integer("seeds", 3, "seeds of each row, counted from 0")
_BUDGET = flags.DEFINE_enum("budget", "cpu", list(BUDGETS), "how much is spent on the table")
_ROWS = flags.DEFINE_list("rows", [], "rows of the card to train; by default all that fit")


def _named_cards() -> list[Card]:
    if not _CARD.value:
        raise UserError(f"--card is missing; name one of {', '.join(cards.names())}, or all")
    names = cards.names() if _CARD.value == ["all"] else _CARD.value
    if _ROWS.value and len(names) > 1:
        raise UserError(f"--rows={','.join(_ROWS.value)} are rows of one card; name one in --card")
    return [cards.load(name) for name in names]


def reproduce(all_runs: Sequence[Runs], results: Path, executor: Executor) -> None:
    """Train, measure and write down runs of cards, one card after the other.

    Args:
      all_runs: a card each.
      results: the folder of the results files.
      executor: trains them.

    Raises:
      Interrupted: a signal came; the same command continues.
      UserError: a card's runs cannot be trained, or its results file cannot be trusted.
    """
    workdir.make_folder(results)
    for runs in all_runs:
        card_results.read(runs.card, results)
        card_runs.check(runs)
    for number, runs in enumerate(all_runs, start=1):
        left_out = sorted({row.name for row in runs.card.rows} - {row.name for row in runs.rows})
        print(
            f"card {number} of {len(all_runs)}, {runs.card.name} at the {runs.budget} budget, in "
            f"{runs.folder}{': without ' if left_out else ''}{', '.join(left_out)}",
            flush=True,
        )

        def refresh(runs: Runs = runs) -> None:
            _write(runs, results)
            _tell(all_runs)

        refresh()
        card_runs.train(runs, executor, refresh)
        _write(runs, results)
        _tell_of_diverged(runs)
        _draw_manifold(runs, results)
        print(f"{card_results.path_of(runs.card, results)} is written", flush=True)


def _write(runs: Runs, results: Path) -> None:
    """Write down the rows whose runs are all done."""
    new = [card_results.measure(runs, row) for row in runs.rows]
    # Another process may be at the other budget.
    before = measured = card_results.read(runs.card, results)
    for row, measurement in zip(runs.rows, new, strict=True):
        if measurement is not None:
            measured = card_results.with_measurement(measured, row, runs.budget, measurement)
    if measured != before:
        card_results.write(runs.card, results, measured)


def _tell(all_runs: Sequence[Runs]) -> None:
    done = sum(runs.is_done(member) for runs in all_runs for member in runs.members())
    total = sum(len(runs.members()) for runs in all_runs)
    seconds = card_runs.seconds_left(all_runs)
    if done == total:
        left = ""
    elif seconds is None:
        left = "; time left is known when the first is done"
    else:
        left = (
            f"; about {seconds / 3600:.1f} h left"
            if seconds > 3600
            else f"; about {seconds:.0f} s left"
        )
    print(f"{done} of {total} runs of all cards done{left}", flush=True)


def _tell_of_diverged(runs: Runs) -> None:
    for member in runs.members():
        known = chunks.read_member(runs.folder, member)
        if known is not None and known["status"] == "diverged":
            name = runs.row_of(member).name
            print(f"{name}, seed {known['seed']}, diverged: {known['problem']}", flush=True)


def _draw_manifold(runs: Runs, results: Path) -> None:
    for row in runs.rows:
        if row.name == runs.card.manifold:
            member = runs.member(row, runs.seeds[0])
            folder = workdir.member_folder(runs.folder, member)
            path = card_report.manifold_path(runs.card, results, runs.budget)
            drawing.draw_manifold(path, trained.load_images(folder))


def main() -> None:
    """Check everything that the flags name, then train it."""
    named = _named_cards()
    if not 1 <= _SEEDS.value <= MAX_SEEDS:
        raise UserError(f"--seeds={_SEEDS.value} must be at least 1 and at most {MAX_SEEDS}")
    folder = Path(flags.FLAGS.workdir or "runs/papers")
    all_runs = [
        Runs(
            card=card,
            budget=_BUDGET.value,
            rows=card.rows_named(_ROWS.value, _BUDGET.value),
            seeds=range(_SEEDS.value),
            folder=folder / card.name / _BUDGET.value,
        )
        for card in named
    ]
    reproduce(all_runs, Path(flags.FLAGS.results), named_executor())


if __name__ == "__main__":
    command_line.run(main)
