"""A small convolutional classifier, and the folder that keeps one.

Metrics of generated images that use its features and predictions hold for this network only;
another one, such as Inception, would give other values.

classifier.json   its data, how it was trained, its accuracy; the checksum of the other file
parameters.npz    its parameters, by name
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from vae_jax import workdir
from vae_jax.data.pixels import to_unit_interval
from vae_jax.errors import UserError
from vae_jax.networks.conv import ConvEncoder

ImageShape = tuple[int, int, int]

_CHANNELS = (32, 64)
_KERNEL_SIZE = 4
_NUM_FEATURES = 128
_BATCH_SIZE = 1000

_FACTS = "classifier.json"
_PARAMETERS = "parameters.npz"


class ClassifierNetwork(nnx.Module):
    """Two strided convolutions and a dense layer give features, another dense layer logits."""

    def __init__(self, image_shape: ImageShape, num_classes: int, *, rngs: nnx.Rngs) -> None:
        self.body = ConvEncoder(
            image_shape,
            _CHANNELS,
            (_NUM_FEATURES,),
            kernel_size=_KERNEL_SIZE,
            downsampling="stride",
            activation=jax.nn.relu,
            rngs=rngs,
        )
        self.head = nnx.Linear(self.body.num_features, num_classes, rngs=rngs)

    def features(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch features"]:
        """Return the input of the last layer."""
        return self.body(images)

    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        return self.head(self.features(images))


class Classifier:
    """A trained network. Images are `[num, height, width, channels]`, 8-bit or in [0, 1].

    Attributes:
      image_shape: height, width, channels.
      num_classes: counted from 0.
      params: of `ClassifierNetwork`.
      facts: about its training, such as "test_accuracy".
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        params: nnx.State,
        facts: Mapping[str, Any],
    ) -> None:
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.params = params
        self.facts = dict(facts)
        graphdef, _ = _abstract(image_shape, num_classes)

        def features(params: nnx.State, stored: Array) -> Array:
            return nnx.merge(graphdef, params).features(to_unit_interval(stored))

        def logits(params: nnx.State, stored: Array) -> Array:
            return nnx.merge(graphdef, params)(to_unit_interval(stored))

        self._features, self._logits = jax.jit(features), jax.jit(logits)

    def logits(self, images: np.ndarray) -> Float[np.ndarray, "num classes"]:
        """Return the log odds of the classes, up to a constant per image.

        Raises:
          UserError: the classifier does not take images of this shape or these values.
        """
        return self._run(self._logits, images)

    def predict(self, images: np.ndarray) -> Int[np.ndarray, " num"]:
        """Return the most probable class of each image.

        Raises:
          UserError: as `logits`.
        """
        return self.logits(images).argmax(axis=1)

    def features(self, images: np.ndarray) -> Float[np.ndarray, "num features"]:
        """Return the input of the last layer for each image.

        Raises:
          UserError: as `logits`.
        """
        return self._run(self._features, images)

    def accuracy(self, images: np.ndarray, labels: Int[np.ndarray, " num"]) -> float:
        """Return the share of the images whose class is predicted correctly, from 0 to 1.

        Raises:
          UserError: as `logits`.
        """
        return float((self.predict(images) == labels).mean())

    def _run(self, compiled: Callable[[nnx.State, Array], Array], images: np.ndarray) -> np.ndarray:
        if images.ndim != 4 or images.shape[1:] != self.image_shape or len(images) == 0:
            raise UserError(
                f"the images have shape {list(images.shape)}; this classifier takes [num, "
                f"{', '.join(map(str, self.image_shape))}] with num at least 1"
            )
        stored = as_stored(images)
        batches = range(0, len(stored), _BATCH_SIZE)
        parts = [
            np.asarray(compiled(self.params, jnp.asarray(stored[first : first + _BATCH_SIZE])))
            for first in batches
        ]
        return np.concatenate(parts)


def as_stored(images: np.ndarray) -> np.ndarray:
    """Return images as uint8 or float32.

    Raises:
      UserError: they are of another type, or floating outside [0, 1].
    """
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"the images are {images.dtype}; use uint8 or floats in [0, 1]")
    # The negation refuses NaN too.
    if not (images.min() >= 0 and images.max() <= 1):
        raise UserError(
            f"the images lie in [{images.min():g}, {images.max():g}]; floats must be in [0, 1]"
        )
    return images.astype(np.float32)


def save(folder: Path, classifier: Classifier) -> None:
    """Write a classifier; a kill leaves none or a whole one.

    Raises:
      UserError: it cannot be written.
    """
    content = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _named(classifier.params)}
    np.savez(content, **arrays)
    workdir.write_atomically(folder / _PARAMETERS, content.getvalue())
    facts = {
        "image_shape": classifier.image_shape,
        "num_classes": classifier.num_classes,
        "parameters_sha256": hashlib.sha256(content.getvalue()).hexdigest(),
        "facts": classifier.facts,
    }
    # Last, since it marks the folder as whole.
    workdir.write_json(folder / _FACTS, facts)


def exists(folder: Path) -> bool:
    """Return whether a classifier exists, whole or damaged."""
    return (folder / _FACTS).is_file()


def load(folder: Path) -> Classifier:
    """Read a classifier. Nothing is unpickled.

    Raises:
      UserError: there is none, or it is damaged.
    """
    if not exists(folder):
        raise UserError(f"classifier={str(folder)!r} holds no classifier: {_FACTS} is not there")
    content = workdir.read_json(folder / _FACTS)
    try:
        height, width, channels = map(int, content["image_shape"])
        image_shape, num_classes = (height, width, channels), int(content["num_classes"])
        checksum, facts = content["parameters_sha256"], dict(content["facts"])
        if min(*image_shape, num_classes) < 1:
            raise ValueError(f"{num_classes} classes of images of {image_shape}")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / _FACTS} is damaged: {error!r}") from None
    path = folder / _PARAMETERS
    try:
        parameters = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(parameters).hexdigest() != checksum:
        raise UserError(f"{path} does not have the checksum in {_FACTS}; train the classifier anew")
    _, template = _abstract(image_shape, num_classes)
    try:
        with np.load(io.BytesIO(parameters), allow_pickle=False) as arrays:
            leaves = [arrays[name] for name, _ in _named(template)]
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, OSError) as error:
        raise UserError(f"{path} is damaged: {error!r}") from None
    for (name, expected), leaf in zip(_named(template), leaves, strict=True):
        if leaf.shape != expected.shape or leaf.dtype != expected.dtype:
            raise UserError(
                f"{path}: {name} is {leaf.dtype} {list(leaf.shape)}; images of {list(image_shape)} "
                f"and {num_classes} classes need {expected.dtype} {list(expected.shape)}"
            )
    params = jax.device_put(jax.tree.unflatten(jax.tree.structure(template), leaves))
    return Classifier(image_shape, num_classes, params, facts)


def require_same_data(judge: Classifier, which: str, data_name: str) -> None:
    """Refuse to read images of a run by a classifier that was trained on other data.

    Args:
      judge: the classifier.
      which: names it in the error.
      data_name: `data.name` of the run.

    Raises:
      UserError: the data differ.
    """
    known = judge.facts.get("data")
    if known != data_name:
        raise UserError(
            f"{which} was trained on {known!r}, and the run on data.name={data_name!r}; use a "
            "classifier of the same data"
        )


def load_by_factor(folders: Sequence[str]) -> dict[str, Classifier]:
    """Read classifiers of factors of variation, by the factor that each tells.

    Raises:
      UserError: there is none, it is damaged, or it tells classes.
    """
    found: dict[str, Classifier] = {}
    for folder in folders:
        trained = load(Path(folder))
        factor = trained.facts.get("factor")
        if factor is None:
            raise UserError(
                f"--classifiers={folder} tells classes; train one with experiments.classifier "
                "--factor=NAME"
            )
        found[factor] = trained
    return found


def _abstract(image_shape: ImageShape, num_classes: int) -> tuple[nnx.GraphDef, nnx.State]:
    build = nnx.eval_shape(
        lambda: ClassifierNetwork(image_shape, num_classes, rngs=nnx.Rngs(jax.random.key(0)))
    )
    return nnx.split(build)


def _named(params: nnx.State) -> list[tuple[str, Any]]:
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ]
