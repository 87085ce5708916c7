"""Compression of images by a trained model, and its file format.

Without loss, by bits-back coding with a VAE; with loss, by the codes of a model that has a prior
over them.
"""

from vae_jax.applications.compression.code_compressor import CodeCompressor
from vae_jax.applications.compression.compressor import Compressor
from vae_jax.applications.compression.file_format import CompressedImages, overhead, pack, unpack
from vae_jax.trained import TrainedModel

__all__ = [
    "CodeCompressor",
    "CompressedImages",
    "Compressor",
    "compressor_of",
    "overhead",
    "pack",
    "unpack",
]


def compressor_of(model: TrainedModel) -> Compressor | CodeCompressor:
    """Return the compressor of a model: with loss if it has codes, else without.

    Raises:
      UserError: the model cannot compress images.
    """
    return CodeCompressor(model) if model.has_codes else Compressor(model)
