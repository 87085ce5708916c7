"""The models that come with the package."""

import configparser
import fnmatch
import hashlib
import json
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest
import small_runs
from small_data import write_bars

import vae_jax
from vae_jax import bundled
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.sharing import bundling
from vae_jax.trained import TrainedModel

RECORDS = bundled.records()


def test_each_file_is_the_one_that_was_measured_and_all_are_small():
    assert RECORDS
    assert set(RECORDS) == set(bundled.names())
    for name, record in RECORDS.items():
        content = bundled.path_of(name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record["sha256"], name
        assert len(content) == record["bytes"]
        # What half precision costs is far below the error of the mean over the test set.
        lost = abs(record["elbo"] - record["elbo_of_run"])
        assert lost < 0.1 * record["elbo_standard_error"], name
    assert sum(record["bytes"] for record in RECORDS.values()) < bundling.MOST_MEGABYTES * 1e6


@pytest.mark.parametrize("name", RECORDS)
def test_a_model_loads_by_its_name_and_is_as_good_as_its_record(name):
    model = vae_jax.load(name)
    assert {leaf.dtype for leaf in jax.tree.leaves(model.params)} == {np.dtype("float32")}
    if not isinstance(model, TrainedModel):
        assert set(model.sample(jax.random.key(0), 2)) == set(model.names)
        return
    test = model.load_test()
    images = measuring.prepare_test(model, test._replace(images=test.images[:400]))
    elbo = model.elbo(images, jax.random.key(0))
    error = elbo.std() / 20
    assert abs(elbo.mean() - RECORDS[name]["elbo"]) < 4 * error


def test_a_model_without_an_elbo_is_refused_before_a_file_is_written(tmp_path):
    changes = {
        "data.name": str(write_bars(tmp_path / "bars.npz")),
        "data.train_split": "train",
        "data.validation_split": "",
        "batch_size": 20,
    }
    model = small_runs.make_model((8, 8, 1), model="autoencoder", **changes)
    small_runs.save(tmp_path / "run", model)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="run holds a run without an ELBO, by which a bundled"):
        bundling.bundle(tmp_path / "run", "bars", "bars.py", tmp_path / "out", num_samples=2)
    assert not [*(tmp_path / "out").iterdir()]


def test_a_folder_that_exists_goes_before_a_model_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = small_runs.make_model((4, 3, 1))
    small_runs.save(tmp_path / "vanilla", model)
    assert vae_jax.load("vanilla").image_shape == (4, 3, 1)
    with pytest.raises(UserError, match="holds no run"):
        vae_jax.load(tmp_path / "nothing")


def test_an_unknown_name_is_answered_with_those_that_there_are():
    with pytest.raises(UserError) as refused:
        vae_jax.load("vanila")
    message = str(refused.value)
    assert "did you mean vanilla?" in message
    assert message.endswith(f"bundled are {', '.join(bundled.names())}")
    assert "\n" not in message
    with pytest.raises(UserError, match="has no member 3"):
        vae_jax.load("vanilla", member=3)


def test_the_package_has_the_files():
    config = configparser.ConfigParser()
    config.read("setup.cfg")
    patterns = config["options.package_data"]["vae_jax.bundled"].split()
    files = [path.name for path in bundled.FOLDER.iterdir() if path.suffix not in (".py", "")]
    assert "models.json" in files
    assert all(any(fnmatch.fnmatch(name, pattern) for pattern in patterns) for name in files)
    for file in (bundled.FOLDER, Path("vae_jax/sharing")):
        assert (file / "__init__.py").is_file()


def test_a_model_is_written_measured_and_listed_beside_the_others(tmp_path):
    with tarfile.open("tests/old_runs/vanilla.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / bundled.RECORDS).write_text(json.dumps({"a": {"elbo": 1}}))
    record = bundling.bundle(
        tmp_path / "vanilla" / "finished", "mine", "`x.py`", tmp_path, num_samples=2
    )
    assert bundled.records(tmp_path) == {"a": {"elbo": 1}, "mine": record}
    assert record["elbo"] == pytest.approx(record["elbo_of_run"], abs=0.05)
    assert record["elbo"] != record["elbo_of_run"]
    path = tmp_path / "mine.safetensors"
    assert path.stat().st_size == record["bytes"]
    (row,) = bundling.table({"mine": record}).splitlines()[2:]
    assert row.startswith(f"| `mine` | `x.py` | {record['epochs']} | {record['elbo']:.2f} ± ")
