"""Images from a NumPy .npz file.

The file holds either `images` and perhaps `labels`, `factors` and `conditions`, which are then the
split `train`, or `<split>_images` and perhaps `<split>_labels` and so on for each split. Factors of
variation are integers from 0, [num_examples, num_factors]; `factors_names` may name them.
Conditions are numbers, [num_examples, features].
"""

import zipfile
from contextlib import AbstractContextManager

import numpy as np

from vae_jax.data.dataset import Dataset, Ranges, concatenate
from vae_jax.data.factors import Factors
from vae_jax.data.image_shapes import advice, is_channels_first
from vae_jax.errors import UserError, numpy_file_errors


def sizes(path: str) -> dict[str, int]:
    """Return the number of examples in each split, by reading only the headers of the arrays.

    Raises:
        UserError: the file is missing or damaged, or holds no images in an accepted form.
    """
    headers = _headers(path)
    return {
        split: _num_examples(path, key, *headers[key])
        for split, (key, *_) in _split_keys(path, headers).items()
    }


def read(path: str, ranges: Ranges, *, may_miss: bool = False) -> Dataset:
    """Read ranges of a file's images, [num_examples, height, width, channels], labels and factors.

    Images without a channel axis get one. uint8 stays as it is; False and True become 0 and 255,
    so that they too are black and white; floating numbers become float32.

    Args:
        path: the file.
        ranges: of the examples.
        may_miss: whether pixels may be NaN, which were not seen.

    Raises:
        UserError: as `sizes`; labels or factors that do not fit the images; numbers that are not
            finite.
    """
    headers = _headers(path)
    keys = _split_keys(path, headers)
    splits = {}
    for name, _, _ in ranges:
        if name not in splits:
            images_key, labels_key, factors_key, conditions_key = keys[name]
            num_examples = _num_examples(path, images_key, *headers[images_key])
            labels = None
            if labels_key in headers:
                _check_labels(path, labels_key, *headers[labels_key], num_examples)
                labels = _read_array(path, labels_key)
            factors = None
            if factors_key in headers:
                all_factors = [of_split[2] for of_split in keys.values() if of_split[2] in headers]
                factors = _read_factors(path, headers, factors_key, num_examples, all_factors)
            conditions = None
            if conditions_key in headers:
                others = [of_split[3] for of_split in keys.values() if of_split[3] in headers]
                conditions = _read_conditions(path, headers, conditions_key, num_examples, others)
            splits[name] = (_read_array(path, images_key), labels, factors, conditions)
    parts = []
    for name, start, stop in ranges:
        images, labels, factors, conditions = splits[name]
        parts.append(
            Dataset(
                _convert(path, keys[name][0], images[start:stop], start, may_miss=may_miss),
                None if labels is None else labels[start:stop].astype(np.int32),
                None if factors is None else factors.read(np.arange(start, stop)),
                conditions=None if conditions is None else conditions[start:stop],
            )
        )
    return concatenate(parts)


_Headers = dict[str, tuple[tuple[int, ...], np.dtype]]


def _split_keys(path: str, headers: _Headers) -> dict[str, tuple[str, str, str, str]]:
    """Return the keys of images, labels, factors and conditions; only the images must exist."""
    splits = {
        (split := key.removesuffix("_images")): (
            key,
            f"{split}_labels",
            f"{split}_factors",
            f"{split}_conditions",
        )
        for key in headers
        if key.endswith("_images") and key != "_images"
    }
    if "images" in headers and splits:
        raise UserError(f"{path} has both 'images' and {splits.popitem()[1][0]!r}; keep one kind")
    if "images" in headers:
        return {"train": ("images", "labels", "factors", "conditions")}
    if not splits:
        raise UserError(
            f"{path} holds {sorted(headers)}; it must hold 'images', or 'train_images' and so on"
        )
    return splits


def _num_examples(path: str, key: str, shape: tuple[int, ...], dtype: np.dtype) -> int:
    if len(shape) not in (3, 4) or 0 in shape or is_channels_first(shape):
        raise UserError(
            f"{path}: {key!r} has shape {list(shape)}; it must be [num_examples, height, width] "
            f"or [num_examples, height, width, channels], none of them 0{advice(shape)}"
        )
    if dtype != np.uint8 and dtype != np.bool_ and not np.issubdtype(dtype, np.floating):
        raise UserError(f"{path}: {key!r} has type {dtype}; it must be uint8, bool or floating")
    return shape[0]


def _check_labels(
    path: str, key: str, shape: tuple[int, ...], dtype: np.dtype, num_examples: int
) -> None:
    if shape != (num_examples,):
        raise UserError(
            f"{path}: {key!r} has shape {list(shape)}; with {num_examples} images "
            f"it must be [{num_examples}]"
        )
    if not np.issubdtype(dtype, np.integer):
        raise UserError(f"{path}: {key!r} has type {dtype}; labels must be integers")


def _read_factors(
    path: str, headers: _Headers, key: str, num_examples: int, all_factors: list[str]
) -> Factors:
    """Read a split's factors; their names and numbers of values are common to all splits."""
    arrays = {}
    for other in all_factors:
        shape, dtype = headers[other]
        if len(shape) != 2 or 0 in shape or not np.issubdtype(dtype, np.integer):
            raise UserError(
                f"{path}: {other!r} has shape {list(shape)} and type {dtype}; factors must be "
                "integers, [num_examples, num_factors]"
            )
        arrays[other] = _read_array(path, other)
        if arrays[other].min() < 0:
            raise UserError(f"{path}: {other!r} has negative values; factors are numbered from 0")
    num_factors = arrays[key].shape[1]
    if any(array.shape[1] != num_factors for array in arrays.values()):
        shapes = ", ".join(f"{other} {list(array.shape)}" for other, array in arrays.items())
        raise UserError(f"{path} has several numbers of factors: {shapes}; use one")
    if len(arrays[key]) != num_examples:
        raise UserError(
            f"{path}: {key!r} has shape {list(arrays[key].shape)}; with {num_examples} images "
            f"it must be [{num_examples}, num_factors]"
        )
    names = tuple(f"factor_{i}" for i in range(num_factors))
    if "factors_names" in headers:
        names = tuple(map(str, _read_array(path, "factors_names")))
        if len(set(names)) != num_factors:
            raise UserError(
                f"{path}: 'factors_names' is {list(names)}; it must be {num_factors} different "
                "names"
            )
    sizes = np.max([array.max(axis=0) for array in arrays.values()], axis=0) + 1
    return Factors(names, tuple(sizes.tolist()), arrays[key].astype(np.int32))


def _read_conditions(
    path: str, headers: _Headers, key: str, num_examples: int, others: list[str]
) -> np.ndarray:
    """Read the numbers beside a split's images, float32; all splits have as many."""
    for other in others:
        shape, dtype = headers[other]
        is_number = np.issubdtype(dtype, np.number) or dtype == np.bool_
        if len(shape) != 2 or 0 in shape or not is_number or dtype.kind == "c":
            raise UserError(
                f"{path}: {other!r} has shape {list(shape)} and type {dtype}; conditions must be "
                "numbers, [num_examples, features]"
            )
    if len({headers[other][0][1] for other in others}) > 1:
        shapes = ", ".join(f"{other} {list(headers[other][0])}" for other in others)
        raise UserError(f"{path} has several numbers of features: {shapes}; use one")
    if headers[key][0][0] != num_examples:
        raise UserError(
            f"{path}: {key!r} has shape {list(headers[key][0])}; with {num_examples} images it "
            f"must be [{num_examples}, features]"
        )
    with np.errstate(over="ignore"):
        conditions = _read_array(path, key).astype(np.float32)
    bad = np.logical_not(np.isfinite(conditions).all(axis=(1,)))
    if bad.any():
        raise UserError(
            f"{path}: {key!r} has NaN or infinite values in {np.count_nonzero(bad)} of "
            f"{num_examples} rows, first in row {int(np.argmax(bad))}; all must be finite in "
            "float32"
        )
    return conditions


def _convert(path: str, key: str, images: np.ndarray, start: int, *, may_miss: bool) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * np.uint8(255)
    # A float64 too large for float32 becomes infinite here and is refused below.
    with np.errstate(over="ignore"):
        images = images.astype(np.float32)
    fine = np.isfinite(images) | (np.isnan(images) & may_miss)
    bad = ~fine.all(axis=(1, 2, 3))
    if bad.any():
        kind = "infinite" if may_miss else "NaN or infinite"
        remedy = "all must be finite in float32"
        if not may_miss and not np.isinf(images).any():
            remedy += ", unless NaN stands for pixels not seen: model.missing_pixels=True"
        raise UserError(
            f"{path}: {key!r} has {kind} values in {np.count_nonzero(bad)} of {len(bad)} images, "
            f"first in image {start + int(np.argmax(bad))}; {remedy}"
        )
    return images


def _headers(path: str) -> _Headers:
    headers = {}
    with _errors(path), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }.get(version)
                if read_header is None:
                    raise ValueError(f"{member} has npy version {version}")
                shape, _, dtype = read_header(file)
                headers[member.removesuffix(".npy")] = (shape, dtype)
    return headers


def _read_array(path: str, key: str) -> np.ndarray:
    with _errors(path), np.load(path, allow_pickle=False) as archive:
        return archive[key]


def _errors(path: str) -> AbstractContextManager[None]:
    return numpy_file_errors(path, f"data.name={path!r} does not exist; give a .npz file that does")
