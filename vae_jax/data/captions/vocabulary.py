"""Texts as rows of word indices of one length, and back."""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from vae_jax.errors import UserError

# The indices that are not words. A row begins with its first word: a decoder that goes word by word
# puts BEGIN before it.
PAD, BEGIN, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<begin>", "<end>", "<unknown>")

# What may happen to a word that is not in the vocabulary.
UNKNOWN_WORDS = ("replace", "refuse")

# Join letters of some scripts without a sign of their own.
_JOINERS = "\u200c\u200d"
# Characters of a text that an error quotes.
_MOST_QUOTED = 60
_SPACE_BEFORE_SIGN = re.compile(r" (?=[,.;:!?])")


def split_words(text: str) -> list[str]:
    """Return the words and punctuation signs of a text, in lower case.

    An accent is the same as one character or two, and so are the two forms of an apostrophe.
    """
    text = unicodedata.normalize("NFC", text.lower())
    marks = {character for character in text if unicodedata.category(character).startswith("M")}
    words = _word("".join(sorted(marks))).findall(text)
    return [word.replace("\u2019", "'") if len(word) > 1 else word for word in words]


@functools.cache
def _word(marks: str) -> re.Pattern[str]:
    """Return the pattern of a word or sign of texts with these combining characters.

    Hyphens and apostrophes within a word belong to it, as in "t-shirt"; other signs are words.
    """
    letter = rf"[\w{marks}{_JOINERS}]"
    return re.compile(rf"\w{letter}*(?:[-'\u2019]{letter}+)*|[^\w\s]")


class Encoded(NamedTuple):
    """Texts as rows of word indices.

    Attributes:
        ids: [num_texts, length], int32; the words of each text, END, and PAD to the end.
        unknown: counts of the words that were replaced by UNKNOWN.
    """

    ids: Int[np.ndarray, "num_texts length"]
    unknown: Counter[str]


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows.

    Attributes:
        words: in the order of their indices, which begin after those of `SPECIAL`. They define the
            vocabulary.
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Vocabulary":
        """Return all words of some texts, in alphabetical order."""
        return cls(tuple(sorted({word for text in texts for word in split_words(text)})))

    @property
    def size(self) -> int:
        """The number of words, special ones included."""
        return len(SPECIAL) + len(self.words)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, len(SPECIAL))}

    def encode(self, texts: Sequence[str], length: int, unknown: str = "replace") -> Encoded:
        """Return texts as rows of word indices.

        Args:
            texts: in any case, with punctuation.
            length: of a row; a text has at most one word less, since the row also holds END.
            unknown: "replace" turns unknown words into UNKNOWN; "refuse" raises an error.

        Raises:
            UserError: a text is empty or too long, or has an unknown word that is refused.
        """
        ids = np.full((len(texts), length), PAD, np.int32)
        replaced: Counter[str] = Counter()
        for index, text in enumerate(texts):
            words = split_words(text)
            if not words:
                raise UserError(f"{_name(index, text)} is empty; give at least one word")
            if len(words) >= length:
                raise UserError(
                    f"{_name(index, text)} has {len(words)} words and signs; give at most "
                    f"{length - 1}"
                )
            strange = [word for word in words if word not in self._numbers]
            if strange and unknown == "refuse":
                raise UserError(
                    f"{_name(index, text)} has the unknown word {strange[0]!r}; use words of the "
                    "vocabulary, or data.unknown_words='replace'"
                )
            replaced.update(strange)
            numbers = [self._numbers.get(word, UNKNOWN) for word in words]
            ids[index, : len(words) + 1] = [*numbers, END]
        return Encoded(ids, replaced)

    def decode(self, ids: Int[np.ndarray, "num_texts length"]) -> list[str]:
        """Return the texts of rows of word indices, each up to its first END or PAD."""
        return [self._decode_row(row) for row in np.asarray(ids).tolist()]

    def _decode_row(self, row: list[int]) -> str:
        end = next((i for i, number in enumerate(row) if number in (END, PAD)), len(row))
        names = SPECIAL + self.words
        return _SPACE_BEFORE_SIGN.sub("", " ".join(names[number] for number in row[:end]))


def _name(index: int, text: str) -> str:
    quoted = text if len(text) <= _MOST_QUOTED else text[:_MOST_QUOTED] + "..."
    return f"caption {index} ({quoted!r})"
