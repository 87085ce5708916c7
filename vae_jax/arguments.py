"""What users give the methods of a trained model: checked, and in the model's types."""

import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from vae_jax.data.captions.vocabulary import Vocabulary
from vae_jax.data.image_shapes import advice
from vae_jax.data.pixels import as_floats, black_ones
from vae_jax.errors import UserError
from vae_jax.models.interfaces import Accepted
from vae_jax.models.likelihoods import unaccepted
from vae_jax.models.modalities import Form

# Images `[num, height, width, channels]`, classes `[num]` or texts, or a single example.
Given = ArrayLike | str | list[str]


def encoded_texts(name: str, form: Form, value: Given, unknown_words: str) -> np.ndarray:
    """Return texts as rows of word indices."""
    texts = [value] if isinstance(value, str) else list(np.asarray(value).ravel())
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{name} must be a text or a list of texts, not {value!r}")
    encoded = Vocabulary(form.words).encode(texts, form.shape[0], unknown_words)
    if encoded.unknown:
        logging.warning("unknown words, taken for any: %s", ", ".join(encoded.unknown))
    return encoded.ids


def stored_array(name: str, form: Form, value: Given) -> np.ndarray:
    """Return classes or images in the model's type and shape."""
    array = np.asarray(value)
    if form.kind == "class":
        array, num_classes = np.atleast_1d(array), form.shape[0]
        whole = np.issubdtype(array.dtype, np.integer)
        if not whole or array.ndim != 1 or (array.size and not are_below(array, num_classes)):
            raise UserError(
                f"{name} must be whole numbers from 0 to {num_classes - 1}, not {value!r}"
            )
        return array.astype(np.int32)
    array = array[None] if array.shape == form.shape else array
    if array.shape[1:] != form.shape:
        shape = ", ".join(map(str, form.shape))
        raise UserError(f"{name} has shape {array.shape}; this model takes (num, {shape})")
    refuse_values(name, array, "unit interval")
    scale = 255 if array.dtype == np.uint8 else 1
    return array.astype(np.float32) / scale


def float_images(
    images: ArrayLike,
    image_shape: tuple[int, int, int],
    accepts: Accepted,
    *,
    may_miss: bool,
) -> Float[np.ndarray, "num height width channels"]:
    """Return images in the unit interval, one or several, grey ones with or without channels.

    Args:
      images: as a user gave them.
      image_shape: height, width, channels.
      accepts: what the likelihood does.
      may_miss: whether values may be NaN, which were not seen.

    Raises:
      UserError: they have another shape, or as `refuse_values`.
    """
    array = np.asarray(images)
    *sides, channels = image_shape
    if channels == 1 and array.ndim == 3 and array.shape[1:] == tuple(sides):
        array = array[..., None]
    if array.shape == image_shape:
        array = array[None]
    if array.shape[1:] != image_shape or len(array) == 0:
        raise UserError(
            f"images have shape {array.shape}; this model takes (num, "
            f"{', '.join(map(str, image_shape))}) with num at least 1{advice(array.shape)}"
        )
    refuse_values("images", array, accepts, may_miss=may_miss)
    stored = array if array.dtype == np.uint8 else array.astype(np.float32)
    return as_floats(stored)


def float_latents(latents: ArrayLike, latent_size: int) -> Float[np.ndarray, "num latents"]:
    """Return latent vectors in the model's type.

    Raises:
      UserError: they have another shape.
    """
    array = np.asarray(latents, np.float32)
    if array.ndim != 2 or array.shape[1] != latent_size or len(array) == 0:
        raise UserError(f"latents have shape {array.shape}; this model takes (num, {latent_size})")
    return array


def whole_codes(codes: ArrayLike, code_shape: tuple[int, ...], num_codes: int) -> np.ndarray:
    """Return integer codes `[num, *code_shape]` in the model's type.

    Raises:
      UserError: they have another shape, or one is not below `num_codes`.
    """
    array = np.asarray(codes)
    if array.shape[1:] != code_shape or len(array) == 0:
        raise UserError(
            f"codes have shape {array.shape}; this model takes (num, "
            f"{', '.join(map(str, code_shape))})"
        )
    if not are_below(array, num_codes):
        raise UserError(
            f"codes lie from {array.min()} to {array.max()}; this model's are 0 to {num_codes - 1}"
        )
    return array.astype(np.int32)


def refuse_values(
    name: str, images: np.ndarray, accepts: Accepted, *, may_miss: bool = False
) -> None:
    """Refuse images of a type or of values that no image has.

    Args:
      name: of the images, for errors.
      images: of any shape.
      accepts: what the likelihood does.
      may_miss: whether values may be NaN, which were not seen.

    Raises:
      UserError: they are neither 8-bit nor bool nor floating, are 8-bit zeros and ones, are not
        finite, or lie outside the unit interval and the likelihood refuses that.
    """
    floating = np.issubdtype(images.dtype, np.floating)
    # Those of a table are checked column by column.
    if floating and accepts == "columns":
        return
    if not floating and images.dtype not in (np.uint8, np.bool_):
        raise UserError(f"{name}: type {images.dtype}; use uint8, bool or floats in [0, 1]")
    if floating and may_miss:
        images = images[~np.isnan(images)]
        if images.size == 0:
            return
    if floating and not np.isfinite(images).all():
        raise UserError(f"{name}: values that are not finite")
    problem = black_ones(images)
    if floating and accepts != "any finite":
        problem = unaccepted("unit interval", images)
        if problem is not None and images.min() >= 0 and images.max() <= 255:
            problem += "; use uint8 for 8-bit values, or divide them by 255"
    if problem is not None:
        raise UserError(f"{name}: values {problem}")
    if floating and _look_like_8_bits(images):
        logging.warning(
            "%s: floats up to %g, all whole, are taken as they are; give 8-bit values as uint8, or "
            "divided by 255",
            name,
            images.max(),
        )


def _look_like_8_bits(images: np.ndarray) -> bool:
    is_in_range = images.min() >= 0 and 100 < images.max() <= 255
    return bool(is_in_range and (images == np.round(images)).all())


def require_key(key: Any) -> None:
    """Refuse what is no key, such as a seed.

    Raises:
      UserError: it is none.
    """
    is_key = isinstance(key, jax.Array) and (
        jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == jnp.uint32
    )
    if not is_key:
        raise UserError(f"key={str(key)[:40]} is no key; give one, such as jax.random.key(0)")


def are_below(array: np.ndarray, num_classes: int) -> bool:
    """Return whether all numbers are classes, from 0 to one less than their number."""
    return bool(array.min() >= 0 and array.max() < num_classes)
