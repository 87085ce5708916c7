"""A trained model for notebooks and other programs: NumPy in, NumPy out, explicit keys."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.config.fields import FIELDS, flatten
from vae_jax.data.pixels import to_unit_interval
from vae_jax.distributions import Normal
from vae_jax.errors import UserError
from vae_jax.models import VAE, Autoencoder, latent_paths
from vae_jax.networks.precision import full_precision
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.training import checkpoints

_BATCH_SIZE = 1000
# Of a decoder in one call: a categorical likelihood has 256 for each channel of each pixel.
_MAX_OUTPUTS = 2**25


class TrainedModel:
    """A model and its parameters. Images are `[num, height, width, channels]`.

    Images may be 8-bit, or floating point in the unit interval; they are not binarised unless the
    caller does it. Images and latents come back as NumPy arrays. Compiled once a batch shape.

    Attributes:
      config: the run's config.
      image_shape: height, width, channels.
      latent_size: number of latent dimensions.
    """

    def __init__(
        self, config: ConfigDict, image_shape: tuple[int, int, int], params: nnx.State
    ) -> None:
        self.config = config
        self.image_shape = image_shape
        self.latent_size = factory.latent_size(config)
        self.params = params
        self.graphdef = factory.build_graphdef(config, image_shape)
        self._compiled: dict[str, Callable[..., Any]] = {}
        outputs_per_channel = factory.build_likelihood(config).outputs_per_channel
        most = _MAX_OUTPUTS // (math.prod(image_shape) * outputs_per_channel)
        self._batch_size = max(1, min(_BATCH_SIZE, most))

    def with_params(self, config: ConfigDict, params: nnx.State) -> "TrainedModel":
        """The same network with other parameters, those of `config`: nothing is compiled anew."""
        other = copy.copy(self)
        other.config, other.params = config, params
        return other

    @property
    def is_vae(self) -> bool:
        """Whether there is a posterior and a prior; a deterministic autoencoder has neither."""
        return bool(self.config.model.name == "vae")

    def _run(self, name: str, function: Callable[..., Any], *batched: ArrayLike) -> Any:
        """`function(model, *arrays)`, compiled, over batches that are put together again."""
        if name not in self._compiled:

            @full_precision
            def apply(params: nnx.State, *arrays: Array) -> Any:
                return function(nnx.merge(self.graphdef, params), *arrays)

            self._compiled[name] = jax.jit(apply)
        arrays = [value if isinstance(value, jax.Array) else np.asarray(value) for value in batched]
        parts = [
            self._compiled[name](
                self.params, *(array[first : first + self._batch_size] for array in arrays)
            )
            for first in range(0, len(arrays[0]), self._batch_size)
        ]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def _images(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        array = np.asarray(images)
        if array.shape == self.image_shape:
            array = array[None]
        if array.shape[1:] != self.image_shape or len(array) == 0:
            raise ValueError(
                f"images have shape {array.shape}; this model takes (num, "
                f"{', '.join(map(str, self.image_shape))}) with num at least 1"
            )
        if array.dtype == bool:
            array = array.astype(np.float32)
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise ValueError("images hold values that are not finite")
        if not (array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)):
            raise ValueError(f"images are {array.dtype}; use uint8, bool or floats in [0, 1]")
        stored = array if array.dtype == np.uint8 else array.astype(np.float32)
        return np.asarray(to_unit_interval(jnp.asarray(stored)))

    def _targets(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        targets = self._images(images)
        problem = factory.refused_values(self.config, targets)
        if problem is not None:
            raise ValueError(
                f"images {problem}; model.likelihood={self.config.model.likelihood!r} refuses them"
            )
        return targets

    def _latents(self, latents: ArrayLike) -> Float[np.ndarray, "num latents"]:
        array = np.asarray(latents, np.float32)
        if array.ndim != 2 or array.shape[1] != self.latent_size or len(array) == 0:
            raise ValueError(
                f"latents have shape {array.shape}; this model takes (num, {self.latent_size})"
            )
        return array

    def _require_vae(self, what: str) -> None:
        if not self.is_vae:
            raise ValueError(f"{what} needs a VAE; this run is model.name='autoencoder'")

    def encode(self, images: ArrayLike) -> Float[np.ndarray, "num latents"]:
        """The latent vector of each image; for a VAE the posterior mean."""
        return self._run("encode", lambda model, x: model.latents(x), self._images(images))

    @property
    def has_normal_posterior(self) -> bool:
        """Whether q(z|x) is a diagonal normal over all latents, given by a mean and a scale."""
        return self.has_posterior_density and bool(self.config.model.hierarchy == "none")

    @property
    def has_posterior_density(self) -> bool:
        """Whether q(z|x) has a density at given latents: all but the autoregressive posterior."""
        return self.is_vae and bool(self.config.model.posterior == "diagonal")

    def posterior(self, images: ArrayLike) -> Normal:
        """q(z|x) over `[num, latents]`, of JAX arrays."""
        self._require_vae("a posterior")
        if not self.has_normal_posterior:
            raise ValueError("the posterior of this run is no diagonal normal; use encode or elbo")

        def parameters(model: VAE, x: Array) -> tuple[Array, Array]:
            posterior = model.encode(x)
            assert isinstance(posterior, Normal)
            return posterior.mean, posterior.log_scale

        mean, log_scale = self._run("posterior", parameters, self._images(images))
        return Normal(jnp.asarray(mean), jnp.asarray(log_scale))

    def decode(self, latents: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        """The mean image of each latent vector."""
        return self._run("decode", lambda model, z: model.decode(z).mean, self._latents(latents))

    def reconstruct(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        """`decode(encode(images))`: a denoising model's restoration of corrupted images."""
        return self._run(
            "reconstruct",
            lambda model, x: model.decode(model.latents(x)).mean,
            self._images(images),
        )

    def reconstruction_log_likelihood(self, images: ArrayLike) -> Float[np.ndarray, " num"]:
        """Log p(x|z) of each image at its own latent vector, in nats."""
        return self._run(
            "reconstruction_log_likelihood",
            lambda model, x: model.decode(model.latents(x)).log_prob(x),
            self._targets(images),
        )

    def sample(
        self, key: Key[Array, ""], num: int
    ) -> Float[np.ndarray, "num height width channels"]:
        """Mean images of `num` draws from the prior."""
        self._require_vae("sampling")
        if num < 1:
            raise ValueError(f"num={num} must be at least 1")
        draw = jax.vmap(lambda model, key: model.prior.sample(key), in_axes=(None, 0))
        return self.decode(self._run("sample", draw, jax.random.split(key, num)))

    def interpolate(
        self,
        start: ArrayLike,
        end: ArrayLike,
        degrees: ArrayLike = (0.0, 0.25, 0.5, 0.75, 1.0),
        *,
        path: Literal["linear", "spherical"] = "linear",
    ) -> Float[np.ndarray, "num steps height width channels"]:
        """Images on the way from `start` (degree 0) to `end` (degree 1), both as reconstructed.

        Args:
          start: images.
          end: as many images.
          degrees: how far along, any numbers.
          path: a straight line through latent space, or an arc around its origin.
        """
        paths = {
            "linear": latent_paths.linear_interpolation,
            "spherical": latent_paths.spherical_interpolation,
        }
        if path not in paths:
            raise ValueError(f"path={path!r} must be one of {', '.join(paths)}")
        first, last = self.encode(start), self.encode(end)
        if first.shape != last.shape:
            raise ValueError(f"{len(first)} images cannot be interpolated to {len(last)}")
        steps = np.atleast_1d(np.asarray(degrees, np.float32))
        latents = np.moveaxis(np.asarray(paths[path](first, last, steps)), 0, 1)
        images = self.decode(latents.reshape(-1, self.latent_size))
        return images.reshape(len(first), len(steps), *self.image_shape)

    def elbo(self, images: ArrayLike, key: Key[Array, ""]) -> Float[np.ndarray, " num"]:
        """A one-sample estimate of each image's evidence lower bound, in nats.

        For a model trained on binarised images, binarise them first: grey values give a
        cross-entropy, which is no bound on a log probability.

        Raises:
          ValueError: a value that the likelihood does not accept.
        """
        self._require_vae("the ELBO")
        prepared = self._targets(images)
        keys = jax.random.split(key, len(prepared))

        def each(model: VAE | Autoencoder, x: Array, keys: Array) -> Array:
            assert isinstance(model, VAE)

            def single(image: Array, key: Array) -> Array:
                return elbo_terms(model, image[None], image[None], key).elbo[0]

            return jax.vmap(single)(x, keys)

        return self._run("elbo", each, prepared, keys)


def load(path: str | Path, member: int | None = None) -> TrainedModel:
    """The best model of a finished or unfinished run.

    Args:
      path: its workdir, or that of a sweep.
      member: which of the sweep's members.

    Raises:
      UserError: there is no run or no such member, or it has no checkpoint yet.
    """
    folder = workdir.run_folder(Path(path), member)
    config = read_config(folder)
    if config.model.name == "multimodal":
        raise UserError(
            f"workdir={str(folder)!r} holds a run of model.name='multimodal', which has no images "
            "alone; `vae_jax.load` loads it, and experiments.evaluate measures it"
        )
    form, params = best_params(folder, config)
    assert not isinstance(form, dict)
    return TrainedModel(config, form, params)


def read_config(folder: Path) -> ConfigDict:
    """The config of the run in `folder`, validated.

    Raises:
      UserError: there is no run, its config is damaged, or it has other fields than configs have.
    """
    content = workdir.read_config(folder)
    missing = sorted(FIELDS.keys() - flatten(content))
    if missing:
        raise UserError(
            f"the config of workdir={str(folder)!r} lacks {missing[0]}: an earlier version of "
            "vae_jax trained this run, and only that one reads it"
        )
    config = ConfigDict(content)
    factory.validate(config)
    return config


def best_params(folder: Path, config: ConfigDict) -> tuple[factory.DataForm, nnx.State]:
    """What a run's examples are, and its best parameters.

    Args:
      folder: its workdir.
      config: its config, validated.

    Raises:
      UserError: it has no checkpoint yet, or none that is whole.
    """
    directory = folder / "checkpoints"
    if not checkpoints.steps(directory):
        raise UserError(f"workdir={str(folder)!r} has no checkpoint yet; train it first")
    form = factory.from_metadata(checkpoints.read_metadata(directory))
    restored = checkpoints.restore(directory, factory.run_state_template(config, form))
    if restored is None:
        raise UserError(f"no checkpoint in {directory} is whole; train the run again")
    return form, restored.tree.best_params
