import numpy as np
import pytest
from PIL import Image

from vae_jax import plots
from vae_jax.plots.modalities import (
    captioned_images,
    images_of_captions,
    joint_samples,
    missing_modalities,
)


def some_images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def captions_of(figure):
    return [text.get_text() for text in figure.texts]


def row_labels(figure):
    return [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def test_each_image_is_above_its_captions(tmp_path):
    images = some_images(7, 5, 4, 1)
    captions = [f"number {i}" for i in range(7)]
    long = ["a drawing of a slender four standing upright, small in size", "", *"abcde"]
    figure = captioned_images(images, {"data": captions, "model": long}, columns=3)
    assert len(figure.axes) == 7
    for axes, image in zip(figure.axes, images, strict=True):
        np.testing.assert_array_equal(shown(axes), np.broadcast_to(image, (5, 4, 3)))
    texts = captions_of(figure)
    wrapped = "a drawing of a\nslender four standing\nupright, small in\nsize"
    assert texts[:4] == ["number 0", wrapped, "number 1", "(nothing)"]
    assert texts[-2:] == ["data", "model"]
    # Nothing overlaps, and nothing is outside of the figure.
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [axes.get_window_extent() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
        assert not any(box.overlaps(other) for other in boxes[:i])
    plots.save(figure, tmp_path / "captions.png")
    with Image.open(tmp_path / "captions.png") as picture:
        assert picture.width <= 750


def test_a_single_source_of_captions_is_not_named():
    figure = captioned_images(some_images(2, 5, 4, 3), {"model": ["3", "4"]})
    assert captions_of(figure) == ["3", "4"]


def test_images_of_captions_are_beside_them():
    images = some_images(2, 3, 14, 14, 1)
    figure = images_of_captions(images, ["a thin four", "a nine"])
    assert row_labels(figure) == ["a thin four", "a nine"]
    mosaic = shown(figure.axes[0])
    assert mosaic.shape == (2 * 14 + 1, 3 * 14 + 2, 3)
    np.testing.assert_array_equal(mosaic[15:, :14, 0], images[1, 0, ..., 0])


def test_joint_samples_have_one_row_per_modality():
    samples = {"rendering_0": some_images(3, 14, 14, 3), "image": some_images(3, 14, 14, 1)}
    figure = joint_samples(samples)
    assert row_labels(figure) == ["rendering 0", "image"]
    mosaic = shown(figure.axes[0])
    np.testing.assert_array_equal(mosaic[:14, 15:29], samples["rendering_0"][1])


def test_a_missing_modality_is_below_the_original():
    originals = {"a": some_images(3, 14, 14, 1), "b": some_images(3, 14, 14, 1, seed=1)}
    recovered = {"b": some_images(3, 14, 14, 1, seed=2)}
    figure = missing_modalities(originals, recovered)
    assert row_labels(figure) == ["b", "from the others"]
    mosaic = shown(figure.axes[0])
    np.testing.assert_array_equal(mosaic[:14, :14, 0], originals["b"][0, ..., 0])
    np.testing.assert_array_equal(mosaic[15:, :14, 0], recovered["b"][0, ..., 0])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: captioned_images(some_images(2, 4, 4, 1), {"model": ["one"]}),
            "1 captions of 'model' for 2 images",
        ),
        (
            lambda: images_of_captions(some_images(2, 3, 4, 4, 1), ["one"]),
            "1 captions for 2 rows of images",
        ),
        (
            lambda: missing_modalities({}, {"b": some_images(3, 4, 4, 1)}),
            "'b' is recovered and has no original",
        ),
    ],
)
def test_images_and_captions_that_do_not_match_are_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
