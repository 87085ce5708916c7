"""Parts from outside the package: trained, continued, swept, measured, loaded elsewhere."""

import importlib
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest
from short_runs import leave_unmeasured, stops_after, trained

import examples.own_encoder
import vae_jax
from experiments import train
from vae_jax.config import resolve
from vae_jax.config.build import abstract_model
from vae_jax.data import sources
from vae_jax.errors import UserError
from vae_jax.training.loop import Interrupted

MODULE = '''
import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vae_jax.data import Dataset
from vae_jax.distributions import Normal
from vae_jax.models.likelihoods import NormalLikelihood
from vae_jax.objectives import Objective
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.settings import Traced, bounded, integer, traced


class Net(nnx.Module):
    def __init__(self, inputs, outputs, *, rngs):
        self.num_features = outputs
        self.layer = nnx.Linear(inputs, outputs, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.layer(x.reshape(*x.shape[:-3], -1)))


class Painter(nnx.Module):
    def __init__(self, inputs, shape, *, rngs):
        self.shape = shape
        self.layer = nnx.Linear(inputs, math.prod(shape), rngs=rngs)

    def __call__(self, z):
        return self.layer(z).reshape(*z.shape[:-1], *self.shape)


class WidePrior(nnx.Module):
    def __init__(self, size, scale):
        self.size, self.log_scale = size, math.log(scale)

    def __call__(self, encode):
        return Normal(jnp.zeros(self.size), jnp.full(self.size, self.log_scale))


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A layer."""

    width: int = integer(4, "Units.", at_least=1)

    def build(self, image_shape, *, rngs):
        return Net(math.prod(image_shape), self.width, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A layer."""

    def build(self, latent_size, image_shape, outputs_per_channel, *, rngs):
        return Painter(latent_size, image_shape, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class Prior:
    """A normal of any width."""

    scale: float = bounded(2.0, "Standard deviation.", above=0.0)

    def build(self, latent_size, start, *, rngs):
        return WidePrior(latent_size, self.scale)


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """A normal."""

    def build(self):
        return NormalLikelihood(0.5)


@dataclasses.dataclass(frozen=True)
class HalfELBO(Objective):
    """The ELBO, weighted."""

    weight: Traced = traced(0.5, "Weight.", above=0.0)

    def loss(self, model, batch, key, *, epoch, num_examples, **networks):
        means = elbo_terms(model, *batch, key).means()
        return -self.weight * means["elbo"], means


@dataclasses.dataclass(frozen=True)
class Dimming:
    """Darker images."""

    level: Traced = traced(0.5, "Factor.", above=0.0)

    def corrupt(self, key, images):
        return images * self.level


def points():
    images = np.random.default_rng(0).integers(0, 256, (48, 6, 5, 1), np.uint8)
    labels = np.arange(48, dtype=np.int32) % 3
    return {"train": Dataset(images[:32], labels[:32]), "test": Dataset(images[32:], labels[32:])}
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "mine"
    sys.modules.pop("mine", None)


def config_of(module, **changes):
    return {
        "epochs": 2,
        "batch_size": 8,
        "steps_per_call": 2,
        "data": {
            "name": f"{module}:points",
            "train_split": "train[:24]",
            "validation_split": "train[24:]",
            "binarization": "none",
        },
        "model": {
            "latent_size": 2,
            "encoder": {"name": f"{module}:Encoder", "width": 3},
            "decoder": f"{module}:Decoder",
            "prior": {"name": f"{module}:Prior", "scale": 3.0},
            "likelihood": f"{module}:Likelihood",
        },
        "corruption": {"name": f"{module}:Dimming", "level": 0.8},
        "objective": {"name": f"{module}:HalfELBO", "weight": 0.7},
        "checkpoints": {"every_seconds": 0.0},
        "tensorboard": {"images_every_epochs": 0},
        "evaluation": {"num_samples": 4, "batch_size": 8},
        **changes,
    }


def test_every_part_may_come_from_outside(mine, tmp_path, monkeypatch):
    config = config_of(mine)
    assert resolve(resolve(config).to_dict()) == resolve(config)
    assert set(resolve(config).hparams) >= {"objective.weight", "corruption.level"}
    leave_unmeasured(monkeypatch)
    whole = trained(config, tmp_path / "whole", (6, 5, 1))
    with monkeypatch.context() as patch:
        stops_after(patch, 1)
        with pytest.raises(Interrupted):
            train.train(config, tmp_path / "parts")
    assert trained(config, tmp_path / "parts", (6, 5, 1)) == whole


def test_a_run_of_parts_from_outside_is_measured_and_loaded(mine, tmp_path):
    train.train(config_of(mine), tmp_path / "run")
    model = vae_jax.load(tmp_path / "run")
    assert model.sample(jax.random.key(0), 2).shape == (2, 6, 5, 1)
    assert not model.has_standard_prior
    code = f"""
        import vae_jax
        try:
            print(vae_jax.load({str(tmp_path / "run")!r}).latent_size)
        except vae_jax.UserError as error:
            print(error)
    """

    def elsewhere(**environment):
        command = [sys.executable, "-c", textwrap.dedent(code)]
        found = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return found.stdout.strip()

    with_module = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"}
    assert elsewhere(**with_module) == "2"
    without = elsewhere(**{**os.environ, "PYTHONPATH": os.getcwd()})
    assert "the module 'mine' cannot be imported" in without
    assert "\n" not in without


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mine:nothing", "has no 'nothing'"),
        ("mine:np", r"must be a function without arguments|fails"),
        ("mine:Encoder", "must be a function without arguments"),
        ("no_module:points", "cannot be imported"),
    ],
)
def test_a_source_that_gives_no_data_is_refused_in_a_line(mine, source, message):
    config = config_of(mine)
    config["data"] = {**config["data"], "name": source}
    with pytest.raises(UserError, match=message) as refused:
        train.train(config, Path("never"))
    assert "\n" not in str(refused.value)


FEATURES = """

class Unnamed(nnx.Module):
    def __init__(self, size, num_features, *, rngs):
        self.layer = nnx.Linear(size, 7, rngs=rngs)
        if num_features is not None:
            self.num_features = num_features

    def __call__(self, images):
        return self.layer(images.reshape(*images.shape[:-3], -1))


@dataclasses.dataclass(frozen=True)
class Nameless:
    def build(self, image_shape, *, rngs):
        return Unnamed(math.prod(image_shape), None, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class Miscounted:
    def build(self, image_shape, *, rngs):
        return Unnamed(math.prod(image_shape), 5, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class Nothing:
    def build(self, image_shape, *, rngs):
        return None


class Stateful(Unnamed):
    def __init__(self, size, num_features, *, rngs):
        super().__init__(size, num_features, rngs=rngs)
        self.norm = nnx.BatchNorm(7, rngs=rngs)

    def __call__(self, images):
        return self.norm(super().__call__(images))


@dataclasses.dataclass(frozen=True)
class Normalised:
    def build(self, image_shape, *, rngs):
        return Stateful(math.prod(image_shape), 7, rngs=rngs)
"""


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            "Nameless",
            r"gives shape \[2, 7\], and its network has no num_features; set .*",
        ),
        ("Miscounted", r"gives shape \[2, 7\], .* num_features=5, so that it must be \[2, 5\]"),
        ("Nothing", "its build returns no network, but None"),
    ],
)
def test_an_encoder_that_breaks_its_contract_is_refused_before_compilation(
    mine, tmp_path, monkeypatch, encoder, message
):
    (tmp_path / "mine.py").write_text(MODULE + FEATURES)
    config = config_of(mine)
    config["model"] = {**config["model"], "encoder": f"mine:{encoder}"}
    # The first thing that is compiled.
    monkeypatch.setattr("vae_jax.config.run._initial_or_restored", None)
    with pytest.raises(UserError) as refused:
        vae_jax.train(config, tmp_path / "run")
    assert re.fullmatch(f"model.encoder='mine:{encoder}'.*{message}", str(refused.value))
    assert not (tmp_path / "run").exists()


def test_an_encoder_may_have_state_that_its_calls_change(mine, tmp_path):
    (tmp_path / "mine.py").write_text(MODULE + FEATURES)
    config = config_of(mine)
    config["model"] = {**config["model"], "encoder": "mine:Normalised"}
    assert jax.tree.leaves(abstract_model(resolve(config), (6, 5, 1))[2])


def test_a_source_reads_any_indices_of_its_ranges(mine):
    opened = sources.open_lazily("mine:points", "train[:5]+test[3:6]+train[30:]", "")
    everything = importlib.import_module("mine").points()
    expected = np.concatenate(
        [
            everything["train"].images[:5],
            everything["test"].images[3:6],
            everything["train"].images[30:],
        ]
    )
    indices = np.array([9, 0, 5, 7, 4, 8, 0])
    assert opened.shape == (10, 6, 5, 1)
    np.testing.assert_array_equal(opened.read(indices).images, expected[indices])


def test_the_example_has_its_encoder():
    config = examples.own_encoder.get_config()
    experiment = resolve(config)
    assert experiment.model.encoder.width == 256
    assert experiment.to_dict()["model"]["encoder"]["name"] == "examples.own_encoder:Wide"
