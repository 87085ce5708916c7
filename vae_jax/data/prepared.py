"""Data sets that TensorFlow Datasets has prepared as array_record, read without TensorFlow."""

import importlib
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vae_jax.data.dataset import Dataset, Ranges, concatenate
from vae_jax.data.decoding import decode
from vae_jax.errors import UserError, first_line

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
# Records asked for at once: one at a time costs four times as much.
_BATCH_SIZE = 1024


def import_tfds() -> ModuleType:
    """Returns the module tensorflow_datasets.

    Raises:
        UserError: it, or array_record, is not installed; on Windows the latter cannot be.
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
    """Returns the folder that `data_dir` means: "" is TFDS's own default."""
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(data_dir or default).expanduser()


def list_names(data_dir: str) -> list[str]:
    """Returns what is prepared in a folder, as `name` or `name/config`, without importing TFDS."""
    root = resolve_data_dir(data_dir)
    return sorted(
        {
            info.parent.parent.relative_to(root).as_posix()
            for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
            for info in root.glob(pattern)
            # Not the unfinished `incomplete.*` that an interrupted preparation leaves.
            if _VERSION.fullmatch(info.parent.name)
        }
    )


def find(name: str, data_dir: str) -> Path | None:
    """Returns the folder of a prepared data set, or None if there is no such thing.

    Args:
        name: `name`, `name/config`, `name:version` or `name/config:version`. Without a version
            the newest is found, without a config TFDS's default or the only one.
        data_dir: where the data sets are; "" is TFDS's own default.

    Raises:
        UserError: the name is there, but the config or version is not or cannot be chosen.
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
    """Returns the number of examples in each split of a prepared data set.

    Raises:
        UserError: its description is damaged, or TFDS is not installed.
    """
    return {name: info.num_examples for name, info in _builder(folder).info.splits.items()}


def read(folder: Path, ranges: Ranges) -> Dataset:
    """Reads the features `image` and, if there is one, `label`.

    Returns:
        images [num_examples, height, width, channels], uint8 or float32; labels int32.

    Raises:
        UserError: no `image`, images that vary in shape or are of another type, labels that are
            no integers, another file format than array_record, a damaged file.
    """
    builder = _builder(folder)
    features = builder.info.features
    if "image" not in features:
        raise UserError(f"{folder} has no feature 'image'; its features are {sorted(features)}")
    if "label" in features and not (
        features["label"].shape == () and np.issubdtype(features["label"].np_dtype, np.integer)
    ):
        raise UserError(f"{folder}: the feature 'label' is {features['label']}, not an integer")
    return concatenate([_read_range(builder, folder, *one_range) for one_range in ranges])


def _read_range(builder: Any, folder: Path, split: str, start: int, stop: int) -> Dataset:
    what = f"{folder}, split {split!r}"
    has_labels = "label" in builder.info.features
    labels = np.empty(stop - start, np.int32) if has_labels else None
    images = None
    for index, (image, label) in enumerate(_examples(builder, folder, split, start, stop)):
        if images is None:
            images = _allocate(what, stop - start, image)
        if image.shape not in (images.shape[1:], images.shape[1:-1]):
            raise UserError(
                f"{what}: example {start + index} has shape {list(image.shape)}, but example "
                f"{start} has {list(images.shape[1:])}; all images must have one shape"
            )
        images[index] = image.reshape(images.shape[1:])
        if labels is not None:
            labels[index] = label
    assert images is not None, "splits.parse gives no empty ranges"
    if images.dtype == np.float32:
        bad = ~np.isfinite(images).all(axis=(1, 2, 3))
        if bad.any():
            raise UserError(
                f"{what} has NaN or infinite values in {np.count_nonzero(bad)} of {len(bad)} "
                f"images, first in example {start + int(np.argmax(bad))}"
            )
    return Dataset(images, labels)


def _examples(
    builder: Any, folder: Path, split: str, start: int, stop: int
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yields the image and the label, None if there is none, of each example."""
    tfds = import_tfds()
    features = builder.info.features
    # Pillow, called here, is faster than through TFDS, which also logs that it misses OpenCV.
    encoded = (
        isinstance(features["image"], tfds.features.Image)
        and features["image"].np_dtype == np.uint8
    )
    decoders = {"image": tfds.decode.SkipDecoding()} if encoded else None
    for index, record in enumerate(_records(builder, folder, split, start, stop), start):
        try:
            example = features.deserialize_example_np(record, decoders=decoders)
            image = example["image"]
            if encoded:
                image = decode(io.BytesIO(image), features["image"].shape[-1])
        # Protobuf, TFDS and NumPy each have their own exceptions for what does not fit.
        except Exception as error:
            raise UserError(
                f"{folder}, split {split!r}, example {index}: {first_line(error)}"
            ) from None
        yield image, example.get("label")


def _records(builder: Any, folder: Path, split: str, start: int, stop: int) -> Iterator[bytes]:
    tfds = import_tfds()
    try:
        source = builder.as_data_source(
            split=f"{split}[{start}:{stop}]",
            file_format="array_record",
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
        )
    # TFDS raises the one or the other, depending on the formats that there are.
    except (NotImplementedError, ValueError):
        raise UserError(
            f"{folder} is prepared as {builder.info.file_format.value}; "
            "it must be array_record: prepare it with file_format='array_record'"
        ) from None
    for first in range(0, stop - start, _BATCH_SIZE):
        try:
            records = source.__getitems__(range(first, min(first + _BATCH_SIZE, stop - start)))
        # array_record raises RuntimeError on damage today, but promises no type.
        except Exception as error:
            raise _damaged(folder, split, first_line(error)) from None
        # A file cut at a block's end opens all the same, and gives empty records.
        if not all(records):
            raise _damaged(folder, split, "it has empty records")
        yield from records


def _damaged(folder: Path, split: str, how: str) -> UserError:
    return UserError(
        f"{folder}, split {split!r} is damaged: {how}; delete the folder and prepare it again"
    )


def _allocate(what: str, num_examples: int, image: np.ndarray) -> np.ndarray:
    if image.ndim not in (2, 3):
        raise UserError(
            f"{what}: images have shape {list(image.shape)}; they must be [height, width] "
            "or [height, width, channels]"
        )
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"{what}: images are {image.dtype}; they must be uint8 or floating")
    shape = image.shape if image.ndim == 3 else (*image.shape, 1)
    return np.empty((num_examples, *shape), np.uint8 if image.dtype == np.uint8 else np.float32)


def _builder(folder: Path) -> Any:
    tfds = import_tfds()
    try:
        return tfds.builder_from_directory(folder)
    # A damaged description raises whatever the JSON or protobuf reader does.
    except Exception as error:
        raise UserError(
            f"{folder} is not a whole prepared data set: {first_line(error)}; "
            "delete the folder and prepare it again"
        ) from None


def _versions(folder: Path) -> list[str]:
    """Returns the versions prepared in a folder, the oldest first."""
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
