"""Prepares the data sets of the MNIST family for TFDS, without TensorFlow.

TFDS's own builders of these sets need TensorFlow to write, though not to read. These write the same
names, versions and features, so that `tfds.data_source` reads them too. Only the order differs: the
examples are not shuffled but keep the order of the idx files.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data import idx, prepared, tfds_writing
from vae_jax.data.download import fetch, is_url
from vae_jax.data.tfds_writing import Description, Prepared
from vae_jax.errors import UserError

VERSION = "3.0.1"
_IMAGE_SHAPE = (28, 28)


class Family(NamedTuple):
    """A data set of the MNIST family.

    Attributes:
        url: the official folder of the four gzipped idx files.
        homepage: where it is described.
        citation: who made it.
        classes: the names of the labels.
    """

    url: str
    homepage: str
    citation: str
    classes: tuple[str, ...]


FAMILY = {
    "mnist": Family(
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        homepage="http://yann.lecun.com/exdb/mnist/",
        citation="Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits",
        classes=tuple("0123456789"),
    ),
    "fashion_mnist": Family(
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        citation="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST, arXiv:1708.07747",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
    "kmnist": Family(
        url="http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        homepage="http://codh.rois.ac.jp/kmnist/",
        citation="T. Clanuwat et al.: Deep Learning for Classical Japanese Literature, "
        "arXiv:1812.01718",
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
}

# Only checksums of the gzip files are published for these, which TFDS checks as well.
GZIP_SHA256 = {
    "kmnist": {
        "train-images-idx3-ubyte": (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"
        ),
        "train-labels-idx1-ubyte": (
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"
        ),
        "t10k-images-idx3-ubyte": (
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"
        ),
        "t10k-labels-idx1-ubyte": (
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"
        ),
    },
}


def prepare(name: str, source: str, data_dir: str) -> Prepared:
    """Write a data set of the MNIST family as TFDS does, in array_record format.

    Nothing is done if the data set exists. Otherwise it appears once it is complete: an interrupted
    call leaves nothing that could be taken for a data set.

    Args:
        name: a key of `FAMILY`.
        source: a folder with the four idx files, gzipped or plain; the http, https or file URL of a
            folder with the gzipped files; or "" for the official URL, whose files must have the
            published checksums.
        data_dir: where to write; "" is TFDS's default. Downloads go to `downloads` within it.

    Raises:
        UserError: the name is unknown, a file is missing or damaged, a download fails, TFDS is not
            installed, or the folder cannot be written.
    """
    if name not in FAMILY:
        raise UserError(f"name={name!r} cannot be prepared; known: {', '.join(FAMILY)}")

    def write_into(root: Path) -> None:
        _write(name, _read_splits(name, source, root / "downloads" / name), root)

    return tfds_writing.prepare_once(_describe(name), data_dir, write_into)


_Splits = dict[str, tuple[np.ndarray, np.ndarray]]


def _read_splits(name: str, source: str, downloads: Path) -> _Splits:
    return {
        split: _check_split(name, *(_locate(name, source, downloads, file) for file in files))
        for split, files in idx.FILES.items()
    }


def _locate(name: str, source: str, downloads: Path, file: str) -> Path:
    """Return the path of an idx file, which is downloaded first if the source is a URL."""
    if source and not is_url(source):
        candidates = [
            Path(os.path.expanduser(source)) / f"{file}{suffix}" for suffix in (".gz", "")
        ]
        for candidate in candidates:
            if candidate.exists():
                return candidate
        raise UserError(f"source={source!r} holds neither {file}.gz nor {file}")
    path = downloads / f"{file}.gz"
    if source:
        fetch(f"{source.rstrip('/')}/{file}.gz", path, idx.read_idx)
    elif not path.exists() or not _is_published(name, file, path):
        fetch(FAMILY[name].url + f"{file}.gz", path, lambda part: _check_sum(name, file, part))
    return path


def _check_sum(name: str, file: str, path: Path) -> None:
    if name in idx.SHA256:
        idx.read_idx(path, sha256=idx.SHA256[name][file])
        return
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != GZIP_SHA256[name][file]:
        raise UserError(
            f"{path} is not the published file: "
            f"it has SHA-256 {actual}, not {GZIP_SHA256[name][file]}"
        )


def _is_published(name: str, file: str, path: Path) -> bool:
    try:
        _check_sum(name, file, path)
    except UserError:
        return False
    return True


def _check_split(name: str, images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = idx.read_idx(images_path), idx.read_idx(labels_path)
    if images.ndim != 3 or images.shape[1:] != _IMAGE_SHAPE or len(images) == 0:
        raise UserError(f"{images_path} has shape {list(images.shape)}; it must be [n, 28, 28]")
    if labels.shape != images.shape[:1]:
        raise UserError(
            f"{labels_path} has shape {list(labels.shape)}; "
            f"with {len(images)} images it must be [{len(images)}]"
        )
    num_classes = len(FAMILY[name].classes)
    if labels.max() >= num_classes:
        raise UserError(
            f"{labels_path} has the label {labels.max()}; {name} has 0 to {num_classes - 1}"
        )
    return images, labels


def _describe(name: str) -> Description:
    family = FAMILY[name]
    return Description(
        name=name,
        config="",
        version=VERSION,
        text=f"{name}, in the order of its idx files.",
        homepage=family.homepage,
        citation=family.citation,
    )


def _write(name: str, splits: _Splits, root: Path) -> None:
    tfds = prepared.import_tfds()
    features = {
        "image": tfds.features.Image(shape=(*_IMAGE_SHAPE, 1)),
        "label": tfds.features.ClassLabel(names=FAMILY[name].classes),
    }
    examples = {split: _examples(*arrays) for split, arrays in splits.items()}
    tfds_writing.write(root, _describe(name), features, examples)


def _examples(images: np.ndarray, labels: np.ndarray) -> Iterator[dict[str, Any]]:
    for image, label in zip(images, labels.tolist(), strict=True):
        yield {"image": tfds_writing.encode_png(image), "label": label}
