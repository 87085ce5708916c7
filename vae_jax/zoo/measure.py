"""Measure a run of the zoo: likelihood, reconstructions, samples, and what its codes know."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import trained, workdir
from vae_jax.applications.generation import NUM_MANIFOLD_NEIGHBOURS, samplers
from vae_jax.applications.generation.frechet import frechet_distance
from vae_jax.applications.generation.nearest import squared_radii
from vae_jax.applications.generation.precision_recall import precision_recall
from vae_jax.applications.representation import probing
from vae_jax.data.dataset import Dataset, evenly_spaced, read_all
from vae_jax.data.pixels import as_floats
from vae_jax.data.random_bits import make_key
from vae_jax.errors import UserError
from vae_jax.evaluation import classifier_training, metrics
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.classifier import Classifier
from vae_jax.evaluation.results_file import Row
from vae_jax.models.likelihoods import nats_of
from vae_jax.trained import TrainedModel

# Samples per sampler, and test images that they are compared with, at most. Twice as many take four
# times as long.
NUM_SAMPLES = 5000
NUM_LABELS = 1000
# One draw per run: a seed draws anew, and with 784 latents a probe takes 20 s.
NUM_DRAWS = 1
# Training images whose latents samplers are fitted to and labels are drawn from, at most.
NUM_FITTED = 10_000
_FLOW_STEPS = 1500

# The samplers that are compared. A diffusion takes longer to fit than most families to train.
SAMPLERS = ("prior", "mixture", "flow")
_CLASSIFIER_EPOCHS = 10

QUALITY = ("classifier_frechet_distance", "precision", "recall")

_METRICS = "zoo.json"
_IMAGES = "zoo.npz"
_NUM_SHOWN = 10


class Yardstick(NamedTuple):
    """The images that the runs on a data set are measured with.

    Attributes:
      classifier: the network in whose features samples are compared.
      train: training images that samplers and probes use.
      test: test images.
      features: of the test images.
      squared_radii: squared distances of these from their third nearest.
    """

    classifier: Classifier
    train: Dataset
    test: Dataset
    features: np.ndarray
    squared_radii: np.ndarray

    def quality(self, images: np.ndarray) -> dict[str, float]:
        """Return the metrics `QUALITY` of images in [0, 1] or of 8 bits."""
        features = self.classifier.features(images)
        (radii,) = squared_radii(features, (NUM_MANIFOLD_NEIGHBOURS,))
        shares = precision_recall(self.features, self.squared_radii, features, radii)
        return {
            "classifier_frechet_distance": frechet_distance(features, self.features),
            **shares._asdict(),
        }

    def reference(self) -> Row:
        """Return the classifier's accuracy, and the quality of training images."""
        accuracy = self.classifier.facts["test_accuracy"]
        num = len(self.test.images)
        return {"test_accuracy": accuracy, **self.quality(self.train.images[:num])}


def make_yardstick(model: TrainedModel, folder: Path) -> Yardstick:
    """Return the yardstick of a run's data, with the classifier in `folder` or a new one there.

    Raises:
      UserError: the data have no labels, or the classifier is damaged.
    """
    splits = model.load_splits()
    train, test = read_all(splits.train), splits.test
    if train.labels is None or test.labels is None:
        raise UserError(f"data.name={model.data.name!r} has no labels, which the zoo needs")
    trained_classifier = classifier_training.load_or_train(
        folder,
        lambda: (train, test),
        {"data": model.data.name, "train_split": model.data.train_split},
        num_epochs=_CLASSIFIER_EPOCHS,
    )
    test = _some(test, NUM_SAMPLES)
    features = trained_classifier.features(test.images)
    (radii,) = squared_radii(features, (NUM_MANIFOLD_NEIGHBOURS,))
    return Yardstick(trained_classifier, _some(train, NUM_FITTED), test, features, radii)


def _some(data: Dataset, most: int) -> Dataset:
    """Return at most `most` evenly spaced examples."""
    chosen = evenly_spaced(len(data.images), most)
    assert data.labels is not None
    return Dataset(data.images[chosen], data.labels[chosen])


def read(folder: Path) -> Row | None:
    """Return the metrics of a run that has been measured; None before that."""
    path = folder / _METRICS
    return workdir.read_json(path) if path.is_file() else None


def write(folder: Path, row: Row, images: dict[str, np.ndarray] | None = None) -> None:
    """Write the metrics of a run, and before them the images that are drawn."""
    if images is not None:
        np.savez_compressed(folder / _IMAGES, allow_pickle=False, **images)
    workdir.write_json(folder / _METRICS, row)


def read_images(folder: Path) -> dict[str, np.ndarray]:
    """Return a measured run's images: "test", "reconstructions", and samples by sampler.

    Raises:
      UserError: they are gone.
    """
    try:
        with np.load(folder / _IMAGES) as arrays:
            return dict(arrays)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / _IMAGES} cannot be read: {error}") from None


def measure_run(folder: Path, yardstick: Yardstick) -> tuple[Row, dict[str, np.ndarray]]:
    """Return the metrics of a run, and the images that are drawn, in [0, 1].

    Squared errors are those of the grey test images. A metric that has no meaning for the run is
    None: the NLL without a density or of values that the likelihood gives none, and the samples of
    samplers that the model does not have. Accuracies, precision and recall are shares.

    Raises:
      UserError: the run has lost its summary.
    """
    model = trained.load_images(folder)
    summary = workdir.read_summary(folder)
    if summary is None:
        raise UserError(
            f"{folder} has lost its summary.json: python -m experiments.evaluate "
            f"--workdir={folder} writes it again"
        )
    targets = measuring.prepare_test(model, yardstick.test)
    reconstructions = np.clip(model.reconstruct(targets), 0, 1)
    grey = as_floats(yardstick.test.images)
    quality, samples = _measure_samples(model, yardstick)
    row = {
        "config_digest": model.digest,
        "convolutional": model.is_convolutional,
        "binarized": model.binarizes,
        "nll": _nll(model, targets, summary["test"]),
        "squared_error": float(np.square(reconstructions - grey).mean(dtype=np.float64)),
        **quality,
        **_accuracies(model, targets, yardstick),
        **{name: summary[name] for name in ("device", "num_cores", "versions")},
    }
    images = {"test": grey, "reconstructions": reconstructions}
    return row, {name: part[:_NUM_SHOWN] for name, part in {**images, **samples}.items()}


def _nll(model: TrainedModel, targets: np.ndarray, test: dict[str, Any]) -> float | None:
    """Return minus the importance-weighted bound, in nats per image."""
    bound = test.get("iwae_bound")
    if bound is None or nats_of(model.likelihood, targets) == "cross-entropy":
        return None
    return -float(bound)


def _measure_samples(
    model: TrainedModel, yardstick: Yardstick
) -> tuple[dict[str, float | None], dict[str, np.ndarray]]:
    """Return the quality of each sampler's images, and these images."""
    images_key, fits_key, draws_key = jax.random.split(make_key(model.seed), 3)
    train = metrics.prepare_targets(model.prepare(), yardstick.train.images, images_key)
    found: dict[str, float | None] = {}
    samples = {}
    for index, sampler in enumerate(SAMPLERS):
        quality: dict[str, Any] = dict.fromkeys(QUALITY)
        if sampler in samplers.available(model):
            fit_key, draw_key = (jax.random.fold_in(key, index) for key in (fits_key, draws_key))
            num = len(yardstick.test.images)
            if sampler == "prior":
                images = model.sample(draw_key, num)
            else:
                fitted = samplers.build(sampler, model, train, fit_key, flow_steps=_FLOW_STEPS)
                images = model.decode(samplers.sample_latents(fitted, draw_key, num))
            samples[sampler] = np.clip(images, 0, 1)
            quality = yardstick.quality(samples[sampler])
        found |= {f"{sampler}_{name}": value for name, value in quality.items()}
    return found, samples


def _accuracies(model: TrainedModel, targets: np.ndarray, yardstick: Yardstick) -> dict[str, float]:
    """Return the accuracies of a linear probe and of neighbours, by the latents of an image."""
    train, test = yardstick.train, yardstick.test
    assert train.labels is not None
    assert test.labels is not None
    latents = model.latents(measuring.prepare_train(model, train))
    found = probing.accuracies(
        latents,
        train.labels,
        model.latents(targets),
        test.labels,
        num_labels=min(NUM_LABELS, len(latents)),
        num_draws=NUM_DRAWS,
        seed=model.seed,
    )
    return {"linear_accuracy": found.linear, "neighbours_accuracy": found.neighbours}
