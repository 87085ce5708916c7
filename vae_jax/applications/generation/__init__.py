"""Metrics of generated images, beside images that were not generated.

Images are compared as points in the feature space of a classifier of the project, and as pixels
with the training images. No measure here is comparable with one in the space of another network.
"""

from vae_jax.applications.generation.metrics import (
    NUM_DENSITY_NEIGHBOURS,
    NUM_MANIFOLD_NEIGHBOURS,
    Reference,
    generation_metrics,
    make_reference,
)

__all__ = [
    "NUM_DENSITY_NEIGHBOURS",
    "NUM_MANIFOLD_NEIGHBOURS",
    "Reference",
    "generation_metrics",
    "make_reference",
]
