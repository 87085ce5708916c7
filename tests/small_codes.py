"""Experiments of models with codes, and models, small enough for a test."""

import jax
from small_models import randomized

from vae_jax import config as factory
from vae_jax.trained import TrainedModel

IMAGE_SHAPE = (6, 4, 1)
# 3x2 codes of images of 6x4 pixels.
MODEL = {"name": "vq_vae", "codes": (3, 2), "channels": 4, "blocks": 1, "kernel_size": 2}
QUANTIZERS = {
    "vq": {"name": "vq", "codebook_size": 7, "vector_size": 3, "decay": 0.75},
    "vq_gradient": {"name": "vq_gradient", "codebook_size": 7, "vector_size": 3},
    "fsq": {"name": "fsq", "levels": (3, 2)},
}


def coded_config(quantizer="vq", *, model_changes=None, **changes):
    """Return a small config as nested dicts.

    Args:
      quantizer: a name in `QUANTIZERS`, or a section.
      model_changes: settings of the model.
      changes: top-level settings.
    """
    section = QUANTIZERS[quantizer] if isinstance(quantizer, str) else quantizer
    return {
        "batch_size": 8,
        "evaluation": {"batch_size": 8},
        "data": {"binarization": "none"},
        "model": {**MODEL, "quantizer": section, **(model_changes or {})},
        **changes,
    }


def coded_experiment(quantizer="vq", **changes):
    """Return the experiment of `coded_config`, checked."""
    return factory.resolve(coded_config(quantizer, **changes))


def make_model(quantizer="vq"):
    """Return a model of `IMAGE_SHAPE` with random parameters."""
    experiment = coded_experiment(quantizer)
    model = randomized(
        lambda: factory.build_model(experiment, IMAGE_SHAPE, jax.random.key(0)), 0, 0.4
    )
    _, params, extra = factory.split_model(model)
    return TrainedModel(experiment, IMAGE_SHAPE, params, extra)
