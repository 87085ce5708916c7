import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_jax import data
from vae_jax.data.captions import grammar as captions
from vae_jax.data.captions.attributes import CLOTHES, DIGITS, FACES, measure_values, values_of
from vae_jax.data.captions.grammar import Reading, read, read_all, write
from vae_jax.data.captions.grammars import GRAMMARS, find_grammar
from vae_jax.data.factors import Factors
from vae_jax.errors import UserError

MNIST, FASHION = GRAMMARS["mnist"], GRAMMARS["fashion_mnist"]
NOTHING = (None, None, None)

FACE = GRAMMARS["avatars"]


@st.composite
def everything(draw):
    """A grammar, a class, values of the attributes, and a seed."""
    grammar = draw(st.sampled_from(list(GRAMMARS.values())))
    label = draw(st.integers(0, len(grammar.nouns) - 1))
    values = [draw(st.integers(-1, len(of_value) - 1)) for of_value in grammar.wordings]
    return grammar, label, tuple(values), draw(st.integers(0, 2**32 - 1))


def write_one(grammar, label, values, seed=0, said=1.0):
    random = np.random.RandomState(seed)
    (caption,) = write(grammar, np.array([label]), np.array([values]), random, said)
    return caption


def sayable(grammar, values):
    """Return the values that a caption can mention, None for the others."""
    return tuple(
        value if value >= 0 and of_value[value].meaning else None
        for of_value, value in zip(grammar.wordings, values, strict=True)
    )


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_every_part_of_every_wording_says_one_thing(grammar):
    # `read` looks at words one by one: a caption says what its parts say together.
    nothing = (None,) * len(grammar.wordings)
    for opening in grammar.openings:
        assert read(grammar, opening.format(a="a")) == Reading(None, nothing)
    for label, noun in enumerate(grammar.nouns):
        assert read(grammar, " ".join(noun)) == Reading(label, nothing)
    for attribute, of_value in enumerate(grammar.wordings):
        for value, wording in enumerate(of_value):
            for way in wording.before + wording.after:
                expected = [None] * len(grammar.wordings)
                expected[attribute] = value
                assert read(grammar, way) == Reading(None, tuple(expected))


@given(everything())
def test_a_caption_that_says_all_is_read_as_it_was_meant(drawn):
    grammar, label, values, seed = drawn
    caption = write_one(grammar, label, values, seed)
    assert read(grammar, caption) == Reading(label, sayable(grammar, values))


@given(everything(), st.sampled_from([0.0, 0.5]))
def test_what_a_caption_leaves_out_is_not_read(drawn, said):
    grammar, label, values, seed = drawn
    reading = read(grammar, write_one(grammar, label, values, seed, said))
    assert reading.label == label
    for ours, meant in zip(reading.values, sayable(grammar, values), strict=True):
        assert ours is None or (ours == meant and said > 0)


@given(everything())
def test_every_caption_fits_into_the_vocabulary_and_the_row(drawn):
    grammar, label, values, seed = drawn
    caption = write_one(grammar, label, values, seed)
    vocabulary, length = captions.vocabulary(grammar), captions.row_length(grammar)
    encoded = vocabulary.encode([caption], length, "refuse")
    assert vocabulary.decode(encoded.ids) == [caption]


@given(st.sampled_from(list(GRAMMARS.values())), st.text())
def test_any_text_is_read(grammar, text):
    assert isinstance(read(grammar, text), Reading)


@pytest.mark.parametrize(
    ("grammar", "caption", "reading"),
    [
        (MNIST, "a thick three leaning to the right", Reading(3, (None, 2, 2))),
        (MNIST, "small upright seven, thin strokes", Reading(7, (0, 0, 1))),
        (MNIST, "A thin, UPRIGHT four!", Reading(4, (None, 0, 1))),
        (MNIST, "three four thick", Reading(None, (None, 2, None))),
        (MNIST, "thin thick right-leaning to the right five", Reading(5, (None, None, 2))),
        (MNIST, "", Reading(None, NOTHING)),
        (FACE, "a smiling person under a turban", Reading(0, (20, None, None, 7, None))),
        (
            FACE,
            "long-haired person in sunglasses, rose background",
            Reading(2, (9, *[None] * 3, 3)),
        ),
        (FASHION, "a pale t-shirt", Reading(0, (2, None, None))),
        (FASHION, "shirt, wide in shape", Reading(6, (None, 2, None))),
        (FASHION, "a tall dark ankle boot", Reading(9, (0, None, 2))),
    ],
)
def test_readings(grammar, caption, reading):
    assert read(grammar, caption) == reading
    label, values = read_all(grammar, [caption, "mumble"])
    assert label.tolist() == [-1 if reading.label is None else reading.label, -1]
    read_values = [-1 if v is None else v for v in reading.values]
    assert values.tolist() == [read_values, [-1] * len(read_values)]


def test_no_captions_are_read_as_no_rows():
    assert read_all(MNIST, []).values.shape == (0, 3)


def test_articles_fit_the_word_that_follows():
    written = {
        write_one(grammar, label, (value,) * len(grammar.wordings), seed)
        for grammar in GRAMMARS.values()
        for label in range(len(grammar.nouns))
        for value in range(3)
        for seed in range(20)
    }
    text = "\n".join(written)
    for right in (
        "an eight",
        "an upright",
        "an ankle boot",
        "a one",
        "a pair of",
        "a left-",
        "an auburn",
    ):
        assert right in text
    for wrong in ("a eight", "a upright", "a ankle", "an one", "a trousers", "an pair", "  ", " ,"):
        assert wrong not in text


def test_every_wording_is_drawn_and_the_draw_never_changes():
    labels, values = np.full(4000, 3), np.full((4000, 3), 2)
    written = write(MNIST, labels, values, np.random.RandomState(0), 1.0)
    ways = [of_value[2].before + of_value[2].after for of_value in MNIST.wordings]
    assert len(set(written)) == len(MNIST.openings) * np.prod([len(way) for way in ways])
    assert written[:2] == write(MNIST, labels, values, np.random.RandomState(0), 1.0)[:2]
    drawn = write(MNIST, np.arange(5), values[:5], np.random.RandomState(1))
    # The captions that a model was trained on.
    assert drawn == [
        "a drawing of a large zero slanted to the right, thick strokes",
        "large one, thick strokes, leaning to the right",
        "a large bold two leaning to the right",
        "large three leaning to the right, thick strokes",
        "a drawing of a big right-leaning four",
    ]


def test_an_attribute_is_said_as_often_as_asked_for():
    values = np.full((4000, 3), 2)
    written = write(MNIST, np.zeros(4000, int), values, np.random.RandomState(0))
    share = (read_all(MNIST, written).values == 2).mean(0)
    np.testing.assert_allclose(share, captions.SAID, atol=0.03)


def test_low_and_high_are_three_tenths_of_mnist_each_and_most_digits_are_upright():
    mnist = data.load("mnist", "train", "")
    values = measure_values(DIGITS, mnist.images, mnist.labels)
    shares = np.stack([np.bincount(column, minlength=3) / 60_000 for column in values.T])
    np.testing.assert_allclose(shares[:2], [[0.3, 0.4, 0.3]] * 2, atol=0.01)
    np.testing.assert_allclose(shares[2], [0.14, 0.46, 0.4], atol=0.01)
    for label in range(10):
        sizes = np.bincount(values[mnist.labels == label, 0], minlength=3)
        np.testing.assert_allclose(sizes / sizes.sum(), [0.3, 0.4, 0.3], atol=0.01)


def test_captions_of_mnist_say_what_was_measured():
    mnist = data.load("mnist", "test[:1000]", "")
    values = measure_values(DIGITS, mnist.images, mnist.labels)
    written = write(MNIST, mnist.labels, values, np.random.RandomState(0), 1.0)
    reading = read_all(MNIST, written)
    np.testing.assert_array_equal(reading.labels, mnist.labels)
    silent = (values == 1) & [True, True, False]
    np.testing.assert_array_equal(reading.values, np.where(silent, -1, values))


def bar(width, slant, half_height=9.5):
    rows, columns = np.mgrid[:28, :28] - 13.5
    across = np.abs(columns + rows * np.tan(np.radians(slant)))
    inside = np.clip(width / 2 + 0.5 - across, 0, 1) * (np.abs(rows) < half_height)
    return inside[..., None]


@pytest.mark.parametrize(
    ("width", "slant", "expected"),
    [(1.5, -20, (0, 0)), (2.9, 0, (1, 1)), (4.0, 20, (2, 2)), (4.0, 5, (2, 1))],
)
def test_a_drawn_stroke_has_the_attributes_it_was_drawn_with(width, slant, expected):
    image = bar(width, slant)
    values = measure_values(DIGITS, image[None], np.array([1]))
    assert tuple(values[0, 1:]) == expected
    stored = np.rint(255 * image[None]).astype(np.uint8)
    np.testing.assert_array_equal(measure_values(DIGITS, stored, np.array([1])), values)


def test_sizes_are_judged_by_class():
    image = bar(2.5, 0)[None]
    one, zero = (measure_values(DIGITS, image, np.array([label]))[0, 0] for label in (1, 0))
    assert (one, zero) == (0, 0)
    tall = bar(2.5, 0, half_height=10.5)[None]
    one, zero = (measure_values(DIGITS, tall, np.array([label]))[0, 0] for label in (1, 0))
    assert (one, zero) == (1, 0)


def test_an_empty_image_has_no_attributes_and_its_caption_none_either():
    empty = np.zeros((2, 28, 28, 1), np.uint8)
    for subject, grammar in ((DIGITS, MNIST), (CLOTHES, FASHION)):
        values = measure_values(subject, empty, np.array([8, 8]))
        np.testing.assert_array_equal(values, np.full((2, 3), -1))
        assert read(grammar, write_one(grammar, 8, values[0])).values == NOTHING


@pytest.mark.parametrize(
    ("height", "width", "grey", "expected"),
    [
        (14, 28, 0.3, (0, 2, 0)),
        (26, 16, 0.9, (2, 0, 2)),
        (19, 23.5, 0.7, (1, 1, 1)),
    ],
)
def test_a_bag_is_dark_or_light_narrow_or_wide_low_or_tall(height, width, grey, expected):
    # The deviation of a uniform distribution is its width over the root of 12.
    rows, columns = np.abs(np.mgrid[:28, :28] - 13.5)
    image = grey * ((rows < height / 2) & (columns < width / 2))[None, ..., None]
    assert tuple(measure_values(CLOTHES, image, np.array([8]))[0]) == expected


def test_shoes_are_never_narrow_or_wide_and_garments_never_low_or_tall():
    images = np.random.RandomState(0).random_sample((50, 28, 28, 1)) ** 3
    images[:25, 6:] = 0
    images[25:, :, 4:] = 0
    for label, attribute in ((0, 2), (1, 2), (4, 2), (5, 1), (7, 1), (9, 1)):
        values = measure_values(CLOTHES, images, np.full(50, label))
        assert set(values[:, attribute]) == {1}


def test_faces_have_the_values_of_their_factors_and_hidden_hair_has_no_colour():
    names = ("top", "hair_color", "facial_hair", "mouth", "background", "eyes")
    rows = np.array([[1, 2, 3, 4, 5, 6], [19, 2, 3, 4, 5, 6], [0, 2, 3, 4, 5, 6]], np.int32)
    faces = data.Dataset(
        np.zeros((3, 8, 8, 3), np.uint8), np.zeros(3, np.int32), Factors(names, (24,) * 6, rows)
    )
    values = values_of(FACES, faces)
    np.testing.assert_array_equal(values[0], rows[0, :5])
    # Under a hat, and bald.
    assert values[1:].tolist() == [[19, -1, 3, 4, 5], [0, -1, 3, 4, 5]]


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_shown_captions_name_a_class_in_words_that_models_know(grammar):
    captions.vocabulary(grammar).encode(grammar.shown, captions.row_length(grammar), "refuse")
    assert (read_all(grammar, grammar.shown).labels >= 0).all()


def test_versions_of_a_data_set_have_its_captions_and_others_none():
    assert find_grammar("mnist:3.0.1") is find_grammar("mnist") is MNIST
    with pytest.raises(UserError, match=r"data\.name='kmnist' has no captions; use mnist, fash"):
        find_grammar("kmnist")
    with pytest.raises(UserError, match="has no captions"):
        find_grammar("own.npz")


@pytest.mark.parametrize("text", ["a\nb b\nc", "a\nb b\nc\n", "\ufeffa\r\nb b\r\nc\r\n"])
def test_own_captions_are_read_one_per_line(tmp_path, text):
    (tmp_path / "train.txt").write_bytes(text.encode())
    (tmp_path / "test.txt").write_text("x\ny")
    path, sizes = str(tmp_path / "{split}.txt"), {"train": 3, "test": 2}
    assert captions.read_file(path, "train", sizes) == ["a", "b b", "c"]
    assert captions.read_file(path, "test[1:]+train[:2]", sizes) == ["y", "a", "b b"]


def test_unequal_pairs_and_unreadable_files_are_refused_in_one_line(tmp_path):
    def refused(message, split="train"):
        with pytest.raises(UserError, match=message) as error:
            captions.read_file(str(tmp_path / "{split}.txt"), split, {"train": 3, "test": 2})
        assert "\n" not in str(error.value)

    refused(r"train\.txt cannot be read as UTF-8 text: .*No such file")
    (tmp_path / "train.txt").write_text("a\nb\n")
    refused(r"train\.txt has 2 captions for the 3 images of the split 'train'; give one line for")
    (tmp_path / "train.txt").write_text("")
    refused("has 0 captions for the 3 images")
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\n")
    refused("cannot be read as UTF-8 text: 'utf-8' codec")
    refused("nowhere", split="nowhere")
