"""Metrics of generated images.

Images are compared in the feature space of a classifier of this project, and with the training
images in pixels. The metrics are not comparable with those in the space of another network.
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
