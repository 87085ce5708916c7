"""Encoder and decoder bodies: images to features, latents to images. Nothing probabilistic."""

from vae_jax.networks.conv import ConvDecoder, ConvEncoder
from vae_jax.networks.mlp import MLPDecoder, MLPEncoder
from vae_jax.networks.residual import ResidualDecoder, ResidualEncoder

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "ResidualDecoder",
    "ResidualEncoder",
]
