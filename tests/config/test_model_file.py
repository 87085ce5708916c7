import json

import jax
import numpy as np
import pytest
import small_joint_runs
import small_runs
from safetensors.numpy import load_file, save_file

import vae_jax
from configs import multimodal_label
from vae_jax.config import model_file
from vae_jax.errors import UserError

IMAGE_SHAPE = (4, 3, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *IMAGE_SHAPE), np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run, and the file of its model."""
    folder = tmp_path_factory.mktemp("exported")
    small_runs.save(folder / "run", small_runs.make_model(IMAGE_SHAPE))
    return folder / "run", export(folder / "run", folder / "model.safetensors")


def export(run, path):
    path.write_bytes(vae_jax.load(run).to_bytes())
    return path


def test_a_model_from_its_file_is_bitwise_that_of_the_run(exported):
    run, path = exported
    there, here = vae_jax.load(run), vae_jax.load(path)
    assert here.digest == there.digest
    assert here.written_config == there.written_config
    for name in ("encode", "reconstruct"):
        assert getattr(here, name)(IMAGES).tobytes() == getattr(there, name)(IMAGES).tobytes()
    key = jax.random.key(1)
    assert here.sample(key, 3).tobytes() == there.sample(key, 3).tobytes()


def test_half_precision_halves_the_file_and_rounds_the_arrays(exported, tmp_path):
    run, path = exported
    model, half = vae_jax.load(run), tmp_path / "half.safetensors"
    half.write_bytes(model.to_bytes(half_precision=True))
    assert {array.dtype for array in load_file(half).values()} == {np.dtype("float16")}
    assert half.stat().st_size < path.stat().st_size
    here = vae_jax.load(half)
    for ours, theirs in zip(jax.tree.leaves(here.state), jax.tree.leaves(model.state), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs.astype(np.float16))
    model.params = jax.tree.map(lambda leaf: leaf + 1e6, model.params)
    with pytest.raises(UserError, match="too large for half precision"):
        model.to_bytes(half_precision=True)


def test_arrays_are_named_by_their_paths(exported):
    arrays = load_file(exported[1])
    model = vae_jax.load(exported[1])
    assert len(arrays) == len(jax.tree.leaves((model.params, model.extra)))
    assert all(name.startswith(("params.", "extra.")) for name in arrays)
    assert any(name.endswith(".kernel") for name in arrays)


def test_a_model_of_several_modalities_comes_back(tmp_path):
    small_joint_runs.save(tmp_path / "run", multimodal_label.get_config())
    there = vae_jax.load(tmp_path / "run")
    here = vae_jax.load(export(tmp_path / "run", tmp_path / "model.safetensors"))
    assert here.form == there.form
    for ours, theirs in zip(jax.tree.leaves(here.state), jax.tree.leaves(there.state), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def changed(**metadata):
    def spoil(path):
        config = {"vae_jax.config": json.dumps({}), "vae_jax.form": json.dumps({}), **metadata}
        save_file(load_file(path), path, config)

    return spoil


def without_an_array(path):
    arrays = load_file(path)
    arrays.pop(next(iter(arrays)))
    with model_file.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    save_file(arrays, path, metadata)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b""), "is no file of experiments.export"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is no file of experiments.export"),
        (lambda path: path.write_bytes(b"\xff" * 99), "is no file of experiments.export"),
        (lambda path: save_file({}, path), "is no file of experiments.export"),
        (lambda path: path.unlink(), "is not there"),
        (changed(), "is no file of experiments.export"),
        (
            changed(**{"vae_jax.form": json.dumps({"image_shape": (4, 3, 1), "schema": 999})}),
            "later",
        ),
        (without_an_array, "has other arrays than the model of its config"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(exported, tmp_path, spoil, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(exported[1].read_bytes())
    spoil(path)
    with pytest.raises(UserError, match=message) as refused:
        vae_jax.load(path)
    assert "\n" not in str(refused.value)
