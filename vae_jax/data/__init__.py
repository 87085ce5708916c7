"""Data sources: `load` reads a split by the source's name, `open_lazily` on demand.

Importing this package does not import jax, TensorFlow Datasets or Pillow: the bundled MNIST needs
NumPy only, and the other sources import what they need when they are read.
"""

from vae_jax.data.dataset import Dataset, LazyDataset
from vae_jax.data.sources import load, open_lazily, split_sizes

__all__ = ["Dataset", "LazyDataset", "load", "open_lazily", "split_sizes"]
