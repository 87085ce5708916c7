"""Times of runs on a card of small images, from measurements that are made up."""

import json

import pytest
from small_cards import small_card
from small_data import write_bars

from vae_jax.papers import estimates
from vae_jax.papers.durations import Costs
from vae_jax.papers.runs import Runs
from vae_jax.papers.standard import Reference, read_reference
from vae_jax.settings import flatten

REFERENCE = Reference("cpu", {1: 100.0, 2: 150.0}, evaluation_pace=1e-6)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return small_card(str(write_bars(tmp_path_factory.mktemp("data") / "bars.npz")))


def runs_of(card, folder, budget="cpu"):
    return Runs(card, budget, card.rows_named([], budget), range(2), folder)


def measurement(card, row, budget="cpu", **changes):
    """What a results file says of a row that trained for as long as the card has it."""
    config = card.config(row, budget)
    epochs = config["epochs"]
    return {
        "config": flatten(config),
        "epochs": [epochs, epochs],
        "num_training_images": 192,
        "importance_samples": 5,
        "train_seconds": [30.0, 20.0],
        "num_cores": [1],
        **changes,
    }


def test_a_measured_row_takes_the_time_of_its_fastest_seed(card, tmp_path):
    weak = card.rows[0]
    runs = runs_of(card, tmp_path)
    recorded = {"weak": {"cpu": measurement(card, weak), "full": None}}
    work = estimates.work_of_rows(runs, recorded, REFERENCE)
    # The other row has the same network.
    assert set(work) == {"weak", "strong"}
    assert work["strong"] == work["weak"]
    assert work["weak"].training == pytest.approx(20.0 * 100)
    # Nothing was written down on the evaluation: it is that of the reference.
    costs = estimates.multiplications(runs, weak)
    assert work["weak"].evaluation == pytest.approx(1e-6 * costs.evaluation)


def test_seconds_on_two_cores_are_more_work(card, tmp_path):
    recorded = {"weak": {"cpu": measurement(card, card.rows[0], num_cores=[2])}}
    work = estimates.work_of_rows(runs_of(card, tmp_path), recorded, REFERENCE)
    assert work["weak"].training == pytest.approx(20.0 * 150)
    for cores in ([], [1, 2]):
        recorded["weak"]["cpu"]["num_cores"] = cores
        assert estimates.work_of_rows(runs_of(card, tmp_path), recorded, REFERENCE) == {}


def test_the_other_budget_counts_by_its_epochs(card, tmp_path):
    # Six epochs there, three here; one seed ended early, after two.
    full = measurement(card, card.rows[0], "full", train_seconds=[60.0, 22.0], epochs=[6, 2])
    work = estimates.work_of_rows(runs_of(card, tmp_path), {"weak": {"full": full}}, REFERENCE)
    assert work["weak"].training == pytest.approx(3 * 10.0 * 100)


def test_evaluations_that_were_written_down_count(card, tmp_path):
    entry = measurement(card, card.rows[0], evaluation_seconds=[9.0, 7.0])
    recorded = {"weak": {"cpu": entry}}
    work = estimates.work_of_rows(runs_of(card, tmp_path), recorded, REFERENCE)
    assert work["weak"].evaluation == pytest.approx(7.0 * 100)
    entry["importance_samples"] = 50
    work = estimates.work_of_rows(runs_of(card, tmp_path), recorded, REFERENCE)
    assert work["weak"].evaluation != pytest.approx(7.0 * 100)


def test_a_row_that_was_not_measured_has_the_pace_of_the_others(card, tmp_path):
    weak, _, wide = card.rows
    runs = runs_of(card, tmp_path, "full")
    work = estimates.work_of_rows(runs, {"weak": {"full": measurement(card, weak)}}, REFERENCE)
    assert set(work) == {"weak", "strong", "wide"}
    assert work["strong"] == work["weak"]
    ratio = estimates.multiplications(runs, wide).training
    ratio /= estimates.multiplications(runs, weak).training
    assert 1 < ratio == pytest.approx(work["wide"].training / work["weak"].training)


@pytest.mark.parametrize(
    ("setting", "value", "counts"),
    [
        ("optimizer.learning_rate", 0.5, True),
        ("objective.warmup_epochs", 1.0, True),
        ("epochs", 1, True),
        ("model.latent_size", 1, False),
        ("batch_size", 1, False),
    ],
)
def test_a_measurement_of_another_program_does_not_count(card, tmp_path, setting, value, counts):
    entry = measurement(card, card.rows[0])
    entry["config"][setting] = value
    work = estimates.work_of_rows(runs_of(card, tmp_path), {"weak": {"cpu": entry}}, REFERENCE)
    assert ("weak" in work) == counts


def test_a_row_has_at_most_the_work_of_a_larger_network(card, tmp_path):
    weak, strong, wide = card.rows
    seconds = {"weak": [30.0, 20.0], "strong": [500.0, 400.0], "wide": [25.0, 24.0]}
    recorded = {
        row.name: {"full": measurement(card, row, "full", train_seconds=seconds[row.name])}
        for row in (weak, strong, wide)
    }
    work = estimates.work_of_rows(runs_of(card, tmp_path, "full"), recorded, REFERENCE)
    assert {name: costs.training for name, costs in work.items()} == {
        "weak": pytest.approx(20.0 * 100),
        # The same network with another weight.
        "strong": pytest.approx(20.0 * 100),
        "wide": pytest.approx(24.0 * 100),
    }


def test_only_runs_that_are_not_done_take_time(card, tmp_path, monkeypatch):
    runs = runs_of(card, tmp_path)
    expected = {"bars": {"weak": Costs(30.0, 10.0)}}
    ((name, num_runs, seconds, unknown),) = estimates.times([runs], expected)
    assert (name, num_runs, seconds, unknown) == ("bars", 4, 80.0, ("strong",))
    # The first seed of each row.
    monkeypatch.setattr(Runs, "is_done", lambda _, member: member % 100 == 0)
    ((_, num_runs, seconds, unknown),) = estimates.times([runs], expected)
    assert (num_runs, seconds, unknown) == (2, 40.0, ("strong",))
    monkeypatch.setattr(Runs, "is_done", lambda *_: True)
    assert estimates.times([runs], expected) == [("bars", 0, 0.0, ())]


def test_the_time_left_is_corrected_by_the_runs_that_are_done(card, tmp_path, monkeypatch):
    runs = runs_of(card, tmp_path)
    expected = {"bars": {"weak": Costs(30.0, 10.0), "strong": Costs(60.0, 20.0)}}
    known = {}
    monkeypatch.setattr(estimates, "read_member", lambda _, member: known.get(member))
    assert estimates.seconds_left([runs], {}) is None
    assert estimates.seconds_left([runs], expected) == pytest.approx(240.0)
    # Twice as slow as expected.
    known[0] = {"epoch": 3, "train_seconds": 60.0}
    assert estimates.seconds_left([runs], expected) == pytest.approx(400.0)
    known[0]["evaluation_seconds"] = 20.0
    assert estimates.seconds_left([runs], expected) == pytest.approx(400.0)
    # It stopped early, after one of three epochs.
    known[0] = {"epoch": 1, "train_seconds": 10.0}
    assert estimates.seconds_left([runs], expected) == pytest.approx(200.0)
    # Both rows have the same network, and here the same expected time.
    del expected["bars"]["strong"]
    known[0] = {"epoch": 3, "train_seconds": 30.0}
    left = estimates.seconds_left([runs], expected)
    training = left - 10.0
    assert 3 * 30.0 < training < 3 * 30.0 + 2 * 30.0


def test_a_results_file_of_other_settings_is_read(card, tmp_path):
    assert estimates.recorded(card, tmp_path) == {}
    rows = {"weak": {"cpu": {"epochs": [1]}}}
    (tmp_path / "bars.json").write_text(json.dumps({"card": "bars", "rows": rows}))
    assert estimates.recorded(card, tmp_path) == rows


def test_the_reference_is_read_by_cores(tmp_path):
    path = tmp_path / "standard.json"
    assert read_reference(path) is None
    one = {"examples_per_second": 100.0, "multiplications_per_second": 5e7}
    two = {"examples_per_second": 150.0, "multiplications_per_second": 9e7}
    path.write_text(json.dumps({"device": "cpu", "by_cores": {"2": two, "1": one}}))
    assert read_reference(path) == ("cpu", {1: 100.0, 2: 150.0}, 2e-6)


def test_the_speed_on_other_cores_is_in_proportion():
    assert [REFERENCE.speed(num) for num in (1, 2, 3, 8)] == [100.0, 150.0, 225.0, 600.0]
