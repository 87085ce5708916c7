import csv
import dataclasses
import json

import pytest

from vae_jax import workdir
from vae_jax.sweeps import results, space
from vae_jax.training.records import TensorBoardWriter

SWEEP = space.grid(
    {
        "objective": (
            "elbo",
            {"name": "tc", "beta": 4.0},
            {"name": "factor", "gamma": 5.0, "discriminator": {"widths": (8, 4)}},
        ),
        "model.latent_size": (2, 3),
    }
)


def rows_of(folder, sweep=SWEEP):
    """A row for each setting, as members leave them."""
    rows = []
    for trial, setting in enumerate(space.settings(sweep)):
        known = {"member": trial, "trial": trial, "seed": 0, "setting": setting}
        known |= {"status": "finished", "epoch": 3, "best_epoch": 2, "train_seconds": 1.0}
        known |= {"problem": "", "valid": {"elbo": -90.0 - trial}, "test": {"elbo": -91.0 - trial}}
        # As JSON gives it back.
        rows.append(results.member_row(folder, json.loads(json.dumps(known)), setting))
    return rows


def test_a_section_has_a_column_for_each_setting_in_the_order_of_the_axes(tmp_path):
    results.write_results(tmp_path, rows_of(tmp_path), SWEEP.fields)
    with open(tmp_path / "results.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0])[:9] == [
        "member",
        "trial",
        "seed",
        "objective",
        "objective.beta",
        "objective.gamma",
        "objective.discriminator.widths",
        "model.latent_size",
        "status",
    ]
    assert [row["objective"] for row in read] == ["elbo"] * 2 + ["tc"] * 2 + ["factor"] * 2
    assert [row["objective.beta"] for row in read] == ["", "", "4.0", "4.0", "", ""]
    assert read[4]["objective.discriminator.widths"] == "(8, 4)"
    entries = workdir.read_json(tmp_path / "results.json")["settings"]
    assert entries[2]["setting"] == {
        "objective": "tc",
        "objective.beta": 4.0,
        "model.latent_size": 2,
    }
    assert entries[2]["mean"]["test_elbo"] == -93.0


def test_the_table_has_empty_cells_for_settings_that_a_choice_lacks(tmp_path):
    entries = results.over_seeds(rows_of(tmp_path), SWEEP.fields)
    lines = results.table(entries, SWEEP.fields, {"test_elbo": "test ELBO"}, top=4).splitlines()
    assert lines[0] == "| objective | beta | latent size | seeds | test ELBO |"
    assert lines[2] == "| elbo |  | 2 | 1 | -91.00 |"
    assert lines[4] == "| tc | 4 | 2 | 1 | -93.00 |"


def test_headings_that_would_be_the_same_are_whole_names(tmp_path):
    sweep = space.grid({"model.prior.width": (8, 16), "model.posterior.width": (8,)})
    entries = results.over_seeds(rows_of(tmp_path, sweep), sweep.fields)
    head = results.table(entries, sweep.fields, {}, top=1).splitlines()[0]
    assert head == "| model.prior.width | model.posterior.width | seeds |"


def test_choices_with_other_settings_are_drawn_as_texts_and_others_by_their_settings(tmp_path):
    rows = rows_of(tmp_path)
    assert results._drawn_columns(rows, "model.latent_size") == {"model.latent_size": [2, 3] * 3}
    assert results._drawn_columns(rows, "objective") == {
        "objective": ["elbo"] * 2 + ["tc"] * 2 + ["factor"] * 2
    }
    betas = [{"name": "tc", "beta": beta} for beta in (1.0, 2.0)]
    alike = rows_of(tmp_path, space.grid({"objective": betas}))
    assert results._drawn_columns(alike, "objective") == {"objective.beta": [1.0, 2.0]}
    mixed = rows_of(tmp_path, space.grid({"objective": ["iwae", *betas]}))
    assert results._drawn_columns(mixed, "objective") == {
        "objective": ["iwae", "tc beta=1", "tc beta=2"]
    }


@pytest.mark.plots
def test_the_plots_of_a_sweep_over_sections_are_drawn(tmp_path):
    results.draw(tmp_path, SWEEP, rows_of(tmp_path))
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "heat_map_of_test_elbo_by_objective_and_latent_size.png",
        "parallel_coordinates.png",
        "test_elbo_by_latent_size.png",
        "test_elbo_by_objective.png",
    }


@pytest.mark.plots
@pytest.mark.parametrize("is_grid", [True, False])
def test_members_are_joined_on_a_grid_alone_and_each_other_axis_is_shown(
    tmp_path, monkeypatch, is_grid
):
    axes = {"objective.beta": (0.5, 2.0), "model.latent_size": (2, 3)}
    sweep = space.grid(axes)
    rows = rows_of(tmp_path, sweep)
    if not is_grid:
        sweep = dataclasses.replace(sweep, method="random", num_trials=4)
    seen = {}
    monkeypatch.setattr(results.plots, "save", lambda figure, path: None)
    for name in ("metric_by_value", "parallel_coordinates", "heat_map"):
        monkeypatch.setattr(
            results.plots, name, lambda *_, name=name, **given: seen.setdefault(name, given)
        )
    monkeypatch.setattr(results, "_draw_history", lambda *_: None)
    results.draw(tmp_path, sweep, rows)
    assert seen["metric_by_value"]["joined"] == is_grid
    assert seen["metric_by_value"]["others"] == {"latent size": [2, 3, 2, 3]}
    assert seen["heat_map"]["others"] == {}


def test_tensorboard_gets_the_settings_of_sections(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        TensorBoardWriter, "write_hyperparameters", lambda self, values, *_: seen.append(values)
    )
    results.write_tensorboard(tmp_path, rows_of(tmp_path)[2:3], SWEEP.fields)
    assert seen == [{"objective": "tc", "objective.beta": 4.0, "model.latent_size": 2, "seed": 0}]


def test_a_member_is_written_for_tensorboard_once_into_its_own_folder(tmp_path):
    row = rows_of(tmp_path)[2]
    for _ in range(2):
        results.write_tensorboard(tmp_path, [row], SWEEP.fields)
    (events,) = tmp_path.rglob("events.out.*")
    assert events.parent == workdir.member_folder(tmp_path, row["member"])


def test_what_an_earlier_version_wrote_for_tensorboard_is_not_written_again(tmp_path):
    row = rows_of(tmp_path)[2]
    (tmp_path / "tensorboard" / f"{row['member']:04d}").mkdir(parents=True)
    results.write_tensorboard(tmp_path, [row], SWEEP.fields)
    assert not list(tmp_path.rglob("events.out.*"))


@pytest.mark.parametrize("axes", [["objective"], ["objective", "objective.beta"]])
def test_a_column_is_there_once(axes):
    rows = [{"member": 0, "objective": "tc", "objective.beta": 1.0, "objectives": 3}]
    assert results.columns_of(rows, axes) == ["objective", "objective.beta"]
