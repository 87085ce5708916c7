"""Disentanglement metrics: a file per metric, and one that computes them all.

Metrics take codes and factors as arrays, or a simulator and an encoder. "Perfect" in their
docstrings is a code whose latents are one factor each, "noise" one independent of the factors.
"""

from vae_jax.evaluation.disentanglement.measure import (
    PAPER_SIZES,
    MetricSizes,
    disentanglement_metrics,
)

__all__ = ["PAPER_SIZES", "MetricSizes", "disentanglement_metrics"]
