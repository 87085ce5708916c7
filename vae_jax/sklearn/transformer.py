"""A VAE in place of scikit-learn's PCA: `fit`, `transform`, `inverse_transform`, `score`.

It uses the package without a config: the model, the evidence lower bound, and the compiled epoch of
`vae_jax.training.step`. A row of data is an image one pixel high, with one channel.
"""

import functools
import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from vae_jax.data.columns import FittedColumn, RowShape
from vae_jax.models import VAE
from vae_jax.models.likelihoods import BernoulliSettings, NormalSettings, unaccepted
from vae_jax.models.rows import ColumnsSettings
from vae_jax.models.vae import VAESettings
from vae_jax.networks.mlp import MLPEncoderSettings
from vae_jax.networks.precision import full_precision
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.objectives.elbo import ELBO
from vae_jax.settings import settings_of
from vae_jax.sklearn import fitting, mixed_columns
from vae_jax.training.players import Hparams, Metrics

# Rows in one compiled call of a fitted model.
_BATCH_SIZE = 1000
# Samples of the latents of a row, for its score.
_NUM_SAMPLES = 16

# The settings whose limits the estimator's parameters have.
_SETTINGS = {
    **fitting.SETTINGS,
    "beta": settings_of(ELBO)["beta"],
}

_Rows = Float[np.ndarray, "rows features"]


class _Architecture(NamedTuple):
    """The arguments that rebuild the model without its parameters."""

    likelihood: str
    num_features: int
    widths: tuple[int, ...]
    latent_size: int
    columns: tuple[FittedColumn, ...] = ()

    def build(self, mean_image: Float[Array, "1 features 1"], key: Key[Array, ""]) -> VAE:
        """Return the model with fresh parameters."""
        likelihoods: dict[str, Any] = {
            "bernoulli": BernoulliSettings(),
            "columns": ColumnsSettings(),
            "normal": NormalSettings(1.0, "learned"),
        }
        settings = VAESettings(
            latent_size=self.latent_size,
            encoder=MLPEncoderSettings(widths=self.widths),
            likelihood=likelihoods[self.likelihood],
        )
        shape = RowShape(self.columns) if self.columns else (1, self.num_features, 1)
        built: Any = settings.build(shape, mean_image, rngs=nnx.Rngs(key))
        assert isinstance(built, VAE)
        return built

    def loss(
        self, model: VAE, batch: fitting.Images, hparams: Hparams, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """Return the negative ELBO with a weighted KL, and its terms."""
        means = elbo_terms(model, batch, batch, key).means()
        return means["distortion"] + hparams["beta"] * means["rate"], means


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational autoencoder of rows of numbers, as a scikit-learn transformer.

    It computes in float32 on JAX's default device. The result depends only on `random_state`, the
    machine and its number of cores.

    Args:
      n_components: number of latent dimensions.
      widths: hidden layers of the encoder; the decoder mirrors them.
      likelihood: "normal", for numbers, "bernoulli", for data in [0, 1], or "columns", for columns
        of mixed kinds. Rows that lie somewhat outside of [0, 1] after fitting are clipped, with a
        warning. With "normal" all features are centred and divided by one number, the root of their
        mean variance, so that a feature counts by its variance, as in PCA; one scale for all
        features is learned. With "columns" each has a distribution by the kind of its values, as in
        `vae_jax.models.rows`: numbers, texts, and cells that are empty. A fit then compiles its own
        program.
      columns: with "columns", the kinds of features by name or index, of real, positive, count,
        binary, category and exposure; the others are inferred from their values.
      beta: weight of the KL; 1 is the evidence lower bound.
      epochs: passes over the data.
      batch_size: rows per step; all if there are fewer.
      learning_rate: initial learning rate of Adam, which falls to 0 by a cosine.
      random_state: seed of the initial parameters, the order and the noise.

    Attributes:
      mean_: mean of each feature, `[features]`, with "normal"; zeros for the others.
      scale_: divisor of centred features with "normal"; 1 for the others.
      kinds_: with "columns", the kind of each feature; () for the others.
      losses_: mean loss of each epoch, in nats per row, `[epochs]`.
      params_: the model's parameters, nested dicts of arrays.
      n_features_in_: number of features.
      feature_names_in_: names of the features, if the data had any.
    """

    # Any: in scikit-learn the constructor takes every value, and `fit` refuses wrong ones.
    def __init__(
        self,
        n_components: Any = 2,
        *,
        widths: Any = (256,),
        likelihood: Any = "normal",
        columns: Any = None,
        beta: Any = 1.0,
        epochs: Any = 100,
        batch_size: Any = 128,
        learning_rate: Any = 3e-3,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.widths = widths
        self.likelihood = likelihood
        self.columns = columns
        self.beta = beta
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "VAETransformer":  # noqa: N803
        """Train on `[rows, features]`; `y` is ignored.

        Raises:
          ValueError: the data or a parameter are not valid, or the loss is not finite.
        """
        self._check_parameters()
        rows, fitted = self._fitted_rows(X)
        self.mean_, self.scale_ = np.zeros(rows.shape[1]), 1.0
        self.kinds_ = tuple(column.column.kind for column in fitted)
        if self.likelihood == "normal":
            self.mean_ = rows.mean(axis=0, dtype=np.float64)
            deviations = rows - self.mean_
            # Squares of the smallest numbers are 0. Constant features are not scaled.
            largest = float(np.abs(deviations).max())
            self.scale_ = math.sqrt(np.square(deviations).mean()) or largest or 1.0
        architecture = _Architecture(
            str(self.likelihood),
            rows.shape[1],
            tuple(int(width) for width in self.widths),
            int(self.n_components),
            fitted,
        )
        images = self._images(rows)
        self.params_, self.losses_ = fitting.fit(
            architecture,
            images,
            # Rows of columns have an own start.
            jnp.zeros(images.shape[1:]) if fitted else jnp.asarray(images).mean(axis=0),
            hparams={"learning_rate": float(self.learning_rate), "beta": float(self.beta)},
            batch_size=min(int(self.batch_size), len(rows)),
            epochs=int(self.epochs),
            random_state=self.random_state,
        )
        # Kept apart from the parameters, which may be set to other values after fitting.
        self._architecture = architecture
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "rows n_components"]:  # noqa: N803
        """Return the posterior mean of each row, in float32."""
        return self._run(_encode, self._images(self._validated(X)))

    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the decoder's mean `[rows, features]` at each row of latents, in the data's units.

        With "columns" these are expected numbers and the likeliest categories, objects if some are
        texts.

        Raises:
          ValueError: the latents are not finite numbers `[rows, n_components]`.
        """
        check_is_fitted(self)
        latents = check_array(X, dtype=np.float32)
        if latents.shape[1] != self._architecture.latent_size:
            raise ValueError(
                f"X has {latents.shape[1]} latents, but {type(self).__name__} was fitted with "
                f"n_components={self._architecture.latent_size}"
            )
        decoded = self._run(_decode, latents)
        if self._architecture.columns:
            return mixed_columns.decode(RowShape(self._architecture.columns), decoded)
        rows = decoded.reshape(len(latents), -1)
        return (rows * self.scale_ + self.mean_).astype(np.float32)

    def score_samples(self, X: Any) -> Float[np.ndarray, " rows"]:  # noqa: N803
        """Return the evidence lower bound of each row, in nats, in the units of the data.

        It is a lower bound on the log likelihood, which `score_samples` of PCA returns, and the
        mean over 16 samples of the latents, whose noise is the same for every row and call. Grey
        values under "bernoulli" give a cross-entropy, which is no bound on a log probability.
        """
        rows = self._validated(X)
        elbo = self._run(_elbo, self._images(rows))
        return elbo - np.float32(rows.shape[1] * math.log(self.scale_))

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Return the mean of `score_samples`, which a search over parameters maximises."""
        return float(self.score_samples(X).mean(dtype=np.float64))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = ["float32"]
        of_columns = self.likelihood == "columns"
        tags.input_tags.allow_nan = of_columns
        tags.input_tags.categorical = of_columns
        tags.input_tags.string = of_columns
        return tags

    @property
    def _n_features_out(self) -> int:
        return self._architecture.latent_size

    def _check_parameters(self) -> None:
        if self.likelihood not in ("bernoulli", "columns", "normal"):
            raise ValueError(
                f"likelihood={self.likelihood!r} must be 'bernoulli', 'columns' or 'normal'"
            )
        if self.columns is not None and self.likelihood != "columns":
            raise ValueError(
                f"columns={self.columns!r} are kinds for likelihood='columns', not "
                f"{self.likelihood!r}; use columns=None"
            )
        if not isinstance(self.columns, Mapping | None):
            raise ValueError(f"columns={self.columns!r} must be kinds by feature, or None")
        fitting.check_parameters(self, _SETTINGS)

    def _fitted_rows(self, X: Any) -> tuple[_Rows, tuple[FittedColumn, ...]]:  # noqa: N803
        """Return numbers `[rows, features]` to train on, and their columns if they have kinds."""
        if self.likelihood == "columns":
            cells = self._cells(X, ensure_min_samples=2)
            unnamed = [f"x{index}" for index in range(cells.shape[1])]
            names = [*map(str, getattr(self, "feature_names_in_", unnamed))]
            shape, encoded = mixed_columns.fit(cells, names, self.columns or {})
            return encoded[:, 0, :, 0], shape.columns
        rows = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        fitting.float32_rows(rows)
        _check_values(rows, self.likelihood)
        return rows, ()

    def _cells(self, X: Any, **options: Any) -> np.ndarray:  # noqa: N803
        """Return cells `[rows, features]`, numbers or objects."""
        # NumPy would make texts of the numbers of a list that has both.
        given = X if hasattr(X, "__array__") or hasattr(X, "shape") else np.array(X, dtype=object)
        cells: np.ndarray = validate_data(
            self, given, dtype=None, ensure_all_finite="allow-nan", **options
        )
        return cells

    def _validated(self, X: Any) -> _Rows:  # noqa: N803
        check_is_fitted(self)
        if self._architecture.columns:
            shape = RowShape(self._architecture.columns)
            return mixed_columns.encode(shape, self._cells(X, reset=False))[:, 0, :, 0]
        rows = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        # The fitted likelihood: the parameter may have been set to another one since.
        if self._architecture.likelihood == "bernoulli":
            return _clipped(rows)
        return rows

    def _images(self, rows: _Rows) -> Float[np.ndarray, "rows 1 features 1"]:
        return fitting.float32_rows((rows - self.mean_) / self.scale_)[:, None, :, None]

    def _run(self, function: Any, rows: np.ndarray) -> np.ndarray:
        parts = [
            function(self._architecture, self.params_, rows[first : first + _BATCH_SIZE])
            for first in range(0, len(rows), _BATCH_SIZE)
        ]
        results = np.concatenate([np.asarray(part) for part in parts])
        fitting.refuse_not_finite(results)
        return results


def _check_values(rows: _Rows, likelihood: str) -> None:
    problem = unaccepted("unit interval", rows) if likelihood == "bernoulli" else None
    if problem is not None:
        raise ValueError(
            f"the values of X {problem}, where likelihood='bernoulli' is defined; use 'normal', or "
            "MinMaxScaler before it"
        )


def _clipped(rows: _Rows) -> _Rows:
    """Return rows clipped to [0, 1], with a warning where that changes them.

    Rows that a scaler was not fitted to may lie somewhat outside.

    Raises:
      ValueError: they lie outside by more than the width of the interval.
    """
    low, high = float(rows.min()), float(rows.max())
    if low >= 0 and high <= 1:
        return rows
    if low < -1 or high > 2:
        _check_values(rows, "bernoulli")
    warnings.warn(
        f"the values of X lie in [{low:g}, {high:g}] and are clipped to [0, 1], where "
        "likelihood='bernoulli' is defined; MinMaxScaler(clip=True) does so before",
        stacklevel=4,
    )
    return np.clip(rows, 0, 1)


@functools.partial(jax.jit, static_argnums=0)
@full_precision
def _encode(
    architecture: _Architecture, params: PyTree, images: Float[Array, "rows 1 features 1"]
) -> Float[Array, "rows latents"]:
    return fitting.merge(architecture, params).latents(images)


@functools.partial(jax.jit, static_argnums=0)
@full_precision
def _decode(
    architecture: _Architecture, params: PyTree, latents: Float[Array, "rows latents"]
) -> Float[Array, "rows 1 features 1"]:
    return fitting.merge(architecture, params).decode(latents).mean


@functools.partial(jax.jit, static_argnums=0)
@full_precision
def _elbo(
    architecture: _Architecture, params: PyTree, images: Float[Array, "rows 1 features 1"]
) -> Float[Array, " rows"]:
    model = fitting.merge(architecture, params)
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), _NUM_SAMPLES)

    # One row at a time, so that each has the same noise; one sample at a time, to save memory.
    def sample(key: Key[Array, ""]) -> Float[Array, " rows"]:
        return jax.vmap(lambda row: elbo_terms(model, row[None], row[None], key).elbo[0])(images)

    return jax.lax.map(sample, keys).mean(axis=0)
