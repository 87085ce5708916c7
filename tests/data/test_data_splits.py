import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_jax.data.splits import overlap, parse
from vae_jax.errors import UserError

SIZES = {"train": 60_000, "test": 10_000}


@st.composite
def split_terms(draw):
    name = draw(st.sampled_from(["train", "test"]))
    if draw(st.booleans()):
        numbers = st.one_of(
            st.integers(-110, 110), st.decimals(-100, 100, places=1).map(lambda x: f"{x:f}")
        )
        boundary = st.one_of(st.just(""), numbers.map(lambda number: f"{number}%"))
    else:
        boundary = st.one_of(st.just(""), st.integers(-120, 120).map(str))
    start, stop = draw(boundary), draw(boundary)
    return f"{name}[{start}:{stop}]" if start or stop or draw(st.booleans()) else name


def tfds_parse(split, sizes):
    import tensorflow_datasets as tfds

    infos = {name: types.SimpleNamespace(num_examples=size) for name, size in sizes.items()}
    ranges = [
        (
            term.splitname,
            term.from_ or 0,
            sizes[term.splitname] if term.to is None else term.to,
        )
        for term in tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    ]
    if any(start >= stop for _, start, stop in ranges):
        raise ValueError("TFDS lets an empty range pass")
    return ranges


@given(
    split=st.lists(split_terms(), min_size=1, max_size=3).map(" + ".join),
    train_size=st.integers(1, 130),
    test_size=st.integers(1, 130),
)
def test_means_what_tfds_means(split, train_size, test_size):
    sizes = {"train": train_size, "test": test_size}
    try:
        expected = tfds_parse(split, sizes)
    except Exception:
        with pytest.raises(UserError):
            parse(split, sizes)
    else:
        assert parse(split, sizes) == expected


@given(
    split_a=st.lists(split_terms(), min_size=1, max_size=2).map("+".join),
    split_b=st.lists(split_terms(), min_size=1, max_size=2).map("+".join),
)
def test_overlap_counts_the_examples_in_both(split_a, split_b):
    sizes = {"train": 100, "test": 37}

    def examples(split):
        return {
            (name, index)
            for name, start, stop in parse(split, sizes)
            for index in range(start, stop)
        }

    try:
        expected = len(examples(split_a) & examples(split_b))
    except UserError:
        return
    assert overlap(split_a, split_b, sizes) == expected


def test_ranges_that_configs_use():
    assert parse("train", SIZES) == [("train", 0, 60_000)]
    assert parse("train[55000:]", SIZES) == [("train", 55_000, 60_000)]
    assert parse("train[:90%]+test", SIZES) == [("train", 0, 54_000), ("test", 0, 10_000)]
    assert parse("train[-10%:]", SIZES) == [("train", 54_000, 60_000)]
    assert parse("train[:10]+test[9_995:]", SIZES) == [("train", 0, 10), ("test", 9995, 10_000)]
    assert overlap("train[:55000]", "train[55000:]", SIZES) == 0
    assert overlap("train", "train[-10%:]", SIZES) == 6000


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("trian", r"'trian', which is not known; known: train \(60000\), test \(10000\)"),
        ("train[:60001]", "'60001', but 'train' has 60000 examples"),
        ("train[:101%]", "out of range"),
        ("train[10:10]", "empty"),
        ("train[20:10]", "empty"),
        ("train[:0]", "empty"),
        ("train[10%:20]", "one unit"),
        ("train[0.5:]", "not understood"),
        ("train[1.2.3%:]", "not understood"),
        ("train[:]", "not understood"),
        ("train[5]", "not understood"),
        ("train[", "not understood"),
        ("train+", "not understood"),
        ("", "not understood"),
    ],
)
def test_mistakes_are_refused_in_one_line(split, message):
    with pytest.raises(UserError, match=message) as error:
        parse(split, SIZES)
    assert "\n" not in str(error.value)
