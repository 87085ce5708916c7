import itertools

import jax
import numpy as np
import pytest

from vae_jax import config as factory
from vae_jax import data
from vae_jax.data.dataset import Dataset
from vae_jax.data.factors import Factors
from vae_jax.data.simulators import Simulator, SpritesSimulator, StoredSimulator
from vae_jax.data.sprites.dataset import render_rows
from vae_jax.data.sprites.variants import VARIANTS
from vae_jax.errors import UserError

KEY = jax.random.key(0)
SPLITS = ("train", "test")
SIZES = (3, 4, 2)


def grid(sizes=SIZES, kept=lambda row: True):
    """Every combination, in an order of its own, as images whose pixels are their factors."""
    rows = [row for row in itertools.product(*map(range, sizes)) if kept(row)]
    values = np.random.default_rng(0).permutation(np.array(rows, np.int32))
    names = tuple(f"factor_{i}" for i in range(len(sizes)))
    images = values.astype(np.uint8)[:, None, :, None]
    return Dataset(images, None, Factors(names, sizes, values))


SIMULATORS = {
    "rendered": SpritesSimulator(VARIANTS["sprites_color"], 16),
    "stored": StoredSimulator(grid()),
}


def check_images(simulator, sample):
    if isinstance(simulator, SpritesSimulator):
        rows = sample.factors.astype(np.uint8)
        expected = render_rows(VARIANTS["sprites_color"], rows, 16)
    else:
        expected = sample.factors.astype(np.uint8)[:, None, :, None]
    np.testing.assert_array_equal(sample.images, expected)


def assert_uniform(values, num_values):
    counts = np.bincount(values, minlength=num_values)
    assert len(counts) == num_values
    expected = len(values) / num_values
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("kind", SIMULATORS)
def test_samples_have_the_images_of_their_factors_which_are_uniform(kind):
    simulator = SIMULATORS[kind]
    assert isinstance(simulator, Simulator)
    assert len(simulator.names) == len(simulator.sizes)
    sample = simulator.sample(KEY, 3000)
    assert (sample.factors.dtype, sample.images.dtype) == (np.int32, np.uint8)
    check_images(simulator, sample)
    for column, size in zip(sample.factors.T, simulator.sizes, strict=True):
        assert_uniform(column, size)
    # Two of them together, too.
    pairs = np.ravel_multi_index(tuple(sample.factors[:, :2].T), simulator.sizes[:2])
    assert_uniform(pairs, simulator.sizes[0] * simulator.sizes[1])


@pytest.mark.parametrize("kind", SIMULATORS)
def test_a_group_shares_its_factor_and_the_others_vary(kind):
    simulator = SIMULATORS[kind]
    num_factors = len(simulator.sizes)
    shared = np.tile(np.arange(num_factors), 150)
    sample = simulator.sample_sharing(KEY, shared, 8)
    check_images(simulator, sample)
    groups = sample.factors.reshape(len(shared), 8, num_factors)
    varies = (groups != groups[:, :1]).any(axis=1)
    for factor, size in enumerate(simulator.sizes):
        own = shared == factor
        assert not varies[own, factor].any()
        assert_uniform(groups[own, 0, factor], size)
        # Eight equal draws of two values or more come once in 128 groups.
        assert varies[~own, factor].mean() > 0.97
        for other in set(range(num_factors)) - {factor}:
            assert_uniform(groups[own][..., other].ravel(), simulator.sizes[other])


@pytest.mark.parametrize("kind", SIMULATORS)
def test_a_sample_is_a_function_of_its_key(kind):
    simulator = SIMULATORS[kind]
    draws = (
        lambda key: simulator.sample(key, 40),
        lambda key: simulator.sample_sharing(key, np.array([0, 1, 2, 0]), 10),
    )
    for draw in draws:
        np.testing.assert_array_equal(draw(KEY).factors, draw(KEY).factors)
        assert not np.array_equal(draw(KEY).factors, draw(jax.random.key(1)).factors)


def test_a_shared_value_is_one_that_occurs_all_equally_often():
    # Factor 0 lacks the value 1, and its value 2 is rare.
    dataset = grid((3, 4, 5), lambda row: row[0] == 0 or row == (2, 3, 1))
    sample = StoredSimulator(dataset).sample_sharing(KEY, np.zeros(400, int), 3)
    values = sample.factors[::3, 0]
    assert set(values) == {0, 2}
    assert_uniform(values // 2, 2)
    rare = sample.factors[np.repeat(values, 3) == 2]
    assert (rare == (2, 3, 1)).all()


def config_of(**data):
    return factory.resolve({"data": {"binarization": "none", **data}})


def write_npz(folder, dataset, **more):
    path = folder / "own.npz"
    arrays = {"images": dataset.images, "factors": dataset.factors.values}
    whole = {f"{split}_{name}": array for split in SPLITS for name, array in arrays.items()}
    np.savez(path, **whole, **more)
    return str(path)


def stored_config(name, test_split="test"):
    return config_of(name=name, test_split=test_split)


def test_a_config_of_sprites_has_the_whole_grid_whatever_its_splits():
    config = config_of(name="sprites_smooth", image_size=16)
    simulator = factory.build_simulator(config)
    assert (simulator.names, simulator.sizes) == VARIANTS["sprites_smooth"][:2]
    assert simulator.sample(KEY, 3).images.shape == (3, 16, 16, 1)
    simulator = factory.build_simulator(config_of(name="sprites"))
    assert simulator.sample(KEY, 1).images.shape == (1, 64, 64, 1)


def test_a_config_of_stored_data_has_its_test_set(tmp_path):
    name = write_npz(tmp_path, grid(), factors_names=["kind", "size", "position"])
    simulator = factory.build_simulator(stored_config(name, "test[:20]"))
    assert (simulator.names, simulator.sizes) == (("kind", "size", "position"), SIZES)
    sample = simulator.sample(KEY, 500)
    check_images(simulator, sample)
    assert len(np.unique(sample.factors, axis=0)) == 20


def test_data_without_factors_are_refused_by_name():
    message = (
        r"^data\.name='mnist' has no factors of variation; sprites, .* have, and prepared avatars"
    )
    with pytest.raises(UserError, match=message) as error:
        factory.build_simulator(config_of())
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no factors"):
        StoredSimulator(data.load("mnist", "test[:5]", ""))


def test_a_factor_with_a_single_value_is_refused(tmp_path):
    name = write_npz(tmp_path, grid(SIZES, lambda row: row[1] == 2))
    message = (
        r"^data\.test_split='test' of .*own\.npz.*'factor_1' has the value 2 in all 6 examples"
    )
    with pytest.raises(UserError, match=message):
        factory.build_simulator(stored_config(name))
