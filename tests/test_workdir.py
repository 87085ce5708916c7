import json
import os
import subprocess
import sys

import pytest

from vae_jax import workdir
from vae_jax.errors import UserError

CONFIG = {"seed": 0, "model": {"widths": (16, 8), "name": "vae"}, "hparams": {"beta": 1.0}}


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    workdir.write_atomically(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(UserError, match=r"file\.json cannot be written: No space left"):
            workdir.write_atomically(path, "new")
    assert path.read_text() == "old"
    workdir.write_atomically(path, "new")
    assert path.read_text() == "new"
    assert [path] == list(tmp_path.iterdir())


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
    other = {"seed": 0, "model": {"widths": (16,), "name": "vae", "gated": True}, "hparams": {}}
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError) as error, workdir.hold(tmp_path, other):
        raise AssertionError
    message = str(error.value)
    assert "model.widths=[16] (there: [16, 8])" in message
    assert "model.gated=True (there: '(none)')" in message
    assert "hparams.beta='(none)' (there: 1.0)" in message
    assert "seed" not in message
    assert "\n" not in message
    assert (tmp_path / "config.json").read_bytes() == before


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


@pytest.mark.parametrize("below", [".", "run", "deep/run"])
def test_a_workdir_that_cannot_be_written_is_refused(tmp_path, below):
    # Root may write everywhere, but not below a regular file.
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserError, match=r"workdir='.*' cannot be written"):
        workdir.hold(file / below, CONFIG).__enter__()
    assert file.read_text() == "mine"


@pytest.mark.parametrize("content", ["", '{"seed": 0', "[1]", "\x00\x00"])
def test_a_damaged_config_or_summary_is_told_and_kept(tmp_path, content):
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


def test_what_is_not_there(tmp_path):
    assert workdir.read_summary(tmp_path) is None
    with pytest.raises(UserError, match="holds no run"):
        workdir.read_config(tmp_path)


def test_a_summary_comes_back(tmp_path):
    workdir.write_summary(tmp_path, {"test": {"elbo": -100.25}})
    assert workdir.read_summary(tmp_path) == {"test": {"elbo": -100.25}}
