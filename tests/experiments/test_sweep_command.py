import csv
import functools
import json
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import optuna
import postgresql
import pytest
from absl import flags
from interruptions import stopped_again_and_again
from small_configs import small_config
from small_data import write_bars

import vae_jax
from experiments import draw, evaluate, sweep, train
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.sweeps import chunks, space
from vae_jax.sweeps.search import Search
from vae_jax.training import checkpoints
from vae_jax.training.interruption import Interruption
from vae_jax.training.records import read_records

pytestmark = pytest.mark.usefixtures("parsed_flags")

OVERRIDES = {
    "epochs": 4,
    "batch_size": 32,
    "steps_per_call": 4,
    "data.train_split": "train[:192]",
    "data.validation_split": "train[192:]",
    "evaluation.num_samples": 5,
    "checkpoints.every_seconds": 0.0,
}
SMALL = {"widths": (16,), "latent_size": 2}
GRID = space.grid(
    {"objective.beta": (0.5, 2.0), "model.latent_size": (2, 3)},
    seeds=(0, 7),
    halving=space.Halving(epochs=(2,), reduction=1.5),
)
TPE = space.tpe(
    {"optimizer.learning_rate": space.Uniform(1e-3, 1e-1, log=True), "model.latent_size": (2, 3)},
    num_trials=6,
    batch=3,
    halving=space.Halving(epochs=(1, 2), reduction=2),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("data") / "bars.npz")


def config_of(data, **changes):
    changed = {**OVERRIDES, "data.name": str(data), **changes}
    if changed.get("model") == "autoencoder":
        del changed["evaluation.num_samples"]
    return small_config(changed, **SMALL)


@pytest.fixture(scope="module")
def grid(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps") / "grid"
    sweep.run_sweep(config_of(data), GRID, folder)
    return folder


@pytest.fixture(scope="module")
def tpe(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps") / "tpe"
    sweep.run_sweep(config_of(data), TPE, folder)
    return folder


def members_of(folder):
    return json.loads((folder / "results.json").read_text())["members"]


def timeless(row):
    about_this_start = ("train_seconds", "workdir", "examples_per_second")
    return {name: value for name, value in row.items() if name not in about_this_start}


@functools.cache
def template_of(latent_size):
    """The shapes of a member's state; members differ in nothing else that has a shape."""
    config = factory.resolve(small_config(OVERRIDES, **{**SMALL, "latent_size": latent_size}))
    return factory.run_state_template(config, (8, 8, 1))


def state_of(folder):
    template = template_of(workdir.read_config(folder)["model"]["latent_size"])
    checkpoint = checkpoints.restore(folder / "checkpoints", template)
    leaves = [
        np.asarray(
            jax.random.key_data(leaf)
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else leaf
        ).tobytes()
        for leaf in jax.tree.leaves(checkpoint.tree)
    ]
    return checkpoint.step, leaves


def assert_same_sweep(folder, other):
    rows, expected = members_of(folder), members_of(other)
    assert [timeless(row) for row in rows] == [timeless(row) for row in expected]
    for row in rows:
        ours = workdir.member_folder(folder, row["member"])
        theirs = workdir.member_folder(other, row["member"])
        assert state_of(ours) == state_of(theirs)
        records = [[timeless(r) for r in read_records(f / "metrics.jsonl")] for f in (ours, theirs)]
        assert records[0] == records[1]


def test_there_is_a_row_for_each_member_with_its_setting_and_metrics(grid):
    rows = members_of(grid)
    assert [row["member"] for row in rows] == list(range(8))
    settings = [(row["objective.beta"], row["model.latent_size"], row["seed"]) for row in rows]
    assert settings == [(b, z, s) for b in (0.5, 2.0) for z in (2, 3) for s in (0, 7)]
    for row in rows:
        assert ("test_elbo" in row) == (row["status"] == "finished")
    with open(grid / "results.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert [int(row["member"]) for row in read] == list(range(8))
    for row, written in zip(rows, read, strict=True):
        assert written.get("test_elbo", "") == (str(row["test_elbo"]) if "test_elbo" in row else "")


def test_halving_ends_whole_trials_and_the_worse_ones(grid):
    rows = members_of(grid)
    for latent_size in (2, 3):
        # Each latent size is a chunk of two trials; one in 1.5 of them continues.
        trials = {}
        for row in rows:
            if row["model.latent_size"] == latent_size:
                trials.setdefault(row["trial"], []).append(row)
        ended = {trial: {row["status"] for row in group} for trial, group in trials.items()}
        assert sorted(map(sorted, ended.values())) == [["finished"], ["pruned"]]
        at_mark = {
            trial: np.mean(
                [
                    record["elbo"]
                    for row in group
                    for record in read_records(
                        workdir.member_folder(grid, row["member"]) / "metrics.jsonl"
                    )
                    if record["split"] == "valid" and record["epoch"] == 2
                ]
            )
            for trial, group in trials.items()
        }
        assert ended[max(at_mark, key=at_mark.get)] == {"finished"}
        assert all(row["epoch"] == 2 for row in rows if row["status"] == "pruned")


def test_mean_and_deviation_are_over_the_seeds(grid):
    rows = members_of(grid)
    settings = json.loads((grid / "results.json").read_text())["settings"]
    for entry in settings:
        whole = [row for row in rows if row["trial"] == entry["trial"] and "test_elbo" in row]
        elbos = [row["test_elbo"] for row in whole]
        assert entry["num_seeds"] == len(elbos)
        if elbos:
            assert entry["mean"]["test_elbo"] == pytest.approx(np.mean(elbos))
            assert entry["std"]["test_elbo"] == pytest.approx(np.std(elbos, ddof=1))


def test_a_member_is_bitwise_the_run_alone(data, grid, tmp_path):
    row = next(row for row in members_of(grid) if row["status"] == "finished")
    changes = {name: row[name] for name in ("objective.beta", "model.latent_size", "seed")}
    alone = tmp_path / "alone"
    train.train(config_of(data, **changes), alone)
    ours = workdir.member_folder(grid, row["member"])
    assert state_of(ours) == state_of(alone)
    assert workdir.read_summary(ours)["test"] == workdir.read_summary(alone)["test"]
    assert workdir.read_config(ours) == workdir.read_config(alone)
    records = [[timeless(r) for r in read_records(f / "metrics.jsonl")] for f in (ours, alone)]
    assert records[0] == records[1]


@pytest.mark.plots
def test_a_member_is_a_run_for_the_other_commands(grid, monkeypatch, capsys):
    row = next(row for row in members_of(grid) if row["status"] == "finished")
    model = vae_jax.load(grid, member=row["member"])
    assert model.config.objective.beta == row["objective.beta"]
    assert model.sample(jax.random.key(0), 3).shape == (3, 8, 8, 1)
    monkeypatch.setattr(flags.FLAGS["workdir"], "value", str(grid))
    monkeypatch.setattr(flags.FLAGS["member"], "value", row["member"])
    before = workdir.read_summary(workdir.member_folder(grid, row["member"]))["test"]
    evaluate.main()
    assert f"test elbo {row['test_elbo']:.2f}" in capsys.readouterr().out
    assert workdir.read_summary(workdir.member_folder(grid, row["member"]))["test"] == before
    draw.main()
    assert (workdir.member_folder(grid, row["member"]) / "plots" / "samples.png").is_file()


def test_a_pruned_member_can_be_loaded_and_measured(grid, monkeypatch, capsys):
    row = next(row for row in members_of(grid) if row["status"] == "pruned")
    assert vae_jax.load(grid, member=row["member"]).has_density
    with pytest.raises(UserError, match="no member 99"):
        vae_jax.load(grid, member=99)
    with pytest.raises(UserError, match="name a member"):
        vae_jax.load(grid)


@pytest.mark.plots
def test_the_plots_and_tensorboard_are_there(data, grid, tpe):
    # A finished sweep is drawn anew.
    for folder, swept in ((grid, GRID), (tpe, TPE)):
        sweep.run_sweep(config_of(data), swept, folder)
    names = {path.name for path in (grid / "plots").iterdir()}
    assert names == {
        "heat_map_of_test_elbo_by_beta_and_latent_size.png",
        "parallel_coordinates.png",
        "rate_distortion.png",
        "test_elbo_by_beta.png",
        "test_elbo_by_latent_size.png",
        "training_curves.png",
    }
    assert "search_history.png" in {path.name for path in (tpe / "plots").iterdir()}
    events = list(grid.glob("members/*/events.out.*"))
    assert len({path.parent for path in events}) == len(events) == 8


def test_a_finished_sweep_is_only_described(data, grid, capsys):
    kept = {path: path.read_bytes() for path in grid.rglob("*.json*")}
    sweep.run_sweep(config_of(data), GRID, grid)
    assert "8 members: 4 finished, 4 pruned" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in grid.rglob("*.json*")} == kept


def changed(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# By member: what is done to the files of a finished sweep, and what is said of it.
DAMAGE = {
    0: (lambda own: changed(own / "member.json", seed=3), "member.json was changed"),
    1: (lambda own: (own / "metrics.jsonl").unlink(), "No such file"),
    2: (lambda own: (own / "config.json").write_text("null"), "config.json was changed"),
    3: (lambda own: next(own.glob("checkpoints/*/manifest.json")).unlink(), "no checkpoint"),
    4: (lambda own: (own / "member.json").write_text('{"valid": 3}'), "it has no 'seed'"),
    5: (lambda own: (own / "metrics.jsonl").write_text("null\n"), "metrics.jsonl was changed"),
}


def test_members_that_were_damaged_are_named_and_trained_again(data, grid, tmp_path, caplog):
    folder = tmp_path / "sweep"
    shutil.copytree(grid, folder)
    for member, (damage, _) in DAMAGE.items():
        damage(workdir.member_folder(folder, member))
    (finished, *_) = [row["member"] for row in members_of(grid) if row["status"] == "finished"]
    changed(workdir.member_folder(folder, finished) / "summary.json", seed=3)
    sweep.run_sweep(config_of(data), GRID, folder)
    for member, (_, said) in DAMAGE.items():
        line = next(m for m in caplog.messages if m.startswith(f"member {member} is trained again"))
        assert said in line or member == finished
    assert_same_sweep(folder, grid)
    caplog.clear()
    sweep.run_sweep(config_of(data), GRID, folder)
    assert not caplog.text


def test_a_member_of_a_search_that_was_damaged_is_trained_again(data, tpe, tmp_path, caplog):
    folder = tmp_path / "sweep"
    shutil.copytree(tpe, folder)
    changed(workdir.member_folder(folder, 1) / "member.json", status="finished?")
    sweep.run_sweep(config_of(data), TPE, folder)
    assert [m for m in caplog.messages if m.startswith("member 1 is trained again")]
    assert_same_sweep(folder, tpe)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("null", "must hold a JSON object"),
        ('{"trials": 3, "chunks": []}', "'trials' is '3'"),
        ('{"trials": [0], "chunks": [null]}', "a chunk has no 'name'"),
    ],
)
def test_a_batch_that_is_damaged_is_named(data, grid, tmp_path, content, message):
    shutil.copytree(grid, tmp_path / "sweep")
    path = tmp_path / "sweep" / "batches" / "0000.json"
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path}.* {message}"):
        sweep.run_sweep(config_of(data), GRID, tmp_path / "sweep")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("null", "must hold a JSON object"),
        ("[" * 10**5, "cannot be read"),
        ('{"config": {}, "sweep": 3}', "is damaged"),
        ('{"config": 3, "sweep": {"axes": [null]}}', "is damaged"),
    ],
    ids=range(4),
)
def test_a_description_of_a_sweep_that_is_damaged_is_named(data, tmp_path, content, message):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=rf"sweep\.json {message}"):
        sweep.run_sweep(config_of(data), GRID, tmp_path)


@pytest.mark.parametrize("sweep_of", [GRID, TPE], ids=["grid", "tpe"])
def test_a_sweep_stopped_again_and_again_equals_the_undisturbed_one(
    data, grid, tpe, sweep_of, tmp_path, monkeypatch
):
    folder, whole = tmp_path / "sweep", grid if sweep_of is GRID else tpe
    num_stops = stopped_again_and_again(
        monkeypatch, lambda: sweep.run_sweep(config_of(data), sweep_of, folder)
    )
    assert num_stops >= 3
    assert_same_sweep(folder, whole)


def test_a_diverged_member_has_no_metrics_and_harms_nobody(data, grid, tmp_path):
    swept = space.grid({"optimizer.learning_rate": (3e-3, 1e9)})
    folder = tmp_path / "sweep"
    sweep.run_sweep(config_of(data), swept, folder)
    good, bad = members_of(folder)
    assert (good["status"], bad["status"]) == ("finished", "diverged")
    assert "the loss is not finite at step" in bad["problem"]
    assert "test_elbo" not in bad
    alone = tmp_path / "alone"
    train.train(config_of(data), alone)
    assert state_of(workdir.member_folder(folder, 0)) == state_of(alone)


def test_without_a_validation_set_a_grid_still_runs(data, tmp_path):
    folder = tmp_path / "sweep"
    config = config_of(data, **{"data.validation_split": ""})
    sweep.run_sweep(config, space.grid({"objective.beta": (1.0, 2.0)}), folder)
    assert [row["status"] for row in members_of(folder)] == ["finished"] * 2


def test_an_autoencoder_is_swept_by_its_distortion(data, tmp_path):
    folder = tmp_path / "sweep"
    config = config_of(data, model="autoencoder", objective="reconstruction")
    swept = space.random(
        {"optimizer.learning_rate": space.Uniform(1e-3, 1e-2)}, num_trials=2, objective="distortion"
    )
    sweep.run_sweep(config, swept, folder)
    assert all(np.isfinite(row["valid_distortion"]) for row in members_of(folder))
    elbo = space.random({"optimizer.learning_rate": space.Uniform(1e-3, 1e-2)}, num_trials=2)
    with pytest.raises(UserError, match="objective='elbo' cannot judge a model without one"):
        sweep.run_sweep(config, elbo, tmp_path / "other")


def test_what_another_process_trains_is_left_to_it_and_taken_once_it_is_gone(
    data, grid, tmp_path, capsys
):
    folder = tmp_path / "sweep"
    (folder / "chunks").mkdir(parents=True)
    with workdir.hold_if_free(folder / "chunks" / "0000-00") as free:
        assert free
        sweep.run_sweep(config_of(data), GRID, folder)
    assert "4 left to other processes" in capsys.readouterr().out
    assert [row["model.latent_size"] for row in members_of(folder)] == [3] * 4
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("members/*/member.json")}
    assert len(kept) == 4
    sweep.run_sweep(config_of(data), GRID, folder)
    assert_same_sweep(folder, grid)
    for path, written in kept.items():
        assert path.stat().st_mtime_ns == written


def test_a_chunk_that_ends_meanwhile_is_not_trained_again(data, grid, monkeypatch):
    """Another process finishes the chunk after this one has looked for work."""
    (chunk, _) = workdir.read_json(grid / "batches" / "0000.json")["chunks"]
    monkeypatch.setattr(chunks, "_train", lambda *_: pytest.fail("trained again"))
    chunks.train_chunk(grid, chunk, Interruption())
    assert not chunks.chunk_folder(grid, chunk).exists()


def test_a_sweep_over_known_settings_has_no_study(grid, tpe):
    assert not {"journal.log", "owner.json", "study.db"} & {path.name for path in grid.iterdir()}
    assert set(workdir.read_sweep(grid)) == {"config", "sweep"}
    assert (tpe / "journal.log").is_file()


def test_batches_of_known_settings_are_compared_with_those_before(data, tmp_path, monkeypatch):
    monkeypatch.setattr(flags.FLAGS["batch"], "value", 1)
    swept = space.grid({"objective.beta": (1.0, 2.0, 0.5)}, halving=space.Halving((2,), 2.5))
    sweep.run_sweep(config_of(data), swept, tmp_path)
    assert [row["status"] for row in members_of(tmp_path)] == ["finished", "pruned", "finished"]
    rivals = [
        workdir.read_json(path)["chunks"][0]["halving"]["rivals"]
        for path in sorted((tmp_path / "batches").iterdir())
    ]
    assert [len(values.get("2", [])) for values in rivals] == [0, 1, 2]
    records = read_records(workdir.member_folder(tmp_path, 0) / "metrics.jsonl")
    valid = [r["elbo"] for r in records if r["split"] == "valid" and r["epoch"] == 2]
    assert rivals[1]["2"] == valid


@pytest.fixture(params=["sqlite", "postgresql"])
def shared_url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'secret.db'}"
        return
    with postgresql.running() as server:
        yield server.url


def test_workdirs_share_a_search_in_a_storage(data, tpe, tmp_path, monkeypatch, shared_url):
    config, first, second = config_of(data), tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(flags.FLAGS["storage"], "value", shared_url)

    class Gone(BaseException):
        pass

    def die(*_):
        raise Gone

    with monkeypatch.context() as patch:
        patch.setattr(chunks, "_write_member", die)
        with pytest.raises(Gone):
            sweep.run_sweep(config, TPE, first)
    sweep.run_sweep(config, TPE, second)
    assert sorted(row["trial"] for row in members_of(second)) == [3, 4, 5]
    monkeypatch.setattr(flags.FLAGS["reclaim_after"], "value", 1.0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    sweep.run_sweep(config, TPE, second)
    assert [row["trial"] for row in members_of(second)] == list(range(6))
    # The first looks again: nothing is left, and it has all rows and where the models lie.
    sweep.run_sweep(config, TPE, first)
    assert all(row["workdir"].startswith(str(second)) for row in members_of(first))
    for path in tmp_path.rglob("*.json"):
        text = path.read_text()
        assert "secret" not in text
        assert postgresql.PASSWORD not in text
    monkeypatch.setattr(flags.FLAGS["storage"], "value", "")
    with pytest.raises(UserError, match="holds a search in a storage; name it with --storage"):
        sweep.run_sweep(config, TPE, first)


def half_of(whole, folder, members, **of_sweep):
    """A workdir as an earlier version left it, killed after some members of its first batch."""
    folder.mkdir()
    for name in ("batches/0000.json", *(f"members/{member:04d}" for member in members)):
        (folder / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (whole / name).is_dir() else shutil.copy
        copy(whole / name, folder / name)
    resolved = {name: workdir.read_sweep(whole)[name] for name in ("config", "sweep")}
    workdir.write_json(folder / "sweep.json", {**resolved, "storage": "", **of_sweep})
    workdir.write_json(folder / "owner.json", {"owner": "me"})
    return workdir.config_digest(resolved)


def test_a_sweep_of_an_earlier_version_goes_on_without_its_study(data, grid, tmp_path):
    folder = tmp_path / "sweep"
    half_of(grid, folder, [0, 1, 4], study="grid-0")
    (folder / "study.db").write_text("not looked at")
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("members/*/member.json")}
    sweep.run_sweep(config_of(data), GRID, folder)
    assert_same_sweep(folder, grid)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert vae_jax.load(folder, member=0).has_density


def test_a_search_of_an_earlier_version_goes_on_in_its_study(data, tpe, tmp_path):
    folder = tmp_path / "sweep"
    digest = half_of(tpe, folder, [0, 1], study="tpe-0")
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/study.db", study_name="tpe-0", direction="maximize"
    )
    study.set_user_attr("digest", digest)
    for index in range(TPE.size):
        study.enqueue_trial({}, user_attrs={"index": index})
    names = [space.axis_name(fields) for fields, _ in TPE.axes]
    search = Search(study._storage, "", "tpe-0", TPE, owner="me", names=names)
    claimed = search.claim(3)
    # It was killed before it had written who owns the last one.
    search._storage.set_trial_user_attr(study.trials[2]._trial_id, "owner", None)
    assert [setting for _, setting in claimed] == [
        {name: row[name] for name in TPE.fields} for row in members_of(tpe)[:3]
    ]
    sweep.run_sweep(config_of(data), TPE, folder)
    assert_same_sweep(folder, tpe)
    assert [trial.state.is_finished() for trial in study.trials] == [True] * TPE.size
    assert not (folder / "journal.log").exists()
    study._storage._backend.engine.dispose()


def test_the_workdir_of_another_sweep_and_of_a_run_are_refused(data, grid, tmp_path):
    kept = {path: path.read_bytes() for path in grid.rglob("*.json*")}
    other = space.grid({"objective.beta": (0.5, 4.0)})
    with pytest.raises(UserError, match=r"holds a sweep of another config: .*sweep\.axes"):
        sweep.run_sweep(config_of(data), other, grid)
    with pytest.raises(UserError, match=r"has a sweep\.json already"):
        train.train(config_of(data), grid)
    with pytest.raises(UserError, match=r"has a config\.json already"):
        sweep.run_sweep(config_of(data), GRID, workdir.member_folder(grid, 0))
    assert {path: path.read_bytes() for path in grid.rglob("*.json*")} == kept


def test_the_results_of_another_sweep_are_not_overwritten(data, grid, tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    shutil.copy(grid / "results.json", folder)
    with pytest.raises(UserError, match=r"results\.json is of another sweep"):
        sweep.run_sweep(config_of(data), space.grid({"objective.beta": (1.0, 3.0)}), folder)
    assert members_of(folder) == members_of(grid)


def test_a_memory_limit_below_one_member_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(flags.FLAGS["memory_limit"], "value", "1MB")
    big = config_of(data, **{"model.encoder.widths": (512, 512)})
    with pytest.raises(UserError, match=r"--memory_limit=0\.001GiB is below what one member needs"):
        sweep.run_sweep(big, space.grid({"objective.beta": (1.0, 3.0)}), tmp_path / "sweep")


SWEEP_FILE = """
from vae_jax.sweeps import space

def get_sweep():
    return space.grid({{{axes}}}{rest})
"""
GOOD_AXES = '"objective.beta": (1.0, 2.0)'


@pytest.mark.parametrize(
    ("axes", "rest", "arguments", "message"),
    [
        ('"objective.bta": (1.0,)', "", [], ["objective.bta", "did you mean beta?"]),
        ("", "", [], ["no axes"]),
        ('"objective.beta": ()', "", [], ["objective.beta has no values"]),
        ('"objective.beta": (1.0, -1.0)', "", [], ["objective.beta=-1.0", "at least 0"]),
        ('"objective.beta": (1.0, "a")', "", [], ["objective.beta='a' must be a number"]),
        ('"seed": (0, 1)', "", [], ["use seeds="]),
        (
            '"corruption.level": (0.1,)',
            "",
            [],
            ["the setting", "not a setting of corruption='none'"],
        ),
        ('"hparams.beta": (0.1,)', "", [], ["hparams.beta", "it is objective.beta now"]),
        ('"objective": ({"name": "tc", "bta": 1},)', "", [], ["objective.bta", "mean beta?"]),
        (GOOD_AXES, ", seeds=()", [], ["seeds=()"]),
        (GOOD_AXES, "", ["--trials=3"], ["grid", "2"]),
        (GOOD_AXES, "", ["--batch=0"], ["--batch=0 must be at least 1"]),
        (GOOD_AXES, "", ["--memory_limit=lots"], ["--memory_limit='lots'", "8GiB"]),
        (GOOD_AXES, "", ["--ray_address=auto"], ["--ray_address='auto' needs --executor=ray"]),
        (GOOD_AXES, "", ["--executor=slurm"], ["--executor", "slurm"]),
        (
            GOOD_AXES,
            "",
            ["--storage=sqlite:///x.db"],
            ["--storage is for tpe", "share a grid sweep by sharing its workdir"],
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(
    data, tmp_path, monkeypatch, capsys, axes, rest, arguments, message
):
    file = tmp_path / "sweep.py"
    file.write_text(SWEEP_FILE.format(axes=axes, rest=rest))
    code, error = run_command(data, tmp_path, monkeypatch, capsys, [f"--sweep={file}", *arguments])
    assert code == 2
    assert "secret" not in error
    lines = [line for line in error.splitlines() if line]
    assert lines[-1].startswith("error: ")
    assert all(part in lines[-1] for part in message), lines[-1]
    assert "Traceback" not in error


def test_the_member_of_a_sweep_is_no_flag_of_the_command():
    """In a process of its own, since the flags of all commands are defined in this one."""
    command = [sys.executable, "-m", "experiments.sweep", "--member=3"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("error: ")
    assert "member" in run.stderr.splitlines()[-1]


def test_credentials_of_a_storage_are_not_shown(data, tmp_path, monkeypatch, capsys):
    file = tmp_path / "sweep.py"
    file.write_text(
        "from vae_jax.sweeps import space\n"
        "def get_sweep():\n"
        "    return space.tpe({'objective.beta': space.Uniform(1, 2)}, num_trials=2)\n"
    )
    storage = "--storage=postgresql+psycopg://me:secret@127.0.0.1:1/x"
    code, error = run_command(data, tmp_path, monkeypatch, capsys, [f"--sweep={file}", storage])
    assert code == 2
    assert error.splitlines()[-1].startswith("error: --storage cannot be used: ")
    assert "secret" not in error
    # Nothing is written by a refused command.
    assert not (tmp_path / "sweep").exists()


def run_command(data, tmp_path, monkeypatch, capsys, arguments):
    """Exit code and standard error of `experiments.sweep`, in this process."""
    from experiments import command_line

    overrides = {**OVERRIDES, "data.name": data, "model.encoder.widths": "(16,)"}
    argv = ["sweep", "--config=configs/vanilla.py", f"--workdir={tmp_path / 'sweep'}", *arguments]
    argv += [f"--config.{field}={value}" for field, value in overrides.items()]
    monkeypatch.setattr(sys, "argv", argv)
    try:
        with pytest.raises(SystemExit) as stop:
            command_line.run(sweep.main)
    finally:
        flags.FLAGS.unparse_flags()
        for name in list(flags.FLAGS):
            flags.FLAGS[name].unparse()
        flags.FLAGS(["test"])
    return stop.value.code, capsys.readouterr().err


def test_a_sweep_file_that_is_not_there_is_refused(data, tmp_path, monkeypatch, capsys):
    code, error = run_command(data, tmp_path, monkeypatch, capsys, ["--sweep=nowhere.py"])
    assert (code, "nowhere.py cannot be read" in error) == (2, True)
    code, error = run_command(data, tmp_path, monkeypatch, capsys, [])
    assert (code, "--sweep is missing" in error) == (2, True)
