"""Detectors without a network, as baselines on the same images."""

import numpy as np
from jaxtyping import Float

Images = Float[np.ndarray, "_images height width channels"]


def pca_reconstruction_error(
    images: Images, training_images: Images, num_components: int
) -> Float[np.ndarray, " images"]:
    """Return ||x - m - W W^T (x - m)||^2, W the first principal components, m the mean image.

    Args:
      images: images to score.
      training_images: known to be normal; they give W and m.
      num_components: at most the number of pixels and of known images are taken; equal to a
        model's number of latents, it makes the two comparable.
    """
    from sklearn.decomposition import PCA

    known = training_images.reshape(len(training_images), -1)
    flat = images.reshape(len(images), -1)
    pca = PCA(min(num_components, *known.shape), random_state=0).fit(known)
    return np.square(flat - pca.inverse_transform(pca.transform(flat))).sum(axis=1)


def isolation_forest(
    images: Images, training_images: Images, seed: int
) -> Float[np.ndarray, " images"]:
    """Return 2^(-E[h(x)] / c), from 0 to 1, h the random cuts that isolate x (Liu et al. 2008).

    Args:
      images: images to score.
      training_images: known to be normal.
      seed: of the 100 trees.
    """
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=seed)
    forest.fit(training_images.reshape(len(training_images), -1))
    return -forest.score_samples(images.reshape(len(images), -1))
