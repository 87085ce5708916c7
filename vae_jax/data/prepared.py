"""Data sets that TensorFlow Datasets has prepared as array_record, read without TensorFlow."""

import functools
import importlib
import io
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int

from vae_jax.data.dataset import Dataset, ImagesShape, Ranges
from vae_jax.data.decoding import decode
from vae_jax.data.factors import Factors
from vae_jax.errors import UserError, first_line

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
# Records read at once: one at a time takes four times as long.
_RECORDS_AT_ONCE = 1024
# Prefix of the features with known factors in TFDS's data sets.
_FACTOR = "label_"
# What metadata.json calls a line on how a data set differs from others of its name and version.
WARNING = "warning"
# The value of white in data sets where it is not 255.
_WHITE = {"dsprites": 1}


def import_tfds() -> ModuleType:
    """Return the module tensorflow_datasets.

    Raises:
        UserError: it or array_record is not installed; the latter has no Windows version.
    """
    try:
        # TFDS itself imports array_record only when it reads, too late for a clear message.
        importlib.import_module("array_record.python.array_record_module")
        return importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise UserError(
            f"data sets prepared by TFDS cannot be used here ({error}): they need "
            "tensorflow-datasets and array_record, which has no Windows version; use 'mnist', "
            "a .npz file or a folder of images"
        ) from None


def resolve_data_dir(data_dir: str) -> Path:
    """Return the folder that `data_dir` names; "" is TFDS's default."""
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(os.path.expanduser(data_dir or default))


def list_names(data_dir: str) -> list[str]:
    """Return the data sets in a folder, as `name` or `name/config`, without importing TFDS."""
    root = resolve_data_dir(data_dir)
    return sorted(
        {
            info.parent.parent.relative_to(root).as_posix()
            for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
            for info in root.glob(pattern)
            # Without `incomplete.*`, which an interrupted preparation leaves.
            if _VERSION.fullmatch(info.parent.name)
        }
    )


def find(name: str, data_dir: str) -> Path | None:
    """Return the folder of a prepared data set, or None if there is none.

    Args:
        name: `name`, `name/config`, `name:version` or `name/config:version`. The default version is
            the newest, the default config TFDS's default or the only one.
        data_dir: folder of the data sets; "" is TFDS's default.

    Raises:
        UserError: the data set exists, but not the config or version, or the config is ambiguous.
    """
    match = _NAME.fullmatch(name)
    if not match:
        return None
    folder = resolve_data_dir(data_dir) / match["name"]
    configs = [
        config.split("/")[1]
        for config in list_names(data_dir)
        if config.startswith(f"{match['name']}/")
    ]
    if match["config"]:
        if not _versions(folder) and not configs:
            return None
        if match["config"] not in configs:
            raise UserError(f"data.name={name!r}: prepared configs are {configs or 'none'}")
        folder /= match["config"]
    elif not _versions(folder) and configs:
        folder /= _default_config(name, folder, configs)
    versions = _versions(folder)
    if not versions:
        return None
    if match["version"] and match["version"] not in versions:
        raise UserError(f"data.name={name!r}: prepared versions are {', '.join(versions)}")
    return folder / (match["version"] or versions[-1])


def sizes(folder: Path) -> dict[str, int]:
    """Return the number of examples in each split of a prepared data set.

    Raises:
        UserError: its description is damaged, or TFDS is not installed.
    """
    return {name: info.num_examples for name, info in _builder(folder).info.splits.items()}


class PreparedDataset:
    """The images and, if there are any, labels and factors of a prepared data set.

    They are read on demand: images as uint8 or float32, labels as int32. Class labels whose names
    begin with `label_`, such as those of dsprites and shapes3d, are factors of variation.

    Args:
        folder: folder of the data set's version.
        ranges: the examples, by split.
        image_size: height and width that central squares are resized to; 0 keeps images as they
            are, and they must have one shape.

    Raises:
        UserError: there is no feature `image`, images are neither uint8 nor floating, labels are
            not integers, the format is not array_record, or a file is damaged.
    """

    def __init__(self, folder: Path, ranges: Ranges, image_size: int = 0) -> None:
        tfds = import_tfds()
        builder = _builder(folder)
        features = builder.info.features
        if "image" not in features:
            raise UserError(f"{folder} has no feature 'image'; its features are {sorted(features)}")
        self._has_labels = "label" in features
        if self._has_labels and not (
            features["label"].shape == () and np.issubdtype(features["label"].np_dtype, np.integer)
        ):
            raise UserError(f"{folder}: the feature 'label' is {features['label']}, not an integer")
        self._factor_values = {
            name.removeprefix(_FACTOR): tuple(feature.names)
            for name, feature in sorted(features.items())
            if name.startswith(_FACTOR) and isinstance(feature, tfds.features.ClassLabel)
        }
        self._white = _WHITE.get(builder.name, 255)
        # Pillow is faster called here than through TFDS, which also logs that OpenCV is missing.
        self._is_encoded = (
            isinstance(features["image"], tfds.features.Image)
            and features["image"].np_dtype == np.uint8
        )
        if image_size and not self._is_encoded:
            raise UserError(
                f"data.image_size={image_size} resizes 8-bit images, but those of {folder} are "
                f"{features['image']}; use data.image_size=0"
            )
        self._decoders = {"image": tfds.decode.SkipDecoding()} if self._is_encoded else None
        self._folder, self._ranges, self._image_size = folder, ranges, image_size
        self._features = features
        self._records = _records(builder, folder, ranges)
        ((first, _),) = self._examples([0])
        if first.ndim not in (2, 3):
            raise UserError(
                f"{self._name(0)}: images have shape {list(first.shape)}; they must be "
                "[height, width] or [height, width, channels]"
            )
        if first.dtype != np.uint8 and not np.issubdtype(first.dtype, np.floating):
            raise UserError(
                f"{self._name(0)}: images are {first.dtype}; they must be uint8 or floating"
            )
        self._image_shape = first.shape if first.ndim == 3 else (*first.shape, 1)
        self._dtype = np.dtype(np.uint8 if first.dtype == np.uint8 else np.float32)

    @property
    def shape(self) -> ImagesShape:
        """Number of examples, height, width, channels."""
        height, width, channels = self._image_shape
        return len(self._records), height, width, channels

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the images."""
        return self._dtype

    def read(self, indices: Int[np.ndarray, " num"]) -> Dataset:
        """Read and decode the examples at these indices.

        Raises:
            UserError: a file is damaged, or images differ in shape or are not finite.
        """
        chosen = indices.tolist()
        images = np.empty((len(chosen), *self._image_shape), self._dtype)
        labels = np.empty(len(chosen), np.int32) if self._has_labels else None
        values = np.empty((len(chosen), len(self._factor_values)), np.int32)
        for position, (image, example) in enumerate(self._examples(chosen)):
            if image.shape not in (self._image_shape, self._image_shape[:-1]):
                raise UserError(
                    f"{self._name(chosen[position])} has shape {list(image.shape)}, but "
                    f"{self._name(0)} has {list(self._image_shape)}; all images must have one "
                    "shape: data.image_size crops and resizes encoded ones"
                )
            images[position] = image.reshape(self._image_shape)
            if labels is not None:
                labels[position] = example["label"]
            values[position] = [example[f"{_FACTOR}{name}"] for name in self._factor_values]
        if images.dtype == np.float32:
            bad = ~np.isfinite(images).all(axis=(1, 2, 3))
            if bad.any():
                raise UserError(
                    f"{self._name(chosen[int(np.argmax(bad))])} has NaN or infinite values; all "
                    "must be finite"
                )
        if not self._factor_values:
            return Dataset(images, labels)
        names, value_names = tuple(self._factor_values), tuple(self._factor_values.values())
        return Dataset(
            images, labels, Factors(names, tuple(map(len, value_names)), values, value_names)
        )

    def _examples(self, indices: list[int]) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Yield the image and all features of each example."""
        for first in range(0, len(indices), _RECORDS_AT_ONCE):
            some = indices[first : first + _RECORDS_AT_ONCE]
            for index, record in zip(some, self._read_records(some), strict=True):
                try:
                    example = self._features.deserialize_example_np(record, decoders=self._decoders)
                    image = example["image"]
                    if self._is_encoded:
                        channels = self._features["image"].shape[-1]
                        image = decode(io.BytesIO(image), channels, self._image_size, self._white)
                # Protobuf, TFDS and NumPy raise exceptions of their own for damaged records.
                except Exception as error:
                    raise UserError(f"{self._name(index)}: {first_line(error)}") from None
                yield image, example

    def _read_records(self, indices: list[int]) -> Sequence[bytes]:
        try:
            records = self._records.__getitems__(indices)
        # array_record raises RuntimeError on damage, but does not document a type.
        except Exception as error:
            raise self._damaged(first_line(error)) from None
        # A file cut at the end of a block opens without an error and gives empty records.
        if not all(records):
            raise self._damaged("it has empty records")
        return records

    def _damaged(self, how: str) -> UserError:
        splits = " or ".join(dict.fromkeys(repr(split) for split, _, _ in self._ranges))
        return UserError(
            f"{self._folder}, split {splits} is damaged: {how}; delete the folder and prepare it "
            "again"
        )

    def _name(self, index: int) -> str:
        """Return the name of an example: its split and its index there."""
        for split, start, stop in self._ranges:
            if index < stop - start:
                return f"{self._folder}, split {split!r}, example {start + index}"
            index -= stop - start
        raise IndexError(index)


def _records(builder: Any, folder: Path, ranges: Ranges) -> Any:
    tfds = import_tfds()
    try:
        return builder.as_data_source(
            split="+".join(f"{split}[{start}:{stop}]" for split, start, stop in ranges),
            file_format="array_record",
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
        )
    # TFDS raises one or the other, depending on the formats of the data set.
    except (NotImplementedError, ValueError):
        raise UserError(
            f"{folder} is prepared as {builder.info.file_format.value}; "
            "it must be array_record: prepare it with file_format='array_record'"
        ) from None


def _builder(folder: Path) -> Any:
    tfds = import_tfds()
    _warn(folder)
    try:
        return tfds.builder_from_directory(folder)
    # A damaged description raises exceptions of the JSON or protobuf reader.
    except Exception as error:
        raise UserError(
            f"{folder} is not a whole prepared data set: {first_line(error)}; "
            "delete the folder and prepare it again"
        ) from None


# A run opens several splits of a data set, and one line is enough.
@functools.cache
def _warn(folder: Path) -> None:
    """Log the warning in a data set's metadata, if there is one."""
    try:
        warning = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))[WARNING]
    # Most data sets have no such file, and TFDS's own may hold anything.
    except (OSError, ValueError, KeyError, TypeError):
        return
    logging.warning("%s: %s", folder, warning)


def _versions(folder: Path) -> list[str]:
    """Return the versions prepared in a folder, the oldest first."""
    versions = [info.parent.name for info in folder.glob("*/dataset_info.json")]
    return sorted(
        filter(_VERSION.fullmatch, versions),
        key=lambda version: [int(number) for number in version.split(".")],
    )


def _default_config(name: str, folder: Path, configs: list[str]) -> str:
    if len(configs) == 1:
        return configs[0]
    try:
        default = json.loads((folder / ".config" / "metadata.json").read_text())
        if default["default_config_name"] in configs:
            return default["default_config_name"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    choices = ", ".join(f"{folder.name}/{config}" for config in configs)
    raise UserError(f"data.name={name!r} has several configs; choose one of {choices}")
