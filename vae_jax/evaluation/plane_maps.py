"""Codes laid out in the plane: by principal components, t-SNE and UMAP."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vae_jax.errors import UserError

Codes = Float[np.ndarray, "n codes"]
Points = Float[np.ndarray, "n 2"]

# Fewer have no neighbours to keep.
_FEWEST = 5

# McInnes et al. 2018 and van der Maaten & Hinton 2008 (section 4): what a neighbourhood is.
_UMAP_NEIGHBOURS = 15
_PERPLEXITY = 30.0

_INSTALL_UMAP = "pip install 'umap-learn>=0.5.7,<0.6'"


class PrincipalPlane(NamedTuple):
    """The plane of the first two principal components.

    Attributes:
      mean: of the codes.
      directions: unit vectors of the components.
      explained_share: the share of the variance along each.
    """

    mean: Float[np.ndarray, " codes"]
    directions: Float[np.ndarray, "2 codes"]
    explained_share: Float[np.ndarray, " 2"]


def principal_plane(codes: Codes) -> PrincipalPlane:
    """Return the plane of the codes' first two principal components.

    The sign of a component is arbitrary in a singular value decomposition; here its largest
    loading is positive, so that the same codes always give the same plot.
    """
    n, num_latents = codes.shape
    if n < 2 or num_latents < 2:
        raise ValueError(f"codes of shape {codes.shape} have no two principal components")
    mean = codes.mean(axis=0, dtype=np.float64)
    _, scales, directions = np.linalg.svd(codes.astype(np.float64) - mean, full_matrices=False)
    directions = directions[:2]
    largest = np.take_along_axis(
        directions, np.abs(directions).argmax(axis=1, keepdims=True), axis=1
    )
    directions = directions * np.where(largest < 0, -1, 1)
    total = np.sum(scales**2)
    explained_share = scales[:2] ** 2 / total if total > 0 else np.zeros(2)
    return PrincipalPlane(mean, directions, explained_share)


def principal_components(
    codes: Codes,
) -> tuple[Points, Float[np.ndarray, " 2"]]:
    """Return the first two principal components of the codes, and the variance share of each."""
    plane = principal_plane(codes)
    return (codes.astype(np.float64) - plane.mean) @ plane.directions.T, plane.explained_share


def by_principal_components(codes: Codes, seed: int) -> Points:
    """Return the coordinates along the two directions of largest variance; no seed is needed."""
    del seed
    return principal_components(codes)[0]


def by_tsne(codes: Codes, seed: int) -> Points:
    """Return t-SNE (van der Maaten & Hinton 2008), started from the principal components.

    The perplexity is 30, or a third of the number of codes below 90 codes.
    """
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, len(codes) / 3)
    return TSNE(perplexity=perplexity, random_state=seed).fit_transform(codes)


def by_umap(codes: Codes, seed: int) -> Points:
    """Return UMAP (McInnes et al. 2018, arXiv 1802.03426) with 15 neighbours, by umap-learn.

    Raises:
      UserError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # It warns at each import that a part of it would need TensorFlow.
            warnings.simplefilter("ignore", ImportWarning)
            from umap import UMAP
    except ImportError as error:
        raise UserError(f"umap needs umap-learn, which is optional: {_INSTALL_UMAP}") from error
    num_neighbours = min(_UMAP_NEIGHBOURS, len(codes) - 1)
    # With a seed it uses one thread in any case, and warns unless one is asked for.
    umap = UMAP(n_neighbors=num_neighbours, random_state=seed, n_jobs=1)
    return np.asarray(umap.fit_transform(codes))


METHODS: dict[str, Callable[[Codes, int], Points]] = {
    "pca": by_principal_components,
    "tsne": by_tsne,
    "umap": by_umap,
}


def plane_map(method: str, codes: Codes, seed: int = 0) -> Points:
    """Return codes in the plane.

    Args:
      method: a name in `METHODS`.
      codes: one row each.
      seed: of the layout's draws.

    Raises:
      UserError: too few codes or dimensions, codes that are not finite, no umap-learn.
    """
    if len(codes) < _FEWEST or codes.shape[1] < 2:
        raise UserError(
            f"{len(codes)} codes of {codes.shape[1]} numbers cannot be mapped; at least {_FEWEST} "
            "codes of two numbers are needed"
        )
    bad = np.count_nonzero(~np.isfinite(codes).all(axis=1))
    if bad:
        raise UserError(f"{bad} of the {len(codes)} codes are not finite")
    return METHODS[method](codes, seed)
