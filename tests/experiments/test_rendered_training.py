import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import short_runs

from configs import vanilla
from experiments import train
from vae_jax import config as factory
from vae_jax.data.dataset import Dataset
from vae_jax.sweeps import chunks
from vae_jax.sweeps import plan as sweep_plan
from vae_jax.training import parallel
from vae_jax.training.loop import Interrupted, copy_tree

pytestmark = pytest.mark.usefixtures("parsed_flags")

OVERRIDES = {
    "epochs": 2,
    "batch_size": 64,
    "steps_per_call": 1,
    "data.image_size": 16,
    "data.train_split": "train[:192]",
    "data.validation_split": "train[192:256]",
    "data.test_split": "train[-40:]",
    "model.encoder.widths": (16,),
    "model.latent_size": 2,
    "tensorboard.images_every_epochs": 0,
    "evaluation.num_samples": 2,
    # A checkpoint after every call.
    "checkpoints.every_seconds": 0.0,
}
CONTINUOUS = {"data.mode": "render", "data.mode.factors": "continuous"}


@pytest.fixture
def unmeasured(monkeypatch):
    short_runs.leave_unmeasured(monkeypatch)


def config_of(name="sprites_smooth", **changes):
    """The experiment; `changes` by dotted name."""
    values = {**OVERRIDES, "data.name": name, **changes}
    return factory.resolve(factory.with_values(vanilla.get_config(), values))


@pytest.mark.parametrize(
    ("name", "num_devices", "kind", "changes"),
    [
        ("sprites_smooth", 2, "pmap", {}),
        (
            "sprites_color",
            2,
            "jit",
            {
                "data.binarization": "none",
                "model.likelihood": "laplace",
                "optimizer.accumulation_steps": 2,
            },
        ),
    ],
)
def test_training_on_rendered_examples_is_bitwise_that_on_stored_ones(
    name, num_devices, kind, changes
):
    start, results = None, []
    for mode in ("memory", "render"):
        config = config_of(name, **changes, **{"data.mode": mode})
        splits = factory.load_splits(config)
        num_examples, *shape = splits.train.shape
        build_program = partial(factory.build_program, config, tuple(shape), num_examples)
        compiled = parallel.compile_program(build_program, jax.devices()[:num_devices], kind)
        if start is None:
            key, hparams = factory.make_key(0), factory.build_hparams(config)
            start = compiled.init(*compiled.put((factory.mean_image(splits.train), key, hparams)))
        state, examples = copy_tree(start.train), compiled.put(splits.train_examples)
        losses = []
        for _ in range(3):
            # One at a time, since a longer scan takes longer to compile.
            state, metrics = compiled.run_steps(state, examples, 1)
            losses.append(metrics["loss"])
        results.append([np.asarray(leaf) for leaf in jax.tree.leaves((state.params, losses))])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rendering_is_not_fused_with_what_uses_the_images():
    prepare = factory.build_prepare(config_of(**{"data.mode": "render"}))
    program = jax.jit(lambda key, rows: prepare(key, rows).sum())
    rows = jnp.zeros((4, 5), jnp.uint8)
    compiled = program.lower(factory.make_key(0), rows).compile()
    assert "conditional(" in compiled.as_text()
    assert float(compiled(factory.make_key(0), rows)) > 0


def test_a_rendered_run_that_was_stopped_is_bitwise_the_undisturbed_one(
    tmp_path, monkeypatch, unmeasured
):
    config = config_of(**CONTINUOUS, **{"data.binarization": "none"})
    expected = short_runs.trained(config, tmp_path / "whole", (16, 16, 1))
    # In the middle of the first epoch.
    with monkeypatch.context() as patch:
        short_runs.stops_after(patch, 0)
        with pytest.raises(Interrupted):
            train.train(config, tmp_path / "stopped")
    assert short_runs.trained(config, tmp_path / "stopped", (16, 16, 1)) == expected


def test_only_the_training_set_is_kept_as_factors():
    splits = factory.load_splits(
        config_of(**{"data.mode": "render", "data.mode.memory_limit": 1e-4})
    )
    assert splits.train.shape == (192, 16, 16, 1)
    assert (splits.train_examples.shape, splits.train_examples.dtype) == ((192, 5), np.uint8)
    assert isinstance(splits.validation, Dataset)
    assert splits.test.images.shape == (40, 16, 16, 1)
    in_memory = factory.load_splits(config_of(**{"data.mode": "memory"}))
    np.testing.assert_array_equal(in_memory.train_examples, in_memory.train.images)
    np.testing.assert_array_equal(
        factory.mean_image(splits.train), factory.mean_image(in_memory.train)
    )


def test_continuous_factors_are_drawn_by_key_around_those_of_the_grid():
    key = jax.random.key(0)
    config = config_of("sprites", **CONTINUOUS, **{"data.binarization": "none"})
    splits, prepare = factory.load_splits(config), jax.jit(factory.build_prepare(config))
    rows = jnp.asarray(splits.train_examples)
    images = jnp.asarray(splits.train.read(np.arange(192)).images)
    first, again, other = (prepare(k, rows) for k in (key, key, jax.random.key(1)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    # A cell is half a pixel of 16 wide: most of a sprite stays.
    overlap = (first * (images > 0)).sum() / (images > 0).sum()
    assert 0.8 < overlap < 0.98
    # Images, such as those of the validation set, are not moved.
    np.testing.assert_array_equal(prepare(key, images), images > 0)


def test_a_sweep_trains_on_rendered_examples_and_counts_their_bytes():
    sizes = {}
    for mode in ("memory", "render"):
        changes = {"data.mode": mode, "data.binarization": "none", "data.validation_split": ""}
        config = config_of(**changes)
        sizes[mode], _ = sweep_plan._needs(json.dumps(config.to_dict()))
    assert sizes == {"memory": 192 * 256, "render": 192 * 5}
    group = chunks._Group(config)
    state = group.init_members([config])
    states = group.functions.place(state, group.functions.num_slots(1, 1))
    trained = group.functions.run_steps(states, np.array([True]), 1, lambda: False)
    assert trained.finite.all()
    assert np.isfinite(trained.metrics["loss"]).all()
