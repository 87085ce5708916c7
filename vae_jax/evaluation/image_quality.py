"""Quality of images against the clean ones: PSNR and SSIM."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Images = Float[np.ndarray, "num height width channels"]

# Pixels per side of the window of SSIM.
SSIM_WINDOW = 11


class Score(NamedTuple):
    """The quality of recovered images, with standard errors over the images.

    Attributes:
      psnr: peak signal-to-noise ratio in dB, -10 log10 of the mean squared error over all images.
        The mean of the images' ratios would be infinite with one image recovered exactly, such as
        one with its box on black background.
      psnr_error: its standard error, to first order.
      ssim: structural similarity, the mean over images; at most 1.
      ssim_error: its standard error.
    """

    psnr: float
    psnr_error: float
    ssim: float
    ssim_error: float


def ssim(images: Images, clean: Images) -> Float[np.ndarray, " num"]:
    """Return the structural similarity of each image (Wang et al. 2004), at most 1.

    It is averaged over channels and uses the paper's window: normal weights of standard deviation
    1.5 over 11x11 pixels.

    Raises:
      ValueError: the images have fewer than 11 pixels per side.
    """
    from skimage.metrics import structural_similarity

    return np.array(
        [
            structural_similarity(
                image,
                other,
                data_range=1.0,
                channel_axis=-1,
                gaussian_weights=True,
                use_sample_covariance=False,
            )
            for image, other in zip(images, clean, strict=True)
        ]
    )


def _squared_errors(images: Images, clean: Images) -> Float[np.ndarray, " num"]:
    return np.square(images - clean, dtype=np.float64).mean(axis=(1, 2, 3))


def peak_signal_to_noise_ratio(images: Images, clean: Images) -> float:
    """Return -10 log10 of the mean squared error over all images in the unit interval, in dB.

    Infinite where all images are recovered exactly.
    """
    return _decibels(_squared_errors(images, clean))


def _decibels(squared_errors: Float[np.ndarray, " num"]) -> float:
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(squared_errors.mean()))


def score(images: Images, clean: Images) -> Score:
    """Return PSNR and SSIM of images clipped to the unit interval, as they would be shown."""
    images = np.clip(images, 0, 1)
    squared = _squared_errors(images, clean)
    similarity = ssim(images, clean)
    return Score(
        psnr=_decibels(squared),
        psnr_error=float(10 / np.log(10) * _standard_error(squared) / (squared.mean() or 1)),
        ssim=float(similarity.mean()),
        ssim_error=float(_standard_error(similarity)),
    )


def _standard_error(values: Float[np.ndarray, " num"]) -> np.floating:
    return values.std() / np.sqrt(len(values))
