"""Scores for images unlike those a model was trained on, baselines, and how well they detect."""

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
