"""Detection of images unlike those a model was trained on: scores, baselines, detection metrics."""

from vae_jax.applications.anomaly.detection import (
    auroc,
    average_precision,
    threshold,
    with_intervals,
)
from vae_jax.applications.anomaly.scorer import SCORES, Scorer

__all__ = [
    "SCORES",
    "Scorer",
    "auroc",
    "average_precision",
    "threshold",
    "with_intervals",
]
