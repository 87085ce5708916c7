"""Runs that start from the model of another run: trained, continued, swept, refused."""

import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from short_runs import leave_unmeasured, stops_after, trained
from small_codes import IMAGE_SHAPE, coded_experiment
from small_configs import small_config
from small_data import write_bars
from small_runs import make_model, save

import vae_jax
from experiments import train
from vae_jax import workdir
from vae_jax.config import (
    build_model,
    digest,
    initial_model,
    read_initial_arrays,
    resolve,
    split_model,
)
from vae_jax.config.initial_model import _refuse_other_meaning
from vae_jax.config.model_file import named_arrays
from vae_jax.config.overrides import with_values
from vae_jax.config.stored import Stored
from vae_jax.errors import UserError
from vae_jax.models.code_prior import CodePriorSettings, FirstStage
from vae_jax.models.modalities import Form
from vae_jax.sweeps import chunks, fields, space
from vae_jax.sweeps.plan import Resources, deal
from vae_jax.training.interruption import Interruption
from vae_jax.training.loop import Interrupted

SHAPE = (8, 8, 1)
RESOURCES = Resources(memory_limit=2**30, num_devices=1, side_by_side=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return {
        "data.name": str(write_bars(tmp_path_factory.mktemp("data") / "bars.npz")),
        "data.train_split": "train[:64]",
        "data.validation_split": "",
        "data.test_split": "test[:24]",
        "epochs": 1,
        "batch_size": 16,
        "steps_per_call": 2,
        "checkpoints.every_seconds": 0.0,
        "tensorboard.images_every_epochs": 0,
    }


@pytest.fixture(scope="module")
def source(data, tmp_path_factory):
    """The workdir of a run."""
    folder = tmp_path_factory.mktemp("runs") / "source"
    save(folder, make_model(SHAPE, **data))
    return folder


@pytest.fixture
def here(source, tmp_path):
    """A copy of the source that a test may change."""
    return shutil.copytree(source, tmp_path / "source")


def started(data, folder, **changes):
    """Return the config of a run that starts from the one in a folder, with another objective."""
    changes = {"objective": "iwae", "optimizer.learning_rate": 0.01, **changes}
    return {**small_config({**data, **changes}), "init_from": str(folder)}


def arrays_of(params, extra):
    return {name: np.asarray(leaf) for name, leaf in named_arrays(params, extra)}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_run_starts_from_another_and_goes_on_bit_by_bit_without_it(
    data, here, tmp_path, monkeypatch
):
    leave_unmeasured(monkeypatch)
    theirs = vae_jax.load(here)
    config = started(data, here)
    whole = trained(config, tmp_path / "whole", SHAPE)
    with monkeypatch.context() as patch:
        stops_after(patch, 0)
        with pytest.raises(Interrupted):
            train.train(config, tmp_path / "parts")
    # The best model is that of the first checkpoint until an epoch is over.
    ours = vae_jax.load(tmp_path / "parts")
    assert_same(arrays_of(ours.params, ours.extra), arrays_of(theirs.params, theirs.extra))
    section = workdir.read_config(tmp_path / "parts")["init_from"]
    assert (section["workdir"], section["step"]) == (str(here), 0)
    shutil.rmtree(here)
    assert trained(resolve(config, tmp_path / "parts"), tmp_path / "parts", SHAPE) == whole


def test_the_start_is_part_of_the_experiment_and_its_folder_is_not(data, here, tmp_path):
    scratch = small_config({**data, "objective": "iwae", "optimizer.learning_rate": 0.01})
    assert "init_from" not in resolve(scratch).to_dict()
    experiment = resolve(started(data, here))
    moved = shutil.copytree(here, tmp_path / "moved")
    assert digest(experiment) == digest(started(data, moved)) != digest(scratch)
    content = json.loads(json.dumps(experiment.to_dict()))
    assert resolve(content) == experiment
    assert resolve({**scratch, "init_from": ""}) == resolve(scratch)
    assert with_values(scratch, {"init_from": str(here)})["init_from"] == str(here)


def test_the_members_of_a_sweep_start_from_a_run(data, here, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(chunks, "fit_members", lambda states, *_, **__: begun.append(states))
    chunks._group.cache_clear()
    base = fields.resolved(started(data, here))
    sweep = space.grid({"optimizer.learning_rate": [1e-3, 3e-3]})
    trials = list(enumerate(space.settings(sweep)))
    (chunk,), _ = deal(sweep, base, trials, batch=0, rivals={}, resources=RESOURCES)
    chunks.train_chunk(tmp_path / "sweep", chunk, Interruption())
    theirs = vae_jax.load(here)
    expected = arrays_of(theirs.params, theirs.extra)
    for member in range(2):
        state = jax.tree.map(lambda leaf, member=member: leaf[member], begun[0].train)
        assert_same(arrays_of(state.params["model"], state.extra), expected)
    # A sweep, too, is continued without it.
    shutil.rmtree(here)
    workdir.write_json(tmp_path / "sweep" / "sweep.json", {"config": base})
    assert fields.resolved(resolve(started(data, here), tmp_path / "sweep")) == base


def refused(config, reason, folder=None, form=SHAPE):
    with pytest.raises(UserError, match=reason) as error:
        read_initial_arrays(resolve(config, folder), form)
    assert "\n" not in str(error.value)


def test_what_no_run_can_start_from_is_refused_in_a_line(data, source, here, tmp_path):
    refused(started(data, tmp_path / "nothing"), "init_from='.*nothing': there is no such workdir")
    refused(started(data, tmp_path), "init_from=.*: .* holds no run: config.json is not there")
    refused(started(data, here), "is the workdir of this run; name the finished run", here)
    refused({**started(data, here), "init_from": 3}, "init_from=3")
    unread = {**started(data, here), "init_from": {"workdir": str(here)}}
    refused(unread, r"this run began with that of step 0 with digest \(none\)")
    workdir.write_json(tmp_path / "sweep.json", {"config": {}})
    refused(started(data, tmp_path), "holds a sweep; name a member")
    shutil.rmtree(here / "checkpoints")
    refused(started(data, here), "has no checkpoint; train it first, or name another run")


def test_a_source_that_changed_before_the_first_checkpoint_is_refused(data, here, tmp_path):
    experiment = resolve(started(data, here))
    shutil.rmtree(here)
    save(here, make_model(SHAPE, seed=1, **data))
    with pytest.raises(UserError, match=r"has the checkpoint of step 0 with .*, and this run"):
        read_initial_arrays(experiment, SHAPE)
    with pytest.raises(UserError, match="use another workdir for this run"):
        train.train(experiment, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "form", "reason"),
    [
        ({"model.encoder.widths": (6,)}, SHAPE, r"params\.\S+ has shape \(5,\) of float32 there"),
        (
            {"model.latent_size": 4},
            SHAPE,
            r"params\.decoder\.\S+ has shape \(3, 5\) of float32 there and \(4, 5\)",
        ),
        ({"model.encoder.widths": (5, 5)}, SHAPE, r"params\.\S+ is not there, and here it has"),
        (
            {"model.prior": "mixture"},
            SHAPE,
            r"params\.prior_network\.\S+ is not there, and here it has",
        ),
        ({}, (6, 6, 1), r"\.output\.bias has shape \(64,\) of float32 there and \(36,\)"),
    ],
)
def test_another_model_is_refused_with_the_first_array_that_differs(
    data, source, changes, form, reason
):
    refused(started(data, source, **changes), f"has another model: .*{reason}", form=form)


def stored(monkeypatch, form, params, extra):
    """Let every run have another best model."""
    model = Stored(form, params, extra, None)
    monkeypatch.setattr(initial_model, "best_model", lambda *_: model)


def test_a_source_with_more_layers_is_refused(data, source, monkeypatch):
    deep = make_model(SHAPE, **{**data, "model.encoder.widths": (5, 5)})
    stored(monkeypatch, SHAPE, deep.params, deep.extra)
    refused(started(data, source), r"has another model: params\.\S+ has shape .* not here")


def test_a_codebook_is_started_from_too_and_of_another_model_nothing_is(data, source, monkeypatch):
    experiment = coded_experiment("vq", seed=5, init_from=str(source))
    refused(experiment.to_dict(), r"has another model: params\.", form=IMAGE_SHAPE)
    build = jax.jit(
        lambda: split_model(build_model(experiment, IMAGE_SHAPE, jax.random.key(7)))[1:]
    )
    params, extra = build()
    assert any("quantizer" in name for name in arrays_of({}, extra))
    stored(monkeypatch, IMAGE_SHAPE, params, extra)
    found = read_initial_arrays(experiment, IMAGE_SHAPE)
    for ours, theirs in zip(found, arrays_of(params, extra).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_codes_and_words_that_mean_something_else_are_refused(data, source):
    form = {"caption": Form("text", (4,), ("a", "b"))}
    known = Stored(form, {}, {}, None)
    other = known._replace(form={"caption": Form("text", (4,), ("a", "c"))})
    experiment = resolve(started(data, source))
    with pytest.raises(UserError, match="was trained on a caption of other words"):
        _refuse_other_meaning("init_from='x'", experiment, experiment, form, other)
    first, second = (
        SimpleNamespace(model=CodePriorSettings(FirstStage(workdir=name, digest=name)))
        for name in ("runs/a", "runs/b")
    )
    _refuse_other_meaning("init_from='x'", first, first, SHAPE, known)
    with pytest.raises(UserError, match=r"is a prior over the codes of 'runs/b', and model\.first"):
        _refuse_other_meaning("init_from='x'", first, second, SHAPE, known)
