"""Classification by nearest neighbours among a few labelled images, in latent space."""

import numpy as np
from jaxtyping import Float, Int

_BATCH_SIZE = 1000


def predict(
    latents: Float[np.ndarray, "labelled latents"],
    labels: Int[np.ndarray, " labelled"],
    queries: Float[np.ndarray, "queries latents"],
    num_neighbours: int,
) -> Int[np.ndarray, " queries"]:
    """Return the most frequent class of the nearest labelled latents, the smallest of a tie.

    Args:
      latents: of the labelled images.
      labels: their classes, any integers.
      queries: latents of other images.
      num_neighbours: number of votes, by Euclidean distance.
    """
    known, class_of = np.unique(labels, return_inverse=True)
    votes = np.eye(len(known), dtype=np.int64)[class_of]
    squares = np.square(latents).sum(axis=1)
    predicted = []
    for first in range(0, len(queries), _BATCH_SIZE):
        # The square of the query itself is the same for all of its distances.
        distances = squares - 2 * queries[first : first + _BATCH_SIZE] @ latents.T
        nearest = np.argpartition(distances, num_neighbours - 1, axis=1)[:, :num_neighbours]
        predicted.append(known[votes[nearest].sum(axis=1).argmax(axis=1)])
    return np.concatenate(predicted)


def accuracy(
    latents: Float[np.ndarray, "examples latents"],
    labels: Int[np.ndarray, " examples"],
    test_latents: Float[np.ndarray, "tests latents"],
    test_labels: Int[np.ndarray, " tests"],
    *,
    num_labels: int,
    num_neighbours: int = 5,
    num_draws: int = 20,
    seed: int = 0,
) -> float:
    """Return the share of test images that a few labelled images classify right, from 0 to 1.

    Args:
      latents: of the training images.
      labels: their classes.
      test_latents: of the test images.
      test_labels: their classes.
      num_labels: labelled images, drawn from the training set without replacement.
      num_neighbours: number of votes.
      num_draws: draws of the labelled images, over which the share is averaged.
      seed: of the draws.
    """
    rng, shares = np.random.default_rng(seed), []
    for _ in range(num_draws):
        chosen = rng.choice(len(latents), num_labels, replace=False)
        predicted = predict(latents[chosen], labels[chosen], test_latents, num_neighbours)
        shares.append((predicted == test_labels).mean())
    return float(np.mean(shares))
