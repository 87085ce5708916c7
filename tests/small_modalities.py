"""Joint models small enough to check, and batches for them."""

import jax
import numpy as np
from flax import nnx
from small_models import randomized

from vae_jax.data.captions.vocabulary import END, SPECIAL
from vae_jax.models import BernoulliLikelihood
from vae_jax.models.modalities import ClassModality, ImageModality, TextModality
from vae_jax.models.multimodal import MultimodalVAE
from vae_jax.networks import MLPDecoder, MLPEncoder
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.classes import ClassDecoder, ClassEncoder
from vae_jax.networks.text import TextDecoder, TextEncoder
from vae_jax.objectives.multimodal import Batch

LATENTS, CLASSES, WORDS, LENGTH = 3, 4, len(SPECIAL) + 3, 5
IMAGE_SHAPE = (2, 3, 1)
TANH = ACTIVATIONS["tanh"]


def build_modality(name, rngs):
    if name.startswith("image"):
        return ImageModality(
            MLPEncoder(IMAGE_SHAPE, [5], activation=TANH, rngs=rngs),
            MLPDecoder(LATENTS, IMAGE_SHAPE, [5], activation=TANH, rngs=rngs),
            BernoulliLikelihood(),
        )
    if name.startswith("label"):
        return ClassModality(
            ClassEncoder(CLASSES, [5], activation=TANH, rngs=rngs),
            ClassDecoder(LATENTS, CLASSES, [5], activation=TANH, rngs=rngs),
        )
    return TextModality(
        TextEncoder(WORDS, 4, 5, activation=TANH, rngs=rngs),
        TextDecoder(LATENTS, WORDS, LENGTH, 4, 5, rngs=rngs),
    )


def build_joint(names, kind, seed=0):
    """Return a model with random parameters of modalities whose names begin with their kind."""

    def build():
        rngs = nnx.Rngs(0)
        parts = {name: build_modality(name, rngs) for name in names}
        encoders = None
        if kind == "joint":
            encoders = {name: build_modality(name, rngs).encoder for name in names}
        return MultimodalVAE(parts, LATENTS, kind, encoders, rngs=rngs)

    return randomized(build, seed)


def draw_texts(rng, num, length=LENGTH):
    """Return rows of one to `length` - 1 words."""
    ids = np.zeros((num, length), np.int32)
    for row in ids:
        words = rng.integers(1, length)
        row[:words] = rng.integers(len(SPECIAL), WORDS, words)
        row[words] = END
    return ids


def draw_values(names, num, seed=0):
    rng = np.random.default_rng(seed)
    values = {}
    for name in names:
        if name.startswith("image"):
            values[name] = (rng.random((num, *IMAGE_SHAPE)) < 0.5).astype(np.float32)
        elif name.startswith("label"):
            values[name] = rng.integers(0, CLASSES, num).astype(np.int32)
        else:
            values[name] = draw_texts(rng, num)
    return jax.device_put(values)


def whole_batch_of(names, num, seed=0):
    return Batch(draw_values(names, num, seed), jax.device_put(np.ones((num, len(names)), bool)))
