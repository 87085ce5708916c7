import contextlib
import logging
import os
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax.errors import UserError
from vae_jax.training import checkpoints


def tree_of(step):
    key = jax.random.key(step)
    params = {
        "kernel": jax.random.normal(key, (3, 5)),
        "bias": jnp.array([-0.0, jnp.inf, 1e-45, step], jnp.float32),
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return {
        "step": jnp.int32(step),
        "params": params,
        "opt_state": optimizer.init(params),
        "key": key,
        "hparams": (jnp.float32(0.1), jnp.bool_(True)),
    }


def template():
    return jax.eval_shape(lambda: tree_of(0))


def save(directory, step, max_to_keep=3):
    checkpoints.save(directory, step, tree_of(step), {"epoch": step / 2}, max_to_keep=max_to_keep)


def bits(leaf):
    data = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return np.asarray(data).tobytes()


def assert_is(checkpoint, step):
    expected = tree_of(step)
    assert checkpoint.step == step
    assert checkpoint.metadata == {"epoch": step / 2}
    assert jax.tree.structure(checkpoint.tree) == jax.tree.structure(expected)
    for ours, theirs in zip(
        jax.tree.leaves(checkpoint.tree), jax.tree.leaves(expected), strict=True
    ):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert bits(ours) == bits(theirs)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a folder with checkpoints of steps 2 and 4, to be copied."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    save(directory, 2)
    save(directory, 4)
    return directory


@pytest.fixture
def directory(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def files_of_one(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["a[1]", "a[!x]", "a*b", "a\\b", "a?b%20c#d {e}"])
def test_a_folder_of_any_name_gives_back_what_was_saved(tmp_path, name):
    directory = tmp_path / name / "checkpoints"
    save(directory, 4)
    assert_is(checkpoints.restore(directory, template()), 4)
    part = checkpoints.read_part(directory, 4, {"params": template()["params"]})
    assert bits(part["params"]["kernel"]) == bits(tree_of(4)["params"]["kernel"])


def test_a_checkpoint_comes_back_bit_for_bit(directory):
    assert_is(checkpoints.restore(directory, template()), 4)
    assert checkpoints.require(directory) == (4, {"epoch": 2.0}, ())
    assert checkpoints.steps(directory) == [2, 4]


def test_some_entries_come_back_without_the_others(directory):
    """The other entries do not matter: a model is read without its optimiser."""
    found = checkpoints.find(directory)
    assert (found.step, found.metadata) == (4, {"epoch": 2.0})
    assert checkpoints.metadata_of(directory, 2) == {"epoch": 1.0}
    for step in (2, 4):
        wanted = {name: template()[name] for name in ("params", "step")}
        read = checkpoints.read_part(directory, step, wanted)
        assert set(read) == {"params", "step"}
        for name in wanted:
            leaves = zip(*map(jax.tree.leaves, (read[name], tree_of(step)[name])), strict=True)
            assert all(bits(ours) == bits(theirs) for ours, theirs in leaves)


def test_only_the_newest_are_kept(directory):
    save(directory, 10, max_to_keep=2)
    assert checkpoints.steps(directory) == [4, 10]
    save(directory, 9, max_to_keep=1)
    assert checkpoints.steps(directory) == [10]


def test_a_checkpoint_that_is_read_stays_until_it_has_been_read(directory):
    with checkpoints.held(directory) as found, checkpoints.held(directory) as again:
        assert found.step == again.step == 4
        save(directory, 6, max_to_keep=1)
        assert checkpoints.steps(directory) == [4, 6]
        assert_is(checkpoints.read(directory, 4, template()), 4)
    save(directory, 8, max_to_keep=1)
    assert checkpoints.steps(directory) == [8]


def test_a_checkpoint_that_was_just_deleted_is_not_called_damaged(directory, monkeypatch, caplog):
    kept, num_saved = checkpoints._kept, []

    def rotated(folder):
        # The run saves between the listing and the reading.
        if len(num_saved) < 2:
            num_saved.append(folder.name)
            save(directory, 4 + 2 * len(num_saved), max_to_keep=1)
        return kept(folder)

    monkeypatch.setattr(checkpoints, "_kept", rotated)
    assert_is(checkpoints.restore(directory, template()), 8)
    assert num_saved == ["4", "6"]
    assert not caplog.text


def test_a_file_where_a_checkpoint_should_be_is_passed_over(directory):
    (directory / "7").write_text("mine")
    assert_is(checkpoints.restore(directory, template()), 4)


def test_a_saved_step_is_not_written_again(directory):
    before = (directory / "4" / "manifest.json").stat().st_mtime_ns
    checkpoints.save(directory, 4, tree_of(7), {}, max_to_keep=3)
    assert (directory / "4" / "manifest.json").stat().st_mtime_ns == before


def test_a_partial_checkpoint_of_a_kill_is_ignored_and_then_removed(directory):
    shutil.copytree(directory / "4", directory / "6.partial")
    (directory / "6.partial" / "manifest.json").unlink()
    assert checkpoints.steps(directory) == [2, 4]
    assert_is(checkpoints.restore(directory, template()), 4)
    save(directory, 8)
    assert not list(directory.glob("*.partial"))
    assert checkpoints.steps(directory) == [2, 4, 8]


def flip(path):
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 1
    else:
        content = bytearray(b"x")
    path.write_bytes(content)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if content else b"x")


@pytest.mark.parametrize("damage", [flip, truncate, os.remove])
def test_damage_to_any_file_of_the_newest_sets_it_aside_with_a_warning(saved, tmp_path, damage):
    """All files are in one test, since orbax chooses their names, some at random."""
    for number, name in enumerate(files_of_one(saved / "4")):
        directory = tmp_path / str(number)
        shutil.copytree(saved, directory)
        damage(directory / "4" / name)
        messages = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                logging, "warning", lambda text, *args, to=messages: to.append(text % args)
            )
            assert checkpoints.require(directory).metadata == {"epoch": 1.0}, name
            assert [str(directory / "4") in message for message in messages] == [True], name
            messages.clear()
            checkpoint = checkpoints.restore(directory, template(), set_torn_aside=True)
        assert checkpoint.step == 2, name
        assert [str(directory / "4") in message for message in messages] == [True], name
        assert checkpoints.steps(directory) == [2], name
        assert (directory / "4.torn").is_dir(), name
    assert_is(checkpoint, 2)


def test_a_reader_does_not_rename_a_damaged_checkpoint(directory, caplog):
    flip(directory / "4" / "metadata.json")
    assert_is(checkpoints.restore(directory, template()), 2)
    assert "is damaged and is passed over" in caplog.text
    assert checkpoints.steps(directory) == [2, 4]


def test_the_step_of_a_torn_checkpoint_can_be_saved_again(directory):
    for _ in range(2):
        truncate(directory / "4" / "manifest.json")
        checkpoints.restore(directory, template(), set_torn_aside=True)
        save(directory, 4)
        assert_is(checkpoints.restore(directory, template()), 4)


def test_there_may_be_none_that_is_whole(directory, tmp_path, caplog):
    for step in (2, 4):
        (directory / str(step) / "manifest.json").unlink()
    assert checkpoints.restore(directory, template()) is None
    assert caplog.text.count("is damaged") == 2
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoints.require(directory)
    assert checkpoints.restore(tmp_path / "nowhere", template()) is None
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoints.require(tmp_path / "nowhere")


def fail(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["rename", "fsync"])
def test_a_failed_write_is_reported_and_keeps_the_earlier_ones(directory, monkeypatch, where):
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.os, where, fail)
        with pytest.raises(UserError, match=r"6 cannot be written: .*No space left.* make room"):
            save(directory, 6, max_to_keep=1)
    after = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert after == before
    assert_is(checkpoints.restore(directory, template()), 4)
    save(directory, 6, max_to_keep=1)
    assert checkpoints.steps(directory) == [6]


@pytest.mark.parametrize("kind", [jax.errors.JaxRuntimeError, ValueError])
def test_a_lost_process_is_not_reported_as_a_full_disk(directory, monkeypatch, kind):
    def lost(name):
        raise kind("UNKNOWN: Gloo AllGather failed: connection reset by peer")

    monkeypatch.setattr(checkpoints.processes, "wait_for_all", lost)
    with pytest.raises(kind, match="connection reset"):
        save(directory, 6)
    assert checkpoints.steps(directory) == [2, 4]


def test_a_disk_without_room_is_refused_before_orbax_begins(directory, monkeypatch):
    usage = shutil.disk_usage(directory)._replace(free=10)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"10 bytes are free and .* are needed; make room"):
        save(directory, 6)
    assert checkpoints.steps(directory) == [2, 4]


@pytest.mark.parametrize(
    ("num_files", "left", "is_refused"),
    [(100, 10, True), (100, 60, False), (0, 0, False)],
    ids=["full", "room", "no limit"],
)
def test_a_disk_without_files_left_is_refused_before_orbax_begins(
    directory, monkeypatch, num_files, left, is_refused
):
    blocks = dict.fromkeys(("f_blocks", "f_bfree", "f_bavail", "f_frsize"), 10**6)
    status = types.SimpleNamespace(f_files=num_files, f_favail=left, **blocks)
    monkeypatch.setattr(checkpoints.os, "statvfs", lambda _: status)
    refused = pytest.raises(UserError, match="10 files may be made and 60 are needed; make room")
    with refused if is_refused else contextlib.nullcontext():
        save(directory, 6)
    assert checkpoints.steps(directory) == ([2, 4] if is_refused else [2, 4, 6])


@pytest.mark.parametrize("function", ["read", "read_part"])
@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "kernel",
            (3, 4),
            r"params.kernel has shape \(3, 5\) there, and here it has shape \(3, 4\)",
        ),
        ("scale", (2,), r"params.scale is not there, and here it has shape \(2,\)"),
    ],
)
def test_arrays_of_another_model_are_refused_by_name(saved, capfd, function, name, shape, message):
    wanted = template()
    wanted["params"] |= {name: jax.ShapeDtypeStruct(shape, jnp.float32)}
    with pytest.raises(UserError, match=message) as refused:
        getattr(checkpoints, function)(saved, checkpoints.newest(saved), wanted)
    assert "\n" not in str(refused.value)
    # Threads of orbax would print tracebacks.
    assert "Event loop" not in capfd.readouterr().err
