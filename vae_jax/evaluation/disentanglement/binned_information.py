"""Mutual information from counts, in nats."""

import numpy as np
from jaxtyping import Float, Int

from vae_jax.errors import UserError

# Locatello et al. 2019.
NUM_BINS = 20


def bin_codes(
    codes: Float[np.ndarray, "points latents"], num_bins: int
) -> Int[np.ndarray, "points latents"]:
    """Return the bin of each code; a latent's bins have one width and span its range.

    A constant latent is in bin 0 throughout.

    Raises:
      UserError: more bins than points.
    """
    if num_bins > len(codes):
        raise UserError(
            f"num_bins={num_bins} exceeds the {len(codes)} points; use at most {len(codes)} bins"
        )
    codes = codes.astype(np.float64)
    lowest = codes.min(axis=0)
    width = codes.max(axis=0) - lowest
    positions = (codes - lowest) / np.where(width > 0, width, 1)
    return np.minimum((positions * num_bins).astype(np.int64), num_bins - 1)


def entropy(values: Int[np.ndarray, " points"]) -> float:
    """Return the entropy of the frequencies of the values, in nats."""
    frequencies = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(frequencies * np.log(frequencies)).sum())


def mutual_information(
    first: Int[np.ndarray, "points rows"], second: Int[np.ndarray, "points columns"]
) -> Float[np.ndarray, "rows columns"]:
    """Return I(a; b) of every column a of `first` with every column b of `second`, by frequencies.

    Independent values have about (n_a - 1)(n_b - 1) / 2N nats, with n values each and N points.

    Args:
      first: values from 0.
      second: values from 0.
    """
    information = np.zeros((first.shape[1], second.shape[1]))
    for row, a in enumerate(first.T):
        for column, b in enumerate(second.T):
            counts = np.bincount(a * (b.max() + 1) + b).astype(np.float64)
            counts = np.pad(counts, (0, -len(counts) % (b.max() + 1))).reshape(-1, b.max() + 1)
            joint = counts / len(a)
            independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
            some = joint > 0
            information[row, column] = (joint[some] * np.log(joint[some] / independent[some])).sum()
    # Rounding makes -1e-17 of the zero of a constant.
    return np.maximum(information, 0)
