"""Measure rate and speed of lossless compression by trained runs, beside gzip, bz2 and lzma.

The whole file counts: header, initial bits, checksum. The ELBO is of the same images, with one
sample each. The other compressors see black and white images with 8 pixels per byte. Speed is that
of a second call, without compilation, on images in memory.
"""

import bz2
import gzip
import lzma
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import trained
from vae_jax.applications.compression import Compressor, overhead, pack, unpack
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.reports import Measured

OTHERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "lzma": lzma.compress,
}


def measure(folders: Sequence[Path]) -> Iterator[Measured]:
    """Compress the test images of runs; yield the results so far after each run."""
    rows = []
    for folder in folders:
        row = measure_run(folder)
        rows.append(row)
        print(
            f"{folder}: {row['bits_per_dim']:.4f} bits/dim, ELBO {row['elbo_bits_per_dim']:.4f}; "
            + ", ".join(f"{name} {row[name]:.3f}" for name in OTHERS)
            + f"; {row['compressed_images_per_second']:,.0f} and "
            f"{row['decompressed_images_per_second']:,.0f} images/s",
            flush=True,
        )
        yield {"rows": rows}


def measure_run(folder: Path) -> dict[str, Any]:
    """Compress and decompress the test images of a run.

    Raises:
      RuntimeError: the images have changed.
    """
    model = trained.load_images(folder)
    images = measuring.integer_test_images(model, model.load_test())
    compressor = Compressor(model)
    compressor.decompress(compressor.compress(images[:1]))
    start = time.perf_counter()
    file = compressor.compress(images)
    content = pack(file)
    compressed = time.perf_counter()
    restored = compressor.decompress(unpack(content, "the file"))
    end = time.perf_counter()
    if not np.array_equal(restored, images):
        raise RuntimeError(f"{folder}: the images have changed")

    binary = compressor.num_level_bits == 1
    raw = np.packbits(images).tobytes() if binary else images.tobytes()
    targets = images.astype(np.float32) if binary else images
    elbo = model.elbo(targets, model.keys.samples)
    return {
        "images": "binarised" if binary else "256 levels",
        "data": model.data.name,
        "likelihood": model.likelihood_name,
        "seed": model.seed,
        "config_digest": model.digest,
        "num_images": len(images),
        "header_bytes": overhead(file),
        "initial_bytes": compressor.initial_bytes,
        "bits_per_dim": 8 * len(content) / images.size,
        "elbo_bits_per_dim": -float(elbo.mean(dtype=np.float64)) / np.log(2) / images[0].size,
        "compressed_images_per_second": len(images) / (compressed - start),
        "decompressed_images_per_second": len(images) / (end - compressed),
        **{name: 8 * len(other(raw)) / images.size for name, other in OTHERS.items()},
    }
