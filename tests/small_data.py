"""Images that are quickly made and quickly learned."""

import numpy as np


def write_bars(path):
    """Write an .npz file of 8x8 images of four kinds, each with one bright bar; give its path."""
    rng, arrays = np.random.default_rng(0), {}
    for split, num in (("train", 256), ("test", 70)):
        labels = rng.integers(0, 4, num)
        brightness = np.full((num, 8, 8), 0.1)
        for image, label in zip(brightness, labels, strict=True):
            image[2 * label : 2 * label + 2] = 0.9
        drawn = rng.random((num, 8, 8)) < brightness
        arrays[f"{split}_images"] = (255 * drawn).astype(np.uint8)
        arrays[f"{split}_labels"] = labels
    np.savez(path, **arrays)
    return path
