"""Bits per dimension and squared error of the likelihoods of 8-bit values, on drawn faces.

    python -m experiments.prepare --name=avatars
    python -m benchmarks.face_likelihoods --output=benchmarks/results/face_likelihoods_cpu.json

All rows of a network train it on the same images, for the same number of steps. The dense one is
that of configs/faces.py; with mixtures of three logistics its last layer alone would have 57
million parameters, with 256 logits per value 1.6 billion: a convolutional one compares those.
`--likelihoods` measures some rows, and keeps the others of the file. PNG and WebP without loss code
the same test images, a file each.
"""

import io
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags
from PIL import Image

import vae_jax
from configs import faces
from vae_jax import data, workdir
from vae_jax.evaluation import results_file
from vae_jax.training import host

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the prepared data set avatars")
_SEEDS = flags.DEFINE_integer("seeds", 2, "runs of each row", lower_bound=1)

_DENSE, _CONVOLUTIONAL = 19_000, 4_750
_EPOCHS = 2
_TEST_SPLIT = "test[:1000]"

_CONV = {"name": "conv", "channels": (32, 64, 128), "widths": (256,), "input_range": "symmetric"}

# By name: images of an epoch, and the parts of the model that differ from configs/faces.py.
ROWS: dict[str, tuple[int, dict[str, Any]]] = {
    "dense, logistic, one learned scale": (_DENSE, {}),
    "dense, logistic, scales per pixel": (_DENSE, {"likelihood": "discretized_logistic"}),
    "dense, logistic, one learned scale, encoder sees values from 0 to 1": (
        _DENSE,
        {"encoder": {"name": "mlp", "widths": (512, 512)}},
    ),
    "convolutional, logistic, one learned scale": (_CONVOLUTIONAL, {"encoder": _CONV}),
    "convolutional, logistic, scales per pixel": (
        _CONVOLUTIONAL,
        {"encoder": _CONV, "likelihood": "discretized_logistic"},
    ),
    "convolutional, mixture of 5 logistics": (
        _CONVOLUTIONAL,
        {
            "encoder": _CONV,
            "likelihood": {"name": "discretized_logistic_mixture", "components": 5},
        },
    ),
    "convolutional, 256 logits per value": (
        _CONVOLUTIONAL,
        {"encoder": _CONV, "likelihood": "categorical"},
    ),
}
_CHOSEN = flags.DEFINE_multi_enum("likelihoods", list(ROWS), list(ROWS), "rows to measure")


def run(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train and measure; return bits per dimension, squared error and training images/s."""
    images, parts = ROWS[name]
    config = faces.get_config()
    config.seed, config.epochs = seed, _EPOCHS
    config.data.dir = str(Path(_DATA_DIR.value).resolve())
    config.data.train_split = f"train[:{images}]"
    config.data.test_split = _TEST_SPLIT
    config.evaluation.num_samples = 1
    # It costs less than the config's prior, as in faces_cost.
    config.model.prior = {"name": "flow", "layers": 6, "width": 256}
    for part, settings in parts.items():
        config.model[part] = settings
    found = vae_jax.train(config, folder)
    speeds = [r["examples_per_second"] for r in found.records if r["split"] == "train"]
    return {
        "seed": seed,
        "images_seen": _EPOCHS * images,
        "bits_per_dim": found.test["bits_per_dim"],
        "reconstruction_error": found.test["reconstruction_error"],
        "images_per_second": speeds[-1],
        "num_cores": host.num_cores(),
        "jax": jax.__version__,
    }


def codec_rates(images: np.ndarray) -> dict[str, float]:
    """Return bits per dimension of image files without loss, `images` [num, height, width, 3]."""
    rates = {}
    for codec in ("PNG", "WebP"):
        size = 0
        for image in images:
            file = io.BytesIO()
            options = {"optimize": True} if codec == "PNG" else {"lossless": True, "quality": 100}
            Image.fromarray(image).save(file, format=codec, **options)
            size += file.tell()
        rates[codec] = 8 * size / images.size
    return rates


def main(argv: list[str]) -> None:
    """Train the chosen rows with every seed, print the results and write the JSON."""
    del argv
    path = Path(_OUTPUT.value)
    measured = (
        workdir.read_json(path, {"likelihoods": dict})["likelihoods"] if path.is_file() else {}
    )
    codecs = codec_rates(data.load("avatars", _TEST_SPLIT, _DATA_DIR.value).images)
    print(f"without loss, bits per dimension: {codecs}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in _CHOSEN.value:
            measured[name] = []
            for seed in range(_SEEDS.value):
                measured[name].append(run(name, seed, Path(folder) / f"{name} {seed}"))
                print(f"{name}: {measured[name][-1]}", flush=True)
            results_file.write(_OUTPUT.value, results(measured, codecs))


def results(measured: dict[str, list[dict[str, Any]]], codecs: dict[str, float]) -> dict[str, Any]:
    """Return the content of the results file, given the results of each row and of each codec."""
    return {
        "command": "python -m benchmarks.face_likelihoods",
        "device": jax.default_backend(),
        "codecs": codecs,
        "likelihoods": {name: measured[name] for name in ROWS if name in measured},
    }


if __name__ == "__main__":
    app.run(main)
