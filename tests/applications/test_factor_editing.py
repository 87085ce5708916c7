"""Tests of factors changed by degree, with a model that knows what it draws."""

import json
from pathlib import Path

import numpy as np
import pytest
import small_runs

from vae_jax import plots, trained
from vae_jax.applications.editing import directions
from vae_jax.applications.editing.attribute_vectors import mean_difference
from vae_jax.applications.editing.directions import FactorChange
from vae_jax.applications.factor_editing import measure as measuring
from vae_jax.applications.factor_editing import report
from vae_jax.applications.factor_editing.plot import factor_curves
from vae_jax.data.dataset import Dataset
from vae_jax.data.factors import Factors
from vae_jax.errors import UserError
from vae_jax.evaluation import classifier
from vae_jax.evaluation.classifier import Classifier

SIZE = 8
NAMES = ("dark", "shade")
CHANGE = FactorChange("dark", "1")


def draw(values):
    """A dark or light upper half, and a lower half in one of three shades."""
    images = np.empty((len(values), SIZE, SIZE, 1), np.float32)
    images[:, : SIZE // 2] = 0.8 - 0.6 * np.clip(values[:, 0], 0, 1)[:, None, None, None]
    images[:, SIZE // 2 :] = 0.2 + 0.3 * np.clip(values[:, 1], 0, 2)[:, None, None, None]
    return images


class Artist(trained.TrainedModel):
    """Its latents are the values that it draws, which it finds again in an image."""

    has_normal_posterior = False

    def __init__(self, config):
        self.config = config
        self.form = self.image_shape = (SIZE, SIZE, 1)

    def latents(self, images):
        grey = np.asarray(images) / 255
        values = (0.8 - grey[:, 0, 0, 0]) / 0.6, (grey[:, -1, 0, 0] - 0.2) / 0.3
        return np.stack(values, axis=1).astype(np.float32)

    def decode(self, latents):
        return draw(np.asarray(latents))


class Reader(Classifier):
    """A classifier that reads a factor without error."""

    def __init__(self, factor, **facts):
        self.facts = {"factor": factor, "test_accuracy": 0.99, **facts}

    def predict(self, images):
        row, low, step = {"dark": (0, 0.8, -0.6), "shade": (-1, 0.2, 0.3)}[self.facts["factor"]]
        return np.round((images[:, row, 0, 0] - low) / step).astype(int)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path, arrays = tmp_path_factory.mktemp("data") / "halves.npz", {}
    rng = np.random.default_rng(0)
    for split, num in (("train", 60), ("test", 14)):
        values = np.stack([rng.integers(0, 2, num), rng.integers(0, 3, num)], axis=1)
        arrays[f"{split}_factors"] = values
        arrays[f"{split}_images"] = np.round(255 * draw(values)).astype(np.uint8)
    twins = arrays["test_factors"] ^ np.array([1, 0])
    arrays |= {"twins_factors": twins, "twins_images": np.round(255 * draw(twins)).astype(np.uint8)}
    np.savez(path, factors_names=NAMES, **arrays)
    changes = {"data.name": str(path), "data.train_split": "train", "data.validation_split": ""}
    # A slice, whose twins are that slice of theirs.
    changes["data.test_split"] = "test[2:]"
    return small_runs.make_model(
        (SIZE, SIZE, 1), **changes, **{"data.binarization": "none", "batch_size": 8}
    ).config


def shown_by(monkeypatch):
    """Return a list that takes the images and labels of every plot of edited images."""
    shown, draw = [], plots.edited_images

    def recorded(images, labels, caption):
        shown.append((images, labels))
        return draw(images, labels, caption)

    monkeypatch.setattr(plots, "edited_images", recorded)
    return shown


@pytest.fixture(scope="module")
def measured(config, tmp_path_factory):
    """The rows of the artist, and the folder of its plots."""
    folder = tmp_path_factory.mktemp("plots")
    readers = {name: Reader(name) for name in NAMES}
    return measuring.measure_run(folder, Artist(config), CHANGE, readers, 12, folder), folder


def test_a_known_model_changes_the_factor_alone_by_degree(measured):
    rows, _ = measured
    methods = ["mean_difference", "linear_classifier", "conditional"]
    assert [row["method"] for row in rows] == methods
    # The latents along the others are the same in both groups, but for their numbers.
    row, conditional = rows[0], rows[2]
    assert conditional["added"]["read"][-3] == 1
    assert conditional["removed"]["read"][-3] == 0
    zero, one = row["degrees"].index(0), row["degrees"].index(1)
    added, removed = row["added"], row["removed"]
    assert added["num_images"] + removed["num_images"] == 12
    assert (added["read"][zero], added["read"][one]) == (0, 1)
    assert (removed["read"][zero], removed["read"][one]) == (1, 0)
    assert added["unchanged"]["shade"] == removed["unchanged"]["shade"] == [1] * 9
    assert added["right"]["shade"] == [1] * 9
    # Edited images are their twins but for the rounding to 8 bits and the groups' uneven shades.
    for part in (added, removed):
        assert part["psnr_to_twins"] > 20
        assert part["psnr_of_reconstructed_twins"] > part["psnr_to_twins"]
        assert part["unchanged_in_twins"] == {"dark": 0.0, "shade": 1.0}
    json.dumps(rows, allow_nan=False)


def test_what_changes_with_a_direction_is_seen(config, measured, monkeypatch):
    monkeypatch.setitem(measuring.METHODS, "mean_difference", lambda contrast: np.array([1, 1.0]))
    readers = {name: Reader(name) for name in NAMES}
    row = measuring.measure_run(measured[1], Artist(config), CHANGE, readers, 12, None)[0]
    assert row["added"]["read"][-3] == 1
    assert row["added"]["unchanged"]["shade"][-3] < 0.9
    assert row["added"]["right"]["shade"][-3] < 0.9


def test_paths_lie_between_the_images_and_their_twins_as_they_are_stored(
    config, tmp_path, monkeypatch
):
    class Blind(Artist):
        """It draws every image the same."""

        def decode(self, latents):
            return np.full((len(latents), SIZE, SIZE, 1), 0.25, np.float32)

    shown = shown_by(monkeypatch)
    readers = {name: Reader(name) for name in NAMES}
    measuring.measure_run(tmp_path, Blind(config), CHANGE, readers, 12, tmp_path)
    images, labels = shown[-1]
    degrees = ["0", "0.125", "0.25", "0.375", "0.5", "0.625", "0.75", "0.875", "1"]
    assert labels == ["image", *degrees, "twin"]
    assert (images[:, 1:-1] == 0.25).all()
    with np.load(config.data.name) as arrays:
        without = np.flatnonzero(arrays["test_factors"][2:, 0] == 0)[: len(images)]
        for column, split in ((0, "test"), (-1, "twins")):
            stored = arrays[f"{split}_images"][2:][without] / 255
            np.testing.assert_allclose(images[:, column], stored, atol=1e-6)


def test_what_is_known_of_the_classifiers_is_kept_with_the_results(config, monkeypatch, tmp_path):
    readers = {"dark": Reader("dark"), "shade": Reader("shade", blur=1.5)}
    monkeypatch.setattr(classifier, "load", lambda folder: readers[folder.name])
    for reader in readers.values():
        reader.facts["data"] = config.data.name
    monkeypatch.setattr(trained, "load_images", lambda folder: Artist(config))
    (found,) = measuring.measure([tmp_path], change="dark:1", classifiers=list(readers))
    assert found["classifiers"] == {
        "dark": {"test_accuracy": 0.99, "blur": None},
        "shade": {"test_accuracy": 0.99, "blur": 1.5},
    }
    path = tmp_path / "factor_editing.json"
    path.write_text(json.dumps(found))
    text = report.section(path)
    assert "the first 12 test images of" in text
    assert "without `1` as their dark" in text
    assert "left out" not in text
    assert "those of shade also on images blurred by up to 1.5 pixels of standard" in text
    found["classifiers"]["dark"]["blur"] = 1.5
    path.write_text(json.dumps(found))
    assert "all also on images blurred by up to 1.5 pixels" in report.section(path)


def test_plots_and_report_are_made_from_the_rows(measured, tmp_path):
    rows, folder = measured
    assert {path.name for path in folder.iterdir()} == {"added.png", "removed.png", "twins.png"}
    rows = json.loads(json.dumps([*rows, *({**row, "seed": 1} for row in rows)]))
    left, right = factor_curves(rows).axes
    assert [line.get_label() for line in left.lines] == ["read as dark:1", "shade unchanged"]
    np.testing.assert_allclose(
        right.lines[0].get_ydata(), 100 * np.array(rows[0]["removed"]["read"])
    )
    path = tmp_path / "factor_editing.json"
    assert report.section(path) == ""
    # As written before classifiers learned from blurred images.
    path.write_text(json.dumps({"rows": rows, "accuracies": {"dark": 0.99, "shade": 0.98}}))
    text = report.section(path)
    assert "over 2 seeds" in text
    assert "dark 99.0 %, shade 98.0 %" in text
    assert "none on blurred ones" in text
    assert "| added | mean difference | 1 | 100.0 ± 0.0 % | 100.0 ± 0.0 % |" in text
    assert "| removed | mean difference | 1 | 0.0 ± 0.0 % | 100.0 ± 0.0 % |" in text
    assert "| added | conditional | 1 | 100.0 ± 0.0 % | 100.0 ± 0.0 % |" in text
    for part in ("added", "removed"):
        assert f"| {part} | shade |{4 * ' 100.0 ± 0.0 % |'}" in text
    sentence = report.success(path)
    assert "in 100.0 ± 0.0 % of the images; taken off, they are still read in\n0.0 ±" in sentence
    assert "bits per dimension" not in text
    rows = [{**row, "bits_per_dim": 3.0 + row["seed"]} for row in rows]
    path.write_text(json.dumps({"rows": rows, "accuracies": {"dark": 0.99, "shade": 0.98}}))
    assert "take 3.500 ± 0.707 bits per dimension" in report.section(path)


def test_a_direction_needs_a_factor_and_values_that_there_are():
    values = np.array([[0, 0], [1, 1], [2, 1]], np.int32)
    factors = Factors(("a", "b"), (3, 2), values, (("x", "y", "z"), ("0", "1")))
    known = directions.KnownImages(np.zeros((3, 4, 4, 1)), np.eye(3), None, factors=factors)

    def vector(text):
        return mean_difference(directions.contrast(known, directions.parse(text)))

    np.testing.assert_allclose(vector("a:y"), [-0.5, 1, -0.5])
    np.testing.assert_allclose(vector("a:x-z"), [-1, 0, 1])
    np.testing.assert_allclose(vector("b:1"), [-1, 0.5, 0.5])
    for text, message in (
        ("c:x", "'c' is no factor of the data; they are a, b"),
        ("a:w", "'w' is no value of a; they are x, y, z"),
        ("a:w-x", "'w' is no value of a"),
        ("a:x-x", "class 0 must differ"),
    ):
        with pytest.raises(UserError, match=message):
            vector(text)
    without = directions.KnownImages(np.zeros((3, 4, 4, 1)), np.eye(3), None)
    with pytest.raises(UserError, match="have no factors, and --attribute=a:y is a value of one"):
        directions.contrast(without, directions.parse("a:y"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"change": "thickness"}, "--change=thickness is of no factor"),
        ({"change": "dark:1"}, "has none of the factor 'dark', which is edited"),
        ({"classifiers": ["classes"]}, "--classifiers=classes tells classes; train one with"),
    ],
)
def test_wrong_options_are_refused(given, message, monkeypatch):
    monkeypatch.setattr(classifier, "load", lambda folder: Reader(None))
    with pytest.raises(UserError, match=message):
        next(measuring.measure([], **{"change": "dark:1", **given}))


def test_a_reader_of_other_data_is_refused(config, monkeypatch):
    reader = Reader("dark")
    reader.facts["data"] = "mnist"
    monkeypatch.setattr(classifier, "load", lambda folder: reader)
    monkeypatch.setattr(trained, "load_images", lambda folder: Artist(config))
    message = (
        f"the classifier of 'dark' was trained on 'mnist', and the run on .*{config.data.name}"
    )
    with pytest.raises(UserError, match=message):
        next(measuring.measure([Path("run")], change="dark:1", classifiers=["reader"]))


def test_examples_are_labelled_by_a_factor():
    factors = Factors(("a", "b"), (3, 2), np.array([[2, 1], [0, 1]], np.int32))
    dataset = Dataset(np.zeros((2, 4, 4, 1), np.uint8), None, factors)
    np.testing.assert_array_equal(dataset.labelled_by("a").labels, [2, 0])
    with pytest.raises(UserError, match="'c' is no factor of the data"):
        dataset.labelled_by("c")
    with pytest.raises(UserError, match="the data have no factors, and 'a' is to be one"):
        dataset._replace(factors=None).labelled_by("a")
