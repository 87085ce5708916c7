import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.corruptions import CORRUPTIONS, MAX_LEVEL, gaussian, masking, salt_and_pepper


def grey_images(*shape):
    return jax.random.uniform(jax.random.key(99), shape, minval=0.2, maxval=0.8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_level_zero_changes_nothing(name):
    images = grey_images(10, 5, 7, 3)
    corrupted = CORRUPTIONS[name](jax.random.key(0), images, jnp.float32(0))
    np.testing.assert_array_equal(corrupted, images)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_a_function_of_the_key_and_keeps_the_shape(name):
    images, level = grey_images(2, 3, 5, 7, 1), jnp.float32(0.5)
    first = CORRUPTIONS[name](jax.random.key(0), images, level)
    assert first.shape == images.shape
    np.testing.assert_array_equal(CORRUPTIONS[name](jax.random.key(0), images, level), first)
    assert (CORRUPTIONS[name](jax.random.key(1), images, level) != first).any()


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
