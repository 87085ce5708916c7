"""Reproduction of the tables of cards: runs are trained and measured, results files written."""

from collections.abc import Sequence
from pathlib import Path

from vae_jax import trained, workdir
from vae_jax.evaluation import drawing
from vae_jax.papers import report as card_report
from vae_jax.papers import results as card_results
from vae_jax.papers import runs as card_runs
from vae_jax.papers.runs import Runs
from vae_jax.sweeps.executors import Executor
from vae_jax.sweeps.member_files import read_member


def reproduce(all_runs: Sequence[Runs], results: Path, executor: Executor) -> None:
    """Train runs of cards, one card after the other, and write their results files.

    Args:
      all_runs: one per card.
      results: the folder of the results files.
      executor: trains the runs.

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
            _print_progress(all_runs)

        refresh()
        card_runs.train(runs, executor, refresh)
        _write(runs, results)
        _print_diverged(runs)
        _draw_manifold(runs, results)
        _print_table(runs, results)


def _write(runs: Runs, results: Path) -> None:
    """Write the results of rows whose runs are all done."""
    new = [card_results.measure(runs, row) for row in runs.rows]
    # Read anew, since another process may write the other budget.
    before = measured = card_results.read(runs.card, results)
    for row, measurement in zip(runs.rows, new, strict=True):
        if measurement is not None:
            measured = card_results.with_measurement(measured, row, runs.budget, measurement)
    if measured != before:
        card_results.write(runs.card, results, measured)


def _print_progress(all_runs: Sequence[Runs]) -> None:
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


def _print_table(runs: Runs, results: Path) -> None:
    measured = card_results.read(runs.card, results)
    parts = [
        card_report.table(runs.card, measured),
        card_report.checks_table(runs.card, measured),
        f"{card_results.path_of(runs.card, results)} is written",
    ]
    print("\n".join(filter(None, parts)), flush=True)


def _print_diverged(runs: Runs) -> None:
    for member in runs.members():
        known = read_member(runs.folder, member)
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
