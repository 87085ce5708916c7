"""The time that the runs of cards take on this machine, from the rows of earlier results files."""

import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.papers.card import Card, Row
from vae_jax.papers.durations import CardTime, Costs, Record, fastest, filled, unhindered
from vae_jax.papers.results import Measurement, path_of, settings_now
from vae_jax.papers.runs import Runs, num_images, num_training_images
from vae_jax.papers.standard import Reference
from vae_jax.settings import flatten
from vae_jax.sweeps.member_files import read_member

# By row and budget.
Recorded = Mapping[str, Mapping[str, Measurement | None]]
# The seconds of a run, by card and row, without rows of which nothing is known.
Expected = Mapping[str, Mapping[str, Costs]]

# The settings that decide how long an epoch over a number of examples takes.
_OF_SPEED = ("batch_size", "corruption", "data.name", "data.binarization", "model.", "objective.")
_NOT_OF_SPEED = ("objective.warmup_epochs", "model.decoder_start")


def recorded(card: Card, folder: Path) -> Recorded:
    """Return the rows of a card's results file, also those that were measured at other settings.

    Raises:
      UserError: the file is damaged.
    """
    path = path_of(card, folder)
    rows: Recorded = workdir.read_json(path, {"rows": dict})["rows"] if path.is_file() else {}
    return rows


def work_of_rows(runs: Runs, recorded: Recorded, reference: Reference) -> dict[str, Costs]:
    """Return the work of a run of each row; without rows of which nothing is known.

    Args:
      runs: of the card.
      recorded: its measured rows.
      reference: the machine that they were measured on.
    """
    rows = {row.name: row for row in runs.card.rows}
    # The rows that the budget leaves out tell something, too.
    trained = {name: _training(runs, row, recorded, reference) for name, row in rows.items()}
    groups: dict[str, dict[str, Record]] = {}
    for name, record in trained.items():
        if record is not None:
            kind = json.dumps(_kind(runs.card.config(rows[name], runs.budget)))
            groups.setdefault(kind, {})[name] = record
    known = {
        name: record.pace for group in groups.values() for name, record in unhindered(group).items()
    }
    training = filled({name: known.get(name) for name in rows})
    evaluated = {name: _evaluation(runs, row, recorded, reference) for name, row in rows.items()}
    evaluation = filled(
        {name: None if record is None else record.pace for name, record in evaluated.items()}
    )
    found = {}
    for row in runs.rows:
        trained_at, evaluated_at = training[row.name], evaluation[row.name]
        if trained_at is not None:
            if evaluated_at is None:
                evaluated_at = reference.evaluation_pace
            found[row.name] = multiplications(runs, row).times(trained_at, evaluated_at)
    return found


def _measurements(runs: Runs, row: Row, recorded: Recorded) -> list[Measurement]:
    """Return the measurements of a row, at any budget, that took as long per example as now."""
    ours = _of_speed(runs.card.config(row, runs.budget))
    return [
        measured
        for measured in recorded.get(row.name, {}).values()
        # Which seed was trained on which number of cores is not known where there are several.
        if measured is not None
        and len(measured["num_cores"]) == 1
        and _of_speed(settings_now(measured["config"])) == ours
    ]


def _of_speed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide how long an example takes, by dotted name."""
    return {
        name: value
        for name, value in json.loads(json.dumps(flatten(config))).items()
        if name.startswith(_OF_SPEED) and name not in _NOT_OF_SPEED
    }


def _kind(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return these settings without sizes and other numbers, but with the size of batches."""
    return {
        name: value
        for name, value in _of_speed(config).items()
        if (isinstance(value, str | bool) or name == "batch_size")
        and not name.startswith("data.binarization")
    }


def _training(runs: Runs, row: Row, recorded: Recorded, reference: Reference) -> Record | None:
    """Return the fastest training of a row, per example."""
    config = runs.card.config(row, runs.budget)
    examples = config["epochs"] * num_training_images(config)
    return fastest(
        Record(
            multiplications(runs, row).training / examples,
            seconds
            * reference.speed(*measured["num_cores"])
            / (epochs * measured["num_training_images"]),
        )
        for measured in _measurements(runs, row, recorded)
        for epochs, seconds in zip(measured["epochs"], measured["train_seconds"], strict=True)
    )


def _evaluation(runs: Runs, row: Row, recorded: Recorded, reference: Reference) -> Record | None:
    """Return the fastest evaluation of a row by as many samples."""
    num_samples = runs.card.config(row, runs.budget)["evaluation"].get("num_samples")
    return fastest(
        Record(
            multiplications(runs, row).evaluation,
            seconds * reference.speed(*measured["num_cores"]),
        )
        for measured in _measurements(runs, row, recorded)
        if measured["importance_samples"] == num_samples
        for seconds in measured.get("evaluation_seconds", [])
    )


def times(all_runs: Sequence[Runs], expected: Expected) -> list[CardTime]:
    """Return the time of the runs that are not done, card by card."""
    found = []
    for runs in all_runs:
        num_runs, seconds, unknown = 0, 0.0, list[str]()
        for row in runs.rows:
            num = sum(not runs.is_done(runs.member(row, seed)) for seed in runs.seeds)
            num_runs += num
            of_run = expected.get(runs.card.name, {}).get(row.name)
            if of_run is not None:
                seconds += num * sum(of_run)
            elif num:
                unknown.append(row.name)
        found.append(CardTime(runs.card.name, num_runs, seconds, tuple(unknown)))
    return found


def seconds_left(all_runs: Sequence[Runs], expected: Expected) -> float | None:
    """Return about how long the remaining runs will take, in seconds.

    The expected times are corrected by how long the runs done have taken; a run counts once it has
    ended. Rows without an expected time count by their multiplications. None where nothing is
    expected and no run is done.
    """
    costs = {
        (runs.card.name, row.name): multiplications(runs, row)
        for runs in all_runs
        for row in runs.rows
    }
    of_known = {
        (card, row): seconds
        for card, rows in expected.items()
        for row, seconds in rows.items()
        if (card, row) in costs
    }
    paces = [seconds.training / costs[name].training for name, seconds in of_known.items()]
    typical = statistics.median(paces) if paces else 1.0
    done = spent = left = 0.0
    for runs in all_runs:
        for row in runs.rows:
            name = (runs.card.name, row.name)
            of_run = of_known.get(name) or costs[name].times(typical, typical)
            epochs = runs.card.config(row, runs.budget)["epochs"]
            for seed in runs.seeds:
                known = read_member(runs.folder, runs.member(row, seed))
                if known is None:
                    left += sum(of_run)
                    continue
                done += of_run.training * known["epoch"] / epochs
                spent += known["train_seconds"]
                # Earlier versions did not write it down.
                if "evaluation_seconds" in known:
                    done += of_run.evaluation
                    spent += known["evaluation_seconds"]
    if done > 0:
        return left * spent / done
    return left if paces else None


def multiplications(runs: Runs, row: Row) -> Costs:
    """Return the multiplications of a run of a row, up to a factor that all rows have."""
    return _multiplications(json.dumps(runs.card.config(row, runs.budget)))


@functools.cache
def _multiplications(config_json: str) -> Costs:
    # Half the parameters are taken to be the decoder's, which every sample passes through.
    config = json.loads(config_json)
    experiment = factory.resolve(config)
    form = factory.form_of_first(experiment)
    template = factory.run_state_template(experiment, form)
    half = sum(leaf.size for leaf in jax.tree.leaves(template.best_params)) / 2
    objective = config["objective"]
    num_draws = objective.get("num_samples", 1) * objective.get("num_groups", 1)
    training = 3 * half * (1 + num_draws) * config["epochs"] * num_training_images(config)
    num_test = num_images(experiment.data.test_split, factory.split_sizes(experiment))
    return Costs(training, half * config["evaluation"].get("num_samples", 1) * num_test)
