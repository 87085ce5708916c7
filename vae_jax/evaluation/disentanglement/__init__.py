"""Disentanglement metrics: a file per metric, and one that computes them all.

Metrics take codes and factors as arrays, or a simulator and an encoder. In their docstrings
"Perfect" gives the value for a code each of whose latents is one factor, "Noise" for one that is
independent of the factors.
"""

from vae_jax.evaluation.disentanglement.measure import (
    PAPER_SIZES,
    MetricSizes,
    disentanglement_metrics,
)

__all__ = ["PAPER_SIZES", "MetricSizes", "disentanglement_metrics"]
