import contextlib
import json
import math
import subprocess
import sys
import time

import optuna
import pytest
from optuna.trial import TrialState

from vae_jax.errors import UserError
from vae_jax.sweeps import search, space
from vae_jax.sweeps.search import Outcome, Search
from vae_jax.sweeps.storage import open_study

TPE = space.tpe(
    {
        "optimizer.learning_rate": space.Uniform(1e-4, 1e-2, log=True),
        "objective.beta": space.Uniform(0, 4),
        "objective.warmup_epochs": space.Integers(0, 5),
        "model.latent_size": space.Integers(2, 64, log=True),
        ("model.encoder", "model.encoder.widths"): [("mlp", (400,)), ("conv", ())],
        "model.prior": ("standard", {"name": "vamp", "components": 50}),
    },
    num_trials=40,
    batch=8,
    search_seed=7,
)
NAMES = [space.axis_name(fields) for fields, _ in TPE.axes]


def opened(folder, sweep=TPE, *, owner="a", url="", names=None):
    folder.mkdir(parents=True, exist_ok=True)
    storage = open_study(folder, url, "s", "digest", maximize=sweep.maximize)
    names = [space.axis_name(fields) for fields, _ in sweep.axes] if names is None else names
    return Search(storage, url, "s", sweep, owner=owner, names=names)


@pytest.fixture
def shared(tmp_path):
    """Searches of several owners in one storage, as machines see it; closed at the end."""
    with contextlib.ExitStack() as stack:

        def join(sweep=TPE, *, owner="a"):
            joined = opened(tmp_path, sweep, owner=owner, url=f"sqlite:///{tmp_path}/trials.db")
            stack.callback(joined.close)
            return joined

        yield join


def objective(setting):
    """The best is a beta of 1 and a learning rate of 1e-3."""
    rate = math.log10(setting["optimizer.learning_rate"]) + 3
    return -((setting["objective.beta"] - 1.0) ** 2) - rate**2


def finish(searched, number, value=1.0, *, state="COMPLETE", reports=None, rows=None):
    reports = {} if reports is None else reports
    rows = [{"trial": number}] if rows is None else rows
    searched.finish(number, Outcome(TrialState[state], value, reports, rows))


def trials(searched):
    return optuna.load_study(study_name="s", storage=searched._storage).trials


def numbers(claimed):
    return [trial.number for trial in claimed]


def test_each_trial_is_claimed_once_and_there_are_as_many_as_the_sweep_has(tmp_path):
    sweep = space.with_num_trials(TPE, 12)
    searched = opened(tmp_path, sweep)
    first = searched.claim(5)
    rest = opened(tmp_path, sweep).claim(100)
    assert numbers(first + rest) == list(range(12))
    assert searched.claim(1) == []
    assert searched.mine() == first + rest
    assert searched.running() == set(range(12))
    assert len(trials(searched)) == 12


def test_settings_are_those_of_the_axes_and_the_study_shows_them(tmp_path):
    claimed = opened(tmp_path).claim(12)
    for trial, (_, setting) in zip(trials(opened(tmp_path)), claimed, strict=True):
        assert list(setting) == TPE.fields
        assert 1e-4 <= setting["optimizer.learning_rate"] <= 1e-2
        assert setting["objective.warmup_epochs"] in range(6)
        assert type(setting["objective.warmup_epochs"]) is float
        assert type(setting["model.latent_size"]) is int
        assert (setting["model.encoder"], setting["model.encoder.widths"]) in TPE.axes[-2][1].values
        assert setting["model.prior"] in TPE.axes[-1][1].values
        assert trial.params["objective.beta"] == setting["objective.beta"]
        label = [setting["model.encoder"], list(setting["model.encoder.widths"])]
        assert json.loads(trial.params["model.encoder,model.encoder.widths"]) == label
        shown = trial.params["model.prior"]
        assert shown == "standard" or json.loads(shown) == setting["model.prior"]


class Killed(BaseException):
    pass


def killed_after(monkeypatch, name, calls):
    """Let a process die in the middle: a write of the storage, and all that follow, raise."""
    original, left = getattr(optuna.storages.JournalStorage, name), [calls]

    def dying(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(optuna.storages.JournalStorage, name, dying)


def run_tpe(folder, sizes, *, reopen):
    """Claim batches of eight in steps of `sizes`, finish them, and return all trials."""
    searched, found = opened(folder), []
    while len(found) < TPE.size:
        claimed = []
        for size in sizes:
            claimed += searched.claim(size)
            if reopen:
                searched = opened(folder)
                assert searched.mine() == claimed
        for number, setting in claimed:
            value = objective(setting)
            state = "COMPLETE" if number % 5 else "PRUNED"
            finish(searched, number, value, state=state, reports={2: value})
        found += claimed
    return found


def test_tpe_learns_and_suggests_the_same_whether_or_not_it_was_interrupted(tmp_path):
    whole = run_tpe(tmp_path / "one", (8,), reopen=False)
    assert run_tpe(tmp_path / "two", (3, 5), reopen=True) == whole
    values = [objective(setting) for _, setting in whole]
    assert sum(values[-16:]) > sum(values[:16])


# Before and after TPE has seen enough to suggest all parameters together.
@pytest.mark.parametrize("ended", [0, 12])
@pytest.mark.parametrize("calls", [0, 1, 4])
def test_a_suggestion_that_was_killed_goes_on_as_it_would_have(tmp_path, monkeypatch, ended, calls):
    def prepared(folder):
        searched = opened(folder)
        for number, setting in searched.claim(ended):
            finish(searched, number, objective(setting))
        return searched

    expected = prepared(tmp_path / "whole").claim(3)
    searched = prepared(tmp_path / "killed")
    with monkeypatch.context() as patch:
        killed_after(patch, "set_trial_param", len(NAMES) + calls)
        with pytest.raises(Killed):
            searched.claim(3)
    searched = opened(tmp_path / "killed")
    assert searched.mine() + searched.claim(1) == expected


def test_another_search_seed_suggests_otherwise(tmp_path):
    axes = {"objective.beta": space.Uniform(0, 4)}
    claimed = []
    for name, seed in (("s", 8), ("t", 9), ("u", 9)):
        sweep = space.tpe(axes, num_trials=2, search_seed=seed)
        claimed.append(opened(tmp_path / name, sweep).claim(2))
    assert claimed[0] != claimed[1] == claimed[2]


def test_a_study_may_call_the_axes_otherwise(tmp_path):
    former = ["rate", "beta", "warmup", "size", "network,widths", "prior"]
    searched = opened(tmp_path, names=former)
    assert searched.claim(3) == opened(tmp_path / "other").claim(3)
    assert set(trials(searched)[0].params) == set(former)
    assert opened(tmp_path, names=former).mine() == searched.mine()


def test_workdirs_of_one_storage_get_trials_of_their_own(shared):
    first, second = shared(), shared(owner="b")
    assert numbers(first.claim(2) + second.claim(3) + first.claim(1)) == list(range(6))
    assert numbers(first.mine()) == [0, 1, 5]
    assert numbers(second.mine()) == [2, 3, 4]
    assert second.running() == set(range(6))


def test_a_surplus_trial_of_two_machines_at_once_belongs_to_neither(shared, monkeypatch):
    sweep = space.with_num_trials(TPE, 3)
    first, second = shared(sweep), shared(sweep, owner="b")
    first.claim(2)
    create = first._storage.create_new_trial

    def after_the_other(*args, **kwargs):
        monkeypatch.undo()
        assert numbers(second.claim(9)) == [2]
        return create(*args, **kwargs)

    monkeypatch.setattr(first._storage, "create_new_trial", after_the_other)
    assert first.claim(2) == []
    assert numbers(first.mine()) == [0, 1]
    assert first.running() == {0, 1, 2}
    assert second.claim(1) == []


def test_unseen_trials_of_others_are_taken_over_with_their_settings(shared, monkeypatch):
    first, second = shared(), shared(owner="b")
    claimed, ours = first.claim(3), second.claim(1)
    now = time.time()
    assert second.reclaim(60.0) == 0
    with first.kept_alive():
        monkeypatch.setattr(time, "time", lambda: now + 100)
    assert second.reclaim(60.0) == 3
    monkeypatch.setattr(time, "time", lambda: now + 200)
    assert second.mine() == [*claimed, *ours]
    assert first.mine() == []
    # It was only slow: its result counts, and the other's changes nothing.
    first.alive()
    finish(first, 0, 3.0, rows=[{"by": "a"}])
    finish(second, 0, 4.0, rows=[{"by": "b"}])
    finish(second, 1, 4.0, rows=[{"by": "b"}])
    assert first.rows() == [{"by": "a"}, {"by": "b"}]
    assert trials(first)[0].value == 3.0


def test_signs_of_life_keep_trials_from_being_taken_over(shared, monkeypatch):
    first, second = shared(), shared(owner="b")
    first.claim(1)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    with first.kept_alive():
        assert second.reclaim(60.0) == 0
    monkeypatch.setattr(time, "time", lambda: now + 200)
    assert second.reclaim(60.0) == 1


def test_signs_come_again_and_again_while_trials_are_run(shared, monkeypatch):
    monkeypatch.setattr(search, "_SECONDS_BETWEEN_SIGNS", 0.01)
    first = shared()
    first.claim(1)
    signs = []
    with first.kept_alive():
        while len(set(signs)) < 4:
            signs.append(trials(first)[0].user_attrs["seen"])


def test_results_can_be_read_by_all(shared):
    first, second = shared(), shared(owner="b")
    first.claim(2)
    second.claim(3)
    finish(first, 1, -90.5, reports={2: -95.0, 6: -90.5}, rows=[{"seed": 0}, {"seed": 1}])
    finish(second, 2, -99.0, state="PRUNED", reports={2: -99.0}, rows=[{"seed": 0, "n": [1]}])
    finish(second, 3, None, state="FAIL", reports={2: math.nan}, rows=[])
    finish(second, 4, math.inf, reports={2: math.inf}, rows=[{"loss": None}])
    for reader in (first, second, shared(owner="c")):
        states = [trial.state.name for trial in trials(reader)]
        assert states == ["RUNNING", "COMPLETE", "PRUNED", "FAIL", "FAIL"]
        assert reader.rows() == [{"seed": 0}, {"seed": 1}, {"seed": 0, "n": [1]}, {"loss": None}]
        assert reader.reports(1) == []
        assert reader.reports(3) == [{2: -95.0, 6: -90.5}, {2: -99.0}]
        values = [reports[2] for reports in reader.reports(99)]
        assert values[:2] == [-95.0, -99.0]
        assert math.isnan(values[2])
        assert values[3] == math.inf


@pytest.mark.parametrize(("objective", "best"), [("elbo", 1), ("loss", 0), ("distortion", 0)])
def test_the_elbo_is_maximised_and_losses_are_minimised(tmp_path, objective, best):
    sweep = space.tpe({"epochs": (1, 2, 3)}, num_trials=3, objective=objective)
    searched = opened(tmp_path, sweep)
    searched.claim(3)
    for number, value in enumerate([1.0, 2.0, 1.0]):
        finish(searched, number, value)
    reader = optuna.load_study(study_name="s", storage=searched._storage)
    assert reader.best_trial.number in ({1} if best else {0, 2})


@pytest.mark.parametrize(
    ("write", "calls"),
    [
        ("set_trial_user_attr", 0),
        ("set_trial_intermediate_value", 0),
        ("set_trial_intermediate_value", 1),
        ("set_trial_state_values", 0),
    ],
)
def test_a_result_can_be_written_again_after_a_kill(tmp_path, monkeypatch, write, calls):
    searched = opened(tmp_path)
    searched.claim(2)
    ended = {"reports": {2: -3.0, 6: -2.0}, "rows": [{"seed": 0}]}
    with monkeypatch.context() as patch:
        killed_after(patch, write, calls)
        with pytest.raises(Killed):
            finish(searched, 0, -2.0, **ended)
    searched = opened(tmp_path)
    assert searched.rows() == []
    assert numbers(searched.mine()) == [0, 1]
    finish(searched, 0, -2.0, **ended)
    before = trials(searched)[0]
    finish(searched, 0, -2.0, **ended)
    finish(opened(tmp_path), 0, -9.0, state="PRUNED", reports={9: 1.0}, rows=[])
    assert trials(opened(tmp_path))[0] == before
    assert (before.value, before.intermediate_values) == (-2.0, {2: -3.0, 6: -2.0})
    assert searched.rows() == [{"seed": 0}]


def test_a_storage_that_is_lost_later_is_reported(shared, tmp_path):
    searched = shared()
    searched._storage._backend.engine.dispose()
    (tmp_path / "trials.db").unlink()
    with pytest.raises(UserError, match="--storage cannot be used: no such table"):
        searched.claim(1)


MEMBER = """
import pathlib, sys
from optuna.trial import TrialState
from vae_jax.sweeps import space
from vae_jax.sweeps.search import Outcome, Search
from vae_jax.sweeps.storage import open_study

folder, url, owner = sys.argv[1:]
sweep = space.tpe({"objective.beta": space.Uniform(0, 1)}, num_trials=24)
storage = open_study(pathlib.Path(folder), url, "s", "digest", maximize=True)
search = Search(storage, url, "s", sweep, owner=owner, names=["beta"])
print("ready", flush=True)
sys.stdin.readline()
while claimed := search.claim(2):
    for number, setting in claimed:
        row = {"number": number, "owner": owner, "beta": setting["objective.beta"]}
        search.finish(number, Outcome(TrialState.COMPLETE, setting["objective.beta"], {}, [row]))
        print(number, flush=True)
    # The other one's turn.
    sys.stdin.readline()
"""


# Two processes that start Python.
@pytest.mark.slow
@pytest.mark.parametrize("is_shared", [False, True], ids=["journal", "storage"])
def test_two_processes_share_a_study_without_losing_or_repeating_a_trial(
    tmp_path, request, is_shared
):
    url = f"sqlite:///{tmp_path}/trials.db" if is_shared else ""
    sweep = space.tpe({"objective.beta": space.Uniform(0, 1)}, num_trials=24)
    # Its tables are there before the two come.
    watching = opened(tmp_path, sweep, owner="c", url=url, names=["beta"])
    request.addfinalizer(watching.close)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MEMBER, str(tmp_path), url, owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for owner in "ab"
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    outputs = []
    for process in processes:
        # Both work at once, and each may go on for as long as there are trials.
        process.stdin.write("\n" * 30)
        process.stdin.flush()
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        outputs.append([int(line) for line in output.split()])
    rows = watching.rows()
    assert sorted(outputs[0] + outputs[1]) == list(range(24))
    assert [row["number"] for row in rows] == list(range(24))
    assert [n for n in range(24) if rows[n]["owner"] == "a"] == sorted(outputs[0])
    assert watching.running() == set()
