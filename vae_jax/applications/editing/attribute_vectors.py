"""Directions in latent space along which one attribute of an image changes and others do not.

An image is edited by moving its latents, decode(z + degree v), as glasses are put on a face (Larsen
et al. 2016, arXiv 1512.09300). The vector v comes from two groups of images, with much of the
attribute and with little. The groups are made alike in all else that is known, since v would else
carry along what comes with the attribute in the training data (White 2016, arXiv 1609.04468).

Degree 1 is the distance along v from the mean of one group to that of the other.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax.errors import UserError

# The groups of a measured attribute are its lowest and its highest quarter.
_QUARTERS = (0.25, 0.75)

# Below this share of the values a difference between the quarters is one of rounding.
_ROUNDING = 1e-9


class Contrast(NamedTuple):
    """Two groups of images that differ in an attribute.

    Attributes:
      places: of the images in either group, among those given.
      latents: theirs.
      weights: positive in the group with more of the attribute, where they sum to 1; negative in
        the other, where they sum to -1. In a group each class weighs the same.
    """

    places: Int[np.ndarray, " chosen"]
    latents: Float[np.ndarray, "chosen latents"]
    weights: Float[np.ndarray, " chosen"]

    def difference(self, values: Float[np.ndarray, " n"]) -> float:
        """Return the difference between the groups' means of a metric that all images have."""
        return float(self.weights @ values[self.places])


def between_quarters(
    latents: Float[np.ndarray, "n latents"],
    values: Float[np.ndarray, " n"],
    others: Float[np.ndarray, "n others"],
    labels: Int[np.ndarray, " n"],
) -> Contrast:
    """Return the highest quarter of a measured attribute against the lowest, class by class.

    The quarters are of what remains of the attribute after a linear fit to the other attributes
    within the class. Both groups so have the same classes, and on average the same of the others.
    Latents are given less the mean of their class.

    Args:
      latents: of all images.
      values: the attribute; not a number where an image has none, and is left out.
      others: attributes that are to stay as they are.
      labels: classes, all one where nothing is known of them.

    Raises:
      UserError: the attribute varies in no class.
    """
    measured = np.isfinite(values) & np.isfinite(others).all(axis=1)
    places, is_upper, centred = [], [], []
    for label in np.unique(labels):
        members = np.flatnonzero(measured & (labels == label))
        if len(members) == 0:
            continue
        rest = _unexplained(values[members], others[members])
        low, high = np.quantile(rest, _QUARTERS)
        if high - low <= _ROUNDING * np.abs(values[members]).max():
            continue
        chosen = (rest <= low) | (rest >= high)
        places.append(members[chosen])
        is_upper.append(rest[chosen] >= high)
        centred.append((latents[members] - latents[members].mean(axis=0))[chosen])
    if not places:
        raise UserError(
            f"the attribute varies within no class of the {np.count_nonzero(measured):,} images, "
            f"of {len(values):,}, in which it can be measured; use images that differ in it"
        )
    where, above = np.concatenate(places), np.concatenate(is_upper)
    return Contrast(where, np.concatenate(centred), _signed_weights(labels[where], above))


def between_classes(
    latents: Float[np.ndarray, "n latents"],
    labels: Int[np.ndarray, " n"],
    target: int,
    source: int | None = None,
) -> Contrast:
    """Return one class against another, or against all others.

    Raises:
      UserError: there are no images on one of the sides.
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
    places = np.flatnonzero(is_upper | (labels == source if source is not None else True))
    return Contrast(places, latents[places], _signed_weights(labels[places], is_upper[places]))


def mean_difference(contrast: Contrast) -> Float[np.ndarray, " latents"]:
    """Return the vector from the mean of one group to the mean of the other."""
    return contrast.weights @ contrast.latents


def linear_classifier(contrast: Contrast) -> Float[np.ndarray, " latents"]:
    """Return across the plane by which logistic regression tells the groups (Shen et al. 2020).

    The unit normal n of the plane, times n^T (difference of the means), which is positive: the
    loss at no slope at all falls in the direction of that difference. arXiv 1907.10786. A normal
    tells groups apart, and weighs what tells of noise alone as well; it is the direction in which
    latents differ as far as these are independent, as those of a VAE nearly are.
    """
    # Imports SciPy's optimisers, which take a second.
    from sklearn.linear_model import LogisticRegression

    weights = np.abs(contrast.weights) * len(contrast.weights) / 2
    classifier = LogisticRegression(max_iter=1000)
    classifier.fit(contrast.latents, contrast.weights > 0, sample_weight=weights)
    normal = classifier.coef_[0]
    # Latents that are all the same have no plane.
    return normal * (normal @ mean_difference(contrast)) / (normal @ normal or 1.0)


METHODS = {"mean_difference": mean_difference, "linear_classifier": linear_classifier}


def _unexplained(
    values: Float[np.ndarray, " members"], others: Float[np.ndarray, "members others"]
) -> Float[np.ndarray, " members"]:
    design = np.column_stack([np.ones(len(values)), others])
    return values - design @ np.linalg.lstsq(design, values)[0]


def _signed_weights(labels: np.ndarray, is_upper: np.ndarray) -> Float[np.ndarray, " chosen"]:
    """Return each class of a group weighs the same: 1 in total above, -1 below."""
    weights = np.empty(len(labels))
    for side, sign in ((is_upper, 1), (~is_upper, -1)):
        _, places, counts = np.unique(labels[side], return_inverse=True, return_counts=True)
        weights[side] = sign / (len(counts) * counts[places])
    return weights
