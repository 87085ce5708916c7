"""Variational autoencoders of rows of numbers, as estimators of scikit-learn."""

from vae_jax.sklearn.imputer import VAEImputer
from vae_jax.sklearn.transformer import VAETransformer

__all__ = ["VAEImputer", "VAETransformer"]
