"""Images from a folder of image files.

    folder/*.png                       one split, `train`, without labels
    folder/<class>/*.png               one split, `train`, with labels
    folder/<split>/*.png               splits without labels
    folder/<split>/<class>/*.png       splits with labels

A subfolder is a split if it is named train, test, validation or valid. Classes are numbered in the
sorted order of their names over all splits. Hidden files and files of other types are ignored.

Images are as viewers show them: turned by their EXIF orientation, and what is transparent is
blended with white.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from vae_jax.data.dataset import Dataset, ImagesShape, Ranges, evenly_spaced
from vae_jax.data.decoding import decode, is_colour
from vae_jax.errors import UserError

SPLIT_NAMES = ("train", "test", "validation", "valid")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


# Files whose header says whether a set is in colour.
_MOST_HEADERS = 100


class _Split(NamedTuple):
    files: list[Path]
    labels: np.ndarray | None


def sizes(path: str) -> dict[str, int]:
    """Return the number of images in each split, without opening any.

    Raises:
        UserError: the folder is missing, holds no images, or mixes two layouts.
    """
    return {name: len(split.files) for name, split in _list_splits(Path(path)).items()}


class FolderDataset:
    """Ranges of a folder's images, in the sorted order of their paths, read on demand.

    Images are uint8. They have three channels if one of 100 images is in colour, evenly spaced
    over all splits, and grey images among those in colour are converted; otherwise one channel.
    There are labels if the splits of all ranges have folders of classes.

    Args:
        path: the folder.
        ranges: the images, by split.
        image_size: height and width that central squares are resized to; 0 keeps images as they
            are, and they must have one shape.

    Raises:
        UserError: as `sizes`, or the first image cannot be read.
    """

    def __init__(self, path: str, ranges: Ranges, image_size: int = 0) -> None:
        splits = _list_splits(Path(path))
        self._files = [
            file for name, start, stop in ranges for file in splits[name].files[start:stop]
        ]
        labels = [
            found[start:stop]
            for name, start, stop in ranges
            if (found := splits[name].labels) is not None
        ]
        self._labels = np.concatenate(labels) if len(labels) == len(ranges) else None
        self._image_size = image_size
        everything = [file for split in splits.values() for file in split.files]
        indices = evenly_spaced(len(everything), _MOST_HEADERS).tolist()
        self._in_colour = any(is_colour(everything[index]) for index in indices)
        self._first = self._decode(0)

    @property
    def shape(self) -> ImagesShape:
        """Number of images, height, width, channels."""
        height, width, channels = self._first.shape
        return len(self._files), height, width, channels

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the images."""
        return self._first.dtype

    def read(self, indices: Int[np.ndarray, " num"]) -> Dataset:
        """Decode the images at these indices.

        Raises:
            UserError: an image cannot be read, or images differ in size, or one is in colour that
                was not among those by which the set is grey.
        """
        images = np.empty((len(indices), *self._first.shape), np.uint8)
        for position, index in enumerate(indices.tolist()):
            image = self._decode(index)
            if image.shape != self._first.shape:
                ours, first = ("x".join(map(str, i.shape[:2])) for i in (image, self._first))
                raise UserError(
                    f"{self._files[index]} is {ours} (height x width), but {self._files[0]} is "
                    f"{first}; all images must have one size: data.image_size crops and resizes "
                    "them"
                )
            images[position] = image
        return Dataset(images, None if self._labels is None else self._labels[indices])

    def _decode(self, index: int) -> np.ndarray:
        file = self._files[index]
        if not self._in_colour and is_colour(file):
            raise UserError(
                f"{file} is in colour, and the set is grey by {_MOST_HEADERS} of its images; "
                "convert it to grey, or those to colour"
            )
        try:
            num_channels = 3 if self._in_colour else 1
            return decode(file, num_channels, self._image_size, as_shown=True)
        except ValueError as error:
            raise UserError(f"{file}: {error}") from None


def _list_splits(root: Path) -> dict[str, _Split]:
    if not root.is_dir():
        raise UserError(f"data.name={str(root)!r} is not a folder; give a folder of images")
    folders = {folder.name: folder for folder in _visible(root) if folder.is_dir()}
    split_roots = {name: folders[name] for name in SPLIT_NAMES if name in folders}
    if split_roots:
        strays = _images_in(root) + [
            folder for name, folder in folders.items() if name not in split_roots and _find(folder)
        ]
        if strays:
            raise UserError(
                f"{root} has the split {next(iter(split_roots))!r} and beside it {strays[0].name!r}"
                f"; all images must be in {', '.join(SPLIT_NAMES)}"
            )
    else:
        split_roots = {"train": root}
    found = {name: _files_of_classes(folder) for name, folder in split_roots.items()}
    classes = sorted({label for files in found.values() for label in files if label is not None})
    splits = {name: _number(files, classes) for name, files in found.items() if files}
    if not splits:
        raise UserError(f"{root} holds no images ({', '.join(SUFFIXES)})")
    return splits


def _files_of_classes(folder: Path) -> dict[str | None, list[Path]]:
    """Return the files by class; the class is None where there are no class folders."""
    flat = _images_in(folder)
    classes: dict[str | None, list[Path]] = {
        child.name: files
        for child in _visible(folder)
        if child.is_dir() and (files := _find(child))
    }
    if flat and classes:
        raise UserError(
            f"{folder} has both images, such as {flat[0].name!r}, and folders of them, such as "
            f"{next(iter(classes))!r}; use one layout"
        )
    return {None: flat} if flat else classes


def _number(files_of: Mapping[str | None, list[Path]], classes: list[str]) -> _Split:
    if None in files_of:
        return _Split(files_of[None], None)
    files, labels = [], []
    for label, name in enumerate(classes):
        files += files_of.get(name, [])
        labels += [label] * len(files_of.get(name, []))
    return _Split(files, np.array(labels, np.int32))


def _find(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, sorted.

    Raises:
        UserError: a link leads back to a folder that holds it.
    """
    if folder.resolve() in [parent.resolve() for parent in folder.parents]:
        raise UserError(f"{folder} is a link to a folder that holds it; remove the link")
    return [
        file
        for child in _visible(folder)
        for file in (_find(child) if child.is_dir() else [child] if _is_image(child) else [])
    ]


def _images_in(folder: Path) -> list[Path]:
    return [child for child in _visible(folder) if child.is_file() and _is_image(child)]


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _visible(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if not child.name.startswith("."))
