import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_jax.data.captions.vocabulary import (
    BEGIN,
    END,
    PAD,
    SPECIAL,
    UNKNOWN,
    Vocabulary,
    split_words,
)
from vae_jax.errors import UserError

KNOWN = Vocabulary.of(["A thick three, leaning to the right.", "t-shirt"])


def ids(*words):
    return [KNOWN.words.index(word) + len(SPECIAL) for word in words]


def refused(message, *arguments):
    with pytest.raises(UserError, match=message) as error:
        KNOWN.encode(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A Thick\tthree,leaning", ["a", "thick", "three", ",", "leaning"]),
        ("a T-shirt: don't!", ["a", "t-shirt", ":", "don't", "!"]),
        ("right- or left-leaning", ["right", "-", "or", "left-leaning"]),
        ("ÜBER straße 3", ["über", "straße", "3"]),
        # An accent of its own, a typographic apostrophe and quotation marks.
        ("CAFE\u0301 cafe\u0301s", ["caf\u00e9", "caf\u00e9s"]),
        ("don\u2019t \u2018a\u2019", ["don't", "\u2018", "a", "\u2019"]),
        # Vowel signs and a virama; a joiner.
        ("\u0939\u093f\u0928\u094d\u0926\u0940 a", ["\u0939\u093f\u0928\u094d\u0926\u0940", "a"]),
        ("\u0645\u06cc\u200c\u062e", ["\u0645\u06cc\u200c\u062e"]),
        (" \n", []),
    ],
)
def test_texts_are_split_at_spaces_and_signs(text, words):
    assert split_words(text) == words


def test_a_row_is_words_then_end_then_padding():
    encoded = KNOWN.encode(["three", "A thick, THICK t-shirt"], 6)
    np.testing.assert_array_equal(
        encoded.ids,
        [[*ids("three"), END, *[PAD] * 4], [*ids("a", "thick", ",", "thick", "t-shirt"), END]],
    )
    assert encoded.ids.dtype == np.int32
    assert not encoded.unknown
    assert len({PAD, BEGIN, END, UNKNOWN, *ids(*KNOWN.words)}) == KNOWN.size


def test_unknown_words_are_replaced_and_reported_or_refused():
    texts = ["a purple three", "purple or green"]
    encoded = KNOWN.encode(texts, 5)
    assert encoded.unknown == Counter(purple=2, green=1, **{"or": 1})
    assert encoded.ids.tolist() == [
        [*ids("a"), UNKNOWN, *ids("three"), END, PAD],
        [UNKNOWN, UNKNOWN, UNKNOWN, END, PAD],
    ]
    assert KNOWN.decode(encoded.ids)[0] == "a <unknown> three"
    refused(
        r"caption 0 \('a purple three'\) has the unknown word 'purple'; use words of the "
        r"vocabulary, or data\.unknown_words='replace'",
        texts,
        5,
        "refuse",
    )


def test_empty_and_too_long_texts_are_refused():
    refused(r"caption 1 \(' '\) is empty; give at least one word", ["three", " "], 5)
    refused(
        r"caption 0 \('a thick, three'\) has 4 words and signs; give at most 3",
        ["a thick, three"],
        4,
    )
    refused(r"caption 0 \('three three .{1,60}\.\.\.'\) has 99 words", ["three " * 99], 9)


def test_decoding_ends_at_the_first_end_or_padding_and_shows_what_is_no_word():
    three, comma = ids("three", ",")
    rows = [
        [three, comma, three, END, three],
        [three, PAD, three, END, PAD],
        [END, three, three, three, three],
        [BEGIN, three, UNKNOWN, comma, three],
    ]
    assert KNOWN.decode(np.array(rows)) == [
        "three, three",
        "three",
        "",
        "<begin> three <unknown>, three",
    ]


def test_a_vocabulary_is_made_again_from_its_words_in_json():
    again = Vocabulary(tuple(json.loads(json.dumps(KNOWN.words))))
    assert again == KNOWN
    texts = ["a thick three", "purple"]
    np.testing.assert_array_equal(again.encode(texts, 5).ids, KNOWN.encode(texts, 5).ids)


@given(st.lists(st.text(max_size=12), max_size=4))
def test_decoded_texts_have_the_words_of_the_encoded_ones(texts):
    texts = [text for text in texts if split_words(text)]
    encoded = Vocabulary.of(texts).encode(texts, 13, "refuse")
    assert encoded.ids.shape == (len(texts), 13)
    decoded = Vocabulary.of(texts).decode(encoded.ids)
    assert list(map(split_words, decoded)) == list(map(split_words, texts))
