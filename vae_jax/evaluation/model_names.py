"""The names of models in tables of results."""

from vae_jax.settings import name_of
from vae_jax.trained import TrainedModel


def model_name(model: TrainedModel) -> str:
    """Return the name of a model in the table."""
    denoising = "" if name_of(model.corruption) == "none" else "denoising "
    if model.has_codes or not model.has_density:
        return f"{denoising}{model.name}"
    beta = model.beta
    kind = f"{denoising}hyperspherical " if model.has_spherical_latents else denoising
    return f"{kind}VAE" if beta == 1 else f"{kind}beta-VAE, beta {beta:g}"
