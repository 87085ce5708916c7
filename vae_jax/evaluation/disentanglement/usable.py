"""Checks that a metric can be computed from codes and factors."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from vae_jax.errors import UserError


def require_finite(codes: Float[np.ndarray, "*points latents"]) -> None:
    """Refuse codes that a metric would turn into NaN.

    Raises:
      UserError: a code is infinite or NaN.
    """
    finite = np.isfinite(codes).reshape(-1, codes.shape[-1]).all(axis=0)
    if not finite.all():
        latents = np.flatnonzero(~finite).tolist()
        raise UserError(f"codes of latents {latents} are not finite; the encoder has diverged")


def several_valued(sizes: Sequence[int]) -> list[int]:
    """Return the indices of the factors with more than one value; others have no code to find.

    Args:
      sizes: the number of values of each factor.

    Raises:
      UserError: there is none.
    """
    used = [index for index, size in enumerate(sizes) if size > 1]
    if not used:
        raise UserError(
            f"factors with {list(sizes)} values; a metric needs one with at least 2 values"
        )
    return used


def used_factors(
    codes: Float[np.ndarray, "points latents"], factors: Int[np.ndarray, "points factors"]
) -> list[int]:
    """Return the indices of the factors that take more than one value in these points.

    Raises:
      UserError: there is none, or a code is not finite.
    """
    require_finite(codes)
    return several_valued([len(np.unique(values)) for values in factors.T])
