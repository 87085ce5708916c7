import numpy as np
import pytest

from vae_jax.morphology import measure

SIZE = 64


def stroke(width, *, slant=0.0, height=40.0, grey=1.0):
    """A straight stroke, four by four samples a pixel."""
    fine = (np.arange(4 * SIZE) + 0.5) / 4
    down, right = np.meshgrid(fine - SIZE / 2, fine - SIZE / 2, indexing="ij")
    inside = (abs(down) < height / 2) & (abs(right + down * np.tan(np.radians(slant))) < width / 2)
    return grey * inside.reshape(SIZE, 4, SIZE, 4).mean((1, 3))


@pytest.mark.parametrize("width", [2.0, 3.5, 6.0])
def test_the_thickness_of_a_long_stroke_is_its_width(width):
    # Its two ends belong to the outline too.
    expected = width * 40 / (width + 40)
    measured = measure(stroke(width)[None])
    np.testing.assert_allclose(measured.thickness, expected, rtol=0.03)


@pytest.mark.parametrize("slant", [-40.0, -10.0, 0.0, 25.0, 45.0])
def test_the_slant_of_a_sheared_stroke_is_its_angle(slant):
    np.testing.assert_allclose(measure(stroke(3.0, slant=slant)[None]).slant, slant, atol=0.3)


def test_the_size_is_the_root_mean_squared_distance_from_the_centre():
    np.testing.assert_allclose(
        measure(stroke(6.0, height=40.0)[None]).size, np.sqrt((36 + 1600) / 12), rtol=1e-3
    )


def test_place_and_brightness_change_nothing():
    image = stroke(4.0, slant=20.0)
    moved = np.roll(image, (5, -9), (0, 1))
    for ours, expected in zip(
        measure(np.stack([moved, 0.4 * image])), measure(image[None]), strict=True
    ):
        np.testing.assert_allclose(ours, np.repeat(expected, 2), rtol=1e-9)


def test_channels_are_averaged_and_an_empty_image_has_no_attributes():
    image = stroke(4.0)
    colour = np.stack([image, image, image], -1)[None]
    for ours, expected in zip(measure(colour), measure(image[None]), strict=True):
        np.testing.assert_allclose(ours, expected)
    assert all(np.isnan(value).all() for value in measure(np.zeros((2, 8, 8, 1))))
