"""Images with missing pixels, from a file with NaN to a trained run and to filled images."""

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from small_data import write_bars

import vae_jax
from configs import vanilla
from experiments import detect, impute
from vae_jax import config as factory
from vae_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("parsed_flags")


def config_of(path, **changes):
    small = {
        "data.name": str(path),
        "data.train_split": "train[:200]",
        "data.validation_split": "train[200:]",
        "data.binarization": "none",
        "epochs": 40,
        "batch_size": 50,
        "model.latent_size": 2,
        "model.encoder.widths": (16,),
        "model.missing_pixels": True,
        "objective": {"name": "iwae", "num_samples": 5},
        "optimizer.learning_rate": 1e-2,
        "evaluation.num_samples": 5,
        **changes,
    }
    return factory.with_values(factory.plain(vanilla.get_config()), small)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Black and white images of bars, as a file of floats of which a third is missing."""
    folder = tmp_path_factory.mktemp("holes")
    arrays = dict(np.load(write_bars(folder / "bars.npz")))
    rng = np.random.default_rng(0)
    images = {name: arrays[f"{name}_images"] / np.float32(255) for name in ("train", "test")}
    holed = {
        f"{name}_images": np.where(rng.random(x.shape) < 0.3, np.nan, x)
        for name, x in images.items()
    }
    np.savez(folder / "holes.npz", **holed)
    np.savez(folder / "torn.npz", images=holed["test_images"])
    return folder, images["test"], holed["test_images"]


@pytest.fixture(scope="module")
def trained(whole):
    folder = whole[0]
    return vae_jax.train(config_of(folder / "holes.npz"), folder / "run")


def test_a_run_is_measured_on_the_pixels_that_were_seen(trained):
    assert trained.test["nats_of"] == "log probability"
    assert "bits_per_dim" not in trained.test
    losses = [record["loss"] for record in trained.records if "loss" in record]
    assert losses[-1] < losses[0] - 5
    assert 0 < trained.test["reconstruction_error"] < 0.2


def test_missing_pixels_are_filled_and_others_stay(trained, whole, monkeypatch):
    folder, complete, torn = whole
    monkeypatch.chdir(folder)
    options = {"workdir": "run", "input": "torn.npz", "num_samples": 200, "multiple": 2}
    with flagsaver.flagsaver(output="filled.npz", **options):
        impute.main()
    filled = np.load("filled.npz")["images"][..., 0]
    missing = np.isnan(torn)
    np.testing.assert_array_equal(filled[~missing], torn[~missing].astype(np.float32))
    mean = np.broadcast_to(np.nanmean(np.load("holes.npz")["train_images"], axis=0), torn.shape)
    error, by_mean = (np.square(found - complete)[missing].mean() for found in (filled, mean))
    # The rows that are seen say which bar is bright.
    assert error < 0.75 * by_mean
    first, second = (np.load(f"filled_{i}.npz")["images"][..., 0] for i in (1, 2))
    assert set(np.unique(first[missing])) == {0, 1}
    assert (first != second).any()
    np.testing.assert_array_equal(first[~missing], filled[~missing])


def test_images_with_holes_get_scores(trained, whole, monkeypatch):
    monkeypatch.chdir(whole[0])
    options = {"workdir": "run", "input": "torn.npz", "output": "scores.csv"}
    with flagsaver.flagsaver(**options):
        detect.main()
    with (
        flagsaver.flagsaver(score="pca", **options),
        pytest.raises(UserError, match="compares whole images"),
    ):
        detect.main()


def test_wrong_images_are_refused_in_a_line(trained, whole, tmp_path, monkeypatch):
    folder, complete, torn = whole
    wrong = {
        "whole": (complete, "has no missing pixel to fill"),
        "infinite": (np.where(np.isnan(torn), np.inf, torn), "hold infinite values, first image 0"),
        "large": (torn * 2, r"outside \[0, 1\]"),
        "shape": (torn[:, 1:], r"this model takes \[num, 8, 8, 1\]"),
    }
    monkeypatch.chdir(folder)
    for name, (images, message) in wrong.items():
        np.savez(tmp_path / f"{name}.npz", images=images)
        with (
            flagsaver.flagsaver(
                workdir="run", output="out.npz", input=str(tmp_path / f"{name}.npz")
            ),
            pytest.raises(UserError, match=message) as error,
        ):
            impute.main()
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="this is for whole images"):
        vae_jax.trained.load_images(trained.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.missing_pixels": False}, "NaN stands for pixels not seen: model.missing_pixels"),
        ({"data.binarization": "static"}, "data.binarization='static' is kept as zeros and ones"),
        ({"corruption": "gaussian"}, "corruption='gaussian' is one of whole images"),
        ({"model.condition": "label"}, "missing_pixels=True is for models of p"),
        ({"model.likelihood": "discretized_logistic"}, "likelihood that leaves pixels out"),
        ({"data.test_split": "test[:1]", "data.name": "none.npz"}, "no pixel of .* was seen"),
    ],
)
def test_wrong_configs_are_refused_in_a_line(whole, tmp_path, changes, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    holes = dict(np.load(whole[0] / "holes.npz"))
    holes["test_images"][:] = np.nan
    np.savez("none.npz", **holes)
    changes = {"data.name": str(whole[0] / "holes.npz"), **changes}
    with pytest.raises(UserError, match=message) as error:
        vae_jax.train(config_of(changes.pop("data.name"), **changes), tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_model_of_whole_images_refuses_holes():
    model = vae_jax.load("vanilla")
    images = np.full((1, 28, 28, 1), np.nan, np.float32)
    with pytest.raises(UserError, match="not finite"):
        model.encode(images)
    with pytest.raises(UserError, match="this one is on whole images"):
        model.impute(images, jax.random.key(0))
