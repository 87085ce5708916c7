import json
import re
import shutil
import sys
from unittest import mock

import numpy as np
import pytest
from absl import flags
from interruptions import StopsAfter, stopped_again_and_again
from small_cards import small_card, write_card
from small_data import write_bars

import vae_jax
from experiments import command_line, reproduce
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.papers import estimates, reproduction, standard
from vae_jax.papers import report as card_report
from vae_jax.papers import results as card_results
from vae_jax.papers import runs as card_runs
from vae_jax.papers.runs import Runs
from vae_jax.papers.standard import Reference
from vae_jax.sweeps import chunks
from vae_jax.sweeps.executors import LocalExecutor
from vae_jax.sweeps.member_files import read_member
from vae_jax.training.loop import Interrupted


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_bars(tmp_path_factory.mktemp("data") / "bars.npz"))


@pytest.fixture(scope="module")
def card(data):
    return small_card(data)


def runs_of(card, folder, seeds=2, budget="cpu", rows=()):
    return Runs(card, budget, card.rows_named(rows, budget), range(seeds), folder)


def run(runs, results, *, manifold=False):
    # A manifold takes as long to draw as a row to train.
    draw = reproduction._draw_manifold if manifold else lambda *_: None
    with mock.patch.object(reproduction, "_draw_manifold", draw):
        reproduce.reproduce([runs], results, LocalExecutor())


@pytest.fixture(scope="module")
def reproduced(card, tmp_path_factory):
    """The folder that holds a workdir and the results of two rows and two seeds."""
    folder = tmp_path_factory.mktemp("reproduced")
    run(runs_of(card, folder / "runs"), folder / "results", manifold=True)
    return folder


def content(folder):
    return json.loads((folder / "bars.json").read_text())


def timeless(results):
    """The measurements without what depends on time."""
    return {
        row: {
            budget: measured
            and {
                k: v
                for k, v in measured.items()
                if k not in ("train_seconds", "evaluation_seconds", "digest")
            }
            for budget, measured in budgets.items()
        }
        for row, budgets in results["rows"].items()
    }


def test_every_seed_of_every_row_is_measured_and_written_down(card, reproduced):
    rows = content(reproduced / "results")["rows"]
    assert rows["wide"] == {"cpu": None, "full": None}
    for index, name in enumerate(("weak", "strong")):
        assert rows[name]["full"] is None
        measured = rows[name]["cpu"]
        assert measured["seeds"] == [0, 1]
        assert measured["num_training_images"] == 192
        assert measured["importance_samples"] == 5
        assert measured["checkpoint"] == "best validation loss"
        assert measured["config"]["objective.beta"] == card.rows[index].settings["objective.beta"]
        assert f"--rows={name} --budget=cpu --seeds=2" in measured["command"]
        tests = [
            workdir.read_summary(
                workdir.member_folder(reproduced / "runs", card_runs.MAX_SEEDS * index + seed)
            )["test"]
            for seed in (0, 1)
        ]
        nll = measured["figures"]["nll"]
        assert nll["by_seed"] == [-test["iwae_bound"] for test in tests]
        assert nll["by_seed"][0] != nll["by_seed"][1]
        assert nll["mean"] == pytest.approx(np.mean(nll["by_seed"]))
        assert nll["std"] == pytest.approx(np.std(nll["by_seed"], ddof=1))
        errors = [test["iwae_bound_standard_error"] for test in tests]
        assert nll["standard_error"] == pytest.approx(np.mean(errors))
        assert measured["figures"]["rate"]["by_seed"] == [test["rate"] for test in tests]


def test_neighbours_are_measured_where_a_row_asks_for_them(reproduced):
    rows = content(reproduced / "results")["rows"]
    assert "knn_accuracy_100" not in rows["weak"]["cpu"]["figures"]
    found = rows["strong"]["cpu"]["figures"]["knn_accuracy_100"]["by_seed"]
    # There are four kinds of bars, equally frequent.
    assert all(25 < percent <= 100 for percent in found)


def test_seeds_and_hyperparameters_go_through_one_program(reproduced):
    batches = sorted((reproduced / "runs" / "batches").glob("*.json"))
    (chunk,) = [chunk for path in batches for chunk in json.loads(path.read_text())["chunks"]]
    assert [entry["member"] for entry in chunk["members"]] == [0, 1, 100, 101]


def test_the_results_are_rendered_with_the_manifold(card, reproduced):
    text = card_report.render([card], reproduced / "results")
    assert "(2 seeds)" in text
    assert "![Manifold of weak, cpu budget](bars_manifold_cpu.png)" in text
    assert (reproduced / "results" / "bars_manifold_cpu.png").stat().st_size > 1000


def test_a_run_of_a_card_is_a_member_for_the_other_commands(reproduced):
    model = vae_jax.load(reproduced / "runs", member=101)
    assert (model.config.objective.beta, model.config.seed) == (4.0, 1)


def test_the_same_command_again_changes_nothing(card, reproduced, capsys):
    before = (reproduced / "results" / "bars.json").read_bytes()
    run(runs_of(card, reproduced / "runs"), reproduced / "results")
    said = capsys.readouterr().out
    assert "4 of 4 runs of all cards done\n" in said
    # The table and its verdicts end the command.
    measured = card_results.read(card, reproduced / "results")
    for shown in (card_report.table(card, measured), card_report.checks_table(card, measured)):
        assert shown in said
    assert (reproduced / "results" / "bars.json").read_bytes() == before


def test_a_workdir_from_before_a_setting_came_is_gone_on_with(card, reproduced, tmp_path):
    shutil.copytree(reproduced / "runs", tmp_path / "runs")
    written = workdir.read_sweep(tmp_path / "runs")
    assert written["config"].pop("patience") == 0
    workdir.write_json(tmp_path / "runs" / "sweep.json", written)
    run(runs_of(card, tmp_path / "runs"), tmp_path / "results")
    assert timeless(content(tmp_path / "results")) == timeless(content(reproduced / "results"))
    # Another value is another config.
    written["config"]["patience"] = 3
    workdir.write_json(tmp_path / "runs" / "sweep.json", written)
    with pytest.raises(UserError, match=r"patience=0 \(there: 3\)"):
        run(runs_of(card, tmp_path / "runs"), tmp_path / "results")


def test_stopped_again_and_again_it_comes_to_the_same(card, reproduced, tmp_path, monkeypatch):
    num_stops = stopped_again_and_again(
        monkeypatch, lambda: run(runs_of(card, tmp_path / "runs"), tmp_path / "results")
    )
    assert num_stops >= 3
    assert len(list((tmp_path / "runs" / "batches").glob("*.json"))) == 1
    ours, theirs = content(tmp_path / "results"), content(reproduced / "results")
    assert timeless(ours) == timeless(theirs)


def test_rows_and_seeds_may_come_later(card, reproduced, tmp_path, monkeypatch):
    trained = []
    original = chunks.train_chunk

    def train_chunk(folder, chunk, *rest):
        trained.append([entry["member"] for entry in chunk["members"]])
        original(folder, chunk, *rest)

    monkeypatch.setattr(chunks, "train_chunk", train_chunk)
    for seeds, rows in ((1, ["weak"]), (2, ["weak"]), (1, []), (2, [])):
        run(runs_of(card, tmp_path / "runs", seeds, rows=rows), tmp_path / "results")
    assert trained == [[0], [1], [100], [101]]
    assert timeless(content(tmp_path / "results")) == timeless(content(reproduced / "results"))


def test_a_begun_chunk_goes_on_as_it_was_dealt_though_more_is_asked_for(
    card, tmp_path, monkeypatch
):
    original = chunks.train_chunk
    dealt = []

    def stopped(folder, chunk, interruption, on_end):
        original(folder, chunk, StopsAfter(3), on_end)

    def watched(folder, chunk, *rest):
        dealt.append([entry["member"] for entry in chunk["members"]])
        original(folder, chunk, *rest)

    monkeypatch.setattr(chunks, "train_chunk", stopped)
    with pytest.raises(Interrupted):
        run(runs_of(card, tmp_path / "runs", 1), tmp_path / "results")
    monkeypatch.setattr(chunks, "train_chunk", watched)
    run(runs_of(card, tmp_path / "runs", 2, rows=["weak"]), tmp_path / "results")
    assert dealt == [[0, 100], [1]]


def test_full_and_cpu_stand_side_by_side(card, reproduced, tmp_path):
    results = tmp_path / "results"
    card_results.write(card, results, card_results.read(card, reproduced / "results"))
    run(runs_of(card, tmp_path / "runs", 1, "full", ["wide"]), results)
    rows = content(results)["rows"]
    assert rows["weak"] == content(reproduced / "results")["rows"]["weak"]
    assert (rows["wide"]["cpu"], rows["wide"]["full"]["epochs"]) == (None, [6])


def test_a_diverged_seed_is_reported_and_left_out(data, tmp_path, capsys):
    rows = small_card(data).rows
    wild = {**rows[0].settings, "optimizer.learning_rate": 1e9}
    card = small_card(data, rows=(rows[0], type(rows[0])("strong", wild, rows[1].metrics), rows[2]))
    run(runs_of(card, tmp_path / "runs", 1), tmp_path / "results")
    assert "strong, seed 0, diverged: the loss is not finite" in capsys.readouterr().out
    rows = content(tmp_path / "results")["rows"]
    assert (rows["strong"]["cpu"]["seeds"], rows["strong"]["cpu"]["diverged"]) == ([], [0])
    assert rows["weak"]["cpu"]["diverged"] == []
    table = card_report.section(card, tmp_path / "results")
    assert re.search(r"\| strong \| NLL \|.*\| diverged \(1 seed\) \| not measured \|", table)
    assert "not measured" in card_report.checks_table(
        card, card_results.read(card, tmp_path / "results")
    )


def test_the_time_left_is_that_of_the_runs_that_are_not_done(card, reproduced):
    half = runs_of(card, reproduced / "runs", 4)
    known = [read_member(half.folder, member) for member in (0, 1, 100, 101)]
    spent = sum(entry["train_seconds"] + entry["evaluation_seconds"] for entry in known)
    assert estimates.seconds_left([half], {}) == pytest.approx(spent)
    assert estimates.seconds_left([runs_of(card, reproduced / "runs")], {}) == 0
    assert estimates.seconds_left([runs_of(card, reproduced / "nothing")], {}) is None


def test_the_command_says_first_how_long_it_will_take(
    card, reproduced, tmp_path, monkeypatch, capsys
):
    published = reproduced / "results"
    seconds = content(published)["rows"]["weak"]["cpu"]
    assert len(seconds["evaluation_seconds"]) == len(seconds["train_seconds"]) == 2
    reference = Reference("cpu", {1: 1000.0}, evaluation_pace=1.0)
    monkeypatch.setattr(standard, "read_reference", lambda: reference)
    timed = []

    def measure_speed():
        timed.append(500.0)
        return timed[-1]

    def announced(published, seeds=2):
        """The lines before the first card, where training is a matter of another test."""
        runs = runs_of(card, tmp_path / "runs", seeds)
        reproduce.reproduce([runs], tmp_path / "results", LocalExecutor(), published)
        return capsys.readouterr().out.partition("card 1 of 1")[0].splitlines()

    monkeypatch.setattr(standard, "measure_speed", measure_speed)
    monkeypatch.setattr(card_runs, "train", lambda *_: None)
    monkeypatch.setattr(reproduction, "_draw_manifold", lambda *_: None)
    of_card, of_all = announced(published)
    assert re.fullmatch(r"bars: 4 runs, \d+ (s|min)", of_card)
    assert of_all == (
        f"all: {of_card.removeprefix('bars: ')} on this machine (0.5 times the speed of one core "
        "of the one that made the results)"
    )
    assert timed == [500.0]
    # Nothing is known of the card: nothing is timed.
    assert announced(tmp_path / "nothing") == [
        "bars: 4 runs; not estimated: weak, strong",
        "all: 4 runs; 2 rows not estimated",
    ]
    shutil.copytree(reproduced / "runs", tmp_path / "runs", dirs_exist_ok=True)
    assert announced(published) == []
    assert timed == [500.0]
    of_card, _ = announced(published, seeds=3)
    assert of_card.startswith("bars: 2 runs, ")


def test_a_workdir_of_another_version_of_the_card_is_refused(data, reproduced, tmp_path):
    card = small_card(data)
    weak, *rows = card.rows
    base = factory.with_values(card.base, {"objective.beta": 3.0})
    other = small_card(data, base=base, rows=(type(weak)("weak", {}, weak.metrics), *rows))
    with pytest.raises(UserError, match=r"objective\.beta=3\.0 \(there: 1\.0\)"):
        run(runs_of(other, reproduced / "runs"), tmp_path)


def refused(monkeypatch, capsys, arguments):
    """The line in which the command refuses the flags."""
    monkeypatch.setattr(sys, "argv", ["reproduce", *arguments])
    try:
        with pytest.raises(SystemExit) as stop:
            command_line.run(reproduce.main)
    finally:
        flags.FLAGS.unparse_flags()
        for name in ("card", "seeds", "budget", "rows", "results", "workdir"):
            flags.FLAGS[name].unparse()
    error = capsys.readouterr().err
    assert stop.value.code == 2, error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], ["--card is missing", "iwae_mnist_1layer"]),
        (["--card=iwae_mnist_1leyer"], ["--card=iwae_mnist_1leyer", "mean iwae_mnist_1layer?"]),
        (["--card=/nowhere/card.py"], ["/nowhere/card.py", "cannot be read"]),
        (["--rows=week"], ["--rows=week", "did you mean weak?"]),
        (["--rows=zzz"], ["--rows=zzz", "there are weak, strong, wide"]),
        (["--budget=gpu"], ["--budget", "gpu", "cpu", "full"]),
        (["--seeds=0"], ["--seeds=0", "at least 1"]),
        (["--seeds=many"], ["--seeds", "many"]),
        (["--card=all", "--rows=weak"], ["--rows=weak", "one card"]),
    ],
)
def test_bad_input_is_refused_in_one_line(data, tmp_path, monkeypatch, capsys, arguments, message):
    path = write_card(tmp_path / "bars.py", data)
    given = [f"--results={tmp_path / 'results'}", f"--workdir={tmp_path / 'runs'}", *arguments]
    if arguments and "--card" not in arguments[0]:
        given.append(f"--card={path}")
    error = refused(monkeypatch, capsys, given)
    assert all(part in error for part in message), error
    assert not (tmp_path / "runs").exists()


def test_data_that_are_not_there_are_refused_before_anything_is_trained(
    data, tmp_path, monkeypatch, capsys
):
    folder = [f"--results={tmp_path / 'results'}", f"--workdir={tmp_path / 'runs'}"]
    monkeypatch.chdir(tmp_path)
    error = refused(monkeypatch, capsys, ["--card=vampprior_mlp_fashion_mnist", *folder])
    assert "python -m experiments.prepare --name=fashion_mnist --data_dir=data" in error
    path = write_card(tmp_path / "bars.py", tmp_path / "nothing.npz")
    assert "nothing.npz" in refused(monkeypatch, capsys, [f"--card={path}", *folder])
    assert not (tmp_path / "runs").exists()


def test_a_results_file_edited_by_hand_is_refused_before_anything_is_trained(
    data, reproduced, tmp_path, monkeypatch, capsys
):
    path = write_card(tmp_path / "bars.py", data)
    edited = content(reproduced / "results")
    edited["rows"]["weak"]["cpu"]["figures"]["nll"]["mean"] = 1.0
    (tmp_path / "bars.json").write_text(json.dumps(edited))
    arguments = [f"--card={path}", f"--results={tmp_path}", f"--workdir={tmp_path / 'runs'}"]
    assert "was edited by hand" in refused(monkeypatch, capsys, arguments)
    assert json.loads((tmp_path / "bars.json").read_text()) == edited
    assert not (tmp_path / "runs").exists()


def test_a_folder_where_no_results_can_be_written_is_refused_before_anything_is_trained(
    data, tmp_path, monkeypatch, capsys
):
    path = write_card(tmp_path / "bars.py", data)
    (tmp_path / "taken").write_text("")
    arguments = [
        f"--card={path}",
        f"--results={tmp_path / 'taken'}",
        f"--workdir={tmp_path / 'runs'}",
    ]
    assert "taken cannot be made" in refused(monkeypatch, capsys, arguments)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("members/0000/member.json", "member.json is damaged: it has no 'seed'"),
        ("members/0000/summary.json", "summary.json is damaged: it has no 'test'"),
        ("batches/0000.json", "0000.json is damaged: it has no 'chunks'"),
        (None, "experiments.evaluate --workdir="),
    ],
)
def test_a_damaged_file_of_a_run_is_named(card, reproduced, tmp_path, file, message):
    shutil.copytree(reproduced / "runs", tmp_path / "runs")
    if file is None:
        (tmp_path / "runs" / "members" / "0000" / "summary.json").unlink()
    else:
        (tmp_path / "runs" / file).write_text("{}")
    with pytest.raises(UserError, match=message):
        run(runs_of(card, tmp_path / "runs"), tmp_path / "results")
