import contextlib
import json
import math
import os
import re
import subprocess
import sys
import threading

import pytest

from vae_jax import workdir
from vae_jax.errors import UserError

CONFIG = {
    "seed": 0,
    "model": {"name": "vae", "encoder": {"name": "mlp", "widths": (16, 8)}},
    "objective": {"beta": 1.0},
}


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    workdir.write_atomically(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(UserError, match=r"file\.json cannot be written: No space left"):
            workdir.write_atomically(path, "new")
    assert path.read_text() == "old"
    workdir.write_atomically(path, "new")
    assert path.read_text() == "new"
    workdir.write_atomically(path, b"\xff\n")
    assert path.read_bytes() == b"\xff\n"
    assert [path] == list(tmp_path.iterdir())


def test_a_link_stays_and_the_file_that_it_names_is_written(tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    workdir.write_atomically(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "target.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of Unix")
def test_a_pipe_is_written_through_and_stays_a_pipe(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    workdir.write_atomically(pipe, "through")
    reader.join()
    assert read == ["through"]
    assert pipe.is_fifo()


def test_the_digest_depends_on_values_and_not_on_the_order_of_keys():
    turned = {name: CONFIG[name] for name in reversed(CONFIG)}
    digest = workdir.config_digest(CONFIG)
    assert workdir.config_digest(turned) == digest
    assert workdir.config_digest(json.loads(json.dumps(CONFIG))) == digest
    assert workdir.config_digest({**CONFIG, "seed": 1}) != digest
    assert len(digest) == 16


def test_a_new_workdir_gets_the_config_and_the_same_config_may_hold_it_again(tmp_path):
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        with workdir.hold(folder, CONFIG):
            assert workdir.read_config(folder) == json.loads(json.dumps(CONFIG))


def test_fields_that_differ_are_named_with_both_values(tmp_path):
    with workdir.hold(tmp_path, CONFIG):
        pass
    encoder = {"name": "mlp", "widths": (16,), "activation": "tanh"}
    other = {"seed": 0, "model": {"name": "vae", "encoder": encoder}, "objective": {}}
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError) as error, workdir.hold(tmp_path, other):
        raise AssertionError
    message = str(error.value)
    assert "model.encoder.widths=[16] (there: [16, 8])" in message
    assert "model.encoder.activation='tanh' (there: '(none)')" in message
    assert "objective.beta='(none)' (there: 1.0)" in message
    assert "seed" not in message
    assert "\n" not in message
    assert (tmp_path / "config.json").read_bytes() == before


def test_the_refusal_of_more_epochs_says_how_to_train_for_longer(tmp_path):
    with workdir.hold(tmp_path, {"epochs": 2}):
        pass
    longer = f"use another workdir, there with --init_from={str(tmp_path)!r} to train this model"
    with pytest.raises(UserError, match=re.escape(longer)):
        workdir.hold(tmp_path, {"epochs": 3}).__enter__()


def test_a_config_of_an_earlier_version_is_upgraded_for_the_comparison(tmp_path):
    old = {"seed": 0, "beta": 1.0}
    with workdir.hold(tmp_path, old):
        pass

    def as_now(content):
        return {"seed": content["seed"], "objective": {"beta": content["beta"]}}

    with workdir.hold(tmp_path, {"seed": 0, "objective": {"beta": 1.0}}, as_now=as_now):
        pass
    # The file itself does not change.
    assert workdir.read_config(tmp_path) == old
    other = {"seed": 0, "objective": {"beta": 2.0}}
    with pytest.raises(
        UserError, match=r"objective\.beta=2\.0 \(there: 1\.0\); use another workdir$"
    ):
        workdir.hold(tmp_path, other, as_now=as_now).__enter__()


def test_a_workdir_that_another_process_holds_is_refused_until_it_is_killed(tmp_path):
    code = (
        "import sys, pathlib; from vae_jax import workdir\n"
        "with workdir.hold(pathlib.Path(sys.argv[1]), {}):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        for config in ({}, None):
            with pytest.raises(UserError, match="in use by another process"):
                workdir.hold(tmp_path, config).__enter__()
        other.kill()
        other.wait()
        with workdir.hold(tmp_path, {}):
            pass


@pytest.mark.parametrize("holder", ["another", "nobody"])
def test_a_refused_command_leaves_a_folder_that_another_has_begun_to_use(tmp_path, holder):
    folder = tmp_path / "new" / "run"
    with contextlib.ExitStack() as holds:

        def refuse():
            # Another command on the same new workdir was as fast, and came first.
            holds.enter_context(workdir.hold(folder, {"seed": 0}))
            if holder == "nobody":
                holds.close()
            raise UserError("refused")

        with pytest.raises(UserError, match="refused"), workdir.left_as_it_was(folder):
            refuse()
        assert (folder / "config.json").is_file() == (holder == "another")
    assert (tmp_path / "new").is_dir() == (holder == "another")


@pytest.mark.parametrize("below", [".", "run", "deep/run"])
def test_a_workdir_that_cannot_be_written_is_refused(tmp_path, below):
    # Root may write everywhere, but not below a regular file.
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserError, match=r"workdir='.*' cannot be written"):
        workdir.hold(file / below, CONFIG).__enter__()
    assert file.read_text() == "mine"


@pytest.mark.parametrize("content", ["", '{"seed": 0', "[1]", "\x00\x00"])
def test_a_damaged_config_or_summary_is_reported_and_kept(tmp_path, content):
    for name, read in (
        ("config.json", workdir.read_config),
        ("summary.json", workdir.read_summary),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=name) as error:
            read(tmp_path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"config\.json"):
        workdir.hold(tmp_path, CONFIG).__enter__()
    assert (tmp_path / "config.json").read_text() == content


def test_the_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), workdir.hold(tmp_path, CONFIG):
        raise ZeroDivisionError
    with workdir.hold(tmp_path, CONFIG):
        pass


def test_a_folder_without_a_run_has_no_config_and_no_summary(tmp_path):
    assert workdir.read_summary(tmp_path) is None
    with pytest.raises(UserError, match="holds no run"):
        workdir.read_config(tmp_path)


def test_a_summary_comes_back(tmp_path):
    assert workdir.read_summary(tmp_path) is None
    summary = {"test": {"elbo": -100.25}, "device": "1 x cpu", "num_cores": 2, "versions": {}}
    workdir.write_summary(tmp_path, summary)
    assert workdir.read_summary(tmp_path) == summary
    workdir.write_summary(tmp_path, {"test": {}})
    with pytest.raises(UserError, match="it has no 'device'"):
        workdir.read_summary(tmp_path)


SWEEP = {"sweep": {"method": "grid", "seeds": (0, 1)}, "base": CONFIG}


def test_a_summary_is_json_whatever_was_measured(tmp_path):
    workdir.write_summary(tmp_path, {"test": {"elbo": math.nan, "kl": [1.0, -math.inf]}})
    text = (tmp_path / "summary.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["test"] == {"elbo": None, "kl": [1.0, None]}


def test_a_run_and_a_member_have_their_directories(tmp_path):
    run, sweep = tmp_path / "run", tmp_path / "sweep"
    with workdir.hold(run, CONFIG), workdir.hold(sweep, sweep=SWEEP):
        pass
    assert workdir.run_folder(run, None) == run
    # The caller reports a missing folder.
    assert workdir.run_folder(tmp_path / "nothing", None) == tmp_path / "nothing"
    for member in (3, 12):
        with workdir.hold(workdir.member_folder(sweep, member), CONFIG):
            pass
    assert workdir.run_folder(sweep, 3) == sweep / "members" / "0003"
    assert workdir.read_config(workdir.run_folder(sweep, 12))["seed"] == 0


@pytest.mark.parametrize(
    ("trained", "message"),
    [
        ([], "none is trained"),
        ([3], "trained so far are 3"),
        ([12, 3], "trained so far are 3, 12"),
        (range(9), "trained so far are 0, 1, 2, 3, 4, 5, 6, 7, ... 8"),
    ],
)
def test_a_missing_member_is_refused_with_the_trained_ones(tmp_path, trained, message):
    with workdir.hold(tmp_path, sweep=SWEEP):
        pass
    for member in trained:
        workdir.member_folder(tmp_path, member).mkdir(parents=True)
    where = f"workdir={str(tmp_path)!r}"
    with pytest.raises(UserError) as error:
        workdir.run_folder(tmp_path, None)
    assert str(error.value) == f"{where} holds a sweep; name a member: {message}"
    with pytest.raises(UserError) as error:
        workdir.run_folder(tmp_path, 99)
    assert str(error.value) == f"{where} has no member 99; {message}"


def test_a_run_has_no_members(tmp_path):
    with workdir.hold(tmp_path, CONFIG):
        pass
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="holds no sweep, so it has no member 0"):
            workdir.run_folder(folder, 0)


def test_a_new_workdir_gets_the_sweep_and_the_same_sweep_may_hold_it_again(tmp_path):
    assert workdir.read_sweep(tmp_path) is None
    for _ in range(2):
        with workdir.hold(tmp_path, sweep=SWEEP):
            assert workdir.read_sweep(tmp_path) == json.loads(json.dumps(SWEEP))
    with workdir.hold(tmp_path):
        pass
    assert not (tmp_path / "config.json").exists()


def test_another_sweep_is_refused_with_both_values(tmp_path):
    with workdir.hold(tmp_path, sweep=SWEEP):
        pass
    before = (tmp_path / "sweep.json").read_bytes()
    other = {**SWEEP, "sweep": {"method": "random", "seeds": (0, 1)}}
    with pytest.raises(UserError) as error:
        workdir.hold(tmp_path, sweep=other).__enter__()
    assert "holds a sweep of another config: sweep.method='random' (there: 'grid')" in str(
        error.value
    )
    assert "seeds" not in str(error.value)
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_a_run_and_a_sweep_cannot_share_a_workdir(tmp_path):
    with workdir.hold(tmp_path / "run", CONFIG), workdir.hold(tmp_path / "sweep", sweep=SWEEP):
        pass
    with pytest.raises(UserError, match=r"has a config\.json already, so it cannot hold a sweep"):
        workdir.hold(tmp_path / "run", sweep=SWEEP).__enter__()
    with pytest.raises(UserError, match=r"has a sweep\.json already, so it cannot hold a run"):
        workdir.hold(tmp_path / "sweep", CONFIG).__enter__()
    assert not (tmp_path / "run" / "sweep.json").exists()
    assert not (tmp_path / "sweep" / "config.json").exists()


def test_tensorboard_names_a_run_by_its_folder_and_earlier_runs_keep_theirs(tmp_path):
    assert workdir.tensorboard_folder(tmp_path) == tmp_path
    (tmp_path / "tensorboard").mkdir()
    assert workdir.tensorboard_folder(tmp_path) == tmp_path / "tensorboard"
