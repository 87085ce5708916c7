"""Detectors without a network, as baselines on the same images."""

import numpy as np
from jaxtyping import Float

Images = Float[np.ndarray, "_images height width channels"]


def pca_reconstruction_error(
    images: Images, training_images: Images, num_components: int
) -> Float[np.ndarray, " images"]:
    """||x - m - W W^T (x - m)||^2, W the first principal components and m the mean of known images.

    Args:
      images: to be scored.
      training_images: known to be normal.
      num_components: as many as a model's latents make the two comparable; no more are taken than
        there are pixels or known images.
    """
    from sklearn.decomposition import PCA

    known = training_images.reshape(len(training_images), -1)
    flat = images.reshape(len(images), -1)
    pca = PCA(min(num_components, *known.shape), random_state=0).fit(known)
    return np.square(flat - pca.inverse_transform(pca.transform(flat))).sum(axis=1)


def isolation_forest(
    images: Images, training_images: Images, seed: int
) -> Float[np.ndarray, " images"]:
    """Return 2^(-E[h(x)] / c), from 0 to 1: how few random cuts isolate an image (Liu et al. 2008).

    Args:
      images: to be scored.
      training_images: known to be normal.
      seed: of the 100 trees.
    """
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=seed)
    forest.fit(training_images.reshape(len(training_images), -1))
    return -forest.score_samples(images.reshape(len(images), -1))
