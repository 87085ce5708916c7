import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from vae_jax.data.corruptions import (
    CORRUPTIONS,
    at_any_level,
    blur,
    box,
    downsampling,
    gaussian,
    levels_around,
    masking,
    salt_and_pepper,
)

LEVELLED = [name for name in CORRUPTIONS if name != "none"]

# These draw nothing.
FIXED = {"blur", "downsampling"}


# A batch of any shape.
SHAPE = (2, 5, 7, 9, 3)


def grey_images(*shape):
    return np.random.default_rng(99).uniform(0.2, 0.8, shape).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def compiled(corrupt, key, images, level):
    return corrupt(key, images, level)


def drawn(corrupt, images, level, seed=0):
    return np.asarray(compiled(corrupt, jax.random.key(seed), images, np.float32(level)))


def corrupted_at(name, level, images, seed=0):
    return drawn(at_any_level(CORRUPTIONS[name]()), images, level, seed)


def as_set(corruption, images):
    """The images by a corruption at the level of its settings."""
    return np.asarray(jax.jit(corruption.corrupt)(jax.random.key(0), images))


@pytest.mark.parametrize("name", LEVELLED)
def test_level_zero_changes_nothing(name):
    images = grey_images(*SHAPE)
    np.testing.assert_array_equal(corrupted_at(name, 0, images), images)


def test_without_a_corruption_the_images_are_seen_themselves():
    images = jnp.asarray(grey_images(2, 5, 7, 3))
    assert CORRUPTIONS["none"]().corrupt(jax.random.key(0), images) is images
    assert not hasattr(CORRUPTIONS["none"](), "level")


@pytest.mark.parametrize("name", LEVELLED)
def test_corruption_is_a_function_of_the_key_and_keeps_the_shape(name):
    images, level = grey_images(*SHAPE), 2 if name in FIXED else 0.5
    first = corrupted_at(name, level, images)
    assert first.shape == images.shape
    np.testing.assert_array_equal(corrupted_at(name, level, images), first)
    assert (first != images).any()
    other = corrupted_at(name, level, images, seed=1)
    assert (other != first).any() == (name not in FIXED)
    # The level of the settings is that of the corruption.
    own = as_set(CORRUPTIONS[name](level=level), images)
    np.testing.assert_array_equal(own, first)


@pytest.mark.parametrize("name", [n for n in LEVELLED if CORRUPTIONS[n].max_level == 1])
def test_the_highest_share_leaves_no_value(name):
    images = grey_images(*SHAPE)
    assert (corrupted_at(name, 1, images) != images).all()


@pytest.mark.parametrize("level", [0.1, 0.75])
def test_gaussian_noise_has_the_standard_deviation_of_its_level(level):
    images = grey_images(50, 28, 28, 1)
    noise = (drawn(gaussian, images, level) - images) / level
    error = 1 / np.sqrt(noise.size)
    assert abs(noise.mean()) < 5 * error
    assert abs(np.square(noise).mean() - 1) < 5 * np.sqrt(2) * error
    assert abs((noise[:, :, 1:] * noise[:, :, :-1]).mean()) < 6 * error


@pytest.mark.parametrize("level", [0.1, 0.75])
def test_masking_blackens_a_share_of_the_pixels_in_all_channels(level):
    images = grey_images(50, 28, 28, 3)
    masked = drawn(masking, images, level)
    black = (masked == 0).all(axis=-1)
    np.testing.assert_array_equal((masked == 0).any(axis=-1), black)
    np.testing.assert_array_equal(masked[~black], images[~black])
    assert abs(black.mean() - level) < 5 * np.sqrt(level * (1 - level) / black.size)


@pytest.mark.parametrize("level", [0.1, 0.75])
def test_salt_and_pepper_sets_a_share_of_the_values_to_zero_and_one_equally(level):
    images = grey_images(50, 28, 28, 3)
    corrupted = drawn(salt_and_pepper, images, level)
    changed = corrupted != images
    assert set(np.unique(corrupted[changed])) == {0, 1}
    error = 5 * np.sqrt(0.25 / corrupted.size)
    assert abs((corrupted == 0).mean() - level / 2) < error
    assert abs((corrupted == 1).mean() - level / 2) < error


@pytest.mark.parametrize(("level", "side"), [(0.1, (1, 2)), (0.25, (3, 5)), (0.75, (9, 15))])
def test_a_box_covers_its_share_and_may_lie_anywhere_inside(level, side):
    images = grey_images(2000, 12, 20, 3)
    boxed = drawn(box, images, level)
    hit = (boxed == 0.5).all(axis=-1)
    np.testing.assert_array_equal(boxed[~hit], images[~hit])
    positions = set()
    for image in hit:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert (len(rows), len(columns)) == side
        assert image[np.ix_(rows, columns)].all()
        assert image.sum() == side[0] * side[1]
        positions.add((rows[0], columns[0]))
    assert len(positions) == (12 - side[0] + 1) * (20 - side[1] + 1)


@pytest.mark.parametrize(
    ("centre", "rows", "columns"),
    [
        ((0.5, 0.5), (4, 8), (7, 13)),
        ((0.25, 0.75), (1, 5), (12, 18)),
        ((0.0, 1.0), (0, 4), (14, 20)),
    ],
)
def test_a_box_with_a_centre_lies_there_or_at_the_edge(centre, rows, columns):
    images = grey_images(3, 12, 20, 3)
    fixed = CORRUPTIONS["box"](level=0.3, centre=centre)
    boxed = as_set(fixed, images)
    expected = np.array(images)
    expected[:, slice(*rows), slice(*columns)] = 0.5
    np.testing.assert_array_equal(boxed, expected)


def test_a_centre_of_a_box_is_a_row_and_a_column():
    assert CORRUPTIONS["box"]().problem() is None
    problem = CORRUPTIONS["box"](centre=(0.5,)).problem()
    assert problem == "centre=(0.5,) must be a row and a column, such as (0.5, 0.5), or ()"


@pytest.mark.parametrize("factor", [2, 4])
def test_downsampling_leaves_the_mean_of_each_square(factor):
    images = grey_images(5, 12, 20, 3)
    squares = images.reshape(5, 12 // factor, factor, 20 // factor, factor, 3)
    expected = squares.mean(axis=(2, 4)).repeat(factor, axis=1).repeat(factor, axis=2)
    small = drawn(downsampling, images, factor)
    np.testing.assert_allclose(small, expected, atol=1e-6)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=1e-6)
    again = drawn(downsampling, small, factor)
    np.testing.assert_allclose(again, small, atol=1e-6)


def test_downsampling_cuts_the_last_squares_off_where_the_factor_does_not_divide():
    images = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)
    small = drawn(downsampling, images, 2)
    np.testing.assert_allclose(small[0, 0, :, 0], [0.5, 0.5, 2.5, 2.5, 4])


@pytest.mark.parametrize("level", [0.3, 1.0, 2.0])
def test_blur_is_the_normal_one_and_keeps_what_is_even(level):
    images = np.zeros((2, 40, 44, 3), np.float32)
    images[:, 15:25, 15:29] = grey_images(2, 10, 14, 3)
    blurred = drawn(blur, images, level)
    expected = ndimage.gaussian_filter(images, (0, level, level, 0), truncate=7)
    np.testing.assert_allclose(blurred, expected, atol=1e-6)
    np.testing.assert_allclose(blurred.mean(axis=(1, 2)), images.mean(axis=(1, 2)), rtol=1e-5)
    even = drawn(blur, np.full((1, 9, 9, 1), 0.7, np.float32), level)
    np.testing.assert_allclose(even, 0.7, rtol=1e-6)


@pytest.mark.parametrize(
    ("corruption", "level", "message"),
    [
        ("downsampling", 2.0, None),
        ("downsampling", 3.0, "level=3.0 must divide the 12x20 pixels of the images"),
        ("downsampling", 20.0, "level=20.0 must divide"),
        ("box", 0.05, None),
        ("box", 0.04, "level=0.04 is less than half a pixel of images of 12x20"),
    ],
)
def test_levels_that_do_not_fit_the_images_are_reported(corruption, level, message):
    problem = CORRUPTIONS[corruption](level=level).unfit((12, 20, 1))
    assert problem is None if message is None else problem.startswith(message)


def test_other_corruptions_fit_all_images():
    assert {n for n in LEVELLED if hasattr(CORRUPTIONS[n], "unfit")} == {"box", "downsampling"}


@pytest.mark.parametrize("level", [0.1, 0.3, 0.5, 0.8, 1.0])
def test_levels_lie_around_the_one_trained_at_and_go_no_higher_than_the_highest(level):
    levels = levels_around(CORRUPTIONS["masking"](level=level), (28, 28, 1))
    assert levels[0] == 0
    assert level in levels
    assert min(2 * level, 1) - level / 4 < max(levels) <= 1
    np.testing.assert_allclose(np.diff(levels), level / 4, atol=1e-6)
    assert levels_around(CORRUPTIONS["gaussian"](level=level), (28, 28, 1))[-1] == 2 * level


def test_levels_of_downsampling_are_factors_that_divide_the_image():
    assert levels_around(CORRUPTIONS["downsampling"](level=4.0), (28, 28, 1)) == [1, 2, 4, 7]
    assert levels_around(CORRUPTIONS["downsampling"](level=2.0), (28, 42, 1)) == [1, 2]
    blur_levels = levels_around(CORRUPTIONS["blur"](level=2.0), (28, 28, 1), parts=2)
    assert blur_levels == [0, 1, 2, 3, 4]
