"""The few examples of a training set whose labels a model may see."""

import numpy as np
from jaxtyping import Int

from vae_jax.errors import UserError


def draw_labelled(
    labels: Int[np.ndarray, " num_examples"], num: int, seed: int
) -> Int[np.ndarray, " num"]:
    """Return the indices of `num` examples, in order, equally many of each class, up to one.

    A smaller number with the same seed gives a part of a larger one's, where `num` is a multiple
    of the number of classes.

    Args:
      labels: the class of each example.
      num: number of examples to draw.
      seed: of the draw.

    Raises:
      UserError: there are fewer examples than that, in all or of a class, or fewer than classes.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if num > len(labels):
        raise UserError(f"data.labelled={num} is more than the {len(labels)} training examples")
    if num < len(classes):
        raise UserError(
            f"data.labelled={num} leaves a class without a label; use at least {len(classes)}, the "
            "number of classes"
        )
    shares = np.full(len(classes), num // len(classes))
    shares[: num % len(classes)] += 1
    if num == len(labels):
        return np.arange(len(labels))
    if (shares > sizes).any():
        wrong = int(np.argmax(shares > sizes))
        raise UserError(
            f"data.labelled={num} takes {shares[wrong]} examples of each class, and class "
            f"{classes[wrong]} has {sizes[wrong]}; use at most {sizes.min() * len(classes)}, or "
            f"all {len(labels)}"
        )
    random = np.random.RandomState(seed)
    chosen = [
        random.permutation(np.flatnonzero(labels == label))[:share]
        for label, share in zip(classes, shares, strict=True)
    ]
    return np.sort(np.concatenate(chosen))
