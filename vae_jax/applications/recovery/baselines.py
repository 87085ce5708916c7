"""Baselines of recovery without a model, from scikit-image, SciPy and Pillow.

Each method has one parameter at most. It is chosen for the level of corruption by the squared error
on other images; this favours the method, since a user would have to guess the parameter.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from vae_jax.applications.recovery.corrupted import Corrupted
from vae_jax.evaluation.image_quality import Images

# Images deconvolved together.
_AT_ONCE = 100


Parameter = int | float


class Method(NamedTuple):
    """A method to recover images.

    Attributes:
      restore: from corrupted images and a value of the parameter to recovered images.
      parameter: its name; empty without one.
      values: its possible values.
    """

    restore: Callable[[Corrupted, Any], Images]
    parameter: str = ""
    values: tuple[Parameter, ...] = (0,)


def median_filter(corrupted: Corrupted, size: int) -> Images:
    """Replace each pixel by the median of `size` by `size` pixels."""
    return ndimage.median_filter(corrupted.images, (1, size, size, 1))


def total_variation(corrupted: Corrupted, weight: float) -> Images:
    """Denoise by total variation (Chambolle 2004); more weight is smoother."""
    from skimage.restoration import denoise_tv_chambolle

    return np.stack(
        [denoise_tv_chambolle(image, weight, channel_axis=-1) for image in corrupted.images]
    )


def constant(corrupted: Corrupted, value: float) -> Images:
    """Fill missing pixels with one grey value."""
    return corrupted.known_kept(np.full_like(corrupted.images, value))


def biharmonic(corrupted: Corrupted, _: Parameter) -> Images:
    """Fill missing pixels with the biharmonic surface through their border."""
    from skimage.restoration import inpaint_biharmonic

    assert corrupted.missing is not None
    return np.stack(
        [
            inpaint_biharmonic(image, missing.any(axis=-1), channel_axis=-1)
            for image, missing in zip(corrupted.images, corrupted.missing, strict=True)
        ]
    )


def _enlarged(corrupted: Corrupted, resampling: Image.Resampling) -> Images:
    factor = round(corrupted.level)
    height, width = corrupted.images.shape[1:3]

    def enlarge(values: np.ndarray) -> np.ndarray:
        small = Image.fromarray(np.ascontiguousarray(values[::factor, ::factor]))
        return np.asarray(small.resize((width, height), resampling))

    return _each_channel(enlarge, corrupted.images)


def bicubic(corrupted: Corrupted, _: Parameter) -> Images:
    """Enlarge the small images by Pillow's bicubic interpolation."""
    return _enlarged(corrupted, Image.Resampling.BICUBIC)


def lanczos(corrupted: Corrupted, _: Parameter) -> Images:
    """Enlarge the small images by Pillow's Lanczos filter."""
    return _enlarged(corrupted, Image.Resampling.LANCZOS)


def unsharp_mask(corrupted: Corrupted, amount: float) -> Images:
    """Add `amount` times the detail that a second blur of the same width removes."""
    from skimage.filters import unsharp_mask as sharpen

    return _each_channel(lambda values: sharpen(values, corrupted.level, amount), corrupted.images)


def wiener(corrupted: Corrupted, balance: float) -> Images:
    """Deconvolve by Wiener's filter with the true blur; more balance is smoother."""
    from skimage.restoration import wiener as deconvolve

    kernel = _normal_kernel(corrupted.level, corrupted.images.shape[1:3])
    return _each_channel(
        lambda values: deconvolve(values, kernel, balance, clip=False), corrupted.images
    )


def richardson_lucy(corrupted: Corrupted, num_iterations: int) -> Images:
    """Deconvolve by Richardson and Lucy's iterations with the true blur."""
    from skimage.restoration import richardson_lucy as deconvolve

    images = corrupted.images
    # Together, as a volume without blur along its first axis.
    kernel = _normal_kernel(corrupted.level, images.shape[1:3])[None, :, :, None]
    batches = np.split(images, range(_AT_ONCE, len(images), _AT_ONCE))
    return np.concatenate([deconvolve(batch, kernel, num_iterations) for batch in batches])


def _each_channel(function: Callable[[np.ndarray], np.ndarray], images: Images) -> Images:
    planes = np.moveaxis(images, -1, 1)
    restored = [[function(values) for values in image] for image in planes]
    return np.moveaxis(np.asarray(restored, np.float32), 1, -1)


def _normal_kernel(scale: float, shape: tuple[int, ...]) -> Float[np.ndarray, "rows columns"]:
    """Return a normal kernel that sums to 1, cut off at four deviations or the image's size."""
    reach = min(int(np.ceil(4 * scale)), (min(shape) - 1) // 2)
    weights = np.exp(-np.square(np.arange(-reach, reach + 1) / scale) / 2)
    kernel = np.outer(weights, weights)
    return np.asarray(kernel / kernel.sum(), np.float32)


_MEDIAN = Method(median_filter, "size", (3, 5, 7))
_TOTAL_VARIATION = Method(total_variation, "weight", (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.2))
_INPAINTING = {
    "constant": Method(constant, "value", (0.0, 0.125, 0.25, 0.5)),
    "biharmonic": Method(biharmonic),
}

# By corruption.
METHODS: dict[str, dict[str, Method]] = {
    "blur": {
        "unsharp mask": Method(unsharp_mask, "amount", (0.5, 1.0, 2.0, 4.0)),
        "Wiener": Method(wiener, "balance", (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
        "Richardson-Lucy": Method(richardson_lucy, "iterations", (10, 30, 100, 300)),
    },
    "box": _INPAINTING,
    "downsampling": {"bicubic": Method(bicubic), "Lanczos": Method(lanczos)},
    "gaussian": {"median filter": _MEDIAN, "total variation": _TOTAL_VARIATION},
    "masking": _INPAINTING,
    "salt_and_pepper": {"median filter": _MEDIAN, "total variation": _TOTAL_VARIATION},
}


def choose(method: Method, corrupted: Corrupted, clean: Images) -> Parameter:
    """Return the value of the parameter that recovers these images with the least squared error."""
    if len(method.values) == 1:
        return method.values[0]

    def squared_error(value: Parameter) -> float:
        restored = np.clip(method.restore(corrupted, value), 0, 1)
        return float(np.square(restored - clean).mean())

    return min(method.values, key=squared_error)
