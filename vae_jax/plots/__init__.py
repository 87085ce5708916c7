"""Plots that several uses share, from NumPy arrays and metric records alone.

No function here takes a model or a config, so a plot can be drawn again from a run's files. Each
returns a `matplotlib.figure.Figure` outside of pyplot: it need not be closed, needs no display, and
is written by `save`, as PNG, PDF or SVG.
"""

from vae_jax.plots.curves import (
    accuracy_by_labels,
    compared_curves,
    curves_by_level,
    layer_metrics,
    overlaid_losses,
    rates_by_layer,
    training_curves,
)
from vae_jax.plots.images import (
    edited_images,
    image_grid,
    interpolations,
    manifold,
    nearest_neighbours,
    reconstructions,
    recovery,
    samples_by_row,
    traversals,
)
from vae_jax.plots.latents import kl_by_dimension, latent_map, latent_maps_side_by_side
from vae_jax.plots.marginals import Marginal, marginals
from vae_jax.plots.rate_distortion_plane import lower_convex_hull, rate_distortion
from vae_jax.plots.style import FORMATS, formats, save
from vae_jax.plots.sweeps import (
    heat_map,
    member_curves,
    metric_by_value,
    parallel_coordinates,
    search_history,
)

__all__ = [
    "FORMATS",
    "Marginal",
    "accuracy_by_labels",
    "compared_curves",
    "curves_by_level",
    "edited_images",
    "formats",
    "heat_map",
    "image_grid",
    "interpolations",
    "kl_by_dimension",
    "latent_map",
    "latent_maps_side_by_side",
    "layer_metrics",
    "lower_convex_hull",
    "manifold",
    "marginals",
    "member_curves",
    "metric_by_value",
    "nearest_neighbours",
    "overlaid_losses",
    "parallel_coordinates",
    "rate_distortion",
    "rates_by_layer",
    "reconstructions",
    "recovery",
    "samples_by_row",
    "save",
    "search_history",
    "training_curves",
    "traversals",
]
