"""Directions in latent space along which one attribute of an image changes and others do not.

An image is edited by moving its latents, decode(z + degree v), as glasses are put on a face (Larsen
et al. 2016, arXiv 1512.09300). The vector v comes from two groups of images, with much and with
little of the attribute. The groups are balanced in all else that is known; otherwise v would also
change what correlates with the attribute in the training data (White 2016, arXiv 1609.04468).

Degree 1 is the distance along v from the mean of one group to that of the other. With the method
`conditional` it depends on the image: as far as its other latents predict.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax.errors import UserError

# The groups of a measured attribute are its lowest and its highest quarter.
_QUARTERS = (0.25, 0.75)

# A difference between the quarters below this share of the values is rounding.
_ROUNDING = 1e-9


class Contrast(NamedTuple):
    """Two groups of images that differ in an attribute.

    Attributes:
      indices: of the images in either group, among those given.
      latents: of these images.
      weights: of these images, positive in the group with more of the attribute, where they sum
        to 1; negative in the other, where they sum to -1. Classes weigh the same within a group.
    """

    indices: Int[np.ndarray, " chosen"]
    latents: Float[np.ndarray, "chosen latents"]
    weights: Float[np.ndarray, " chosen"]

    def reversed(self) -> "Contrast":
        """Return the contrast that leads back."""
        return self._replace(weights=-self.weights)

    def difference(self, values: Float[np.ndarray, " n"]) -> float:
        """Return the difference between the groups' means of a metric that all images have."""
        return float(self.weights @ values[self.indices])


def between_quarters(
    latents: Float[np.ndarray, "n latents"],
    values: Float[np.ndarray, " n"],
    others: Float[np.ndarray, "n others"],
    labels: Int[np.ndarray, " n"],
) -> Contrast:
    """Return the contrast of an attribute's highest and lowest quarter, class by class.

    The quarters are those of the residual of a linear fit to the other attributes within the
    class. So both groups have the same classes and, on average, the same other attributes. The mean
    of each class is subtracted from its latents.

    Args:
      latents: of all images.
      values: the attribute; NaN leaves an image out.
      others: attributes that should not change.
      labels: classes; all equal where they are not known.

    Raises:
      UserError: the attribute varies in no class.
    """
    measured = np.isfinite(values) & np.isfinite(others).all(axis=1)
    indices, is_upper, centred = [], [], []
    for label in np.unique(labels):
        members = np.flatnonzero(measured & (labels == label))
        if len(members) == 0:
            continue
        rest = _unexplained(values[members], others[members])
        low, high = np.quantile(rest, _QUARTERS)
        if high - low <= _ROUNDING * np.abs(values[members]).max():
            continue
        chosen = (rest <= low) | (rest >= high)
        indices.append(members[chosen])
        is_upper.append(rest[chosen] >= high)
        centred.append((latents[members] - latents[members].mean(axis=0))[chosen])
    if not indices:
        raise UserError(
            f"the attribute varies within no class of the {np.count_nonzero(measured):,} images, "
            f"of {len(values):,}, in which it can be measured; use images that differ in it"
        )
    where, above = np.concatenate(indices), np.concatenate(is_upper)
    return Contrast(where, np.concatenate(centred), _signed_weights(labels[where], above))


def between_classes(
    latents: Float[np.ndarray, "n latents"],
    labels: Int[np.ndarray, " n"],
    target: int,
    source: int | None = None,
) -> Contrast:
    """Return the contrast of a class with another class, or with all others.

    Raises:
      UserError: one of the groups has no images.
    """
    known = np.unique(labels)
    for label in (target, source):
        if label is not None and label not in known:
            raise UserError(
                f"no image is of class {label}; the classes are {', '.join(map(str, known))}"
            )
    if source == target or len(known) < 2:
        raise UserError(
            f"class {target} must differ from another; the images have {len(known)} in all"
        )
    is_upper = labels == target
    chosen = np.flatnonzero(is_upper | (labels == source if source is not None else True))
    return Contrast(chosen, latents[chosen], _signed_weights(labels[chosen], is_upper[chosen]))


def mean_difference(contrast: Contrast) -> Float[np.ndarray, " latents"]:
    """Return the vector from the mean of one group to the mean of the other."""
    return contrast.weights @ contrast.latents


def linear_classifier(contrast: Contrast) -> Float[np.ndarray, " latents"]:
    """Return the normal of the plane by which logistic regression separates the groups, scaled.

    The unit normal n of the plane, times n^T (difference of the means), which is positive (Shen et
    al. 2020, arXiv 1907.10786). A normal separates the groups best, which is also the direction in
    which their latents differ if these are independent, as those of a VAE nearly are.
    """
    # The import takes a second.
    from sklearn.linear_model import LogisticRegression

    weights = np.abs(contrast.weights) * len(contrast.weights) / 2
    classifier = LogisticRegression(max_iter=1000)
    classifier.fit(contrast.latents, contrast.weights > 0, sample_weight=weights)
    normal = classifier.coef_[0]
    # Latents that are all equal have no plane.
    return normal * (normal @ mean_difference(contrast)) / (normal @ normal or 1.0)


class _Fit(NamedTuple):
    """A linear regression of the place along a vector on the latents across it, in one group."""

    intercept: float
    slope: Float[np.ndarray, " latents"]
    deviation: float


def _regression(
    places: Float[np.ndarray, " n"],
    across: Float[np.ndarray, "n latents"],
    weights: Float[np.ndarray, " n"],
) -> _Fit:
    mean, centre = weights @ places, weights @ across
    root = np.sqrt(weights)
    slope = np.linalg.lstsq(root[:, None] * (across - centre), root * (places - mean))[0]
    residuals = places - mean - (across - centre) @ slope
    return _Fit(mean - centre @ slope, slope, float(np.sqrt(weights @ np.square(residuals))))


def conditional_shift(
    contrast: Contrast, latents: Float[np.ndarray, "n latents"]
) -> Float[np.ndarray, "n latents"]:
    """Return the shift that takes each image to the place of similar images in the other group.

    All move along the difference of the means v, by amounts of their own. In each group a linear
    regression predicts the place along v from the latents across it. An image keeps its residual,
    in units of the group's standard deviation: between groups that are normal this maps the one
    conditional distribution to the other. On a dark face, sunglasses change little; on a light one
    much.

    Args:
      contrast: from the group of the images to the other one.
      latents: of the images.

    Raises:
      UserError: a group has too few images for the regression.
    """
    difference = mean_difference(contrast)
    unit = difference / (np.linalg.norm(difference) or 1.0)
    fits = []
    for sign in (-1, 1):
        members = sign * contrast.weights > 0
        if members.sum() < 2 * (latents.shape[1] + 1):
            raise UserError(
                f"a group has {members.sum():,} images, and the method conditional needs "
                f"{2 * (latents.shape[1] + 1):,} for {latents.shape[1]} latents; use the method "
                "mean_difference, or more training images"
            )
        places, across = _split(contrast.latents[members], unit)
        fits.append(_regression(places, across, np.abs(contrast.weights[members])))
    before, after = fits
    places, across = _split(latents, unit)
    residuals = places - before.intercept - across @ before.slope
    scale = after.deviation / before.deviation if before.deviation > 0 else 0.0
    moved = after.intercept + across @ after.slope + scale * residuals
    return (moved - places)[:, None] * unit


def _split(
    latents: Float[np.ndarray, "n latents"], unit: Float[np.ndarray, " latents"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n latents"]]:
    """Return the places of latents along a unit vector, and what is left across it."""
    wide = latents.astype(np.float64)
    places = wide @ unit
    return places, wide - places[:, None] * unit


# Vectors that move all images alike.
METHODS = {"mean_difference": mean_difference, "linear_classifier": linear_classifier}
# The method that moves each image by an amount of its own.
CONDITIONAL = "conditional"


def shift(
    method: str, contrast: Contrast, latents: Float[np.ndarray, "n latents"]
) -> Float[np.ndarray, "n latents"]:
    """Return what a method adds to the latents of each image at degree 1.

    Args:
      method: of `METHODS`, or `CONDITIONAL`.
      contrast: from the group of the images to the other one.
      latents: of the images.

    Raises:
      UserError: a group has too few images for the method.
    """
    if method == CONDITIONAL:
        return conditional_shift(contrast, latents)
    return np.broadcast_to(METHODS[method](contrast), latents.shape)


def _unexplained(
    values: Float[np.ndarray, " members"], others: Float[np.ndarray, "members others"]
) -> Float[np.ndarray, " members"]:
    design = np.column_stack([np.ones(len(values)), others])
    return values - design @ np.linalg.lstsq(design, values)[0]


def _signed_weights(labels: np.ndarray, is_upper: np.ndarray) -> Float[np.ndarray, " chosen"]:
    """Return weights by which each class of a group weighs the same: sum 1 above, -1 below."""
    weights = np.empty(len(labels))
    for side, sign in ((is_upper, 1), (~is_upper, -1)):
        _, indices, counts = np.unique(labels[side], return_inverse=True, return_counts=True)
        weights[side] = sign / (len(counts) * counts[indices])
    return weights
