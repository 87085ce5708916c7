"""A trained model of images, or of the rows of a table: NumPy in, NumPy out, explicit keys."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key
from numpy.typing import ArrayLike

from vae_jax import arguments
from vae_jax.config.datasets import load_complete
from vae_jax.config.experiment import Experiment
from vae_jax.data.columns import RowShape
from vae_jax.distributions import Normal
from vae_jax.errors import UserError
from vae_jax.models import DensityModel, latent_paths
from vae_jax.models.imputation import Imputed, impute, in_blocks, joined, rows_at_once
from vae_jax.models.vae import ConditionalVAE
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.trained import plain_cells
from vae_jax.trained.image_inputs import Conditions, ImageInputs

_BATCH_SIZE = 1000
# Most outputs of a decoder in one call: a categorical likelihood has 256 per channel and pixel.
_MAX_OUTPUTS = 2**25


class TrainedModel(ImageInputs):
    """A model and its parameters. Images are `[num, height, width, channels]`.

    So are the rows of a table, `[num, 1, columns, 1]`, in the units of its file (see
    `vae_jax.data.columns`), with NaN where a cell was not seen. Images may be 8-bit, or floating
    point in the unit interval; they are not binarised. Grey ones may be `[num, height, width]`.
    Results are NumPy arrays. Functions are compiled once per batch shape.

    Attributes:
      image_shape: height, width, channels.
      likelihood: p(x|z) with fresh parameters.
    """

    def __init__(
        self,
        config: Experiment,
        image_shape: tuple[int, int, int],
        params: nnx.State,
        extra: nnx.State | None = None,
    ) -> None:
        super().__init__(config, image_shape, params, extra)
        outputs = math.prod(image_shape) * self.likelihood.outputs_per_channel
        self._batch_size = max(1, min(_BATCH_SIZE, _MAX_OUTPUTS // outputs))

    def load_complete(self) -> Float[np.ndarray, "num height width channels"]:
        """Read the training rows of a table without the holes that `data.missing_share` made.

        Raises:
          UserError: the data are missing or damaged.
        """
        return load_complete(self.config)

    def encode(self, images: ArrayLike, condition: Conditions | None = None) -> np.ndarray:
        """Return the codes of each image, integers `[num, *code_shape]`; if it has none, `latents`.

        See `has_codes`.
        """
        if not self.has_codes:
            return self.latents(images, condition)
        x = self._images(images)
        self.checked_condition(condition, len(x), x)
        return self._run("codes", lambda model, x: model.codes(x), x)

    def latents(
        self, images: ArrayLike, condition: Conditions | None = None
    ) -> Float[np.ndarray, "num latents"]:
        """Return the latent vector of each image; for a VAE the posterior mean.

        Args:
          images: the images.
          condition: for a model of p(x|c) (see `condition_reads`): a class, or one per image;
            numbers, `[features]` or `[num, features]`; images or rows of which a part is seen, by
            default the same ones; or a cell, or one per row, by the name of its column.

        Raises:
          UserError: images or conditions do not fit the model.
        """
        x = self._images(images)
        given = self.checked_condition(condition, len(x), x)
        return self._run_given("encode", lambda model, x: model.latents(x), given, x)

    def posterior(self, images: ArrayLike, condition: Conditions | None = None) -> Normal:
        """Return q(z|x) over `[num, latents]`, with JAX arrays; see `latents` for conditions."""
        self._require_density("a posterior")
        if not self.has_normal_posterior:
            raise UserError(
                "the posterior of this run is not a diagonal normal; use encode or elbo"
            )

        def parameters(model: DensityModel, x: Array) -> tuple[Array, Array]:
            posterior = model.encode(x)
            assert isinstance(posterior, Normal)
            return posterior.mean, posterior.log_scale

        x = self._images(images)
        given = self.checked_condition(condition, len(x), x)
        mean, log_scale = self._run_given("posterior", parameters, given, x)
        return Normal(jnp.asarray(mean), jnp.asarray(log_scale))

    def decode(
        self, latents: ArrayLike, condition: Conditions | None = None
    ) -> Float[np.ndarray, "num height width channels"]:
        """Return the mean image of each latent vector, or of integer codes if the model has such.

        Vectors are normalised if latents are points on the sphere. See `latents` for conditions.

        Raises:
          UserError: the shape is neither that of latents nor of codes, or there is no such code, or
            no such condition.
        """
        if self.has_codes and np.issubdtype(np.asarray(latents).dtype, np.integer):
            assert self.num_codes is not None, "a model with codes counts them"
            codes = arguments.whole_codes(latents, self.code_shape, self.num_codes)
            self.checked_condition(condition, len(codes))
            return self._run(
                "decode_codes", lambda model, c: model.decode(model.embed(c)).mean, codes
            )
        z = self._latents(latents)
        return self._run_given(
            "decode",
            lambda model, z: model.decode(model.project(z)).mean,
            self.checked_condition(condition, len(z)),
            z,
        )

    def reconstruct(
        self, images: ArrayLike, condition: Conditions | None = None
    ) -> Float[np.ndarray, "num height width channels"]:
        """Return `decode(encode(images))`; a denoising model restores corrupted images."""
        x = self._images(images)
        return self._run_given(
            "reconstruct",
            lambda model, x: model.decode(model.latents(x)).mean,
            self.checked_condition(condition, len(x), x),
            x,
        )

    def reconstruction_log_likelihood(self, images: ArrayLike) -> Float[np.ndarray, " num"]:
        """Return log p(x|z) of each image at its own latent vector, in nats."""
        return self._run(
            "reconstruction_log_likelihood",
            lambda model, x: model.decode(model.latents(x)).log_prob(x),
            self._targets(images),
        )

    def elbo(
        self, images: ArrayLike, key: Key[Array, ""], condition: Conditions | None = None
    ) -> Float[np.ndarray, " num"]:
        """Return a one-sample estimate of each image's evidence lower bound, in nats.

        That of a model of p(x|c) bounds log p(x|c); see `latents` for conditions.

        For a model trained on binarised images, binarise them first: grey values give a
        cross-entropy, which is no bound on a log probability.

        Raises:
          UserError: the likelihood does not accept a value.
        """
        self._require_density("the ELBO")
        arguments.require_key(key)
        prepared = self._targets(images)
        keys = jax.random.split(key, len(prepared))

        given = self.checked_condition(condition, len(prepared), prepared)

        def each(model: Any, x: Array, keys: Array, *conditions: Array) -> Array:
            def single(image: Array, key: Array, *condition: Array) -> Array:
                own = model.given(condition[0][None]) if condition else model
                return elbo_terms(own, image[None], image[None], key).elbo[0]

            return jax.vmap(single)(x, keys, *conditions)

        return self._run("elbo", each, prepared, keys, *([] if given is None else [given]))

    def classify(self, images: ArrayLike) -> Float[np.ndarray, "num classes"]:
        """Return q(class|x) of each image, the probabilities of all classes.

        Raises:
          UserError: the model has no classifier.
        """
        if not self.classifies:
            raise UserError(
                f"model={self.name!r} has no classifier; model='m2' has one (configs/m2.py)"
            )
        return self._run("classify", lambda model, x: model.classify(x).mean, self._images(images))

    def sample(
        self, key: Key[Array, ""], num: int, condition: Conditions | None = None
    ) -> Float[np.ndarray, "num height width channels"]:
        """Return mean images of `num` draws from the prior; see `latents` for conditions."""
        given = self.checked_condition(condition, num)
        return self.decode(self.sample_latents(key, num, given), given)

    def sample_latents(
        self, key: Key[Array, ""], num: int, condition: np.ndarray | None = None
    ) -> Float[np.ndarray, "num latents"]:
        """Return `num` draws from the prior, of conditions as `checked_condition` returns them."""
        if not self.has_samples:
            self._require_density("sampling")
        arguments.require_key(key)
        if num < 1:
            raise UserError(f"num={num} must be at least 1")
        if condition is not None and self.has_conditional_prior:
            return np.asarray(self.prior_given(condition).sample(key))
        keys = jax.random.split(key, num)
        if not self.has_density:
            return np.asarray(jax.jit(jax.vmap(self.prior.sample))(keys))
        draw = jax.vmap(lambda model, key: model.prior.sample(key), in_axes=(None, 0))
        latents: np.ndarray = self._run("sample", draw, keys)
        return latents

    def draw_rows(
        self, key: Key[Array, ""], num: int, condition: Conditions | None = None
    ) -> Float[np.ndarray, "num height width channels"]:
        """Return `num` draws of the prior, then of p(x|z); see `latents` for conditions."""
        arguments.require_key(key)
        latents_key, draw_key = jax.random.split(key)
        given = self.checked_condition(condition, num)
        return self.draw(self.sample_latents(latents_key, num, given), draw_key, given)

    def draw(
        self, latents: ArrayLike, key: Key[Array, ""], condition: Conditions | None = None
    ) -> Float[np.ndarray, "num height width channels"]:
        """Return one draw of p(x|z) at each latent vector; see `latents` for conditions."""
        arguments.require_key(key)
        array = self._latents(latents)
        keys = jax.random.split(key, len(array))
        given = self.checked_condition(condition, len(array))

        def each(model: Any, latents: Array, keys: Array, *conditions: Array) -> Array:
            def single(z: Array, key: Array, *condition: Array) -> Array:
                own = model.given(condition[0]) if condition else model
                return own.decode(own.project(z)).sample(key)

            return jax.vmap(single)(latents, keys, *conditions)

        return self._run("draw", each, array, keys, *([] if given is None else [given]))

    def prior_given(self, condition: np.ndarray) -> Normal:
        """Return p(z|c) over `[num, latents]` of conditions as `checked_condition` returns them."""

        def parameters(model: ConditionalVAE, condition: Array) -> tuple[Array, Array]:
            prior = model.given(condition).prior
            assert isinstance(prior, Normal), "a conditional prior is one"
            return prior.mean, prior.log_scale

        mean, log_scale = self._run("prior", parameters, condition)
        return Normal(jnp.asarray(mean), jnp.asarray(log_scale))

    def interpolate(
        self,
        start: ArrayLike,
        end: ArrayLike,
        degrees: ArrayLike = (0.0, 0.25, 0.5, 0.75, 1.0),
        *,
        path: Literal["linear", "spherical"] | None = None,
    ) -> Float[np.ndarray, "num steps height width channels"]:
        """Return images between reconstructions of `start` (degree 0) and `end` (degree 1).

        Args:
          start: images.
          end: the same number of images.
          degrees: positions on the path, any numbers.
          path: a straight line through latent space, or an arc around its origin; by default the
            arc if latents are points on the sphere, else the line.
        """
        if path is None:
            path = "spherical" if self.has_spherical_latents else "linear"
        paths = {
            "linear": latent_paths.linear_interpolation,
            "spherical": latent_paths.spherical_interpolation,
        }
        if path not in paths:
            raise UserError(f"path={path!r} must be one of {', '.join(paths)}")
        first, last = self.latents(start), self.latents(end)
        if first.shape != last.shape:
            raise UserError(f"{len(first)} images cannot be interpolated to {len(last)}")
        steps = np.atleast_1d(np.asarray(degrees, np.float32))
        latents = np.moveaxis(np.asarray(paths[path](first, last, steps)), 0, 1)
        images = self.decode(latents.reshape(-1, self.latent_size))
        return images.reshape(len(first), len(steps), *self.image_shape)

    def impute(
        self,
        rows: ArrayLike,
        key: Key[Array, ""],
        *,
        num_samples: int = 10_000,
        num_draws: int = 200,
        on_batch: Callable[[int], None] = lambda num: None,
    ) -> Imputed:
        """Return rows of a table, or images, with what is missing filled (`models.imputation`).

        An exposure that was not seen, and a column that is a condition, stay NaN.

        Args:
          rows: `[num, 1, columns, 1]` as `encode_cells` returns them, with NaN where a cell was not
            seen; or images with NaN.
          key: of the samples.
          num_samples: importance samples per row.
          num_draws: draws per row, all of which are in memory.
          on_batch: called with the number of rows done.

        Raises:
          UserError: the run is on whole images, has no density, or a cell is none of its column.
        """

        def counted(blocks: Iterator[Imputed]) -> Iterator[Imputed]:
            for block in blocks:
                on_batch(len(block.point))
                yield block

        return joined(
            counted(self.impute_in_blocks(rows, key, num_samples=num_samples, num_draws=num_draws))
        )

    def impute_in_blocks(
        self,
        rows: ArrayLike,
        key: Key[Array, ""],
        *,
        num_samples: int = 10_000,
        num_draws: int = 200,
    ) -> Iterator[Imputed]:
        """Return what `impute` does, by the same draws, as an iterator over blocks of rows.

        It is for large tables, whose draws do not fit into memory together.
        """
        self._require_density("imputation")
        if self.columns is None and not self.may_miss_pixels:
            raise UserError(
                "imputation needs a run on a table, or one with model.missing_pixels=True, and "
                "this one is on whole images"
            )
        arguments.require_key(key)
        given = self._targets(rows)
        keys = jax.random.split(key, len(given))
        at_once = rows_at_once(num_samples, self.latent_size)

        def each(model: DensityModel, rows: Array, keys: Array) -> Imputed:
            found = impute(model, rows, keys, num_samples=num_samples, num_draws=num_draws)
            return found._replace(draws=jnp.moveaxis(found.draws, 0, 1))

        def block(rows: np.ndarray, keys: Array) -> Imputed:
            found = self._run(f"impute {num_samples} {num_draws}", each, rows, keys)
            return Imputed(found.point, np.moveaxis(found.draws, 1, 0), found.effective_samples)

        return in_blocks(block, given, keys, at_once)

    def encode_cells(self, cells: Any) -> Float[np.ndarray, "num 1 columns 1"]:
        """Return cells of a user's table as rows, which all methods for images take.

        Args:
          cells: a pandas frame with the columns of the run in any order, or an array
            `[num, columns]` in its order; None, NaN and pandas's NA are cells that were not seen.

        Raises:
          UserError: the run is on images, or the cells do not fit its columns.
        """
        return plain_cells.encode(cells, *self._table()).rows

    def fill(self, cells: Any, key: Key[Array, ""], *, num_samples: int = 10_000) -> Any:
        """Return a user's table with its empty cells filled; what is there stays as it is.

        A number gets its expected value, a category the likeliest one. Exposures and columns that
        are conditions stay empty.

        Args:
          cells: as `encode_cells` takes them.
          key: of the samples.
          num_samples: importance samples per row.

        Raises:
          UserError: the run is on images or has no density, or the cells do not fit its columns.
        """
        shape, kinds = self._table()
        encoded = plain_cells.encode(cells, shape, kinds)
        rows = encoded.rows.copy()
        holes = np.flatnonzero(np.isnan(rows).any(axis=(1, 2, 3)))
        if len(holes):
            found = self.impute(rows[holes], key, num_samples=num_samples, num_draws=1)
            rows[holes] = found.point
        return plain_cells.fill(cells, encoded, rows, shape)

    def _table(self) -> tuple[RowShape, dict[str, str]]:
        """Return the columns of a run on a table, and their given kinds."""
        if self.columns is None:
            raise UserError("cells are for a run on a table, and this one is on images")
        return self.columns, dict(self.data.columns)

    def guess(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        """Return images completed by the network without latents, from the part that is seen."""
        x = self._images(images)
        assert self.has_guess, "asked before"
        return self._run_given("guess", lambda model: model.guess().mean, x)

    def guess_log_likelihood(self, images: ArrayLike) -> Float[np.ndarray, " num"]:
        """Return log p(x|c) in nats of the network without latents, for each image."""
        x = self._targets(images)
        log_prob = lambda model, x: model.guess().log_prob(x)  # noqa: E731
        return self._run_given("guess_log_likelihood", log_prob, x, x)

    def seen(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        """Return the part of images that is a condition; the rest is grey."""
        x, blocks = self._images(images), self._shape.condition.blocks
        grey = np.full((len(x), 1, blocks.num_pixels, x.shape[-1]), 0.5, np.float32)
        return np.asarray(blocks.fill(jnp.asarray(x), jnp.asarray(grey)))

    def _run_given(
        self,
        name: str,
        function: Callable[..., Any],
        condition: np.ndarray | None,
        *batched: Any,
    ) -> Any:
        """Return `function(model, *trees)` as `_run` does, of the model given its conditions."""
        if condition is None:
            return self._run(name, function, *batched)

        def given(model: ConditionalVAE, condition: Array, *trees: Any) -> Any:
            return function(model.given(condition), *trees)

        return self._run(name, given, condition, *batched)
