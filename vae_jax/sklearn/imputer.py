"""MIWAE as an imputer of scikit-learn (Mattei & Frellsen 2019, arXiv 1812.02633)."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from vae_jax.data.columns import Column, FittedColumn, RowShape
from vae_jax.models import VAE
from vae_jax.models.imputation import Imputed, impute, in_blocks, joined, rows_at_once
from vae_jax.models.rows import ColumnsSettings
from vae_jax.models.vae import VAESettings
from vae_jax.networks.mlp import MLPEncoderSettings
from vae_jax.objectives.bounds import IWAE, iwae_bound, log_weight_terms
from vae_jax.settings import settings_of
from vae_jax.sklearn import fitting
from vae_jax.training.players import Hparams, Metrics

# The settings whose limits the estimator's parameters have.
_SETTINGS = {
    **fitting.SETTINGS,
    "num_samples": settings_of(IWAE)["num_samples"],
    "num_imputation_samples": settings_of(IWAE)["num_samples"],
}

_Rows = Float[np.ndarray, "rows features"]


class _Architecture(NamedTuple):
    """The arguments that rebuild the model without its parameters."""

    likelihood: str
    num_features: int
    widths: tuple[int, ...]
    latent_size: int
    num_samples: int

    def build(self, mean_image: Float[Array, "1 features 1"], key: Key[Array, ""]) -> VAE:
        """Return the model with fresh parameters."""
        settings = VAESettings(
            latent_size=self.latent_size,
            encoder=MLPEncoderSettings(widths=self.widths),
            likelihood=ColumnsSettings(real=self.likelihood, scale_kind="per_cell", mask="all"),
        )
        # Rows are standardised before, so that one program serves data of other statistics.
        standard = FittedColumn(Column("", "real"), 0.0, 1.0, 0.0, (), True)
        shape = RowShape([standard] * self.num_features)
        built: Any = settings.build(shape, mean_image, rngs=nnx.Rngs(key))
        assert isinstance(built, VAE)
        return built

    def loss(
        self, model: VAE, batch: fitting.Images, hparams: Hparams, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """Return minus the importance-weighted bound of the seen cells, and its terms."""
        del hparams
        terms = log_weight_terms(model, batch, batch, key, num_samples=self.num_samples)
        return -iwae_bound(terms.log_weights).mean(), terms.means()


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fills missing values, NaN, by a variational autoencoder of rows of numbers.

    It is trained on the values that are there by the importance-weighted bound (MIWAE), and fills
    others with their expected value by self-normalised importance sampling. It computes in float32
    on JAX's default device. The result depends only on `random_state`, the machine and its number
    of cores.

    Args:
      n_components: number of latent dimensions.
      widths: hidden layers of the encoder; the decoder mirrors them.
      likelihood: "student_t", which outliers hardly move, or "normal".
      num_samples: importance samples per row in training.
      epochs: passes over the data.
      batch_size: rows per step; all if there are fewer.
      learning_rate: initial learning rate of Adam, which falls to 0 by a cosine.
      num_imputation_samples: importance samples per row that is filled.
      random_state: seed of the initial parameters, the order and the noise.

    Attributes:
      mean_: mean of the values of each feature that are there, `[features]`; 0 where none is.
      scale_: their standard deviation; 1 where it is 0.
      losses_: mean loss of each epoch, in nats per row, `[epochs]`.
      params_: the model's parameters, nested dicts of arrays.
      n_features_in_: number of features.
      feature_names_in_: names of the features, if the data had any.
    """

    # Any: in scikit-learn the constructor takes every value, and `fit` refuses wrong ones.
    def __init__(
        self,
        n_components: Any = 10,
        *,
        widths: Any = (128, 128),
        likelihood: Any = "student_t",
        num_samples: Any = 20,
        epochs: Any = 500,
        batch_size: Any = 32,
        learning_rate: Any = 1e-3,
        num_imputation_samples: Any = 10_000,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.widths = widths
        self.likelihood = likelihood
        self.num_samples = num_samples
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.num_imputation_samples = num_imputation_samples
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "VAEImputer":  # noqa: N803
        """Train on `[rows, features]`, with NaN where a value is missing; `y` is ignored.

        Raises:
          ValueError: the data or a parameter are not valid, or the loss is not finite.
        """
        if self.likelihood not in ("normal", "student_t"):
            raise ValueError(f"likelihood={self.likelihood!r} must be 'normal' or 'student_t'")
        fitting.check_parameters(self, _SETTINGS)
        rows = validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            ensure_min_samples=2,
            ensure_all_finite="allow-nan",
        )
        fitting.float32_rows(rows)
        seen = ~np.isnan(rows)
        num = np.maximum(seen.sum(axis=0), 1)
        self.mean_ = np.where(seen, rows, 0).sum(axis=0, dtype=np.float64) / num
        deviations = np.where(seen, rows - self.mean_, 0)
        scale = np.sqrt(np.square(deviations).sum(axis=0, dtype=np.float64) / num)
        # Squares of the smallest numbers are 0.
        scale = np.where(scale > 0, scale, np.abs(deviations).max(axis=0))
        self.scale_ = np.where(scale > 0, scale, 1.0)
        architecture = _Architecture(
            str(self.likelihood),
            rows.shape[1],
            tuple(int(width) for width in self.widths),
            int(self.n_components),
            int(self.num_samples),
        )
        self.params_, self.losses_ = fitting.fit(
            architecture,
            self._standardised(rows),
            jnp.zeros((1, rows.shape[1], 1)),
            hparams={"learning_rate": float(self.learning_rate)},
            batch_size=min(int(self.batch_size), len(rows)),
            epochs=int(self.epochs),
            random_state=self.random_state,
        )
        # Kept apart from the parameters, which may be set to other values after fitting.
        self._architecture = architecture
        self._num_imputation_samples = int(self.num_imputation_samples)
        return self

    def transform(self, X: Any) -> _Rows:  # noqa: N803
        """Return the rows with each missing value replaced by its expected value.

        Raises:
          ValueError: the data are not valid, or too far from those of `fit` for float32.
        """
        rows = self._validated(X)
        missing = np.isnan(rows)
        filled = rows.copy()
        if missing.any():
            holes = rows[missing.any(axis=1)]
            # The same noise for every row: the result does not depend on the other rows.
            keys = jnp.broadcast_to(_key(), (len(holes),))
            point = self._impute(holes, keys, 1).point[:, 0, :, 0]
            filled[missing.any(axis=1)] = point * self.scale_ + self.mean_
            # Values that were there stay as they are, to the last bit.
            filled[~missing] = rows[~missing]
        return filled

    # Any: a wrong `num` is refused as wrong parameters are.
    def sample(self, X: Any, num: Any = 20) -> Float[np.ndarray, "num rows features"]:  # noqa: N803
        """Return the rows `num` times, with missing values drawn given the others.

        They are for multiple imputation, and their quantiles are intervals of the missing values.

        Raises:
          ValueError: as `transform`; `num` is no integer of at least 1.
        """
        fitting.check_parameter("num", num, _SETTINGS["num_samples"])
        num = int(num)
        rows = self._validated(X)
        missing = np.isnan(rows)
        filled = np.repeat(rows[None], num, axis=0)
        if missing.any():
            holes = rows[missing.any(axis=1)]
            keys = jax.random.split(_key(), len(holes))
            draws = self._impute(holes, keys, num).draws[:, :, 0, :, 0]
            filled[:, missing.any(axis=1)] = draws * self.scale_ + self.mean_
            filled[:, ~missing] = rows[~missing]
        return filled

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _validated(self, X: Any) -> _Rows:  # noqa: N803
        check_is_fitted(self)
        rows = np.asarray(
            validate_data(
                self,
                X,
                dtype=[np.float64, np.float32],
                reset=False,
                ensure_all_finite="allow-nan",
            )
        )
        # Also those without a missing value, which stay as they are.
        self._standardised(rows)
        return rows

    def _standardised(self, rows: _Rows) -> Float[np.ndarray, "rows 1 features 1"]:
        standardised = (rows - self.mean_) / self.scale_
        return fitting.float32_rows(standardised)[:, None, :, None]

    def _impute(self, rows: _Rows, keys: Key[Array, " rows"], num_draws: int) -> Imputed:
        """Return standardised rows, imputed."""
        num_samples = self._num_imputation_samples
        architecture, params = self._architecture, self.params_

        def block(images: np.ndarray, keys: Key[Array, " rows"]) -> Imputed:
            return _compiled_impute(architecture, num_samples, num_draws, params, images, keys)

        at_once = rows_at_once(num_samples, architecture.latent_size)
        found: Imputed = joined(in_blocks(block, self._standardised(rows), keys, at_once))
        fitting.refuse_not_finite(np.asarray(found.point))
        fitting.refuse_not_finite(np.asarray(found.draws))
        return found


def _key() -> Key[Array, ""]:
    return jax.random.key(0, impl="threefry2x32")


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _compiled_impute(
    architecture: _Architecture,
    num_samples: int,
    num_draws: int,
    params: PyTree,
    images: fitting.Images,
    keys: Key[Array, " rows"],
) -> Imputed:
    model = fitting.merge(architecture, params)
    return impute(model, images, keys, num_samples=num_samples, num_draws=num_draws)
