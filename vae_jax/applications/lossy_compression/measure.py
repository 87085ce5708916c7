"""Measure rate and quality of lossy compression by rounded latents of trained runs.

Codes on grids of several steps are entropy coded and decoded again; bits per pixel over all test
images and PSNR are measured. So are PCA of the same size with the same coder, and JPEG and WebP of
one image of all test images. The sizes of the model and of PCA do not count.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from sklearn.decomposition import PCA

from vae_jax import plots, trained
from vae_jax.applications.lossy_compression import report
from vae_jax.applications.lossy_compression.plot import quality_by_rate
from vae_jax.applications.lossy_compression.quantized_latents import LatentCoder
from vae_jax.data.dataset import read_all
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.image_quality import peak_signal_to_noise_ratio
from vae_jax.evaluation.model_names import model_name
from vae_jax.evaluation.reports import Measured, Row

# Steps of the grid, in standard deviations of the latent that varies most.
STEPS = (2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
QUALITIES = (1, 5, 10, 20, 40, 60, 80, 90)
_FORMATS: dict[str, dict[str, Any]] = {"JPEG": {"optimize": True}, "WebP": {"method": 6}}

Grey = UInt8[np.ndarray, "num height width channels"]


def measure(folders: Sequence[Path]) -> Iterator[Measured]:
    """Code the test images of runs; yield the results so far after each."""
    rows: list[dict[str, Any]] = []
    known: set[tuple[Any, ...]] = set()
    for folder in folders:
        found = measure_run(folder, known)
        rows += found
        print(f"{folder}: {report.line(found)}", flush=True)
        yield {"rows": rows}


def draw(rows: Sequence[Row], plots_folder: Path) -> None:
    """Draw the quality by the rate."""
    plots.save(quality_by_rate(*report.curves(rows)), plots_folder / "quality_by_rate.png")


def _row(images: Grey, restored: Grey, num_bytes: int) -> dict[str, float | int]:
    return {
        "bits_per_pixel": 8 * num_bytes / images.size,
        "psnr": peak_signal_to_noise_ratio(restored / 255, images / 255),
    }


def measure_codes(
    images: Grey,
    codes: Float[np.ndarray, "num latents"],
    training_codes: Float[np.ndarray, "known latents"],
    decode: Callable[[np.ndarray], np.ndarray],
) -> list[dict[str, float | int]]:
    """Return a row per step of the grid, for images decoded from codes rounded to it."""
    widest = float(training_codes.std(axis=0).max())
    rows = []
    for step in STEPS:
        coder = LatentCoder(training_codes, step * widest)
        words = coder.encode(codes)
        decoded = np.clip(decode(coder.decode(words, len(codes))), 0, 1)
        restored = np.rint(decoded * 255).astype(np.uint8).reshape(images.shape)
        rows.append({"step": step, **_row(images, restored, words.nbytes)})
    return rows


def measure_formats(images: Grey) -> dict[str, list[dict[str, float | int]]]:
    """Return a row per quality of JPEG and WebP, for one file with all images side by side.

    With one file per image the headers would dominate.
    """
    columns = int(np.ceil(np.sqrt(len(images))))
    blank = np.zeros((-len(images) % columns, *images.shape[1:]), np.uint8)
    _, height, width, channels = images.shape
    tiles = np.concatenate([images, blank]).reshape(-1, columns, height, width, channels)
    picture = tiles.swapaxes(1, 2).reshape(-1, columns * width, channels)
    mode, pixels = ("L", picture[..., 0]) if channels == 1 else ("RGB", picture)
    found: dict[str, list[dict[str, float | int]]] = {}
    for file_format, options in _FORMATS.items():
        for quality in QUALITIES:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, file_format, quality=quality, **options)
            with Image.open(file) as opened:
                seen = np.asarray(opened.convert(mode)).reshape(
                    -1, height, columns, width, channels
                )
            restored = seen.swapaxes(1, 2).reshape(-1, *images.shape[1:])[: len(images)]
            row = {"quality": quality, **_row(images, restored, len(file.getvalue()))}
            found.setdefault(file_format, []).append(row)
    return found


def measure_run(folder: Path, known: set[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return the rows of a run, and those of PCA of its size and of image files if not yet known.

    Args:
      folder: its workdir.
      known: the sizes of PCA and the data sets already measured; this run's are added.

    Raises:
      UserError: the run or its data cannot be measured.
    """
    model = trained.load_images(folder)
    splits = model.load_splits()
    images = splits.test.images
    if images.dtype != np.uint8 or model.binarizes:
        raise UserError(
            f"{folder} was not trained on 8-bit images, which are coded here; use runs with "
            "data.binarization='none'"
        )
    train = measuring.prepare_train(model, read_all(splits.train))
    test = measuring.prepare_test(model, splits.test)
    about = {"data": model.data.name, "size": model.latent_size}
    digest = model.digest
    this = {"method": model_name(model), **about, "seed": model.seed, "config_digest": digest}
    found = measure_codes(images, model.latents(test), model.latents(train), model.decode)
    rows = [{**this, **row} for row in found]
    if (model.data.name, model.latent_size) not in known:
        known.add((model.data.name, model.latent_size))
        flat, flat_test = (part.reshape(len(part), -1) for part in (train, test))
        pca = PCA(model.latent_size, random_state=0).fit(flat)
        found = measure_codes(
            images, pca.transform(flat_test), pca.transform(flat), pca.inverse_transform
        )
        rows += [{"method": "PCA", **about, **row} for row in found]
    if (model.data.name,) not in known:
        known.add((model.data.name,))
        rows += [
            {"method": file_format, "data": model.data.name, "size": None, **row}
            for file_format, found in measure_formats(images).items()
            for row in found
        ]
    return rows
