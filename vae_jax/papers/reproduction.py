"""Reproduction of the tables of cards: runs are trained and measured, results files written."""

from collections.abc import Sequence
from pathlib import Path

import jax

from vae_jax import trained, workdir
from vae_jax.evaluation import drawing
from vae_jax.papers import durations, estimates, standard
from vae_jax.papers import report as card_report
from vae_jax.papers import results as card_results
from vae_jax.papers import runs as card_runs
from vae_jax.papers.estimates import Expected
from vae_jax.papers.runs import Runs
from vae_jax.sweeps.executors import Executor
from vae_jax.sweeps.member_files import read_member

# The published results, which say how long rows take.
PUBLISHED = Path(__file__).parents[2] / "results"


def reproduce(
    all_runs: Sequence[Runs], results: Path, executor: Executor, published: Path = PUBLISHED
) -> None:
    """Train runs of cards, one card after the other, and write their results files.

    It prints first about how long that will take here.

    Args:
      all_runs: one per card.
      results: the folder of the results files.
      executor: trains the runs.
      published: the folder of results files by which the time is estimated.

    Raises:
      Interrupted: a signal came; the same command continues.
      UserError: a card's runs cannot be trained, or its results file cannot be trusted.
    """
    workdir.make_folder(results)
    for runs in all_runs:
        card_results.read(runs.card, results)
        card_runs.check(runs)
    expected = _announce(all_runs, published)
    for number, runs in enumerate(all_runs, start=1):
        left_out = sorted({row.name for row in runs.card.rows} - {row.name for row in runs.rows})
        print(
            f"card {number} of {len(all_runs)}, {runs.card.name} at the {runs.budget} budget, in "
            f"{runs.folder}{': without ' if left_out else ''}{', '.join(left_out)}",
            flush=True,
        )

        def refresh(runs: Runs = runs) -> None:
            _write(runs, results)
            _print_progress(all_runs, expected)

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


def _announce(all_runs: Sequence[Runs], published: Path) -> Expected:
    """Print how long the runs that are not done will take; return the seconds of a run by row."""
    if all(runs.is_done(member) for runs in all_runs for member in runs.members()):
        return {}
    expected, ratio = _expected(all_runs, published)
    print(durations.lines(estimates.times(all_runs, expected), ratio), flush=True)
    return expected


def _expected(all_runs: Sequence[Runs], published: Path) -> tuple[Expected, float | None]:
    """Return the seconds of a run by row, and the speed here by that of the published results.

    Nothing, and None, where nothing is known; the speed is not measured then.
    """
    reference = standard.read_reference()
    if reference is None or reference.device != jax.devices()[0].device_kind:
        return {}, None
    work = {
        runs.card.name: estimates.work_of_rows(
            runs, estimates.recorded(runs.card, published), reference
        )
        for runs in all_runs
    }
    if not any(work.values()):
        return {}, None
    speed = standard.measure_speed()
    expected = {
        card: {row: costs.times(1 / speed, 1 / speed) for row, costs in rows.items()}
        for card, rows in work.items()
    }
    return expected, speed / reference.speed(1)


def _print_progress(all_runs: Sequence[Runs], expected: Expected) -> None:
    done = sum(runs.is_done(member) for runs in all_runs for member in runs.members())
    total = sum(len(runs.members()) for runs in all_runs)
    seconds = estimates.seconds_left(all_runs, expected)
    if done == total:
        left = ""
    elif seconds is None:
        left = "; time left is known when the first is done"
    else:
        left = f"; about {durations.described(seconds)} left"
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
