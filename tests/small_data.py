"""Images that are made and learned quickly."""

import numpy as np
from PIL import Image


def write_bars(path):
    """Write an .npz file of 8x8 images of four kinds, each with one bright bar; return its path."""
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


def shapes(num, size, seed=0):
    """Return 8-bit images `[num, size, size, 3]`: a disc, square or diamond before a gradient.

    Position, size, kind and all colours vary.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / (size - 1)
    images = np.empty((num, size, size, 3), np.uint8)
    for image in images:
        y, x = rng.uniform(0.3, 0.7, 2)
        radius, angle = rng.uniform(0.15, 0.3), rng.uniform(0, 2 * np.pi)
        slope = np.cos(angle) * (rows - 0.5) + np.sin(angle) * (columns - 0.5)
        start, end, colour = rng.uniform(0.1, 0.9, (3, 3))
        background = start + (end - start) * (0.5 + slope / 1.5)[..., None]
        down, right = (rows - y) / radius, (columns - x) / radius
        distances = {
            0: np.hypot(down, right),
            1: np.maximum(abs(down), abs(right)) * 1.2,
            2: (abs(down) + abs(right)) * 0.9,
        }
        distance = distances[rng.integers(3)]
        shading = np.clip(1 - 0.5 * (down + right + 1) / 2, 0.3, 1)[..., None]
        # A soft edge, one pixel wide.
        cover = np.clip((1 - distance) * radius * (size - 1) + 0.5, 0, 1)[..., None]
        image[:] = np.round(255 * (cover * colour * shading + (1 - cover) * background))
    return images


def write_shapes(folder, size, *, train, test, seed=0):
    """Write `shapes` as PNG files into `train/` and `test/` of a folder; return the folder."""
    images = shapes(train + test, size, seed)
    for index, image in enumerate(images):
        split = folder / ("train" if index < train else "test")
        split.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(split / f"{index:05d}.png")
    return folder
