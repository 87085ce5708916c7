import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from vae_jax.data.corruptions import (
    CORRUPTIONS,
    MAX_LEVEL,
    blur,
    box,
    downsampling,
    gaussian,
    masking,
    salt_and_pepper,
    unfit_level,
)

# These draw nothing.
FIXED = {"blur", "downsampling"}


def grey_images(*shape):
    return jax.random.uniform(jax.random.key(99), shape, minval=0.2, maxval=0.8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_level_zero_changes_nothing(name):
    images = grey_images(10, 5, 7, 3)
    corrupted = CORRUPTIONS[name](jax.random.key(0), images, jnp.float32(0))
    np.testing.assert_array_equal(corrupted, images)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_a_function_of_the_key_and_keeps_the_shape(name):
    images, level = grey_images(2, 3, 5, 7, 1), jnp.float32(2 if name in FIXED else 0.5)
    first = CORRUPTIONS[name](jax.random.key(0), images, level)
    assert first.shape == images.shape
    np.testing.assert_array_equal(CORRUPTIONS[name](jax.random.key(0), images, level), first)
    assert (first != images).any()
    other = CORRUPTIONS[name](jax.random.key(1), images, level)
    assert (other != first).any() == (name not in FIXED)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if MAX_LEVEL[name] == 1])
def test_the_highest_share_leaves_no_value(name):
    images = grey_images(10, 20, 20, 1)
    corrupted = CORRUPTIONS[name](jax.random.key(0), images, jnp.float32(1))
    assert (corrupted != images).all()


@pytest.mark.parametrize("level", [0.1, 0.75])
def test_gaussian_noise_has_the_standard_deviation_it_is_told(level):
    images = grey_images(50, 28, 28, 1)
    noise = np.asarray(gaussian(jax.random.key(0), images, jnp.float32(level)) - images) / level
    error = 1 / np.sqrt(noise.size)
    assert abs(noise.mean()) < 5 * error
    assert abs(np.square(noise).mean() - 1) < 5 * np.sqrt(2) * error
    assert abs((noise[:, :, 1:] * noise[:, :, :-1]).mean()) < 6 * error


@pytest.mark.parametrize("level", [0.1, 0.75])
def test_masking_blackens_a_share_of_the_pixels_in_all_channels(level):
    images = grey_images(50, 28, 28, 3)
    masked = np.asarray(masking(jax.random.key(0), images, jnp.float32(level)))
    black = (masked == 0).all(axis=-1)
    np.testing.assert_array_equal((masked == 0).any(axis=-1), black)
    np.testing.assert_array_equal(masked[~black], np.asarray(images)[~black])
    assert abs(black.mean() - level) < 5 * np.sqrt(level * (1 - level) / black.size)


@pytest.mark.parametrize("level", [0.1, 0.75])
def test_salt_and_pepper_sets_a_share_of_the_values_to_zero_and_one_equally(level):
    images = grey_images(50, 28, 28, 3)
    corrupted = np.asarray(salt_and_pepper(jax.random.key(0), images, jnp.float32(level)))
    changed = corrupted != images
    assert set(np.unique(corrupted[changed])) == {0, 1}
    error = 5 * np.sqrt(0.25 / corrupted.size)
    assert abs((corrupted == 0).mean() - level / 2) < error
    assert abs((corrupted == 1).mean() - level / 2) < error


@pytest.mark.parametrize(("level", "side"), [(0.1, (1, 2)), (0.25, (3, 5)), (0.75, (9, 15))])
def test_a_box_covers_its_share_and_may_lie_anywhere_inside(level, side):
    images = grey_images(2000, 12, 20, 3)
    boxed = np.asarray(box(jax.random.key(0), images, jnp.float32(level)))
    hit = (boxed == 0.5).all(axis=-1)
    np.testing.assert_array_equal(boxed[~hit], np.asarray(images)[~hit])
    places = set()
    for image in hit:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert (len(rows), len(columns)) == side
        assert image[np.ix_(rows, columns)].all()
        assert image.sum() == side[0] * side[1]
        places.add((rows[0], columns[0]))
    assert len(places) == (12 - side[0] + 1) * (20 - side[1] + 1)


@pytest.mark.parametrize("factor", [2, 4])
def test_downsampling_leaves_the_mean_of_each_square(factor):
    images = np.asarray(grey_images(5, 12, 20, 3))
    squares = images.reshape(5, 12 // factor, factor, 20 // factor, factor, 3)
    expected = squares.mean(axis=(2, 4)).repeat(factor, axis=1).repeat(factor, axis=2)
    small = downsampling(jax.random.key(0), jnp.asarray(images), jnp.float32(factor))
    np.testing.assert_allclose(small, expected, atol=1e-6)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=1e-6)
    again = downsampling(jax.random.key(0), small, jnp.float32(factor))
    np.testing.assert_allclose(again, small, atol=1e-6)


def test_downsampling_cuts_the_last_squares_off_where_the_factor_does_not_divide():
    images = jnp.arange(5.0).reshape(1, 1, 5, 1)
    small = downsampling(jax.random.key(0), images, jnp.float32(2))
    np.testing.assert_allclose(small[0, 0, :, 0], [0.5, 0.5, 2.5, 2.5, 4])


@pytest.mark.parametrize("level", [0.3, 1.0, 2.0])
def test_blur_is_the_normal_one_and_keeps_what_is_even(level):
    images = np.zeros((2, 40, 44, 3), np.float32)
    images[:, 15:25, 15:29] = grey_images(2, 10, 14, 3)
    blurred = blur(jax.random.key(0), jnp.asarray(images), jnp.float32(level))
    expected = ndimage.gaussian_filter(images, (0, level, level, 0), truncate=7)
    np.testing.assert_allclose(blurred, expected, atol=1e-6)
    np.testing.assert_allclose(blurred.mean(axis=(1, 2)), images.mean(axis=(1, 2)), rtol=1e-5)
    even = blur(jax.random.key(0), jnp.full((1, 9, 9, 1), 0.7), jnp.float32(level))
    np.testing.assert_allclose(even, 0.7, rtol=1e-6)


@pytest.mark.parametrize(
    ("corruption", "level", "told"),
    [
        ("downsampling", 2.0, None),
        ("downsampling", 3.0, "must divide the 12x20 pixels"),
        ("downsampling", 20.0, "must divide"),
        ("box", 0.05, None),
        ("box", 0.04, "less than half a pixel of images of 12x20"),
        ("blur", 0.04, None),
    ],
)
def test_levels_that_do_not_fit_the_images_are_told(corruption, level, told):
    problem = unfit_level(corruption, level, (12, 20, 1))
    assert problem is None if told is None else told in problem
