"""Settings of the data: their source, and how the examples reach the model."""

import dataclasses
from typing import ClassVar, Protocol, runtime_checkable

from vae_jax.data.captions.vocabulary import UNKNOWN_WORDS
from vae_jax.data.columns import KINDS
from vae_jax.data.multimodal import MODALITIES
from vae_jax.data.tables import BUNDLED, TableOptions
from vae_jax.settings import (
    bounded,
    by_name,
    integer,
    names,
    numbers,
    one_of,
    part,
    register,
    seed,
    text,
)

BINARIZATIONS: dict[str, type] = {}
MODES: dict[str, type] = {}
CAPTIONS: dict[str, type] = {}


@runtime_checkable
class Choice(Protocol):
    """The settings of one of several choices."""

    name: ClassVar[str]


@dataclasses.dataclass(frozen=True)
class _Limited:
    memory_limit: float = bounded(
        4.0,
        "GiB; two thirds bound what a stream holds. The other splits must fit into it.",
        above=0.0,
    )


@register(BINARIZATIONS, "none")
@dataclasses.dataclass(frozen=True)
class NoBinarization:
    """Values as they are."""


@register(BINARIZATIONS, "dynamic")
@dataclasses.dataclass(frozen=True)
class DynamicBinarization:
    """A fresh draw in every minibatch."""


@register(BINARIZATIONS, "static")
@dataclasses.dataclass(frozen=True)
class StaticBinarization:
    """One draw, kept."""

    seed: int = seed(0, "Seed of the draw.")


@register(MODES, "auto")
@dataclasses.dataclass(frozen=True)
class Auto(_Limited):
    """Streamed where the decoded images take more than the limit, else in memory."""


@register(MODES, "memory")
@dataclasses.dataclass(frozen=True)
class InMemory:
    """Decoded once and kept."""


@register(MODES, "stream")
@dataclasses.dataclass(frozen=True)
class Streamed(_Limited):
    """Read and decoded while it is trained on."""


@register(MODES, "render")
@dataclasses.dataclass(frozen=True)
class Rendered:
    """Sprites: only factors are kept, and each step renders its images."""

    factors: str = one_of(
        "grid",
        ["continuous", "grid"],
        "The values that factors have, or those between them, too.",
    )
    memory_limit: float = bounded(4.0, "GiB that the other splits must fit into.", above=0.0)


@register(CAPTIONS, "written")
@dataclasses.dataclass(frozen=True)
class WrittenCaptions:
    """Written from what is measured of the images of MNIST and Fashion-MNIST."""


@register(CAPTIONS, "own")
@dataclasses.dataclass(frozen=True)
class OwnCaptions:
    """Your own, a line per image."""

    file: str = text(
        "captions_{split}.txt",
        "The file, with {split} in its name for the name of the split.",
        may_be_empty=False,
    )
    length: int = integer(
        0,
        "Most words and signs, and one; 0 is as many as training captions have.",
        at_least=2,
        zero=True,
    )


@dataclasses.dataclass(frozen=True)
class TableData:
    """The rows of a table, kept in memory."""

    dir: ClassVar[str] = ""
    image_size: ClassVar[int] = 0
    binarization: ClassVar[NoBinarization] = NoBinarization()
    mode: ClassVar[InMemory] = InMemory()
    labelled: ClassVar[int] = 0

    name: str = text(
        "table.csv",
        "A .csv or .parquet file, an .npz file with rows, or a table of scikit-learn's: "
        f"{', '.join(BUNDLED)}.",
        may_be_empty=False,
    )
    columns: tuple[tuple[str, str], ...] = by_name(
        "Kinds of columns by their name, as --config.data.columns.age=count; the others are "
        "inferred from their values. An exposure is what a row's counts are proportional to; label "
        "is the class of the row, which no model sees.",
        KINDS,
    )
    numbers: str = one_of(
        "inferred",
        ["inferred", "real"],
        "Kind of the columns of numbers that data.columns does not name.",
    )
    train_split: str = text("train", "Training set, in TFDS's syntax.", may_be_empty=False)
    validation_split: str = text(
        "validation", "Validation set; without one the last parameters are kept."
    )
    test_split: str = text("test", "Test set.", may_be_empty=False)
    split_seed: int = seed(
        0, "Seed of the draw of 80 % training, 10 % validation and 10 % test rows of one file."
    )
    missing_share: float = bounded(
        0.0,
        "Share of the cells that are made empty, completely at random, to measure imputation.",
        at_least=0.0,
        below=1.0,
    )
    missing_seed: int = seed(0, "Seed of the draw of those cells.")
    unknown_categories: str = one_of(
        "refuse",
        ["missing", "refuse"],
        "A category that no training row has is refused, or taken for a cell that was not seen.",
    )

    @property
    def table(self) -> TableOptions:
        """How the file becomes a table."""
        return TableOptions(
            self.columns, self.numbers, self.split_seed, self.missing_share, self.missing_seed
        )


@dataclasses.dataclass(frozen=True)
class _Data:
    """The settings that all data have."""

    name: str = text(
        "mnist",
        "mnist, which is bundled; sprites, sprites_smooth or sprites_color, which are rendered; a "
        "TFDS data set prepared under data.dir; a .npz file; a folder of images; or a source of "
        "your own as package.module:Name.",
        may_be_empty=False,
    )
    dir: str = text("data", "Folder of prepared data sets.")
    train_split: str = text("train", "Training set, in TFDS's syntax.", may_be_empty=False)
    validation_split: str = text("", "Validation set; without one the last parameters are kept.")
    test_split: str = text("test", "Test set.", may_be_empty=False)
    image_size: int = integer(
        0,
        "Height and width to which the central squares of image files are resized, and in which "
        "sprites are rendered; 0 leaves files as they are, and is 64 for sprites.",
        at_least=0,
    )


@dataclasses.dataclass(frozen=True)
class ImageData(_Data):
    """Images."""

    binarization: Choice = part(
        "dynamic", BINARIZATIONS, None, "How grey values become zeros and ones."
    )
    mode: Choice = part("auto", MODES, None, "Where the training set is while it is trained on.")
    labelled: int = integer(
        0,
        "Training examples whose label is seen, balanced over the classes, for objective='m2'; 0 "
        "hides none.",
        at_least=0,
    )
    labelled_seed: int = seed(0, "Seed of the choice of those examples.")


@dataclasses.dataclass(frozen=True)
class JointData(_Data):
    """Examples of several modalities, kept in memory."""

    modalities: tuple[str, ...] = names(
        ("image", "label"), f"What an example consists of: {', '.join(MODALITIES)}."
    )
    modality_shares: tuple[float, ...] = numbers(
        (),
        "Share of the training examples that have each modality, in the order of data.modalities; "
        "() is all of each. Validation and test examples have all.",
        each="above 0 and at most 1",
        check_each=lambda value: 0 < value <= 1,
    )
    modality_seed: int = seed(
        0, "Seed of what is drawn of captions and renderings, and of which examples have what."
    )
    captions: Choice = part("written", CAPTIONS, None, "Where the modality text comes from.")
    unknown_words: str = one_of(
        "refuse",
        UNKNOWN_WORDS,
        "A word that training captions do not have is refused, or replaced and reported.",
    )
    binarization: Choice = part(
        "dynamic",
        {name: BINARIZATIONS[name] for name in ("dynamic", "none")},
        None,
        "How grey values become zeros and ones.",
    )
    mode: Choice = part(
        "auto",
        {name: MODES[name] for name in ("auto", "memory")},
        None,
        "Where the training set is.",
    )
