import json
import math
import subprocess
import sys
import threading
import time

import optuna
import postgresql
import pytest

from vae_jax.errors import UserError
from vae_jax.sweeps import space
from vae_jax.sweeps import study as study_module
from vae_jax.sweeps.study import open_study

GRID = space.grid(
    {
        ("model.latent_size", "model.widths"): [(5, (400,)), (10, (200, 200))],
        "hparams.beta": (0.1, 1, 4),
        "model.gated": (False, True),
    }
)
TPE = space.tpe(
    {
        "hparams.learning_rate": space.Uniform(1e-4, 1e-2, log=True),
        "hparams.beta": space.Uniform(0, 4),
        "hparams.warmup_epochs": space.Integers(0, 5),
        "model.latent_size": space.Integers(2, 64, log=True),
        ("model.network", "model.widths"): [("mlp", (400,)), ("conv", ())],
    },
    num_trials=40,
    batch=8,
    search_seed=7,
)


@pytest.fixture
def opened(tmp_path):
    """Open studies in one storage, and close them at the end."""
    studies = []

    def open_one(sweep=GRID, *, owner="a", exclusive=False, digest="d", name="s"):
        url = f"sqlite:///{tmp_path}/trials.db"
        studies.append(open_study(url, name, sweep, digest, owner, exclusive))
        return studies[-1]

    yield open_one
    for study in studies:
        study.close()


def objective(setting):
    """The best is a beta of 1 and a learning rate of 1e-3."""
    rate = math.log10(setting["hparams.learning_rate"]) + 3
    return -((setting["hparams.beta"] - 1.0) ** 2) - rate**2


def finish(study, number, value=1.0, *, state="complete", reports=None, rows=None):
    reports = {} if reports is None else reports
    rows = [{"trial": number}] if rows is None else rows
    study.tell(number, value=value, state=state, reports=reports, rows=rows)


def optuna_trials(tmp_path, name="s"):
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/trials.db")
    trials = storage.get_all_trials(storage.get_study_id_from_name(name))
    storage.engine.dispose()
    return trials


def test_all_settings_wait_from_the_start_and_each_is_handed_out_once(opened, tmp_path):
    study = opened()
    assert study.counts() == {
        "waiting": 12,
        "running": 0,
        "complete": 0,
        "pruned": 0,
        "failed": 0,
    }
    waiting = optuna_trials(tmp_path)
    assert [trial.user_attrs for trial in waiting] == [{"index": index} for index in range(12)]
    assert waiting[1].system_attrs["fixed_params"] == {
        "model.latent_size,model.widths": "[5, [400]]",
        "hparams.beta": 0.1,
        "model.gated": True,
    }
    first, rest = study.claim(5), study.claim(100)
    assert [trial.number for trial in first + rest] == list(range(12))
    assert [trial.setting for trial in first + rest] == space.settings(GRID)
    assert study.claim(1) == []
    assert study.counts()["running"] == 12
    assert len(optuna_trials(tmp_path)) == 12


@pytest.mark.parametrize("method", [space.random, space.quasi_random])
def test_drawn_settings_are_handed_out_to_the_last_bit(opened, tmp_path, method):
    axes = {fields if len(fields) > 1 else fields[0]: axis for fields, axis in TPE.axes}
    sweep = method(axes, num_trials=9, search_seed=3)
    claimed = [trial.setting for trial in opened(sweep).claim(9)]
    assert claimed == space.settings(sweep)
    for setting, told in zip(claimed, space.settings(sweep), strict=True):
        assert [type(value) for value in setting.values()] == [type(v) for v in told.values()]
    for setting, trial in zip(claimed, optuna_trials(tmp_path), strict=True):
        assert trial.params["hparams.beta"] == setting["hparams.beta"]
        assert trial.params["model.latent_size"] == setting["model.latent_size"]
        label = [setting["model.network"], list(setting["model.widths"])]
        assert json.loads(trial.params["model.network,model.widths"]) == label


def test_a_study_that_is_there_is_joined(opened):
    opened().claim(3)
    other = opened(owner="b")
    assert other.counts()["waiting"] == 9
    assert [trial.number for trial in other.claim(2)] == [3, 4]
    assert other.counts() == opened().counts()


def test_a_study_of_another_digest_is_refused_and_another_name_is_not(opened):
    opened()
    with pytest.raises(UserError, match=r"the study 's' is of another sweep .* is d, ours e; use"):
        opened(digest="e")
    opened(digest="e", name="t")
    assert opened().counts()["waiting"] == 12


def test_a_study_that_no_sweep_made_is_refused(opened, tmp_path):
    opened()
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/trials.db")
    optuna.create_study(storage=storage, study_name="mine").enqueue_trial({"x": 1})
    storage.engine.dispose()
    with pytest.raises(UserError, match="the study 'mine' was not made by a sweep; use another na"):
        opened(name="mine")


class Killed(BaseException):
    pass


def killed_after(monkeypatch, name, calls, owner=optuna.storages.RDBStorage):
    """Let a process die in the middle: a call after so many, and all that follow, raise."""
    original, left = getattr(owner, name), [calls]

    def dying(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, dying)


@pytest.mark.parametrize("calls", [0, 1, 5, 11])
def test_a_study_whose_creator_was_killed_is_filled_up_at_once_if_exclusive(
    opened, tmp_path, monkeypatch, calls
):
    with monkeypatch.context() as patch:
        killed_after(patch, "_create_new_trial", calls)
        with pytest.raises(Killed):
            opened()
    assert len(optuna_trials(tmp_path)) == calls
    begin = time.monotonic()
    study = opened(exclusive=True)
    assert time.monotonic() - begin < 5
    assert [trial.setting for trial in study.claim(99)] == space.settings(GRID)
    assert len(optuna_trials(tmp_path)) == 12


@pytest.mark.parametrize("calls", [0, 1])
def test_a_study_whose_creator_was_killed_before_a_mark_is_filled_up(
    opened, tmp_path, monkeypatch, calls
):
    """Without a digest, and without the mark that it is filled."""
    with monkeypatch.context() as patch:
        killed_after(patch, "set_study_user_attr", calls)
        with pytest.raises(Killed):
            opened()
    assert opened(exclusive=True).counts()["waiting"] == 12
    assert opened().counts()["waiting"] == len(optuna_trials(tmp_path)) == 12


def test_others_wait_for_a_creator_that_gives_signs_and_go_on_for_one_that_gives_none(
    opened, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        killed_after(patch, "_create_new_trial", 5)
        with pytest.raises(Killed):
            opened()
    monkeypatch.setattr(study_module, "_FILLING_SECONDS", 2.0)
    counts = {}

    def join(owner):
        begin = time.monotonic()
        study = opened(owner=owner)
        counts[owner] = (study.counts()["waiting"], time.monotonic() - begin)
        study.close()

    threads = [threading.Thread(target=join, args=(owner,)) for owner in "bc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {count for count, _ in counts.values()} == {12}
    assert min(seconds for _, seconds in counts.values()) >= 2.0
    settings = [trial.setting for trial in opened().claim(99)]
    assert settings == space.settings(GRID)


def test_trials_that_somebody_adds_are_not_ours(opened, tmp_path):
    study = opened()
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/trials.db")
    by_hand = optuna.load_study(study_name="s", storage=storage)
    by_hand.enqueue_trial({"hparams.beta": 0.5})
    by_hand.enqueue_trial({"hparams.beta": 0.5}, user_attrs={"index": 3})
    storage.engine.dispose()
    assert [trial.setting for trial in study.claim(99)] == space.settings(GRID)
    assert sum(study.counts().values()) == 12


def test_a_trial_of_a_process_killed_before_it_owned_it_is_claimed_again(
    opened, tmp_path, monkeypatch
):
    study = opened()
    for calls in (0, 1):
        with monkeypatch.context() as patch:
            killed_after(patch, "set_trial_user_attr", calls)
            with pytest.raises(Killed):
                study.claim(1)
        assert study.counts()["running"] == 1
        assert study.mine() == []
        exclusive = opened(exclusive=True)
        (trial,) = exclusive.claim(1)
        assert trial.setting == space.settings(GRID)[trial.number]
        finish(exclusive, trial.number)
    assert exclusive.counts() == {
        "waiting": 10,
        "running": 0,
        "complete": 2,
        "pruned": 0,
        "failed": 0,
    }


def test_a_trial_without_an_owner_is_left_alone_for_a_minute_by_those_who_share(
    opened, monkeypatch
):
    study = opened()
    with monkeypatch.context() as patch:
        killed_after(patch, "set_trial_user_attr", 0)
        with pytest.raises(Killed):
            study.claim(1)
    other = opened(owner="b")
    assert [trial.number for trial in other.claim(2)] == [1, 2]
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert [trial.number for trial in other.claim(2)] == [0, 3]


def test_what_an_owner_has_claimed_it_finds_again(opened):
    study = opened()
    claimed = study.claim(3)
    finish(study, 1)
    opened(owner="b").claim(2)
    assert opened().mine() == [claimed[0], claimed[2]]


def test_unseen_trials_of_others_are_put_back_and_keep_their_settings(opened, monkeypatch):
    study, other = opened(TPE), opened(TPE, owner="b")
    claimed = study.claim(3)
    ours = other.claim(1)
    now = time.time()
    assert other.reclaim(60.0) == 0
    monkeypatch.setattr(time, "time", lambda: now + 100)
    study.alive([1])
    finish(study, 2)
    assert other.reclaim(60.0) == 1
    assert other.counts()["waiting"] == 37
    assert other.claim(1) == [claimed[0]]
    assert other.mine() == [claimed[0], *ours]
    assert study.mine() == [claimed[1]]
    assert other.reclaim(60.0) == 0
    # It was only slow: its telling counts, and the other's changes nothing.
    study.alive([0, 2])
    finish(study, 0, 3.0, rows=[{"by": "a"}])
    finish(other, 0, 4.0, rows=[{"by": "b"}])
    assert other.rows() == [{"by": "a"}, {"trial": 2}]
    assert other.best() == (0, claimed[0].setting, 3.0)


def test_a_trial_that_changed_since_it_was_read_is_not_put_back(opened, monkeypatch):
    study, other = opened(), opened(owner="b")
    study.claim(1)
    read = other._trials()[0]
    study.alive([0])
    assert not other._put_back(read)
    read = other._trials()[0]
    finish(study, 0)
    assert not other._put_back(read)
    # Finished between the second look and the writing.
    monkeypatch.setattr(other._storage, "get_trial", lambda _: read)
    assert not other._put_back(read)
    assert study.counts()["complete"] == 1


def test_what_is_told_can_be_read_by_all(opened):
    study, other = opened(), opened(owner="b")
    study.claim(2)
    other.claim(3)
    finish(study, 1, -90.5, reports={2: -95.0, 6: -90.5}, rows=[{"seed": 0}, {"seed": 1}])
    finish(other, 2, -99.0, state="pruned", reports={2: -99.0}, rows=[{"seed": 0, "n": [1]}])
    finish(other, 3, None, state="failed", reports={2: math.nan}, rows=[])
    finish(other, 4, math.inf, reports={2: math.inf}, rows=[{"loss": None}])
    for reader in (study, other, opened(owner="c")):
        assert reader.counts() == {
            "waiting": 7,
            "running": 1,
            "complete": 1,
            "pruned": 1,
            "failed": 2,
        }
        assert reader.rows() == [{"seed": 0}, {"seed": 1}, {"seed": 0, "n": [1]}, {"loss": None}]
        assert reader.best() == (1, space.settings(GRID)[1], -90.5)
        assert reader.rivals(1) == {}
        assert reader.rivals(3) == {2: [-95.0, -99.0], 6: [-90.5]}
        values = reader.rivals(99)[2]
        assert values[:2] == [-95.0, -99.0]
        assert math.isnan(values[2])
        assert values[3] == math.inf


def test_without_a_complete_trial_there_is_no_best(opened):
    study = opened()
    assert study.best() is None
    study.claim(2)
    finish(study, 0, -1.0, state="pruned")
    finish(study, 1, None, state="pruned")
    assert study.best() is None
    assert study.counts()["pruned"] == 2


@pytest.mark.parametrize(("objective", "best"), [("elbo", 1), ("loss", 0), ("distortion", 0)])
def test_the_elbo_is_maximised_and_losses_are_minimised(opened, tmp_path, objective, best):
    study = opened(space.grid({"epochs": (1, 2, 3)}, objective=objective))
    study.claim(3)
    for number, value in enumerate([1.0, 2.0, 1.0]):
        finish(study, number, value)
    number, setting, _ = study.best()
    assert (number, setting) == (best, {"epochs": best + 1})
    reader = optuna.load_study(study_name="s", storage=study._storage)
    assert reader.best_trial.number in ({1} if objective == "elbo" else {0, 2})


@pytest.mark.parametrize(
    ("write", "calls"),
    [
        ("set_trial_user_attr", 0),
        ("set_trial_intermediate_value", 0),
        ("set_trial_intermediate_value", 1),
        ("set_trial_state_values", 0),
    ],
)
def test_a_telling_that_was_killed_can_be_repeated(opened, tmp_path, monkeypatch, write, calls):
    study = opened()
    study.claim(2)
    told = {"reports": {2: -3.0, 6: -2.0}, "rows": [{"seed": 0}]}
    with monkeypatch.context() as patch:
        killed_after(patch, write, calls)
        with pytest.raises(Killed):
            finish(study, 0, -2.0, **told)
    assert study.rows() == []
    assert [trial.number for trial in opened().mine()] == [0, 1]
    finish(study, 0, -2.0, **told)
    before = optuna_trials(tmp_path)[0]
    finish(study, 0, -2.0, **told)
    finish(opened(), 0, -9.0, state="pruned", reports={9: 1.0}, rows=[])
    assert optuna_trials(tmp_path)[0] == before
    assert (before.value, before.intermediate_values) == (-2.0, {2: -3.0, 6: -2.0})
    assert study.rows() == [{"seed": 0}]


def run_tpe(url, sizes, reopen):
    """Claim batches of eight in steps of `sizes`, tell them, and give all trials."""
    study, found = open_study(url, "s", TPE, "d", "a", False), []
    while len(found) < TPE.size:
        claimed = []
        for size in sizes:
            claimed += study.claim(size)
            if reopen:
                study.close()
                study = open_study(url, "s", TPE, "d", "a", False)
                assert study.mine() == claimed
        for number, setting in claimed:
            value = objective(setting)
            state = "complete" if number % 5 else "pruned"
            finish(study, number, value, state=state, reports={2: value})
        found += claimed
    study.close()
    return found


def test_tpe_learns_and_suggests_the_same_whether_or_not_it_was_interrupted(tmp_path):
    whole = run_tpe(f"sqlite:///{tmp_path}/one.db", (8,), reopen=False)
    assert run_tpe(f"sqlite:///{tmp_path}/two.db", (3, 5), reopen=True) == whole
    values = [objective(setting) for _, setting in whole]
    assert sum(values[-16:]) > sum(values[:16])
    for _, setting in whole:
        assert list(setting) == [field for fields, _ in TPE.axes for field in fields]
        assert 1e-4 <= setting["hparams.learning_rate"] <= 1e-2
        assert setting["hparams.warmup_epochs"] in range(6)
        assert type(setting["hparams.warmup_epochs"]) is float
        assert type(setting["model.latent_size"]) is int
        assert (setting["model.network"], setting["model.widths"]) in TPE.axes[-1][1].values


# Before and after TPE has seen enough to suggest all parameters together.
@pytest.mark.parametrize("told", [0, 12])
@pytest.mark.parametrize("calls", [0, 1, 4])
def test_a_suggestion_that_was_killed_goes_on_as_it_would_have(tmp_path, monkeypatch, told, calls):
    sweep = space.with_num_trials(TPE, 16)

    def prepared(url):
        study = open_study(url, "s", sweep, "d", "a", True)
        for number, setting in study.claim(told):
            finish(study, number, objective(setting))
        return study

    whole = prepared(f"sqlite:///{tmp_path}/whole.db")
    expected = whole.claim(3)
    whole.close()
    url = f"sqlite:///{tmp_path}/killed.db"
    study = prepared(url)
    with monkeypatch.context() as patch:
        killed_after(patch, "_set_trial_param", len(sweep.axes) + calls)
        with pytest.raises(Killed):
            study.claim(3)
    study.close()
    study = open_study(url, "s", sweep, "d", "a", True)
    assert study.mine() + study.claim(1) == expected
    study.close()


def test_another_search_seed_suggests_otherwise(opened):
    axes = {"hparams.beta": space.Uniform(0, 4)}
    claimed = []
    for name, seed in (("s", 8), ("t", 9), ("u", 9)):
        sweep = space.tpe(axes, num_trials=2, search_seed=seed)
        claimed.append(opened(sweep, name=name).claim(2))
    assert claimed[0] != claimed[1] == claimed[2]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "storage='nonsense' is no database URL; it must be like sqlite:///trials.db"),
        ("", "is no database URL"),
        ("postgresql://me:secret@host:port/db", r"me:\*\*\*@host:port/db' is no database URL"),
        ("redis://me:secret@host", r"//me:\*\*\*@host' is of a kind of database that is not known"),
        ("mysql+nonsense://host/db", "is of a kind of database that is not known"),
        ("mysql+mysqldb://me:secret@host/db", "needs the Python module 'MySQLdb', which is not in"),
        ("sqlite://", "is kept in memory and lost at the end; name a file"),
        ("sqlite:///:memory:", "is kept in memory"),
        ("sqlite:////nonexistent/folder/x.db", "cannot be used: unable to open database file"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/db", r"me:\*\*\*@127.*: connection failed"),
        ("postgresql+psycopg://127.0.0.1:1/db?password=secret&user=me", r"=\*\*\*&user=me' cannot"),
        ("mysql+pymysql://me:sec@ret@127.0.0.1:1/db", r"//me:\*\*\*@127.0.0.1:1/db' cannot be use"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_told_of_at_once_without_its_password(url, told):
    begin = time.monotonic()
    with pytest.raises(UserError, match=told) as error:
        open_study(url, "s", GRID, "d", "a", False)
    assert time.monotonic() - begin < 10
    assert "\n" not in str(error.value)
    assert "sec" not in str(error.value)


def test_a_file_that_is_no_database_is_told_of(tmp_path):
    (tmp_path / "text.db").write_text("no database at all\n" * 100)
    with pytest.raises(UserError, match=r"text\.db' cannot be used: file is not a database"):
        open_study(f"sqlite:///{tmp_path}/text.db", "s", GRID, "d", "a", False)


def test_tables_of_another_version_of_optuna_are_told_of(opened, tmp_path):
    study = opened()
    with study._rdb.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    with pytest.raises(UserError, match=r"trials\.db': The runtime optuna version"):
        opened()


def test_a_storage_that_is_lost_later_is_told_of_too(opened, tmp_path):
    study = opened()
    study.close()
    (tmp_path / "trials.db").unlink()
    with pytest.raises(UserError, match=r"trials\.db' cannot be used: no such table"):
        study.claim(1)


def test_a_url_may_hold_braces(tmp_path):
    study = open_study(f"sqlite:///{tmp_path}/a{{b}}.db", "s", GRID, "d", "a", True)
    assert study.counts()["waiting"] == 12
    study.close()
    assert (tmp_path / "a{b}.db").exists()


MEMBER = """
import sys, time
from vae_jax import search_space as space
from vae_jax.study import open_study
url, owner = sys.argv[1:]
sweep = space.random({"hparams.beta": space.Uniform(0, 1)}, num_trials=40)
study = open_study(url, "s", sweep, "d", owner, False)
print("ready", flush=True)
sys.stdin.readline()
while claimed := study.claim(2):
    for number, setting in claimed:
        row = {"number": number, "owner": owner, "beta": setting["hparams.beta"]}
        study.tell(number, value=setting["hparams.beta"], state="complete", reports={}, rows=[row])
        print(number, flush=True)
    # SQLite lets one who never pauses keep all others out.
    time.sleep(0.05)
study.close()
"""


def share(url):
    """Two processes create, fill and work off one study at once."""
    members = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", MEMBER, url, owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for owner in "ab"
    ]
    for member in members:
        assert member.stdout.readline() == "ready\n"
    outputs = []
    for member in members:
        member.stdin.write("\n")
        member.stdin.flush()
    for member in members:
        output, _ = member.communicate(timeout=120)
        assert member.returncode == 0
        outputs.append([int(line) for line in output.split()])
    sweep = space.random({"hparams.beta": space.Uniform(0, 1)}, num_trials=40)
    study = open_study(url, "s", sweep, "d", "c", False)
    rows, counts = study.rows(), study.counts()
    num_trials = len(study._storage.get_all_trials(study._id))
    study.close()
    assert all(outputs)
    assert sorted(outputs[0] + outputs[1]) == list(range(40))
    assert [row["number"] for row in rows] == list(range(40))
    assert [{"hparams.beta": row["beta"]} for row in rows] == space.settings(sweep)
    assert [number for number in range(40) if rows[number]["owner"] == "a"] == sorted(outputs[0])
    assert counts["complete"] == num_trials == 40


# Two processes that start Python, and an SQLite file that each write waits for.
@pytest.mark.slow
def test_two_processes_share_an_sqlite_study_without_losing_or_repeating_a_trial(tmp_path):
    share(f"sqlite:///{tmp_path}/trials.db")


# Two processes that start Python, and a database server that starts first.
@pytest.mark.slow
def test_two_processes_share_a_postgresql_study_without_losing_or_repeating_a_trial():
    with postgresql.running() as url:
        share(url)
