"""Imputation without a VAE: by the mean, by nearest neighbours, and by chained regressions.

All are scikit-learn's with its defaults. They get numbers as the encoder of a model does,
standardised by the cells that were seen, and categories one-hot.
"""

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from vae_jax.data.columns import RowShape, inverse_transformed, transformed

Rows = Float[np.ndarray, "rows 1 columns 1"]
Features = Float[np.ndarray, "rows features"]


def _mean(features: Features) -> Features:
    from sklearn.impute import SimpleImputer

    return np.asarray(SimpleImputer(keep_empty_features=True).fit_transform(features))


def _nearest(features: Features) -> Features:
    from sklearn.impute import KNNImputer

    return np.asarray(KNNImputer(keep_empty_features=True).fit_transform(features))


def _iterative(features: Features) -> Features:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    with warnings.catch_warnings():
        # With its default of ten rounds it seldom converges on tables with many holes.
        warnings.simplefilter("ignore", ConvergenceWarning)
        imputer = IterativeImputer(random_state=0, keep_empty_features=True)
        return np.asarray(imputer.fit_transform(features))


METHODS: dict[str, Callable[[Features], Features]] = {
    "mean": _mean,
    "k-NN": _nearest,
    "IterativeImputer": _iterative,
}


def impute(method: str, shape: RowShape, rows: Rows) -> Rows:
    """Return rows whose missing cells are filled by a method, trained on these rows.

    Args:
      method: of `METHODS`.
      shape: the columns.
      rows: with NaN where a cell was not seen.
    """
    filled = METHODS[method](_features(shape, rows))
    first, imputed = 0, rows.copy()
    for index, fitted in enumerate(shape.columns):
        kind, num = fitted.column.kind, _width(fitted.column.values)
        own = filled[:, first : first + num]
        first += num
        if num > 1:
            values = own.argmax(axis=1).astype(np.float64)
        elif kind == "binary":
            values = (own[:, 0] > 0.5).astype(np.float64)
        else:
            values = inverse_transformed(kind, own[:, 0] * fitted.scale + fitted.center)
        missing = np.isnan(rows[:, 0, index, 0])
        imputed[missing, 0, index, 0] = values[missing]
    return imputed


def _width(values: tuple[str, ...]) -> int:
    return len(values) if len(values) > 2 else 1


def _features(shape: RowShape, rows: Rows) -> Features:
    parts = []
    for index, fitted in enumerate(shape.columns):
        values = rows[:, 0, index, 0].astype(np.float64)
        kind, num = fitted.column.kind, _width(fitted.column.values)
        if num > 1:
            one_hot = (values[:, None] == np.arange(num)).astype(np.float64)
            parts.append(np.where(np.isnan(values)[:, None], np.nan, one_hot))
        elif kind == "binary":
            parts.append(values[:, None])
        else:
            standardised = (transformed(kind, values) - fitted.center) / fitted.scale
            parts.append(standardised[:, None])
    return np.concatenate(parts, axis=1)
