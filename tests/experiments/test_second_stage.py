"""A prior over the codes of a trained model: trained, continued, moved, swept, refused."""

import json
import logging
import shutil

import jax
import numpy as np
import pytest
from short_runs import leave_unmeasured, stops_after, trained
from small_codes import coded_config
from small_data import write_bars
from small_runs import save

import vae_jax
from experiments import train
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.applications.generation import samplers
from vae_jax.config import digest, resolve
from vae_jax.config.overrides import parse, with_values
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.sweeps import chunks, fields, space
from vae_jax.sweeps.plan import Resources, deal
from vae_jax.trained import TrainedModel
from vae_jax.training.interruption import Interruption
from vae_jax.training.loop import Interrupted

SHAPE = (8, 8, 1)
RESOURCES = Resources(memory_limit=2**30, num_devices=1, side_by_side=False)
NETWORK = {"width": 8, "layers": 1, "heads": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {
        "name": str(write_bars(folder / "bars.npz")),
        "train_split": "train[:64]",
        "test_split": "test[:24]",
        "binarization": "none",
    }


def common(data):
    return {
        "epochs": 1,
        "batch_size": 16,
        "steps_per_call": 2,
        "checkpoints": {"every_seconds": 0.0},
        "tensorboard": {"images_every_epochs": 0},
        "evaluation": {"batch_size": 24},
        "data": data,
    }


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    """The workdir of a finished first stage."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    config = coded_config("vq", model_changes={"codes": (4, 4), "kernel_size": 4}, **common(data))
    experiment = resolve(config)
    build = jax.jit(
        lambda: factory.split_model(factory.build_model(experiment, SHAPE, jax.random.key(7)))[1:]
    )
    save(folder, TrainedModel(experiment, SHAPE, *build()))
    described = {"test": {}, "device": "", "num_cores": 1, "versions": {}, "step": 0}
    workdir.write_summary(folder, described)
    return folder


@pytest.fixture
def here(first, tmp_path):
    """A copy of the first stage that a test may delete."""
    return shutil.copytree(first, tmp_path / "first")


def second(data, folder, **changes):
    model = {"name": "code_prior", "first_stage": str(folder), "network": NETWORK}
    return {**common(data), "model": model, **changes}


def test_a_config_names_a_workdir_and_resolves_to_all_that_it_needs(data, first, tmp_path):
    config = second(data, first)
    assert parse(config, "model.first_stage", str(first)) == str(first)
    on_the_command_line = {
        "model": "code_prior",
        "model.first_stage": str(first),
        "model.network.width": 8,
    }
    experiment = resolve(with_values(config, on_the_command_line))
    content = json.loads(json.dumps(experiment.to_dict()))
    section = content["model"]["first_stage"]
    assert section["workdir"] == str(first)
    assert section["step"] == 0
    assert section["image_shape"] == list(SHAPE)
    assert section["model"] == json.loads((first / "config.json").read_text())["model"]
    assert experiment.evaluation.num_samples == 1
    assert "num_samples" not in content["evaluation"]
    # The workdir is not read again, and where it was does not tell two experiments apart.
    section["workdir"] = str(tmp_path / "nowhere")
    moved = resolve(content)
    assert digest(moved) == digest(experiment)
    assert resolve(with_values(content, {"seed": 3})).model == moved.model
    section["digest"] = "another"
    assert digest(content) != digest(experiment)


@pytest.fixture(scope="module")
def runs(data, first, tmp_path_factory, drawing_plots):
    """A finished run with its plots, its bits, and one that was stopped.

    Their first stage is not there any more.
    """
    folder = tmp_path_factory.mktemp("second")
    here = shutil.copytree(first, folder / "first")
    config = second(data, here)
    with drawing_plots(rendered=False):
        whole = trained(config, folder / "whole", SHAPE)
    with pytest.MonkeyPatch.context() as patch:
        stops_after(patch, 1)
        with pytest.raises(Interrupted):
            train.train(config, folder / "parts")
    shutil.rmtree(here)
    return folder, whole


def test_a_run_goes_on_bit_by_bit_without_its_first_stage(data, first, runs, monkeypatch):
    folder, whole = runs
    leave_unmeasured(monkeypatch)
    copied = vae_jax.load(folder / "parts").extra["first_stage"]
    theirs = vae_jax.load(first).state
    for ours, expected in zip(jax.tree.leaves(copied), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(ours, expected)
    config = resolve(second(data, folder / "first"), folder / "parts")
    assert trained(config, folder / "parts", SHAPE) == whole


def test_a_run_is_measured_loaded_and_moved_without_its_first_stage(first, runs, tmp_path):
    folder = shutil.copytree(runs[0] / "whole", tmp_path / "moved")
    drawn = {path.name for path in (folder / "plots").iterdir()}
    assert {"samples.png", "reconstructions.png", "interpolation_linear.png"} <= drawn
    summary = json.loads((folder / "summary.json").read_text())
    test = summary["test"]
    assert test["elbo"] == pytest.approx(-(test["rate"] + test["distortion"]), rel=1e-5)
    assert test["iwae_bound"] == pytest.approx(test["elbo"], rel=1e-5)
    assert test["num_samples"] == 1
    # The bars are zeros and ones.
    assert test["bits_per_dim"] == pytest.approx(-test["elbo"] / 64 / np.log(2))
    assert 0 < test["codes_used"] <= 1
    model, theirs = vae_jax.load(folder), vae_jax.load(first)
    images = model.load_test().images[:3]
    np.testing.assert_array_equal(model.encode(images), theirs.encode(images))
    np.testing.assert_array_equal(model.reconstruct(images), theirs.reconstruct(images))
    assert model.sample(jax.random.key(0), 3).shape == (3, *SHAPE)
    assert samplers.available(model) == ("prior",)
    again = measuring.measure(
        model, measuring.prepare_test(model, model.load_test()), 1, show_progress=False
    )
    assert {name: again[name] for name in ("elbo", "rate")} == {
        name: test[name] for name in ("elbo", "rate")
    }


def test_a_sweep_over_the_learning_rate_compiles_once_and_begins_at_the_first_stage(
    data, here, tmp_path, monkeypatch, caplog
):
    config = second(data, here)
    base, ended = fields.resolved(config), []
    sweep = space.grid({"optimizer.learning_rate": [1e-3, 3e-3]})

    def end(folder, entry, config, group, state, progress):
        ended.append(state.train)

    monkeypatch.setattr(chunks, "_write_member", end)
    chunks._group.cache_clear()
    trials = list(enumerate(space.settings(sweep)))
    (chunk,), _ = deal(sweep, base, trials, batch=0, rivals={}, resources=RESOURCES)
    with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
        chunks.train_chunk(tmp_path / "sweep", chunk, Interruption())
    messages = [record.getMessage() for record in caplog.records]
    assert sum(text.startswith("Compiling jit(run_steps)") for text in messages) == 1
    rates = {float(state.hparams["optimizer.learning_rate"]) for state in ended}
    assert (len(ended), len(rates)) == (2, 2)
    theirs = jax.tree.leaves(vae_jax.load(here).state)
    for state in ended:
        for ours, expected in zip(jax.tree.leaves(state.extra), theirs, strict=True):
            np.testing.assert_array_equal(ours, expected)
    # A sweep, too, is continued without its first stage.
    shutil.rmtree(here)
    workdir.write_json(tmp_path / "sweep" / "sweep.json", {"config": base})
    assert fields.resolved(resolve(config, tmp_path / "sweep")) == base


def refused(config, reason, folder=None):
    with pytest.raises(UserError, match=reason) as error:
        resolve(config) if folder is None else train.train(config, folder)
    assert "\n" not in str(error.value)


def test_what_is_no_first_stage_is_refused_in_a_line(data, first, here, tmp_path):
    refused(second(data, tmp_path / "nothing"), "first_stage='.*nothing': there is no such workdir")
    refused(second(data, tmp_path), "holds no run")
    refused({**common(data), "model": "code_prior"}, "model.first_stage.workdir is missing")
    config = json.loads((here / "config.json").read_text())

    def written(**changes):
        (here / "config.json").write_text(json.dumps({**config, **changes}))
        return second(data, here)

    vae = {"model": {"name": "vae"}, "objective": {"name": "elbo"}}
    refused(written(**vae, evaluation={}), "model='vae', which has no codes; name a finished run")
    itself = resolve(second(data, first)).to_dict()
    refused(written(**itself), "model='code_prior', which has a prior over its codes already")
    config_again = written()
    (here / "summary.json").unlink()
    refused(config_again, "is not finished; train it to its end first")
    shutil.rmtree(here / "checkpoints")
    refused(config_again, "has no checkpoint; train it first")


def test_other_data_than_those_of_the_first_stage_are_refused_in_a_line(data, first, tmp_path):
    refused(
        second({**data, "name": "mnist"}, first), "data.name='mnist' is not that of model.first"
    )
    dynamic = {**data, "binarization": "dynamic"}
    refused(second(dynamic, first), "data.binarization='dynamic' is not that .* use 'none'")
    content = resolve(second(data, first)).to_dict()
    content["model"]["first_stage"]["image_shape"] = (6, 4, 1)
    refused(
        content,
        r"trained on images of shape \(6, 4, 1\), and these have \(8, 8, 1\)",
        tmp_path / "run",
    )
    wide = second(data, first)
    wide["model"]["network"] = {"width": 10, "heads": 4}
    refused(wide, "model.network.width=10 must be a multiple of heads=4")


def test_a_first_stage_that_changed_before_the_first_step_is_refused(data, here):
    experiment = resolve(second(data, here))
    summary = json.loads((here / "summary.json").read_text())
    (here / "checkpoints" / "0").rename(here / "checkpoints" / "9")
    workdir.write_summary(here, {**summary, "step": 9})
    with pytest.raises(UserError, match="has another step than this run began with: 9, not 0"):
        factory.read_first_stage_arrays(experiment)
