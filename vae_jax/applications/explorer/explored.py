"""A run opened to be explored: its model, its test images in the plane, and its directions."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from vae_jax import trained
from vae_jax.applications.editing import directions
from vae_jax.applications.editing.attribute_vectors import mean_difference
from vae_jax.applications.editing.directions import ClassChange, KnownImages
from vae_jax.applications.explorer import planes
from vae_jax.applications.explorer.planes import Plane
from vae_jax.data.captions.morphology import Morphology
from vae_jax.data.corruptions import at_any_level
from vae_jax.data.dataset import evenly_spaced
from vae_jax.distributions import Normal, kl_by_dimension
from vae_jax.errors import UserError
from vae_jax.evaluation import denoising
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.latent_draws import draw_latents
from vae_jax.models import latent_paths
from vae_jax.trained import TrainedModel

MOST_SLIDERS = 16
# Test images in the plane, and training images from which directions are computed, at most.
_MAPPED = 2000
_KNOWN = 5000
# Latents of a standard prior lie within this.
_PRIOR_RANGE = 3.0
# More classes are no choice for a menu.
_MOST_CLASSES = 20

Latents = Float[np.ndarray, " latents"]
Image = Float[np.ndarray, "height width channels"]


class Examples(NamedTuple):
    """Images of a run's data, which runs of the same data share.

    Attributes:
      images: test images as the model sees them.
      labels: their classes; None where the data have none.
      train: training images as stored.
      train_labels: their classes.
      morphology: attributes of the training images.
    """

    images: Float[np.ndarray, "n height width channels"]
    labels: Int[np.ndarray, " n"] | None
    train: np.ndarray
    train_labels: Int[np.ndarray, " train"] | None
    morphology: Morphology


@dataclasses.dataclass(frozen=True, eq=False)
class Explored:
    """A run, with what its page shows before anything is touched.

    Attributes:
      folder: its workdir.
      model: its model.
      examples: images of its data.
      latents: of the test images.
      importance: of each latent, the mean KL in nats where that is a sum over the latents, else the
        variance over the test images.
      in_nats: whether it is the KL.
      plane: the plane of the map.
    """

    folder: Path
    model: TrainedModel
    examples: Examples
    latents: Float[np.ndarray, "n latents"]
    importance: Latents
    in_nats: bool
    plane: Plane

    @property
    def data_name(self) -> str:
        """The name of the data; of a file or a folder without the folders that it lies in."""
        return without_folders(self.model.data.name)

    @functools.cached_property
    def order(self) -> Int[np.ndarray, " sliders"]:
        """The latents that have a slider, the most important first."""
        return np.argsort(-self.importance, kind="stable")[:MOST_SLIDERS]

    @functools.cached_property
    def ranges(self) -> tuple[Latents, Latents]:
        """The ends of each latent's slider: what test images have, and 3 deviations of a prior."""
        low, high = self.latents.min(axis=0), self.latents.max(axis=0)
        if self.model.has_spherical_latents:
            return np.full_like(low, -1), np.full_like(high, 1)
        if self.model.has_standard_prior:
            low, high = np.minimum(low, -_PRIOR_RANGE), np.maximum(high, _PRIOR_RANGE)
        # A latent that is the same for all images still needs a range.
        return np.floor(10 * low) / 10, np.maximum(np.ceil(10 * high), np.floor(10 * low) + 1) / 10

    @functools.cached_property
    def centre(self) -> Latents:
        """The latents that the page begins with: the mean of those of the test images."""
        if self.model.has_standard_prior:
            return np.zeros(self.model.latent_size, np.float32)
        return self.latents.mean(axis=0)

    @functools.cached_property
    def directions(self) -> dict[str, Latents]:
        """The vectors of the attributes that the training images differ in, by name.

        Thickness, slant and size are those of strokes, which images in colour do not have.
        """
        examples, found = self.examples, {}
        latents = draw_latents(self.model, examples.train, self.model.keys.editing)
        known = KnownImages(examples.train, latents, examples.train_labels, examples.morphology)
        labels = () if known.labels is None else np.unique(known.labels)
        classes = [int(label) for label in labels] if len(labels) <= _MOST_CLASSES else []
        measured = Morphology._fields if self.model.image_shape[2] == 1 else ()
        named: dict[str, Any] = {name: name for name in measured}
        named |= {f"class {label}": ClassChange(label) for label in classes}
        for name, attribute in named.items():
            try:
                contrast = directions.contrast(known, attribute)
            except UserError:
                # The images do not differ in it.
                continue
            found[name] = mean_difference(contrast).astype(np.float32)
        return found

    def decode(self, latents: Latents) -> Image:
        """Return the mean image of a latent vector."""
        return self.model.decode(latents[None])[0]

    def encode(self, image: Image) -> Latents:
        """Return the latents of an image in the unit interval."""
        return self.model.latents(image[None].astype(np.float32))[0]

    def nearest(self, latents: Latents) -> int:
        """Return the index of the test image whose latents are nearest."""
        return int(np.square(self.latents - latents).sum(axis=1).argmin())

    def between(
        self, first: int, second: int, degrees: Float[np.ndarray, " steps"]
    ) -> Float[np.ndarray, "steps latents"]:
        """Return latents between two test images, by degrees from 0 to 1.

        They lie on a line, or on an arc where latents are points on the sphere.
        """
        spherical = self.model.has_spherical_latents
        path = (
            latent_paths.spherical_interpolation if spherical else latent_paths.linear_interpolation
        )
        ends = self.latents[first], self.latents[second]
        return np.asarray(_jitted(path)(*ends, np.asarray(degrees, np.float32)))

    def sample(self, seed: int) -> Latents:
        """Return a draw from the prior, or the latents of a test image if there is none."""
        if not self.model.has_samples:
            rng = np.random.default_rng(seed)
            return self.latents[rng.integers(len(self.latents))]
        return np.asarray(_draw(self.model, jax.random.key(seed)))

    def corrupted(self, image: Image, level: float, seed: int = 0) -> Image:
        """Return an image with the corruption that the model was trained to remove."""
        corrupt = at_any_level(self.model.corruption)
        return denoising.corrupt_each(corrupt, image[None], level, jax.random.key(seed))[0]

    @property
    def corruption_level(self) -> float | None:
        """The level of the corruption trained at; None for a model without."""
        level = getattr(self.model.corruption, "level", None)
        return None if level is None else float(level)


def without_folders(data_name: str) -> str:
    """Return the name of data without the folders of a file or of an absolute path."""
    is_path = data_name.endswith(".npz") or data_name.startswith((".", "/", "~"))
    return Path(data_name).name if is_path else data_name


@functools.cache
def _jitted(function):  # type: ignore[no-untyped-def]
    return jax.jit(function)


def _draw(model: TrainedModel, key: jax.Array) -> np.ndarray:
    return np.asarray(model.prior.sample(key))


def load_examples(model: TrainedModel) -> Examples:
    """Read the images that a run's page shows and computes directions from.

    Raises:
      UserError: the data are missing or damaged.
    """
    splits = model.open_splits()
    test = splits.test.read(np.arange(min(_MAPPED, splits.test.shape[0])))
    train = splits.train.read(evenly_spaced(splits.train.shape[0], _KNOWN))
    return Examples(
        measuring.prepare_test(model, test),
        test.labels,
        train.images,
        train.labels,
        directions.measure_stored(train.images),
    )


def _importance(
    model: TrainedModel, images: np.ndarray, latents: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Return the mean KL of each latent in nats, or its variance, and whether it is the KL."""
    if not (model.has_density and model.has_normal_posterior and model.has_standard_prior):
        return latents.var(axis=0), False
    standard = Normal(jnp.zeros(()), jnp.zeros(()))
    kl = np.asarray(kl_by_dimension(model.posterior(images), standard))
    return kl.mean(axis=0), True


def open_run(folder: Path, like: Explored | None = None) -> Explored:
    """Open a run to be explored.

    Args:
      folder: its workdir.
      like: another run; its images and compiled programs are used again where they are the same.

    Raises:
      UserError: there is no run or no checkpoint, its data are missing, or its latents are no
        numbers that sliders could change.
    """
    model = trained.load_images(folder)
    if model.has_codes or model.has_discrete_latents:
        raise UserError(
            f"workdir={str(folder)!r} holds a run of model={model.name!r}, whose latents are "
            "discrete; the explorer needs latents that change by degrees, as those of model='vae'"
        )
    examples = None
    if like is not None:
        if (like.model.network, like.model.form) == (model.network, model.form):
            loaded, model = model, like.model.with_params(model.config, model.params, model.extra)
            model.written_config, model.checkpoint = loaded.written_config, loaded.checkpoint
        if (like.model.data, like.model.evaluation) == (model.data, model.evaluation):
            examples = like.examples
    examples = load_examples(model) if examples is None else examples
    latents = model.latents(examples.images)
    importance, in_nats = _importance(model, examples.images, latents)
    plane = planes.of_codes(latents)
    return Explored(folder, model, examples, latents, importance, in_nats, plane)


def warm(explored: Explored, steps: int) -> None:
    """Compile what a page computes, so that its first answers are as fast as the others.

    Args:
      explored: the run.
      steps: images of the strip between two images.
    """
    explored.decode(explored.centre)
    explored.encode(explored.examples.images[0])
    explored.between(0, 0, np.zeros(1))
    explored.model.decode(explored.between(0, 0, np.zeros(steps)))
    explored.sample(0)
    if explored.corruption_level is not None:
        explored.corrupted(explored.examples.images[0], explored.corruption_level)
    assert explored.directions is not None
