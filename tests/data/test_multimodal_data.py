import numpy as np
import pytest

from vae_jax import data
from vae_jax.data import Dataset, renderings
from vae_jax.data.captions import grammar as captions
from vae_jax.data.captions.grammars import find_grammar
from vae_jax.data.captions.vocabulary import Vocabulary
from vae_jax.data.multimodal import MODALITIES, Texts, build, write_texts
from vae_jax.errors import UserError

MNIST = data.load("mnist", "test[:200]", "")
EMPTY, FULL = np.zeros((40, 28, 28, 1), np.uint8), np.full((40, 28, 28, 1), 255, np.uint8)
SAME_CLASS = np.zeros(40, np.int32)


def render(name, images, labels=SAME_CLASS, seed=0):
    index = renderings.NAMES.index(name)
    return renderings.render(images, labels, index, np.random.RandomState(seed)).astype(int)


def refused(message, *arguments, **keywords):
    with pytest.raises(UserError, match=message) as error:
        build(*arguments, part="train", seed=0, **keywords)
    assert "\n" not in str(error.value)


def ink(top, bottom, left, right):
    """One image in which a rectangle is white, many times."""
    images = EMPTY.copy()
    images[:, top:bottom, left:right] = 255
    return images


def test_modalities_come_in_the_order_asked_for_and_in_their_forms():
    texts = write_texts(MNIST, "mnist", part="train", seed=0)
    dataset = build(MNIST, MODALITIES[::-1], part="train", seed=0, texts=texts)
    assert tuple(dataset.modalities) == MODALITIES[::-1]
    assert dataset.num_examples == 200
    np.testing.assert_array_equal(dataset.modalities["image"], MNIST.images)
    np.testing.assert_array_equal(dataset.modalities["label"], MNIST.labels)
    np.testing.assert_array_equal(dataset.modalities["text"], texts.ids)
    for name in renderings.NAMES:
        array = dataset.modalities[name]
        assert (array.shape, array.dtype) == ((200, 28, 28, 3), np.uint8)


def test_captions_are_of_their_examples():
    texts = write_texts(MNIST, "mnist", part="test", seed=3)
    dataset = build(MNIST, ["image", "text"], part="test", seed=3, texts=texts)
    assert dataset.vocabulary is not None
    assert dataset.attributes is not None
    assert dataset.attributes.names == ("size", "thickness", "slant")
    grammar = find_grammar("mnist")
    reading = captions.read_all(grammar, dataset.vocabulary.decode(dataset.modalities["text"]))
    np.testing.assert_array_equal(reading.labels, MNIST.labels)
    said = reading.values >= 0
    np.testing.assert_array_equal(reading.values[said], dataset.attributes.values[said])


def test_reading_indices_takes_the_same_rows_of_everything():
    texts = write_texts(MNIST, "mnist", part="train", seed=0)
    dataset = build(MNIST, ["image", "label", "text"], part="train", seed=0, texts=texts)
    indices = np.array([7, 3, 7])
    part = dataset.read(indices)
    assert part.num_examples == 3
    for name, array in dataset.modalities.items():
        np.testing.assert_array_equal(part.modalities[name], array[indices])
    np.testing.assert_array_equal(part.labels, MNIST.labels[indices])
    np.testing.assert_array_equal(part.attributes.values, texts.attributes.values[indices])
    assert part.vocabulary is texts.vocabulary


def test_seed_and_part_fix_what_is_drawn():
    def drawn(part, seed):
        texts = write_texts(MNIST, "mnist", part=part, seed=seed)
        dataset = build(MNIST, ["rendering_2"], part=part, seed=seed)
        return texts.ids, dataset.modalities["rendering_2"]

    first = drawn("train", 0)
    for ours, expected in zip(drawn("train", 0), first, strict=True):
        np.testing.assert_array_equal(ours, expected)
    for other in (drawn("test", 0), drawn("validation", 0), drawn("train", 1)):
        for ours, expected in zip(other, first, strict=True):
            assert (ours != expected).any()


def test_modalities_that_cannot_be_made_are_refused():
    refused(
        r"data\.modalities=\('image', 'sound'\): 'sound' is not known; name some of image, l",
        MNIST,
        ["image", "sound"],
    )
    refused("each must be there once", MNIST, ["label", "label"])
    refused("each must be there once", MNIST, [])
    unlabelled = Dataset(MNIST.images, None)
    refused("'label' needs labels, and the data have none", unlabelled, ["image", "label"])
    refused("'rendering_3' needs labels", unlabelled, ["rendering_3"])
    colour = Dataset(np.repeat(MNIST.images, 3, -1), MNIST.labels)
    refused(
        "'rendering_0' is drawn from square grey images .*these are uint8, .28, 28, 3.; leave",
        colour,
        ["rendering_0"],
    )
    floating = Dataset(MNIST.images / np.float32(255), MNIST.labels)
    refused(r"these are float32, \[28, 28, 1\]", floating, ["rendering_0"])
    oblong = Dataset(MNIST.images[:, 4:], MNIST.labels)
    refused(r"these are uint8, \[24, 28, 1\]", oblong, ["rendering_0"])
    with pytest.raises(UserError, match=r"data\.name='kmnist' has no captions"):
        write_texts(MNIST, "kmnist", part="train", seed=0)


def test_own_pairs_of_images_and_captions(tmp_path):
    np.savez(tmp_path / "own.npz", train_images=MNIST.images[:4], test_images=MNIST.images[4:6])
    lines = ["A red fox.", "a fox", "one dog, asleep", "a dog"]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    (tmp_path / "test.txt").write_text("a cat, asleep\nthe dog\n")
    name, path = str(tmp_path / "own.npz"), str(tmp_path / "{split}.txt")
    sizes = data.split_sizes(name, "")
    train_lines = captions.read_file(path, "train[:3]", sizes)
    vocabulary = Vocabulary.of(train_lines)
    encoded = vocabulary.encode(captions.read_file(path, "test", sizes), 6)
    assert encoded.unknown == {"cat": 1, "the": 1}
    texts = Texts(encoded.ids, vocabulary)
    images = data.load(name, "test", "")
    dataset = build(images, ["image", "text"], part="test", seed=0, texts=texts)
    assert vocabulary.decode(dataset.modalities["text"]) == [
        "a <unknown>, asleep",
        "<unknown> dog",
    ]
    assert dataset.labels is None
    assert dataset.attributes is None
    refused(
        "there are 2 captions for 4 images; give one for each image",
        data.load(name, "train", ""),
        ["image", "text"],
        texts=texts,
    )


def test_a_rendering_shows_every_image_of_a_class_once_with_another_example():
    images, labels = EMPTY.copy(), np.arange(40, dtype=np.int32) % 2
    # Image i has a white pixel in a column of its own, low down if its class is 1.
    indices = np.arange(40)
    images[indices, 20 * labels, indices // 2] = 255
    turned = render("rendering_3", images, labels)
    example, row, column = np.nonzero((turned == 0).all(-1))
    np.testing.assert_array_equal(example, indices)
    np.testing.assert_array_equal(column, 20 * labels)
    shown = 2 * (27 - row) + labels
    assert sorted(shown) == list(indices)
    assert np.mean(shown != indices) > 0.8


@pytest.mark.parametrize("name", renderings.NAMES)
def test_backgrounds_vary_and_leave_digits_legible(name):
    behind = render(name, EMPTY)
    assert len(np.unique(behind, axis=0)) == 40
    assert behind.std((1, 2)).mean() > 5
    drawn = render(name, ink(8, 20, 8, 20))
    changed = np.abs(drawn - behind).max(-1) > 64
    # The outline lies around the ink, the others are the ink.
    inner, outer = np.zeros((28, 28), bool), np.zeros((28, 28), bool)
    inner[8:20, 8:20] = outer[7:21, 7:21] = True
    expected = outer ^ inner if name == "rendering_1" else inner
    np.testing.assert_array_less(0.97, changed[:, expected].mean())
    np.testing.assert_array_equal(drawn[:, ~expected], behind[:, ~expected])


def test_each_rendering_draws_in_its_own_way():
    images = ink(2, 6, 3, 5)
    negative = render("rendering_0", FULL) + render("rendering_0", EMPTY)
    assert np.abs(negative - 255).max() <= 1
    assert (render("rendering_1", images)[:, 1:7, 2] == 255).all()
    coloured = render("rendering_2", images)[:, 2:6, 3:5].reshape(40, -1, 3)
    assert (coloured == coloured[:, :1]).all()
    assert (coloured.max((1, 2)) == 255).all()
    assert (coloured.min((1, 2)) == 0).all()
    assert len(np.unique(coloured[:, 0], axis=0)) > 30
    # By a quarter to the left, right becomes up; mirrored, it becomes left.
    assert (render("rendering_3", images)[:, 23:25, 2:6] == 0).all()
    assert (render("rendering_4", images)[:, 2:6, 23:25] == [255, 242, 204]).all()
