import numpy as np
import pytest

from vae_jax.data.captions.morphology import measure

SIZE = 64


def stroke(width, *, slant=0.0, height=40.0, grey=1.0):
    """A straight stroke, four by four samples per pixel."""
    fine = (np.arange(4 * SIZE) + 0.5) / 4
    down, right = np.meshgrid(fine - SIZE / 2, fine - SIZE / 2, indexing="ij")
    inside = (abs(down) < height / 2) & (abs(right + down * np.tan(np.radians(slant))) < width / 2)
    return grey * inside.reshape(SIZE, 4, SIZE, 4).mean((1, 3))


def blurred(images, deviation):
    positions = np.arange(SIZE)
    kernel = np.exp(-(((positions[:, None] - positions) / deviation) ** 2) / 2)
    return kernel @ images @ kernel / (2 * np.pi * deviation**2)


@pytest.mark.parametrize("slant", [0.0, 30.0])
@pytest.mark.parametrize("width", [1.5, 2.0, 3.5, 6.0])
def test_the_thickness_of_a_long_stroke_is_its_width(width, slant):
    image = stroke(width / np.cos(np.radians(slant)), slant=slant, height=60.0)
    # Towards its two ends less ink is around.
    np.testing.assert_allclose(measure(image[None]).thickness, width, rtol=0.1)
    assert measure(image[None]).thickness < width


@pytest.mark.parametrize("width", [1.5, 3.0, 8.0])
def test_the_thickness_of_an_almost_endless_stroke_is_its_width_but_for_sampling(width):
    image = np.tile(stroke(width)[SIZE // 2], (1, 1000, 1))
    np.testing.assert_allclose(measure(image).thickness, width, rtol=0.05)


def test_noise_of_a_draw_and_blur_hardly_change_thickness():
    strokes = blurred(np.stack([stroke(width, slant=10.0) for width in (2.0, 3.0, 4.0)]), 0.5)
    sharp = measure(strokes).thickness
    drawn = np.random.RandomState(0).random_sample((200, *strokes.shape)) < strokes
    noisy = measure(drawn.reshape(-1, SIZE, SIZE).astype(float)).thickness.reshape(200, 3)
    np.testing.assert_allclose(noisy.mean(0), sharp, rtol=0.05)
    np.testing.assert_allclose(measure(blurred(strokes, 0.5)).thickness, sharp, rtol=0.05)


@pytest.mark.parametrize("slant", [-40.0, -10.0, 0.0, 25.0, 45.0])
def test_the_slant_of_a_sheared_stroke_is_its_angle(slant):
    np.testing.assert_allclose(measure(stroke(3.0, slant=slant)[None]).slant, slant, atol=0.3)


def test_the_size_is_the_root_mean_squared_distance_from_the_centre():
    np.testing.assert_allclose(
        measure(stroke(6.0, height=40.0)[None]).size, np.sqrt((36 + 1600) / 12), rtol=1e-3
    )


def test_position_changes_nothing_and_brightness_the_thickness_alone():
    image = stroke(4.0, slant=20.0)
    whole, moved, pale = (
        measure(images[None]) for images in (image, np.roll(image, (5, -9), (0, 1)), 0.4 * image)
    )
    for ours, expected in zip(moved, whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9)
    np.testing.assert_allclose(pale[1:], whole[1:], rtol=1e-9)
    assert pale.thickness < 0.5 * whole.thickness


def test_channels_are_averaged_and_an_empty_image_has_no_attributes():
    image = stroke(4.0)
    colour = np.stack([image, image, image], -1)[None]
    for ours, expected in zip(measure(colour), measure(image[None]), strict=True):
        np.testing.assert_allclose(ours, expected)
    assert all(np.isnan(value).all() for value in measure(np.zeros((2, 8, 8, 1))))
