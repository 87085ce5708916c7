"""Train a classifier: cross-entropy, Adam, shifted and blurred images, dropout."""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from vae_jax import workdir
from vae_jax.data import Dataset, corruptions
from vae_jax.data.dataset import count_classes
from vae_jax.data.pixels import StoredImages, to_unit_interval
from vae_jax.data.random_bits import make_key
from vae_jax.errors import UserError
from vae_jax.evaluation import classifier
from vae_jax.evaluation.classifier import Classifier, ClassifierNetwork, as_stored

_BATCH_SIZE = 128
_LEARNING_RATE = 2e-3
_DROPOUT = 0.5
# The largest shift, as a share of the height and the width: 2 pixels of 28.
_SHIFT = 1 / 14


class _State(NamedTuple):
    params: nnx.State
    opt_state: PyTree


def train(
    train: Dataset,
    test: Dataset,
    key: Key[Array, ""],
    *,
    num_epochs: int,
    blur: float = 0.0,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Classifier:
    """Train a classifier of the labels of `train`, and measure it on `test`.

    A classifier that will read decoded images, which are smoother than real ones, needs blur.

    Args:
      train: with labels from 0; the largest gives the number of classes.
      test: has the same classes.
      key: of the initialisation, the order, the shifts and the dropout.
      num_epochs: passes over the training images; the learning rate falls to 0 over all of them.
      blur: largest standard deviation, in pixels, of the Gaussian blur of a training image; each
        image's own is drawn uniformly from 0.
      on_epoch: called after each with its number, from 1, and the mean loss in nats.

    Returns:
      The classifier; its facts are "test_accuracy", from 0 to 1, "num_train", "num_test",
      "num_epochs" and "train_seconds", compilation included.

    Raises:
      UserError: images or labels that cannot be learned; no epochs; a blur that is negative or
        wider than the images.
    """
    if num_epochs < 1:
        raise UserError(f"epochs={num_epochs} must be at least 1")
    if not 0 <= blur <= min(train.shape[1:3]):
        raise UserError(
            f"blur={blur} must be between 0 and {min(train.shape[1:3])}, the images' smaller side"
        )
    labels, test_labels = _labels(train, "training"), _labels(test, "test")
    num_classes = count_classes(labels, "the training labels")
    if num_classes < 2:
        raise UserError("the training labels are of one class; a classifier needs at least two")
    if train.shape[1:] != test.shape[1:]:
        raise UserError(
            f"the training images are {list(train.shape[1:])} and the test images "
            f"{list(test.shape[1:])}; they must be of one shape"
        )
    start = time.perf_counter()
    init_key, epochs_key = jax.random.split(key)
    batch_size = min(_BATCH_SIZE, len(labels))
    steps_per_epoch = len(labels) // batch_size
    network = ClassifierNetwork(train.shape[1:], num_classes, rngs=nnx.Rngs(init_key))
    graphdef, params = nnx.split(network)
    optimizer = optax.adamw(
        optax.cosine_decay_schedule(_LEARNING_RATE, num_epochs * steps_per_epoch)
    )
    epoch_fn = jax.jit(
        functools.partial(
            _train_epoch,
            graphdef=graphdef,
            optimizer=optimizer,
            batch_size=batch_size,
            num_steps=steps_per_epoch,
            blur=blur,
        )
    )
    images, targets = jnp.asarray(as_stored(train.images)), jnp.asarray(labels)
    state = _State(params, optimizer.init(params))
    for epoch in range(num_epochs):
        epoch_key = jax.random.fold_in(epochs_key, epoch)
        state, loss = epoch_fn(state, images, targets, epoch_key)
        on_epoch(epoch + 1, float(loss))
    facts: dict[str, Any] = {
        "num_train": len(labels),
        "num_test": len(test_labels),
        "num_epochs": num_epochs,
        "train_seconds": time.perf_counter() - start,
    }
    trained = Classifier(train.shape[1:], num_classes, state.params, facts)
    trained.facts["test_accuracy"] = trained.accuracy(test.images, test_labels)
    return trained


def load_or_train(
    folder: Path,
    load_examples: Callable[[], tuple[Dataset, Dataset]],
    facts: Mapping[str, Any],
    *,
    num_epochs: int,
) -> Classifier:
    """Return the classifier in a folder, or train one there with the key of seed 0.

    Several processes may ask for the same one at once.

    Args:
      folder: made if it is missing.
      load_examples: returns training and test examples; called only to train.
      facts: kept with a new classifier, beside those of its training.
      num_epochs: passes over the training images.

    Raises:
      UserError: the classifier is damaged, or the examples cannot be learned.
    """
    workdir.make_folder(folder)
    with workdir.hold(folder):
        if classifier.exists(folder):
            return classifier.load(folder)
        print(f"{folder}: a classifier is trained", flush=True)
        found = train(*load_examples(), make_key(0), num_epochs=num_epochs)
        found.facts |= facts
        classifier.save(folder, found)
    print(f"{folder}: test accuracy {found.facts['test_accuracy']:.2%}", flush=True)
    return found


def _labels(dataset: Dataset, which: str) -> Int[np.ndarray, " num"]:
    if dataset.labels is None:
        raise UserError(f"the {which} images have no labels; a classifier needs them")
    if dataset.labels.min() < 0:
        raise UserError(f"the {which} labels hold {dataset.labels.min()}; count classes from 0")
    return dataset.labels


def _train_epoch(
    state: _State,
    images: StoredImages,
    labels: Int[Array, " num"],
    key: Key[Array, ""],
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    num_steps: int,
    blur: float,
) -> tuple[_State, Float[Array, ""]]:
    """Scan the training set; examples that the batch size does not divide are left out."""
    order_key, steps_key = jax.random.split(key)
    order = jax.random.permutation(order_key, len(labels))[: num_steps * batch_size]

    def body(
        state: _State, at: tuple[Int[Array, " batch"], Key[Array, ""]]
    ) -> tuple[_State, Float[Array, ""]]:
        indices, step_key = at
        loss, grads = jax.value_and_grad(_cross_entropy)(
            state.params, graphdef, images[indices], labels[indices], step_key, blur
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return _State(optax.apply_updates(state.params, updates), opt_state), loss

    keys = jax.random.split(steps_key, num_steps)
    state, losses = jax.lax.scan(body, state, (order.reshape(num_steps, batch_size), keys))
    return state, losses.mean()


def _cross_entropy(
    params: nnx.State,
    graphdef: nnx.GraphDef,
    images: StoredImages,
    labels: Int[Array, " batch"],
    key: Key[Array, ""],
    blur: float,
) -> Float[Array, ""]:
    """Return -log p(label | changed image), half of the features dropped: nats, the batch mean."""
    shift_key, dropout_key = jax.random.split(key)
    network = nnx.merge(graphdef, params)
    changed = _shifted(to_unit_interval(images), shift_key)
    if blur:
        changed = _blurred(changed, jax.random.fold_in(key, 2), blur)
    features = network.features(changed)
    kept = jax.random.bernoulli(dropout_key, 1 - _DROPOUT, features.shape)
    logits = network.head(jnp.where(kept, features / (1 - _DROPOUT), 0))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _shifted(
    images: Float[Array, "batch height width channels"], key: Key[Array, ""]
) -> Float[Array, "batch height width channels"]:
    """Shift each image by whole pixels, drawn for it alone; edges are continued."""
    num, height, width, channels = images.shape
    most = (round(_SHIFT * height), round(_SHIFT * width))
    padded = jnp.pad(images, ((0, 0), (most[0], most[0]), (most[1], most[1]), (0, 0)), mode="edge")
    starts = jax.random.randint(key, (num, 2), 0, 2 * jnp.array(most) + 1)

    def crop(image: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), (height, width, channels))

    return jax.vmap(crop)(padded, starts)


def _blurred(
    images: Float[Array, "batch height width channels"], key: Key[Array, ""], most: float
) -> Float[Array, "batch height width channels"]:
    """Blur each image by a standard deviation drawn for it alone, uniformly up to `most` pixels."""
    keys = jax.random.split(key, len(images))
    deviations = jax.random.uniform(key, (len(images),), maxval=most)
    return jax.vmap(corruptions.blur)(keys, images, deviations)
