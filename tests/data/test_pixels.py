import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.data.pixels import as_floats, binarize, to_unit_interval

compiled = jax.jit(binarize)


def draw(seed, images):
    return np.asarray(compiled(jax.random.key(seed), images))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_black_and_white_are_certain(dtype):
    white = 255 if dtype == np.uint8 else 1
    for value in (0, white):
        images = np.full((500, 28, 28, 1), value, dtype)
        drawn = draw(0, images)
        np.testing.assert_array_equal(drawn, np.full(images.shape, value / white, np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("value", [1, 128, 254])
def test_a_grey_value_is_drawn_as_often_as_it_says(dtype, value):
    stored = value if dtype == np.uint8 else value / 255
    images = np.full((500, 28, 28, 1), stored, dtype)
    drawn = draw(1, images)
    assert drawn.dtype == np.float32
    assert set(np.unique(drawn)) == {0, 1}
    probability = value / 255
    error = np.sqrt(probability * (1 - probability) / drawn.size)
    assert abs(drawn.mean(dtype=np.float64) - probability) < 5 * error + 2**-16


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_mean_of_many_draws_is_the_image(dtype):
    image = np.random.default_rng(0).integers(0, 256, (1, 5, 5, 3), np.uint8)
    stored = image if dtype == np.uint8 else image.astype(np.float32) / 255
    keys = jax.random.split(jax.random.key(2), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(binarize, (0, None)))(keys, stored))
    probability = image / 255
    error = np.sqrt(probability * (1 - probability) / len(keys))
    assert (np.abs(drawn.mean(axis=0) - probability) <= 5 * error + 2**-15).all()


@pytest.mark.parametrize("shape", [(3, 3, 1), (1, 1, 1), (5, 1, 3), (2, 2, 3)])
def test_values_are_drawn_independently_whatever_their_number(shape):
    images = np.full((20_000, *shape), 128, np.uint8)
    drawn = draw(3, images)
    assert drawn.shape == images.shape
    signs = (drawn.reshape(len(drawn), -1) - 128 / 255) * 2
    bound = 5 / np.sqrt(len(signs))
    within_image = signs.T @ signs / len(signs)
    assert (np.abs(within_image - np.eye(signs.shape[1])) < bound).all()
    across_images = signs[:-1].T @ signs[1:] / len(signs)
    assert (np.abs(across_images) < bound).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_draw_is_a_function_of_the_key(dtype):
    images = np.full((500, 28, 28, 1), 128 if dtype == np.uint8 else 0.5, dtype)
    first = draw(0, images)
    np.testing.assert_array_equal(draw(0, images), first)
    assert 0.4 < (first != draw(1, images)).mean() < 0.6


def test_stored_bytes_fill_the_unit_interval():
    images = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    unit = to_unit_interval(images)
    assert unit.dtype == jnp.float32
    np.testing.assert_array_equal(as_floats(np.asarray(images)), unit)
    np.testing.assert_array_equal(jax.jit(to_unit_interval)(images), unit)
    np.testing.assert_allclose(unit.reshape(-1), np.arange(256) / 255, rtol=1e-6)
    assert (float(unit.min()), float(unit.max())) == (0, 1)


def test_floats_are_taken_as_they_are():
    images = jnp.array([-2.0, 0.0, 0.25, 7.0]).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(to_unit_interval(images), images)
