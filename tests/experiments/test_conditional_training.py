"""Models with conditions: trained, continued, swept, loaded, drawn, sampled, refused."""

import contextlib
import io
import json
import re
import sys

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from short_runs import leave_unmeasured, stops_after, trained
from small_data import write_bars

import vae_jax
from configs import vanilla
from experiments import command_line, compress, detect, draw, export, sample, train
from vae_jax import config as factory
from vae_jax.config.overrides import with_values
from vae_jax.errors import UserError
from vae_jax.sweeps import run, space
from vae_jax.training.loop import Interrupted

SHAPE = (8, 8, 1)
CLASSES = {"name": "label", "classes": 4}
MODELS = {
    "label": {"model.condition": CLASSES},
    "m2": {
        "model": {"name": "m2", "condition": CLASSES},
        "model.classifier.widths": (8,),
        "data.labelled": 8,
        "objective.classification_weight": 5.0,
    },
    "quadrants": {
        "model.condition": {"name": "quadrants", "widths": (5,), "guess_widths": (5,)},
    },
    "array": {"model.condition": "array"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = write_bars(tmp_path_factory.mktemp("data") / "bars.npz")
    arrays = dict(np.load(path))
    for split in ("train", "test"):
        arrays[f"{split}_conditions"] = numbers_of(arrays[f"{split}_labels"])
    np.savez(path, **arrays)
    return str(path)


def numbers_of(labels):
    """Return two numbers that tell the label of each image, and one that is the same for all."""
    angle = np.pi / 2 * np.asarray(labels)
    return np.stack([100 * np.sin(angle), np.cos(angle), 7 + 0 * angle], axis=-1)


def settings(data, kind, **changes):
    """Return a small config with one of `MODELS`."""
    common = {
        "epochs": 2,
        "batch_size": 32,
        "steps_per_call": 3,
        "data.name": data,
        "data.train_split": "train[:192]",
        "data.validation_split": "train[192:]",
        "data.binarization": "none",
        "checkpoints": {"every_seconds": 0.0},
        "tensorboard": {"images_every_epochs": 0},
        "evaluation.num_samples": 2,
        "optimizer.learning_rate": 0.01,
    }
    small = {"model.latent_size": 2, "model.encoder": {"name": "mlp", "widths": (8,)}}
    return with_values(vanilla.get_config(), {**common, **MODELS[kind], **small, **changes})


def form(data, kind):
    """Return the form of the examples of a config."""
    return factory.open_examples(factory.resolve(settings(data, kind))).form


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """A finished run of each kind, its last state and its records."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        kind: (folder / kind, trained(settings(data, kind), folder / kind, form(data, kind)))
        for kind in MODELS
    }


# Classes alone are read as m2 reads them.
@pytest.mark.parametrize("kind", ["m2", "quadrants", "array"])
def test_a_stopped_run_ends_in_the_same_bits(kind, runs, data, tmp_path):
    config = settings(data, kind)
    with pytest.MonkeyPatch.context() as patch:
        stops_after(patch, 1)
        with pytest.raises(Interrupted):
            train.train(config, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        leave_unmeasured(patch)
        assert trained(config, tmp_path / "run", form(data, kind)) == runs[kind][1]


@pytest.mark.parametrize("kind", MODELS)
def test_the_summary_is_of_the_conditional_model(kind, runs):
    test = json.loads((runs[kind][0] / "summary.json").read_text())["test"]
    assert test["elbo"] < 0
    assert test["iwae_bound"] >= test["elbo"] - 1
    assert ("accuracy" in test, "guess_nll" in test) == (kind == "m2", kind == "quadrants")
    if kind == "m2":
        assert test["num_labels"] == 8
        assert min(test["accuracy"], test["accuracy_of_classifier_alone"]) > 0.8
    # 48 of 64 pixels are not seen.
    values = 48 if kind == "quadrants" else 64
    np.testing.assert_allclose(test["bits_per_dim"] or 0, -test["elbo"] / np.log(2) / values)
    prior_of_all = kind not in ("quadrants", "array")
    assert (test["aggregate_kl"] is not None) == prior_of_all


def test_a_model_of_labels_takes_them_everywhere(runs, data):
    model = vae_jax.load(runs["label"][0])
    images, labels = np.load(data)["test_images"][:5, ..., None], np.load(data)["test_labels"][:5]
    key = jax.random.key(0)
    assert model.encode(images, labels).shape == (5, 2)
    assert (model.encode(images, 0) != model.encode(images, 3)).any()
    np.testing.assert_array_equal(model.encode(images, 2), model.encode(images, [2] * 5))
    assert model.decode(np.zeros((3, 2)), 1).shape == (3, *SHAPE)
    assert (model.sample(key, 3, 1) != model.sample(key, 3, 2)).any()
    assert model.elbo(images, key, labels).shape == (5,)
    assert model.reconstruct(images, labels).shape == images.shape
    for wrong in (
        lambda: model.encode(images),
        lambda: model.sample(key, 3),
        lambda: model.decode(np.zeros((3, 2))),
        lambda: model.elbo(images, key),
        lambda: model.interpolate(images, images),
    ):
        with pytest.raises(UserError, match=r"condition is missing.* a class from 0 to 3"):
            wrong()
    with pytest.raises(UserError, match="condition has 5 classes for 3 images"):
        model.sample(key, 3, labels)
    with pytest.raises(UserError, match="has no classifier"):
        model.classify(images)


def test_a_classifier_gives_probabilities(runs, data):
    model = vae_jax.load(runs["m2"][0])
    images, labels = np.load(data)["test_images"][..., None], np.load(data)["test_labels"]
    found = model.classify(images)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert (found.argmax(axis=1) == labels).mean() > 0.8


def test_quadrants_are_completed_and_stay(runs, data):
    model = vae_jax.load(runs["quadrants"][0])
    images = np.load(data)["test_images"][:5, ..., None]
    drawn = model.sample(jax.random.key(0), 5, images)
    for made in (drawn, model.reconstruct(images), model.guess(images)):
        np.testing.assert_allclose(made[:, 4:, :4], images[:, 4:, :4] / 255, rtol=1e-6)
    same = model.sample(jax.random.key(0), 2, images[0])
    np.testing.assert_allclose(same[:, 4:, :4], np.stack([images[0, 4:, :4]] * 2) / 255, rtol=1e-6)
    with pytest.raises(UserError, match=r"condition is missing.* images, of which a part is seen"):
        model.sample(jax.random.key(0), 5)


def test_a_model_of_numbers_takes_them_everywhere(runs, data, tmp_path):
    model = vae_jax.load(runs["array"][0])
    images, labels = np.load(data)["test_images"][:5, ..., None], np.load(data)["test_labels"][:5]
    numbers, key = numbers_of(labels), jax.random.key(0)
    assert model.encode(images, numbers).shape == (5, 2)
    assert (model.encode(images, numbers) != model.encode(images, numbers_of([0]))).any()
    one, many = numbers[1], np.repeat(numbers[1:2], 3, axis=0)
    np.testing.assert_array_equal(model.sample(key, 3, one), model.sample(key, 3, many))
    assert model.elbo(images, key, numbers).shape == (5,)
    # The statistics of training images travel with the run, and with a file.
    known = np.load(data)["train_conditions"][:192]
    np.testing.assert_allclose(model.image_shape.center, known.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.image_shape.scale, [*known.std(axis=0)[:2], 1], rtol=1e-4)
    (tmp_path / "model.safetensors").write_bytes(model.to_bytes())
    other = vae_jax.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(other.sample(key, 3, one), model.sample(key, 3, one))
    for wrong, message in (
        (None, "condition is missing: .* give 3 numbers, or a row of them per image"),
        (numbers[:, :2], r"condition has shape \[5, 2\]; give \[3\] numbers for all images, or"),
        (numbers[:2], "condition has 2 rows for 5 images"),
        (2, r"condition has shape \[\]"),
        ("seven", "condition='seven' is no array of numbers"),
        ([np.nan, 1, 1], "condition holds NaN or infinite numbers"),
    ):
        with pytest.raises(UserError, match=message):
            model.encode(images, wrong)


@pytest.mark.usefixtures("parsed_flags")
@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ("0.5,-1", "condition has shape [2]; give [3] numbers for all images"),
        ("0.5,-1,7,7", "condition has shape [4]; give [3] numbers"),
        ("0.5,-1,", "condition has shape [2]; give [3] numbers"),
        ("0.5", "condition has shape [1]; give [3] numbers"),
        ("0.5,-1,seven", "'seven'] is no array of numbers"),
    ],
)
def test_other_numbers_than_the_model_has_are_refused_in_one_line(
    numbers, message, runs, tmp_path, capsys
):
    output = tmp_path / "a.npy"
    given = [f"--workdir={runs['array'][0]}", f"--output={output}", f"--condition={numbers}"]
    code, error = command(sample.main, given, capsys)
    assert code == 2, error
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert message in error
    assert not output.exists()


def test_a_sweep_conditions_on_numbers(data, tmp_path):
    rates = {"optimizer.learning_rate": (1e-3, 1e-2)}
    grid = space.grid(rates, objective="elbo")
    run.run_sweep(settings(data, "array", epochs=1), grid, tmp_path / "sweep")
    numbers = np.zeros(3)
    assert vae_jax.load(tmp_path / "sweep", member=1).decode(np.zeros((2, 2)), numbers).any()


def test_an_unconditional_model_refuses_a_condition(data, tmp_path):
    from small_runs import make_model

    model = make_model(SHAPE)
    for wrong in (
        lambda: model.sample(jax.random.key(0), 2, 1),
        lambda: model.encode(np.zeros((2, *SHAPE)), 1),
    ):
        with pytest.raises(UserError, match=r"condition=1: this model is of p.x. and takes no"):
            wrong()


def test_a_sweep_over_traced_settings_of_m2_is_one_program(data, tmp_path):
    weights = {"objective.classification_weight": (0.0, 5.0)}
    config = settings(data, "m2", epochs=1)
    results = run.run_sweep(config, space.grid(weights, objective="elbo"), tmp_path / "sweep")
    assert results is None or results
    members = sorted((tmp_path / "sweep" / "members").iterdir())
    assert len(members) == 2
    summaries = [json.loads((member / "summary.json").read_text()) for member in members]
    assert all("accuracy" in summary["test"] for summary in summaries)


def command(main, arguments, capsys):
    """Run a command in this process; return its exit code and the last line of its errors."""
    flags.FLAGS.unparse_flags()
    with flagsaver.flagsaver(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["command", *map(str, arguments)])
        error = io.StringIO()
        with contextlib.redirect_stderr(error), pytest.raises(SystemExit) as stop:
            command_line.run(main)
    text = re.sub(r".*\r", "", error.getvalue())
    return stop.value.code, text


@pytest.mark.plots
@pytest.mark.usefixtures("parsed_flags", "unrendered")
def test_samples_have_the_class_asked_for_and_plots_are_drawn(runs, tmp_path, capsys):
    for kind, files in {
        "label": ("samples.png", "styles.png"),
        "quadrants": ("completions.png",),
        "array": ("samples.png",),
    }.items():
        workdir = f"--workdir={runs[kind][0]}"
        assert command(draw.main, [workdir, f"--output={tmp_path / kind}"], capsys)[0] == 0
        names = {path.name for path in (tmp_path / kind).iterdir()}
        assert {*files, "reconstructions.png", "training_curves.png"} <= names
        output = tmp_path / f"{kind}.npy"
        arguments = [workdir, f"--output={output}", "--condition=1", "--num_images=3"]
        assert command(sample.main, arguments, capsys)[0] == 0
        assert np.load(output).shape == (3, *SHAPE)
    arguments = [f"--workdir={runs['array'][0]}", f"--output={output}", "--condition=-3.5,1,7"]
    assert command(sample.main, [*arguments, "--num_images=2"], capsys)[0] == 0
    assert np.load(output).shape == (2, *SHAPE)


@pytest.mark.usefixtures("parsed_flags")
@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (sample.main, ["--output={t}/a.npy"], "condition is missing"),
        (sample.main, ["--output={t}/a.npy", "--condition=4"], "condition=4 is not a class"),
        (sample.main, ["--output={t}/a.npy", "--condition=-1"], "condition=-1 is not a class"),
        (sample.main, ["--output={t}/a.npy", "--condition=a"], "condition"),
        (
            sample.main,
            ["--output={t}/a.npy", "--condition=1", "--sampler=mixture"],
            "with --condition use --sampler=prior",
        ),
        (compress.main, ["--output={t}/a.vae"], "condition"),
        (detect.main, ["--output={t}/a.csv", "--input={t}/images.npy"], "condition"),
        (export.main, ["--output={t}/a.stablehlo"], "condition"),
    ],
)
def test_a_command_without_its_condition_ends_in_one_line(
    main, arguments, message, runs, tmp_path, capsys
):
    np.save(tmp_path / "images.npy", np.zeros((3, *SHAPE), np.uint8))
    given = [f"--workdir={runs['label'][0]}", *(text.format(t=tmp_path) for text in arguments)]
    code, error = command(main, given, capsys)
    assert code == 2, error
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("m2", {"data.labelled": 0}, "data.labelled=0 names no training examples"),
        ("m2", {"data.labelled": 193}, "data.labelled=193 is more than the 192"),
        ("m2", {"data.labelled": 3}, "data.labelled=3 leaves a class without a label"),
        ("m2", {"data.labelled": -1}, "data.labelled=-1"),
        ("m2", {"objective": "elbo", "data.labelled": 0}, "does not train the classifier"),
        ("m2", {"model.condition": "quadrants"}, "is no class, which model='m2' is about"),
        ("m2", {"model.condition": "none"}, "is no class, which model='m2' is about"),
        ("label", {"data.labelled": 8}, "data.labelled=8 hides labels"),
        ("label", {"objective": "m2", "data.labelled": 8}, "trains a classifier"),
        ("label", {"model.condition.classes": 3}, "has the label 3, and model.condition.classes=3"),
        ("label", {"model.condition.classes": 1}, "model.condition.classes=1"),
        ("label", {"model.prior": "vamp"}, "prior='vamp' mixes posteriors of learned images"),
        (
            "label",
            {"model.condition.conditional_prior": True, "model.prior": "mixture"},
            "takes the place of prior='mixture'",
        ),
        ("label", {"objective": "factor"}, "trains an opponent, which sees no condition"),
        ("label", {"objective": "cvae"}, "trains the guess of a condition"),
        ("label", {"data.mode": "stream"}, "no labels come with such images"),
        ("quadrants", {"objective": "iwae"}, "does not train the guess"),
        ("quadrants", {"objective": "info"}, "does not train the guess"),
        ("quadrants", {"model.condition.seen": 4}, "model.condition.seen=4"),
        ("array", {"data.mode": "stream"}, "no conditions come with such images"),
        (
            "label",
            {"model.condition": {"name": "columns", "columns": ("age",)}},
            "model.condition='columns' is one of the rows of a table",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(kind, changes, message, data):
    content = settings(data, kind)
    content["objective"] = changes.pop("objective", content.get("objective", {}))
    with pytest.raises(UserError, match=re.escape(message)) as error:
        factory.open_examples(factory.resolve(with_values(content, changes)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("kind", "what"), [("label", "labels"), ("array", "conditions")])
def test_data_without_labels_or_numbers_are_refused(kind, what, data, tmp_path):
    arrays = {name: array for name, array in np.load(data).items() if what not in name}
    np.savez(tmp_path / "bare.npz", **arrays)
    config = factory.resolve(settings(str(tmp_path / "bare.npz"), kind))
    with pytest.raises(UserError, match=f"has no {what}, which"):
        factory.open_examples(config)
