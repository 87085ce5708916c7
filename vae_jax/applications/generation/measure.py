"""Measure the samples of trained runs, by sampler and temperature.

As many samples as there are test images are compared with the test images. So are training images,
which no model should beat, and the model's reconstructions of them, which show the decoder's share
of the distance. Test images have 8 bits, also where the model was trained on zeros and ones;
samples are mean images.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import plots
from vae_jax.applications.generation import Reference, generation_metrics, make_reference, samplers
from vae_jax.applications.generation.nearest import nearest
from vae_jax.applications.generation.plot import (
    nearest_distances,
    precision_recall_plane,
    quality_by_temperature,
)
from vae_jax.data.dataset import Dataset
from vae_jax.data.random_bits import make_key
from vae_jax.errors import UserError
from vae_jax.evaluation import metrics
from vae_jax.evaluation.classifier import Classifier, require_same_data
from vae_jax.evaluation.classifier import load as load_classifier
from vae_jax.evaluation.reports import Measured
from vae_jax.trained import TrainedModel, load_images

TRAINING, RECONSTRUCTED = "training images", "reconstructed training images"

# Images whose nearest training image is searched, about.
_NUM_NEAREST = 1000
_NUM_SHOWN = 12

_METRICS = {
    "classifier_frechet_distance": "classifier Fréchet distance",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
}


def measure(
    folders: Sequence[Path],
    *,
    plots_folder: Path | None = None,
    classifier: str = "",
    temperatures: Sequence[str] = ("0.6", "0.8", "1", "1.2"),
) -> Iterator[Measured]:
    """Measure samples of runs that differ in their seed; yield the results so far after each.

    Args:
      folders: workdirs of the runs.
      plots_folder: where to plot; None plots nothing.
      classifier: directory of a classifier of the same data.
      temperatures: of each sampler.

    Raises:
      UserError: a temperature is no number above 0, there is no classifier, or the runs or the
        classifier are of different data.
    """
    amounts = _numbers(temperatures)
    if not classifier:
        raise UserError("--classifier is missing; name what experiments.classifier trained")
    trained = load_classifier(Path(classifier))
    models = [load_images(folder) for folder in folders]
    _require_same_data(models, trained, classifier)
    splits = models[0].load_splits()
    if not isinstance(splits.train, Dataset):
        raise UserError(
            "data.mode='render' keeps no training images, which samples are compared with; measure "
            "runs with data.mode='memory'"
        )
    train, test = splits.train, splits.test.images
    yardstick = make_yardstick(trained, train.images, test)
    rows: list[dict[str, Any]] = []
    samples: dict[str, np.ndarray] = {}
    for folder, model in zip(folders, models, strict=True):
        found, at_one = measure_run(folder, model, yardstick, train, amounts, len(test))
        rows += found
        samples = samples or at_one
        yield {
            "num_images": len(test),
            "num_nearest": _NUM_NEAREST,
            "classifier": trained.facts,
            "rows": rows,
        }
    if plots_folder is not None:
        _draw(plots_folder, rows, amounts, samples, yardstick, train.images)


def _require_same_data(models: Sequence[TrainedModel], judge: Classifier, classifier: str) -> None:
    """Refuse runs of different data, or a classifier of other data."""
    first = models[0].data
    for model in models:
        require_same_data(judge, f"--classifier={classifier}", model.data.name)
        for field in ("train_split", "test_split"):
            one, other = getattr(first, field), getattr(model.data, field)
            if one != other:
                raise UserError(
                    f"--workdirs has runs of data.{field}={one!r} and {other!r}; measure them into "
                    "different files"
                )


def _numbers(temperatures: Sequence[str]) -> list[float]:
    try:
        values = [float(value) for value in temperatures]
    except ValueError as error:
        raise UserError(f"--temperatures={','.join(temperatures)}: {error}") from None
    for value in values:
        samplers.require_temperature(value)
    return values


class Yardstick(NamedTuple):
    """A classifier and real images, by which samples are measured."""

    classifier: Classifier
    train: np.ndarray
    reference: Reference

    def measure(self, images: np.ndarray) -> dict[str, Any]:
        """Return the metrics of some images."""
        distances, _ = self.nearest(images)
        return generation_metrics(self.classifier, self.reference, images, distances)

    def nearest(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances of some images to their nearest training image, and its index."""
        return nearest(_rows(some(images)), self.train)


def some(images: np.ndarray) -> np.ndarray:
    """Return about 1,000 evenly spaced images; MNIST's first test images are easier than others."""
    return images[:: max(1, len(images) // _NUM_NEAREST)]


def _rows(images: np.ndarray) -> np.ndarray:
    return _shown(images).reshape(len(images), -1)


def _shown(images: np.ndarray) -> np.ndarray:
    """Return images in the unit interval."""
    return images * np.float32(1 / 255 if images.dtype == np.uint8 else 1)


def make_yardstick(trained: Classifier, train: np.ndarray, test: np.ndarray) -> Yardstick:
    """Return the yardstick of a data set, for which the test images are measured."""
    rows = _rows(train)
    distances, _ = nearest(_rows(some(test)), rows)
    return Yardstick(trained, rows, make_reference(trained, test, distances))


def measure_run(
    folder: Path,
    model: TrainedModel,
    yardstick: Yardstick,
    train: Dataset,
    temperatures: list[float],
    num: int,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return the rows of a run, and its samples at temperature 1 by sampler."""
    order_key, images_key, fits_key, draws_key = jax.random.split(make_key(model.seed), 4)
    identity = {
        "data": model.data.name,
        "seed": model.seed,
        "config_digest": model.digest,
    }
    rows: list[dict[str, Any]] = []

    def add(sampler: str, temperature: float | None, images: np.ndarray) -> None:
        found = yardstick.measure(images)
        rows.append({**identity, "sampler": sampler, "temperature": temperature, **found})
        listed = ", ".join(f"{found[name]:.3f} {label}" for name, label in _METRICS.items())
        print(f"{folder}: {sampler} {temperature or ''}: {listed}", flush=True)

    chosen = np.asarray(jax.random.permutation(order_key, len(train.images)))[:num]
    # They are their own nearest training images: the metric of copies must find them all.
    add(TRAINING, None, train.images[chosen])
    prepare = model.prepare()
    targets = metrics.prepare_targets(prepare, train.images, images_key)
    add(RECONSTRUCTED, None, np.clip(model.reconstruct(targets[chosen]), 0, 1))
    at_one = {}
    for index, sampler in enumerate(samplers.SAMPLERS):
        if sampler not in samplers.available(model):
            continue
        fit_key, draw_key = (jax.random.fold_in(key, index) for key in (fits_key, draws_key))
        distribution = samplers.build(sampler, model, targets, fit_key)
        for temperature in temperatures:
            # The same draws at each temperature, so that images differ in nothing else.
            latents = samplers.sample_latents(distribution, draw_key, num, temperature)
            images = np.clip(model.decode(latents), 0, 1)
            add(sampler, temperature, images)
            if temperature == 1:
                at_one[sampler] = some(images)
    return rows, at_one


def _draw(
    out: Path,
    rows: list[dict[str, Any]],
    temperatures: list[float],
    samples: dict[str, np.ndarray],
    yardstick: Yardstick,
    train: np.ndarray,
) -> None:
    """Plot all rows, and the samples of the first run."""
    measured = {row["sampler"] for row in rows}
    names = [sampler for sampler in samplers.SAMPLERS if sampler in measured]

    def values(name: str, sampler: str) -> np.ndarray:
        own = [row[name] for row in rows if row["sampler"] == sampler]
        width = len(temperatures) if sampler in samplers.SAMPLERS else 1
        return np.reshape(own, (-1, width))

    of_others = {
        other: {label: float(values(name, other).mean()) for name, label in _METRICS.items()}
        for other in (TRAINING, RECONSTRUCTED)
    }
    by_sampler = {
        label: {sampler: values(name, sampler) for sampler in names}
        for name, label in _METRICS.items()
    }
    curves = quality_by_temperature(temperatures, by_sampler, of_others)
    plots.save(curves, out / "quality_by_temperature.png")
    plane = precision_recall_plane(
        temperatures,
        by_sampler["precision"],
        by_sampler["recall"],
        {name: (means["precision"], means["recall"]) for name, means in of_others.items()},
    )
    plots.save(plane, out / "precision_recall.png")
    if not samples:
        return
    found = {sampler: yardstick.nearest(images) for sampler, images in samples.items()}
    distances = nearest_distances(
        yardstick.reference.nearest_distances, {name: own for name, (own, _) in found.items()}
    )
    plots.save(distances, out / "nearest_distances.png")
    pairs = {
        sampler: (images[:_NUM_SHOWN], _shown(train[found[sampler][1][:_NUM_SHOWN]]))
        for sampler, images in samples.items()
    }
    plots.save(plots.nearest_neighbours(pairs), out / "nearest_neighbours.png")
