"""Exported functions: equal to the library's, at any batch size, without the library."""

import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest
import small_codes
import small_joint_runs
import small_runs

import vae_jax
from vae_jax.data.captions.vocabulary import BEGIN, END, PAD
from vae_jax.errors import UserError
from vae_jax.sharing import functions, stablehlo

ROOT = Path(__file__).parents[2]
IMAGE_SHAPE = (6, 5, 1)
IMAGES = np.random.default_rng(0).random((3, *IMAGE_SHAPE), np.float32)
CONV = {"model.encoder": {"name": "conv", "channels": (3, 4), "kernel_size": 3}}
KEYS = jax.random.split(jax.random.key(3), 3)


def run(content):
    """Return the functions of a file by name, and its manifest."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        manifest = json.loads(file.read("manifest.json"))
        return {
            name: jax.export.deserialize(bytearray(file.read(f"{name}.bin"))).call
            for name in manifest["functions"]
        }, manifest


@pytest.mark.parametrize("changes", [{}, CONV], ids=["mlp", "conv"])
def test_the_functions_are_those_of_the_library_at_any_batch_size(changes, exported):
    model, content = exported(changes)
    functions, manifest = run(content)
    assert all(
        part["platforms"] == ["cpu", "cuda", "rocm", "tpu"]
        for part in manifest["functions"].values()
    )
    expected, latents = model.posterior(IMAGES), model.encode(IMAGES)
    decoded, drawn = model.decode(latents), model.sample(jax.random.key(3), 3)
    words = np.asarray(jax.random.key_data(KEYS))
    for num in (1, 3):
        found = functions["encode"](IMAGES[:num])
        np.testing.assert_allclose(found["mean"], expected.mean[:num], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            found["log_scale"], expected.log_scale[:num], rtol=1e-5, atol=1e-6
        )
        mean = functions["decode"](latents[:num])["mean"]
        np.testing.assert_allclose(mean, decoded[:num], rtol=1e-5, atol=1e-6)
        mean = functions["sample"](words[:num])["mean"]
        np.testing.assert_allclose(mean, drawn[:num], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def exported():
    """Return a function from changed settings to a model and its file, each made once."""
    made = {}

    def make(changes):
        if str(changes) not in made:
            model = small_runs.make_model(IMAGE_SHAPE, **changes)
            made[str(changes)] = model, stablehlo.to_bytes(model)
        return made[str(changes)]

    return make


def test_the_manifest_says_what_goes_in_and_what_comes_out(exported):
    _, manifest = run(exported({})[1])
    encode = manifest["functions"]["encode"]
    (given,) = encode["inputs"]
    assert (given["name"], given["shape"], given["dtype"]) == (
        "images",
        ["batch", *IMAGE_SHAPE],
        "float32",
    )
    assert "unit interval" in given["meaning"]
    assert encode["outputs"]["log_scale"]["shape"] == ["batch", 3]
    assert manifest["functions"]["sample"]["inputs"][0]["dtype"] == "uint32"


def test_codes_and_modalities_are_exported_too():
    model = small_codes.make_model()
    exported, _ = run(stablehlo.to_bytes(model))
    images = np.random.default_rng(1).random((2, *small_codes.IMAGE_SHAPE), np.float32)
    codes = exported["encode"](images)["codes"]
    np.testing.assert_array_equal(codes, model.encode(images))
    np.testing.assert_allclose(
        exported["decode"](codes)["mean"], model.decode(np.asarray(codes)), rtol=1e-5, atol=1e-6
    )
    assert "sample" not in exported

    model = small_joint_runs.make_model()
    exported, manifest = run(stablehlo.to_bytes(model))
    given = {"image": small_joint_runs.IMAGES, "label": [0, 1, 3]}
    values, present = model._values(given)
    mean = exported["encode"](*(values[name] for name in model.names), present)["mean"]
    np.testing.assert_allclose(mean, model.encode(given), rtol=1e-5, atol=1e-6)
    theirs, ours = model.decode(np.asarray(mean)), exported["decode"](mean)
    np.testing.assert_allclose(ours["image"], theirs["image"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ours["label"].argmax(-1), theirs["label"])
    words = manifest["words"]["text"]
    written = [
        [words[i] for i in row if i not in (PAD, BEGIN, END)] for row in np.asarray(ours["text"])
    ]
    assert [" ".join(row) for row in written] == theirs["text"]


def test_a_function_without_a_free_batch_size_is_refused_by_its_name(monkeypatch):
    model = small_runs.make_model(IMAGE_SHAPE)
    found = functions.functions_of(model)
    fixed = functions.Function(
        found["decode"].inputs, {}, lambda params, extra, z: {"mean": z + np.ones((2, 3))}
    )
    monkeypatch.setattr(stablehlo, "functions_of", lambda _: {"decode": fixed})
    with pytest.raises(UserError, match=r"^decode of this model cannot be written") as refused:
        stablehlo.to_bytes(model)
    assert "\n" not in str(refused.value)


def test_the_documented_program_runs_where_this_package_is_not(tmp_path):
    model = vae_jax.load("vanilla")
    (tmp_path / "vanilla.stablehlo").write_bytes(stablehlo.to_bytes(model))
    page = (ROOT / "docs" / "guide" / "export.md").read_text(encoding="utf-8")
    (program,) = [text for text in re.findall(r"```python\n(.*?)```", page, re.S) if "zip" in text]
    blocked = "import sys; sys.modules['vae_jax'] = sys.modules['flax'] = None\n"
    saved = "\nimport numpy; numpy.save('images.npy', images)"
    subprocess.run([sys.executable, "-c", blocked + program + saved], cwd=tmp_path, check=True)
    images = np.load(tmp_path / "images.npy")
    np.testing.assert_allclose(images, model.sample(jax.random.key(0), 16), rtol=1e-5, atol=1e-5)
