"""Lossless compression of images by a trained VAE: bits-back coding and its file format."""

from vae_jax.applications.compression.compressor import Compressor
from vae_jax.applications.compression.file_format import CompressedImages, pack, unpack

__all__ = ["CompressedImages", "Compressor", "pack", "unpack"]
