"""How good the samples of trained runs are, by sampler and temperature.

    python -m benchmarks.generation --workdirs=runs/a,runs/b --classifier=runs/classifier_mnist

As many samples as there are test images are compared with these; so are training images, of which
no model should do better, and what the model makes of the same training images, which tells how
much of the distance is the decoder's. Test images are in 8 bits, also where the model was trained
on zeros and ones; samples are mean images.

--output=results/uses/generation.json --figures=results/uses/generation keep what was measured.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import config as factory
from vae_jax import plots, trained_model, workdir
from vae_jax.applications.generation import Reference, generation_figures, make_reference, samplers
from vae_jax.applications.generation.nearest import nearest
from vae_jax.applications.generation.plot import (
    nearest_distances,
    precision_recall_plane,
    quality_by_temperature,
)
from vae_jax.data.dataset import Dataset
from vae_jax.errors import UserError
from vae_jax.evaluation import classifier, results_file
from vae_jax.evaluation import metrics as figures_of_merit
from vae_jax.evaluation.classifier import Classifier

shared.define("workdirs", "plots", output="JSON file to write; empty prints only")

_CLASSIFIER = flags.DEFINE_string("classifier", "", "directory of a classifier of the same data")
_TEMPERATURES = flags.DEFINE_list("temperatures", ["0.6", "0.8", "1", "1.2"], "of each sampler")

TRAINING, RECONSTRUCTED = "training images", "reconstructed training images"

# Of the images whose nearest training image is looked for.
_NUM_NEAREST = 1000
_NUM_SHOWN = 12

_METRICS = {
    "classifier_frechet_distance": "classifier Fréchet distance",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
}


class Yardstick(NamedTuple):
    """What all samples of a data set are measured with."""

    classifier: Classifier
    train: np.ndarray
    reference: Reference

    def measure(self, images: np.ndarray) -> dict[str, Any]:
        """The figures of some images."""
        distances, _ = self.nearest(images)
        return generation_figures(self.classifier, self.reference, images, distances)

    def nearest(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances of `some` images to their nearest training image, and which that is."""
        return nearest(_rows(some(images)), self.train)


def some(images: np.ndarray) -> np.ndarray:
    """About a thousand of the images, evenly spaced: MNIST's first test images are neat ones."""
    return images[:: max(1, len(images) // _NUM_NEAREST)]


def _rows(images: np.ndarray) -> np.ndarray:
    scale = np.float32(1 / 255) if images.dtype == np.uint8 else np.float32(1)
    return images.reshape(len(images), -1) * scale


def make_yardstick(trained: Classifier, train: np.ndarray, test: np.ndarray) -> Yardstick:
    """Measure the test images themselves."""
    rows = _rows(train)
    distances, _ = nearest(_rows(some(test)), rows)
    return Yardstick(trained, rows, make_reference(trained, test, distances))


def measure(
    folder: Path, yardstick: Yardstick, train: Dataset, temperatures: list[float], num: int
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """The rows of a run, and its samples at temperature 1 by sampler."""
    model = trained_model.load(folder)
    config = model.config
    order_key, images_key, fits_key, draws_key = jax.random.split(factory.make_key(config.seed), 4)
    identity = {
        "data": config.data.name,
        "seed": config.seed,
        "config_digest": workdir.config_digest(config.to_dict()),
    }
    rows: list[dict[str, Any]] = []

    def add(sampler: str, temperature: float | None, images: np.ndarray) -> None:
        figures_of = yardstick.measure(images)
        rows.append({**identity, "sampler": sampler, "temperature": temperature, **figures_of})
        told = ", ".join(f"{figures_of[name]:.3f} {label}" for name, label in _METRICS.items())
        print(f"{folder}: {sampler} {temperature or ''}: {told}", flush=True)

    chosen = np.asarray(jax.random.permutation(order_key, len(train.images)))[:num]
    # Their nearest training images are themselves: the measure of copies must find them all.
    add(TRAINING, None, train.images[chosen])
    prepare = factory.build_prepare(config)
    targets = figures_of_merit.prepare_targets(prepare, train.images, images_key)
    add(RECONSTRUCTED, None, np.clip(model.reconstruct(targets[chosen]), 0, 1))
    at_one = {}
    for place, sampler in enumerate(samplers.SAMPLERS):
        fit_key, draw_key = (jax.random.fold_in(key, place) for key in (fits_key, draws_key))
        distribution = samplers.build(sampler, model, targets, fit_key)
        for temperature in temperatures:
            # The same draws at each, so that images differ in the temperature alone.
            latents = samplers.sample_latents(distribution, draw_key, num, temperature)
            images = np.clip(model.decode(latents), 0, 1)
            add(sampler, temperature, images)
            if temperature == 1:
                at_one[sampler] = some(images)
    return rows, at_one


def draw(
    out: Path,
    rows: list[dict[str, Any]],
    temperatures: list[float],
    samples: dict[str, np.ndarray],
    yardstick: Yardstick,
    train: np.ndarray,
) -> None:
    """The pictures of all rows, and of the samples of the first run."""

    def values(name: str, sampler: str) -> np.ndarray:
        own = [row[name] for row in rows if row["sampler"] == sampler]
        width = len(temperatures) if sampler in samplers.SAMPLERS else 1
        return np.reshape(own, (-1, width))

    of_others = {
        other: {label: float(values(name, other).mean()) for name, label in _METRICS.items()}
        for other in (TRAINING, RECONSTRUCTED)
    }
    metrics = {
        label: {sampler: values(name, sampler) for sampler in samplers.SAMPLERS}
        for name, label in _METRICS.items()
    }
    curves = quality_by_temperature(temperatures, metrics, of_others)
    plots.save(curves, out / "quality_by_temperature.png")
    plane = precision_recall_plane(
        temperatures,
        metrics["precision"],
        metrics["recall"],
        {name: (told["precision"], told["recall"]) for name, told in of_others.items()},
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
        sampler: (images[:_NUM_SHOWN], train[found[sampler][1][:_NUM_SHOWN]] / 255)
        for sampler, images in samples.items()
    }
    plots.save(plots.nearest_neighbours(pairs), out / "nearest_neighbours.png")


def _temperatures() -> list[float]:
    try:
        values = [float(value) for value in _TEMPERATURES.value]
    except ValueError as error:
        raise UserError(f"--temperatures={','.join(_TEMPERATURES.value)}: {error}") from None
    for value in values:
        samplers.require_temperature(value)
    return values


def main() -> None:
    """Measure runs that differ in their seed, print a line a row, write the JSON, draw."""
    folders, temperatures = shared.required_workdirs(), _temperatures()
    if not _CLASSIFIER.value:
        raise UserError("--classifier is missing; name what experiments.classifier trained")
    trained = classifier.load(Path(_CLASSIFIER.value))
    splits = factory.load_splits(trained_model.load(folders[0]).config)
    if not isinstance(splits.train, Dataset):
        raise UserError("data.mode='render' keeps no training images to look for the nearest among")
    test = splits.test.images
    yardstick = make_yardstick(trained, splits.train.images, test)
    rows: list[dict[str, Any]] = []
    samples: dict[str, np.ndarray] = {}
    for folder in folders:
        own, at_one = measure(folder, yardstick, splits.train, temperatures, len(test))
        rows += own
        samples = samples or at_one
        results = {
            **results_file.circumstances("benchmarks.generation"),
            "num_images": len(test),
            "num_nearest": _NUM_NEAREST,
            "classifier": trained.facts,
            "rows": rows,
        }
        results_file.write(flags.FLAGS.output, results)
    if (out := shared.plots_folder()) is not None:
        draw(out, rows, temperatures, samples, yardstick, splits.train.images)


if __name__ == "__main__":
    command_line.run(main)
