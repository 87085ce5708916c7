"""Reproduce a paper's table: train the runs of a card, measure them, show the table.

    python -m experiments.reproduce --card=iwae_mnist_1layer --seeds=3
    python -m experiments.reproduce --card=iwae_mnist_1layer --seeds=1 --budget=full --rows=vae_1
    python -m experiments.reproduce --card=all --seeds=3

`configs/papers/` has the cards. The budget "cpu" is made for two cores without an accelerator. The
same command continues after it was stopped or killed, and later commands may add rows and seeds.
The table is written to results/CARD.json of the workdir. --results=results publishes it there, and
`python -m experiments.report` then writes results/README.md.
"""

from pathlib import Path

from absl import flags

from experiments import command_line
from experiments import flags as shared
from experiments.executor_flags import named_executor
from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.papers import card as cards
from vae_jax.papers.card import BUDGETS, Card
from vae_jax.papers.reproduction import reproduce
from vae_jax.papers.runs import MAX_SEEDS, Runs

shared.define("format", "results", "seeds", workdir="directory of the runs; by default runs/papers")

_CARD = flags.DEFINE_list("card", [], "required; names of cards, or paths of files; all for all")
_BUDGET = flags.DEFINE_enum("budget", "cpu", list(BUDGETS), "budget of the table")
_ROWS = flags.DEFINE_list("rows", [], "rows of the card to train; by default those of the budget")


def _named_cards() -> list[Card]:
    if not _CARD.value:
        raise UserError(f"--card is missing; name one of {', '.join(cards.names())}, or all")
    names = cards.names() if _CARD.value == ["all"] else _CARD.value
    if _ROWS.value and len(names) > 1:
        raise UserError(f"--rows={','.join(_ROWS.value)} are rows of one card; name one in --card")
    return [cards.load(name) for name in names]


@shared.in_formats
def main() -> None:
    """Check the cards that the flags name, then train their runs."""
    named = _named_cards()
    seeds = flags.FLAGS.seeds
    if not 1 <= seeds <= MAX_SEEDS:
        raise UserError(f"--seeds={seeds} must be at least 1 and at most {MAX_SEEDS}")
    folder = Path(flags.FLAGS.workdir or "runs/papers")
    all_runs = [
        Runs(
            card=card,
            budget=_BUDGET.value,
            rows=card.rows_named(_ROWS.value, _BUDGET.value),
            seeds=range(seeds),
            folder=folder / card.name / _BUDGET.value,
        )
        for card in named
    ]
    results = shared.results_folder(folder)
    with workdir.left_as_it_was(folder), workdir.left_as_it_was(results):
        reproduce(all_runs, results, named_executor())


if __name__ == "__main__":
    command_line.run(main)
