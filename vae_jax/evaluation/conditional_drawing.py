"""The plots of a model of p(x|c): samples of conditions, styles by class, completed images."""

from pathlib import Path

import jax
import numpy as np

from vae_jax import plots
from vae_jax.trained import TrainedModel

# Rows, draws of each, and at most so many classes in columns.
_NUM_ROWS = 8
_NUM_DRAWS = 5
_MOST_CLASSES = 20


def draw_conditional_run(
    out: Path, model: TrainedModel, targets: np.ndarray, condition: np.ndarray
) -> None:
    """Draw what a model makes of its conditions.

    Args:
      out: folder of the plots.
      model: the model.
      targets: the test images as it sees them.
      condition: of each image.
    """
    if model.condition_reads == "labels":
        draw_class_samples(out / "samples.png", model, model.keys.prior)
        draw_styles(out / "styles.png", model, targets[:_NUM_ROWS], condition[:_NUM_ROWS])
    elif model.condition_reads == "conditions":
        first = slice(_NUM_ROWS)
        path = out / "samples.png"
        draw_given(path, model, targets[first], condition[first], model.keys.prior)
    else:
        draw_completions(out / "completions.png", model, targets[:_NUM_ROWS], model.keys.prior)


def _classes(model: TrainedModel) -> np.ndarray:
    assert model.num_classes is not None, "conditions are classes"
    return np.arange(min(model.num_classes, _MOST_CLASSES), dtype=np.int32)


def _by_class(model: TrainedModel, latents: np.ndarray) -> np.ndarray:
    """Return the mean image of each latent vector, in rows, and class, in columns."""
    classes = _classes(model)
    repeated = np.repeat(latents, len(classes), axis=0)
    images = model.decode(repeated, np.tile(classes, len(latents)))
    return images.reshape(len(latents), len(classes), *model.image_shape)


def draw_class_samples(path: Path, model: TrainedModel, key: jax.Array) -> None:
    """Draw samples of each class, in columns."""
    classes = _classes(model)
    samples = model.sample(key, _NUM_ROWS * len(classes), np.tile(classes, _NUM_ROWS))
    grid = samples.reshape(_NUM_ROWS, len(classes), *model.image_shape)
    plots.save(plots.edited_images(grid, [str(c) for c in classes], "class"), path)


def draw_given(
    path: Path, model: TrainedModel, images: np.ndarray, condition: np.ndarray, key: jax.Array
) -> None:
    """Draw images, one per row, and samples that are given the numbers beside the image.

    Args:
      path: of the plot.
      model: a model whose conditions are numbers.
      images: as the model sees them.
      condition: the numbers beside each.
      key: of the draws.
    """
    keys = [jax.random.fold_in(key, index) for index in range(_NUM_DRAWS)]
    samples = [model.sample(own, len(images), condition) for own in keys]
    labels = ["image", "samples", *[""] * (_NUM_DRAWS - 1)]
    grid = np.stack([images, *samples], axis=1)
    plots.save(plots.edited_images(grid, labels, "given the numbers of the image"), path)


def draw_completions(path: Path, model: TrainedModel, images: np.ndarray, key: jax.Array) -> None:
    """Draw what is seen of images, one per row, and draws of the rest given that.

    The guess of a network without latents stands before them, if there is one, and the image itself
    after them.

    Args:
      path: of the plot.
      model: a model whose conditions are parts of images.
      images: as the model sees them.
      key: of the draws.
    """
    columns, labels = [model.seen(images)], ["seen"]
    if model.has_guess:
        columns, labels = [*columns, model.guess(images)], [*labels, "guess"]
    for index in range(_NUM_DRAWS):
        drawn = model.sample(jax.random.fold_in(key, index), len(images), images)
        columns, labels = [*columns, drawn], [*labels, "" if index else "draws"]
    grid = np.stack([*columns, images], axis=1)
    plots.save(plots.edited_images(grid, [*labels, "image"], "completed images"), path)


def draw_styles(path: Path, model: TrainedModel, images: np.ndarray, condition: np.ndarray) -> None:
    """Draw images, one per row, with their latents kept while the class changes.

    Args:
      path: of the plot.
      model: a model whose conditions are classes.
      images: as the model sees them.
      condition: their own classes.
    """
    changed = _by_class(model, model.latents(images, condition))
    grid = np.concatenate([images[:, None], changed], axis=1)
    labels = ["style", *(str(c) for c in _classes(model))]
    plots.save(plots.edited_images(grid, labels, "class, with the style kept"), path)
