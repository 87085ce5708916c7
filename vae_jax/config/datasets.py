"""The data sets that a config names, and how their images become what a model sees."""

import contextlib
import dataclasses
import functools
import itertools
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from vae_jax import data
from vae_jax.config.experiment import AnyExperiment
from vae_jax.config.forms import ImageShape
from vae_jax.config.keys import make_key
from vae_jax.data import Dataset, LazyDataset, columns, condition_arrays, splits
from vae_jax.data.columns import RowShape
from vae_jax.data.dataset import ImagesShape, evenly_spaced, num_bytes, read_all
from vae_jax.data.labelled import draw_labelled
from vae_jax.data.pixels import (
    CONDITION,
    IMAGE,
    LABEL,
    LABELLED_IMAGE,
    LABELLED_LABEL,
    Prepare,
    StoredPictures,
    binarize,
    black_ones,
    to_unit_interval,
)
from vae_jax.data.simulators import Simulator, SpritesSimulator, StoredSimulator
from vae_jax.data.sprites.dataset import SpritesDataset, resolve_image_size
from vae_jax.data.sprites.rendering import draw_within_cells, render_apart
from vae_jax.data.sprites.variants import VARIANTS
from vae_jax.data.streaming import num_read_threads, read_ahead
from vae_jax.data.tables import TableOptions, given_kinds
from vae_jax.errors import UserError
from vae_jax.models.conditions import Reads, condition_of, reads_of
from vae_jax.models.likelihoods import unaccepted
from vae_jax.models.missing_pixels import may_miss_pixels
from vae_jax.settings import name_of

TRAIN, VALIDATION, TEST = "data.train_split", "data.validation_split", "data.test_split"
# The index of a split's field is folded into the key of its static binarisation.
_STATIC_DRAWS = (TEST, TRAIN, VALIDATION)
# A value that standardised data do not reach.
_LARGE = 100.0

# The mean is taken over this many images: the standard error of a pixel is then below a level.
_MOST_IMAGES_AVERAGED = 100_000
# The size of the images that are read at once for the mean.
_BYTES_AVERAGED_AT_ONCE = 4 * 2**20

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class _Parts:
    train: LazyDataset
    validation: Dataset | None
    test: Dataset
    reads: Reads = "nothing"

    @property
    def validation_examples(self) -> Any:
        """The examples of validation, with what conditions are made from; None without any."""
        return None if self.validation is None else self._examples(self.validation)

    def _examples(self, dataset: Dataset) -> Any:
        """Return images, or arrays by name where conditions are made from another one."""
        if self.reads == "labels":
            return {IMAGE: dataset.images, LABEL: dataset.labels}
        if self.reads == "conditions":
            return {IMAGE: dataset.images, CONDITION: dataset.conditions}
        return dataset.images

    @property
    def num_examples(self) -> int:
        """The number of training examples."""
        return self.train.shape[0]

    @functools.cached_property
    def form(self) -> ImageShape:
        """The shape of an image, with its condition if it has one, or of a row with its columns."""
        form = form_of(self.train)
        if self.reads != "conditions":
            return form
        assert isinstance(self.train, Dataset), "they are in memory"
        assert self.train.conditions is not None, "they are checked when they are read"
        return condition_arrays.fit(form, self.train.conditions)

    @property
    def mean_image(self) -> Float[Array, "height width channels"]:
        """The mean training image, where the decoder starts; of rows zeros."""
        # A likelihood of rows knows where its decoder starts.
        return jnp.zeros(self.form) if is_table(self.train) else mean_image(self.train)


@dataclasses.dataclass(frozen=True)
class Splits(_Parts):
    """The three parts of a data set, in memory; of rendered training images only the factors.

    There is no validation set where the config names none.

    Attributes:
      labelled: indices of the training examples whose labels are seen; None if all are.
    """

    train: Dataset | SpritesDataset
    labelled: np.ndarray | None = None

    @property
    def train_examples(self) -> Any:
        """The examples for compiled steps: images, or the factors that they render them from.

        Where a model sees labels or numbers beside images, they are arrays by name; labels that are
        not seen are -1.
        """
        if not isinstance(self.train, Dataset):
            return self.train.factor_rows
        images, labels = self.train.images, self.train.labels
        if self.labelled is None:
            return self._examples(self.train)
        assert labels is not None, "they are checked when they are read"
        seen = labels[self.labelled]
        hidden = np.full_like(labels, -1)
        hidden[self.labelled] = seen
        return {
            IMAGE: images,
            LABEL: hidden,
            LABELLED_IMAGE: images[self.labelled],
            LABELLED_LABEL: seen,
        }


class StreamedSplits(_Parts):
    """The three parts of a data set, whose training set is read while it is trained on."""


def is_table(dataset: LazyDataset) -> bool:
    """Return whether a data set holds the rows of a table."""
    return getattr(dataset, "columns", None) is not None


def form_of(train: LazyDataset) -> ImageShape:
    """Return the shape of an image, or of a row with the columns' statistics.

    Raises:
      UserError: a column is the same in all training rows.
    """
    if not isinstance(train, Dataset) or train.columns is None:
        return train.shape[1:]
    return columns.fit(train.columns, train.images, TRAIN, train.csv_style)


def _check_images(config: AnyExperiment, field: str, images: np.ndarray) -> None:
    if may_miss_pixels(config.model):
        images = images[~np.isnan(images)]
        if images.size == 0:
            raise UserError(f"{field}: no pixel of {config.data.name!r} was seen; all are NaN")
    problem = unaccepted(config.model.likelihood.build().accepts, images)
    if problem is not None:
        raise UserError(
            f"{field}: pixels of {config.data.name!r} {problem}; change them, or use "
            "model.likelihood='normal' with data.binarization='none'"
        )
    prior: Any = getattr(config.model, "prior", None)
    needs_unit = getattr(prior, "needs_unit_interval", False)
    problem = unaccepted("unit interval", images) if needs_unit else None
    if problem is not None:
        raise UserError(
            f"{field}: pixels of {config.data.name!r} {problem}, where the learned images of "
            f"model.prior={name_of(prior)!r} lie; rescale them, or use another prior"
        )


def _check_labels(config: AnyExperiment, field: str, dataset: Dataset) -> None:
    """Refuse labels that are not those of the model's condition; warn of classes without any."""
    whose, num = f"{field} of {config.data.name!r}", config.model.condition.classes
    needs = f"model.condition={name_of(config.model.condition)!r}"
    if dataset.labels is None:
        raise UserError(f"{whose} has no labels, which {needs} needs; use data with labels")
    low, high = int(dataset.labels.min()), int(dataset.labels.max())
    if low < 0 or high >= num:
        raise UserError(
            f"{whose} has the label {low if low < 0 else high}, and model.condition.classes={num} "
            f"are 0 to {num - 1}; use model.condition.classes={high + 1}, with labels from 0"
        )
    missing = sorted(set(range(num)) - set(np.unique(dataset.labels).tolist()))
    if field == TRAIN and missing:
        logging.warning(
            "%s has no example of class %s: what the model draws of it means nothing; set "
            "model.condition.classes",
            whose,
            ", ".join(map(str, missing)),
        )


def _check_conditions(config: AnyExperiment, field: str, dataset: Dataset) -> None:
    """Refuse images without the numbers that are the model's condition."""
    if dataset.conditions is None:
        raise UserError(
            f"{field} of {config.data.name!r} has no conditions, which model.condition='array' "
            "needs; use an .npz file with train_conditions and test_conditions, numbers "
            "[examples, features]"
        )


class _Checked:
    """A data set whose images are checked as they are read."""

    def __init__(self, config: AnyExperiment, field: str, dataset: LazyDataset) -> None:
        self._config, self._field, self._dataset = config, field, dataset

    @property
    def shape(self) -> ImagesShape:
        return self._dataset.shape

    @property
    def dtype(self) -> np.dtype:
        return self._dataset.dtype

    def read(self, indices: Int[np.ndarray, " num"]) -> Dataset:
        part = self._dataset.read(indices)
        _check_images(self._config, self._field, part.images)
        return part


def check_image_shape(config: AnyExperiment, image_shape: ImageShape) -> None:
    """Refuse images that the network cannot take.

    Raises:
      UserError: they are neither grey nor in colour, too small, or of a shape that does not fit.
    """
    if image_shape[2] not in (1, 3):
        raise UserError(
            f"data.name={config.data.name!r} has images of {image_shape[2]} channels; use 1 (grey) "
            "or 3 (colour)"
        )
    problem = getattr(config.model, "unfit", lambda shape: None)(image_shape)
    if problem is not None:
        raise UserError(f"model.{problem}")
    smallest = getattr(config.model, "smallest_side", lambda: 1)()
    if min(image_shape[:2]) < smallest:
        raise UserError(
            f"images of {image_shape[0]}x{image_shape[1]} pixels are too small for model.encoder="
            f"{name_of(config.model.encoder)!r}, whose levels halve them; use images of at least "
            f"{smallest}x{smallest} or name fewer channels"
        )
    corruption: Any = getattr(config, "corruption", None)
    problem = getattr(corruption, "unfit", lambda shape: None)(image_shape)
    if problem is not None:
        raise UserError(f"corruption.{problem}, with corruption={name_of(corruption)!r}")


def _table(config: AnyExperiment) -> TableOptions | None:
    """Return how the config's file becomes a table; None for images."""
    options: TableOptions | None = getattr(config.data, "table", None)
    return options


def _refuse_prior_of_images(config: AnyExperiment) -> None:
    prior: Any = getattr(config.model, "prior", None)
    if getattr(prior, "needs_unit_interval", False):
        raise UserError(
            f"model.prior={name_of(prior)!r} learns images in the unit interval, and data.name="
            f"{config.data.name!r} is a table; use another prior"
        )


def _check_condition_columns(config: AnyExperiment, table: Any) -> None:
    """Refuse a condition on columns that the table does not have, or on all of them."""
    condition: Any = condition_of(config.model)
    if not getattr(condition, "takes_rows", False):
        return
    options = _table(config)
    kinds = {} if options is None else given_kinds(config.data.name, options)
    label = next((name for name, kind in kinds.items() if kind == "label"), None)
    problem = condition.unfit(table.columns, label)
    if problem is not None:
        raise UserError(f"model.condition.{problem}")


def split_sizes(config: AnyExperiment) -> dict[str, int]:
    """Return the number of examples in each split of an experiment's data, without reading images.

    Raises:
      UserError: the data are unknown or damaged.
    """
    return data.split_sizes(config.data.name, config.data.dir, _table(config))


def split_names(config: AnyExperiment) -> dict[str, str]:
    """Return the split expressions by field, checked.

    Raises:
      UserError: a split is unknown or empty, or two share examples.
    """
    section = config.data
    sizes = split_sizes(config)
    names = {TRAIN: section.train_split, TEST: section.test_split}
    if section.validation_split:
        names[VALIDATION] = section.validation_split
    for field, name in names.items():
        try:
            splits.parse(name, sizes)
        except UserError as error:
            raise UserError(f"{field}: {error}; {_fitting_slices(names, sizes)}") from None
    for field, other in itertools.combinations(names, 2):
        shared = splits.overlap(names[field], names[other], sizes)
        if shared:
            raise UserError(
                f"{field}={names[field]!r} shares {shared} examples with {other}={names[other]!r}; "
                "use splits that do not overlap"
            )
    return names


def _fitting_slices(fields: Iterable[str], sizes: Mapping[str, int]) -> str:
    """Return flags whose slices are there and do not overlap, for the fields that are read."""
    train = "train" if "train" in sizes else next(iter(sizes))
    tests = [name for name in sizes if name != train]
    ends = ("90%", "100%") if tests else ("80%", "90%")
    slices = {TRAIN: f"{train}[:{ends[0]}]", VALIDATION: f"{train}[{ends[0]}:{ends[1]}]"}
    slices[VALIDATION] = slices[VALIDATION].replace(":100%]", ":]")
    slices[TEST] = ("test" if "test" in tests else tests[0]) if tests else f"{train}[90%:]"
    flags = " ".join(f"--config.{name}='{slices[name]}'" for name in slices if name in fields)
    return f"slices that fit are {flags}"


def open_split(config: AnyExperiment, field: str, name: str) -> LazyDataset:
    """Return the examples of a split; images that the model cannot take are refused when read.

    Args:
      config: an experiment.
      field: the setting that names the split.
      name: the split.

    Raises:
      UserError: unknown, damaged or unfit data.
    """
    section = config.data
    dataset = data.open_lazily(
        section.name,
        name,
        section.dir,
        section.image_size,
        _table(config),
        may_miss_pixels=may_miss_pixels(config.model),
    )
    if is_table(dataset):
        _refuse_prior_of_images(config)
        _check_condition_columns(config, dataset)
        return dataset
    if dataset.dtype == np.uint8:
        return dataset
    if not isinstance(dataset, Dataset):
        return _Checked(config, field, dataset)
    _check_images(config, field, dataset.images)
    return dataset


def _load(config: AnyExperiment, field: str, dataset: LazyDataset) -> Dataset:
    loaded = read_all(dataset)
    if is_table(loaded):
        return loaded
    if reads_of(config.model) == "labels":
        _check_labels(config, field, loaded)
    if reads_of(config.model) == "conditions":
        _check_conditions(config, field, loaded)
    problem = black_ones(loaded.images)
    if problem is not None:
        raise UserError(f"{field}: images of {config.data.name!r} {problem}")
    largest = float(np.nanmax(np.abs(loaded.images))) if loaded.images.dtype != np.uint8 else 0.0
    if field == TRAIN and largest > _LARGE:
        logging.warning(
            "%s: values of %r reach %.3g; standardise them (subtract the mean of each column, "
            "divide by its deviation), or the loss begins at millions of nats",
            field,
            config.data.name,
            largest,
        )
    if config.data.binarization.name == "static":
        key = make_key(config.data.binarization.seed)
        key = jax.random.fold_in(key, _STATIC_DRAWS.index(field))
        # Zeros and ones kept as bytes: a quarter of the memory of floats.
        drawn = np.asarray(_binarize_all(key, jnp.asarray(loaded.images)))
        loaded = loaded._replace(images=(drawn * 255).astype(np.uint8))
    return loaded


# One pass over the images: each operation alone would keep a copy of all of them.
_binarize_all = jax.jit(binarize)


def _too_large(config: AnyExperiment, field: str, name: str, dataset: LazyDataset) -> str | None:
    """Return a line on images above the memory limit, and how many would fit; None if all do."""
    limit = getattr(config.data.mode, "memory_limit", None)
    if limit is None or num_bytes(dataset) <= limit * _GIB:
        return None
    most = int(limit * _GIB * dataset.shape[0] / num_bytes(dataset))
    return (
        f"{field}={name!r} takes {num_bytes(dataset) / _GIB:.3g} GiB decoded, more than "
        f"data.mode.memory_limit={limit:g}; use a slice of at most {most} images, or a higher limit"
    )


def _load_held_out(config: AnyExperiment, field: str, name: str) -> Dataset:
    dataset = open_split(config, field, name)
    problem = _too_large(config, field, name, dataset)
    if problem is not None:
        raise UserError(f"{problem}: only the training set can be streamed")
    loaded = _load(config, field, dataset)
    if not is_table(loaded):
        return loaded
    # Once a file is read, its training rows cost nothing.
    train = open_split(config, TRAIN, split_names(config)[TRAIN])
    shape, unknown = form_of(train), config.data.unknown_categories
    assert isinstance(shape, RowShape), "both are splits of one file"
    rows = columns.unseen_categories(shape, loaded.images, field, unknown)
    return loaded._replace(images=rows)


def refuse_stream(config: AnyExperiment) -> None:
    """Refuse `data.mode='stream'` where the training set is kept in memory.

    Raises:
      UserError: the config asks for it.
    """
    if config.data.mode.name == "stream":
        raise UserError(
            "data.mode='stream' is for experiments.train; here the training set is kept in memory: "
            "use data.mode='memory' or 'auto'"
        )


def refuse_large_batch(config: AnyExperiment, num_train: int) -> None:
    """Refuse a batch that is larger than the training set.

    Raises:
      UserError: it is.
    """
    if config.batch_size > num_train:
        raise UserError(
            f"batch_size={config.batch_size} is larger than the {num_train} images of "
            f"data.train_split={config.data.train_split!r}; use at most {num_train}"
        )


def open_splits(config: AnyExperiment) -> Splits | StreamedSplits:
    """Read the validation and test sets, and the training set unless it is to be streamed.

    A static binarisation is drawn here.

    Raises:
      UserError: unknown, damaged or unfit data; splits that overlap; a batch larger than the data;
        a validation or test set above the memory limit; no known factors where they are needed.
    """
    section = config.data
    names = split_names(config)
    train = open_split(config, TRAIN, names[TRAIN])
    check_image_shape(config, train.shape[1:])
    refuse_large_batch(config, train.shape[0])
    rendered = section.mode.name == "render"
    problem = None if rendered else _too_large(config, TRAIN, names[TRAIN], train)
    if problem is not None and section.binarization.name == "static":
        raise UserError(
            f"{problem}: streamed, as it would be, data.binarization='static' cannot be kept; use "
            "'dynamic'"
        )
    streamed = section.mode.name == "stream" or problem is not None
    reads = reads_of(config.model)
    if reads in ("labels", "conditions") and (rendered or streamed):
        raise UserError(
            f"{problem or f'data.mode={section.mode.name!r}'}: no {reads} come with such images, "
            f"which model.condition={name_of(config.model.condition)!r} needs; use "
            "data.mode='memory', with a smaller slice if need be"
        )
    loaded: Dataset | SpritesDataset | None = None
    if rendered:
        assert isinstance(train, SpritesDataset), "validate refuses other data"
        loaded = train
    elif not streamed:
        loaded = _load(config, TRAIN, train)
    test = _load_held_out(config, TEST, names[TEST])
    validation = None
    if VALIDATION in names:
        validation = _load_held_out(config, VALIDATION, names[VALIDATION])
    shapes = {TRAIN: train.shape[1:], TEST: test.shape[1:]}
    if validation is not None:
        shapes[VALIDATION] = validation.shape[1:]
    if len(set(shapes.values())) > 1:
        described = ", ".join(f"{field} {shape}" for field, shape in shapes.items())
        raise UserError(f"data.name={section.name!r} has images of several shapes: {described}")
    if config.evaluation.disentanglement:
        _simulator(config, test)
    if loaded is None:
        return StreamedSplits(train, validation, test)
    return Splits(loaded, validation, test, reads, _labelled(config, loaded))


def _labelled(config: AnyExperiment, train: Any) -> np.ndarray | None:
    """Return the indices of the examples whose labels are seen; None if all are."""
    if config.data.labelled == 0:
        return None
    return draw_labelled(train.labels, config.data.labelled, config.data.labelled_seed)


def load_labelled(config: AnyExperiment) -> Dataset:
    """Read the training examples whose labels a model sees.

    Raises:
      UserError: as `load_splits`.
    """
    name = split_names(config)[TRAIN]
    train = _load(config, TRAIN, open_split(config, TRAIN, name))
    chosen = _labelled(config, train)
    return train if chosen is None else train.read(chosen)


def load_splits(config: AnyExperiment) -> Splits:
    """Read the training, validation and test sets into memory, as `open_splits` does.

    Raises:
      UserError: as `open_splits`; the training set is to be streamed, or above the memory limit.
    """
    refuse_stream(config)
    opened = open_splits(config)
    if isinstance(opened, Splits):
        return opened
    problem = _too_large(config, TRAIN, config.data.train_split, opened.train)
    raise UserError(f"{problem}: only experiments.train can stream it")


def load_test(config: AnyExperiment) -> Dataset:
    """Read the test set alone, as `open_splits` does.

    Raises:
      UserError: as `open_splits`.
    """
    return _load_held_out(config, TEST, split_names(config)[TEST])


def load_validation(config: AnyExperiment) -> Dataset:
    """Read the validation set alone, as `open_splits` does.

    Raises:
      UserError: there is none; otherwise as `open_splits`.
    """
    names = split_names(config)
    if VALIDATION not in names:
        raise UserError("data.validation_split='' names no images to choose by; name a split")
    return _load_held_out(config, VALIDATION, names[VALIDATION])


def load_complete(config: AnyExperiment) -> Float[np.ndarray, "num 1 columns 1"]:
    """Read the training rows of a table without the holes that `data.missing_share` makes.

    Raises:
      UserError: as `open_splits`.
    """
    section = dataclasses.replace(config.data, missing_share=0.0)
    whole = dataclasses.replace(config, data=section)
    rows: np.ndarray = _load(whole, TRAIN, open_split(whole, TRAIN, section.train_split)).images
    return rows


def mean_image(train: LazyDataset) -> Float[Array, "height width channels"]:
    """Return the mean of the training images in the unit interval, where the decoder starts.

    It is that of at most 100,000 images, evenly spaced. The bits are the same whether the images
    are in memory or not.
    """
    num_examples = train.shape[0]
    indices = evenly_spaced(num_examples, _MOST_IMAGES_AVERAGED)
    at_once = max(1, _BYTES_AVERAGED_AT_ONCE * num_examples // num_bytes(train))
    chunks = [indices[first : first + at_once] for first in range(0, len(indices), at_once)]

    def total(index: int) -> np.ndarray:
        images = train.read(chunks[index]).images
        return images.sum(axis=0, dtype=np.uint64 if images.dtype == np.uint8 else np.float64)

    if isinstance(train, Dataset):
        if train.dtype != np.uint8 and np.isnan(train.images).any():
            return jnp.asarray(_mean_of_seen(train.images[indices]))
        mean = sum(map(total, range(len(chunks)))) / len(indices)
    else:
        num_threads = num_read_threads()
        totals = read_ahead(total, len(chunks), num_threads=num_threads, num_ahead=2 * num_threads)
        with contextlib.closing(totals):
            mean = sum(totals) / len(indices)
    scale = 255 if train.dtype == np.uint8 else 1
    return jnp.asarray(mean / scale, jnp.float32)


def _mean_of_seen(images: np.ndarray) -> Float[np.ndarray, "height width channels"]:
    """Return the mean over the images that show a pixel; of one that none shows, over all pixels.

    Args:
      images: with NaN where a pixel was not seen.
    """
    seen = ~np.isnan(images)
    number, total = seen.sum(axis=0), np.nansum(images, axis=0, dtype=np.float64)
    mean = np.where(number > 0, total / np.maximum(number, 1), total.sum() / number.sum())
    return mean.astype(np.float32)


def build_prepare(config: AnyExperiment) -> Prepare:
    """Return `prepare(key, examples)`, which maps stored examples to targets in the unit interval.

    With `data.mode='render'` examples with two axes are factors, whose images are drawn first.
    """
    section = config.data
    prepare_images: Prepare = (
        binarize
        if section.binarization.name == "dynamic"
        else lambda key, images: to_unit_interval(images)
    )
    if section.mode.name != "render":
        return prepare_images
    variant, image_size = VARIANTS[section.name], resolve_image_size(section.image_size)

    def prepare(key: Key[Array, ""], examples: StoredPictures) -> Float[Array, "..."]:
        if examples.ndim == 4:
            return prepare_images(key, examples)
        # On the grid the key is not split: the targets are those of images in memory.
        factors: Array = examples
        if section.mode.factors == "continuous":
            key, cell_key = jax.random.split(key)
            factors = draw_within_cells(cell_key, examples, variant)
        return prepare_images(key, render_apart(factors, variant, image_size))

    return prepare


def build_simulator(config: AnyExperiment) -> Simulator:
    """Return what draws examples by factors: from a renderer's whole grid, or from the test set.

    Raises:
      UserError: the data have no factors, or one with a single value; otherwise as `load_test`.
    """
    if config.data.name in VARIANTS:
        image_size = resolve_image_size(config.data.image_size)
        return SpritesSimulator(VARIANTS[config.data.name], image_size)
    return _simulator(config, load_test(config))


def _simulator(config: AnyExperiment, test: Dataset) -> Simulator:
    section = config.data
    if test.factors is None:
        raise UserError(
            f"data.name={section.name!r} has no factors of variation; {', '.join(VARIANTS)} have, "
            "and prepared avatars, dsprites and shapes3d, and .npz files with test_factors"
        )
    try:
        return StoredSimulator(test)
    except UserError as error:
        raise UserError(f"{TEST}={section.test_split!r} of {section.name!r}: {error}") from None
