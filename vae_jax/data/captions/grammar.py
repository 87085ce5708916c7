"""English captions, written from classes and attributes by a grammar, and parsed by it.

A caption names the class and the values of some attributes (see `attributes`), in one of several
wordings: "a thick three leaning to the right", "small upright seven, thin strokes". Any attribute
may be left out, so that a model learns to do without: what a caption does not mention is unknown.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from vae_jax.data import splits
from vae_jax.data.captions.attributes import Subject
from vae_jax.data.captions.vocabulary import Vocabulary, split_words
from vae_jax.errors import UserError

# Probability that a caption mentions an attribute that has words: three in four captions mention a
# given one, two in five all three.
SAID = 0.75


class Wording(NamedTuple):
    """The wordings of a value of an attribute; each has exactly one of the words that mean it.

    Attributes:
        meaning: the words, none of which means anything else.
        before: ways to say it before the noun.
        after: ways to say it after the noun, each with its leading space or comma.
    """

    meaning: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class Grammar(NamedTuple):
    """The grammar of a subject's captions.

    Attributes:
        subject: the subject.
        openings: beginnings of a caption; "{a}" is the noun's article.
        nouns: article and noun of each class; no two nouns end with the same word. A noun may begin
            with another one, as "person in glasses" does.
        wordings: [attributes][values].
        shown: captions that images are drawn from, to show a model.
    """

    subject: Subject
    openings: tuple[str, ...]
    nouns: tuple[tuple[str, str], ...]
    wordings: tuple[tuple[Wording, ...], ...]
    shown: tuple[str, ...]


class Reading(NamedTuple):
    """The meaning of a caption; None where it says nothing or contradicts itself."""

    label: int | None
    values: tuple[int | None, ...]


def write(
    grammar: Grammar,
    labels: Int[np.ndarray, " num"],
    values: Int[np.ndarray, "num attributes"],
    random: np.random.RandomState,
    said: float = SAID,
) -> list[str]:
    """Write captions.

    Args:
        grammar: of the captions.
        labels: the classes.
        values: of the attributes, from 0; negative ones are unknown and not mentioned.
        random: draws the wordings; RandomState, since NumPy keeps its streams.
        said: probability that an attribute that has words is mentioned.
    """
    num, num_attributes = values.shape
    says = (random.random_sample(values.shape) < said) & (values >= 0)
    choices = random.randint(2**31 - 1, size=(num, num_attributes + 1))
    captions = []
    for label, row, says_row, (opening, *choice) in zip(
        labels.tolist(), values.tolist(), says.tolist(), choices.tolist(), strict=True
    ):
        before: list[str] = []
        after: list[str] = []
        for attribute, value in enumerate(row):
            wording = grammar.wordings[attribute][value]
            ways = len(wording.before) + len(wording.after)
            if not ways or not says_row[attribute]:
                continue
            way = choice[attribute] % ways
            if way < len(wording.before):
                before.append(wording.before[way])
            else:
                after.append(wording.after[way - len(wording.before)])
        article, noun = grammar.nouns[label]
        # Parts with a comma come last: "thin strokes standing upright" would be read as one.
        after.sort(key=lambda way: way.startswith(","))
        described = " ".join([*before, noun]) + "".join(after)
        if article == "a" and described[0] in "aeiou" and not described.startswith("one"):
            article = "an"
        start = grammar.openings[opening % len(grammar.openings)].format(a=article)
        captions.append(f"{start} {described}".strip())
    return captions


def read(grammar: Grammar, caption: str) -> Reading:
    """Parse a caption word by word. It inverts `write`, and takes any text."""
    words = set(split_words(caption))
    nouns = [noun for _, noun in grammar.nouns if noun.split()[-1] in words]
    labels = [
        label
        for label, (_, noun) in enumerate(grammar.nouns)
        if noun in nouns and not any(longer.startswith(f"{noun} ") for longer in nouns)
    ]
    values = [
        [value for value, wording in enumerate(of_value) if not words.isdisjoint(wording.meaning)]
        for of_value in grammar.wordings
    ]
    return Reading(_only(labels), tuple(map(_only, values)))


def _only(found: list[int]) -> int | None:
    return found[0] if len(found) == 1 else None


class Readings(NamedTuple):
    """The meanings of several captions; -1 where `Reading` has None."""

    labels: Int[np.ndarray, " num"]
    values: Int[np.ndarray, "num attributes"]


def read_all(grammar: Grammar, captions: Sequence[str]) -> Readings:
    """Parse several captions."""
    read_captions = [read(grammar, caption) for caption in captions]
    rows = [
        [-1 if said is None else said for said in (reading.label, *reading.values)]
        for reading in read_captions
    ]
    table = np.array(rows, np.int32).reshape(len(rows), 1 + len(grammar.wordings))
    return Readings(table[:, 0], table[:, 1:])


def vocabulary(grammar: Grammar) -> Vocabulary:
    """Return all words of a grammar, also those that a training set lacks."""
    wordings = [wording for of_value in grammar.wordings for wording in of_value]
    return Vocabulary.of(
        [
            "an",
            *(opening.format(a="a") for opening in grammar.openings),
            *(" ".join(noun) for noun in grammar.nouns),
            *(way for wording in wordings for way in wording.before + wording.after),
        ]
    )


def row_length(grammar: Grammar) -> int:
    """Return a row length that suffices for every caption of a grammar, END included."""
    longest = max(len(split_words(opening.format(a=""))) for opening in grammar.openings)
    longest += max(len(split_words(" ".join(noun))) for noun in grammar.nouns)
    for of_value in grammar.wordings:
        ways = [way for wording in of_value for way in wording.before + wording.after]
        longest += max(len(split_words(way)) for way in ways)
    return longest + 1


def read_file(path: str, split: str, sizes: dict[str, int]) -> list[str]:
    """Return a user's own captions, one per line, for a split of their images.

    Args:
        path: of UTF-8 text; "{split}" in it is replaced by `train`, `test` and so on.
        split: an expression, such as `train[:90%]`.
        sizes: the number of images in each split, as `data.split_sizes` gives them.

    Raises:
        UserError: a file is missing, not text, or does not have one line per image.
    """
    captions = []
    for name, start, stop in splits.parse(split, sizes):
        file = Path(os.path.expanduser(path.replace("{split}", name)))
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            raise UserError(f"{file} cannot be read as UTF-8 text: {error}") from None
        # Not `splitlines`: it also splits at characters that may occur within a caption.
        lines = text.removesuffix("\n").split("\n") if text else []
        if len(lines) != sizes[name]:
            raise UserError(
                f"{file} has {len(lines)} captions for the {sizes[name]} images of the split "
                f"{name!r}; give one line for each image"
            )
        captions += lines[start:stop]
    return captions
