"""Speed and memory of training on drawn faces: the ways to save either, each beside the plain one.

    python -m experiments.prepare --name=avatars
    python -m benchmarks.faces_cost --output=benchmarks/results/faces_cost_cpu.json

Every row is a run of experiments.train in a process of its own. Speed is that of its second epoch,
which compiles nothing; memory is the peak of the whole process, the data set included.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

from vae_jax.evaluation import results_file
from vae_jax.training import host
from vae_jax.training.records import read_records

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the prepared data set avatars")

_SHARED = {
    "epochs": 2,
    "batch_size": 64,
    # It costs less than the config's prior, so that the networks decide.
    "model.prior": "flow",
    "model.prior.layers": 6,
    "model.prior.width": 256,
    "data.test_split": "test[:100]",
    "evaluation.num_samples": 1,
    "tensorboard.images_every_epochs": 0,
}
# Images of an epoch.
_DENSE, _RESIDUAL = 12_800, 3_200

_NETWORK = {
    f"model.{part}.{name}": value
    for part in ("encoder", "decoder")
    for name, value in {"square": 4, "channels": (48, 96), "blocks": 4}.items()
}
_RESNET = {
    "model.encoder": "resnet",
    "model.decoder": "resnet",
    "model.encoder.input_range": "symmetric",
    **_NETWORK,
}
_LARGE = {"batch_size": 256}

# By name: images of an epoch, and what differs from configs/faces.py.
VARIANTS: dict[str, tuple[int, dict[str, Any]]] = {
    "dense, in memory": (_DENSE, {"data.mode": "memory"}),
    "dense, streamed": (_DENSE, {"data.mode": "stream"}),
    "dense, products in bfloat16": (_DENSE, {"model.encoder.compute_dtype": "bfloat16"}),
    "dense, batch 256": (_DENSE, _LARGE),
    "dense, batch 256 in 4 parts": (_DENSE, {**_LARGE, "optimizer.accumulation_steps": 4}),
    "residual, 4 blocks a level": (_RESIDUAL, _RESNET),
    "residual, 4 blocks a level, remat": (
        _RESIDUAL,
        {**_RESNET, "model.encoder.remat": True, "model.decoder.remat": True},
    ),
}


def cost(num_images: int, overrides: dict[str, Any], data_dir: str) -> dict[str, float]:
    """Return images/s and the peak memory in GiB of a run.

    Raises:
      RuntimeError: the run failed.
    """
    fields = {
        **_SHARED,
        "data.dir": os.path.abspath(data_dir),
        "data.train_split": f"train[:{num_images}]",
        "data.validation_split": "train[38000:38400]",
        **overrides,
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "experiments.train", "--config=configs/faces.py"),
            f"--workdir={folder}",
            *(f"--config.{field}={value}" for field, value in fields.items()),
        ]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{' '.join(command)} failed")
        records = read_records(Path(folder) / "metrics.jsonl")
    speeds = [r["examples_per_second"] for r in records if r["split"] == "train"]
    return {"images_per_second": speeds[-1], "peak_memory_gib": usage.ru_maxrss / 2**20}


def main(argv: list[str]) -> None:
    """Measure every variant, print it and write the JSON."""
    del argv
    measured: dict[str, Any] = {}
    for name, (num_images, overrides) in VARIANTS.items():
        measured[name] = cost(num_images, overrides, _DATA_DIR.value)
        print(
            f"{name}: {measured[name]['images_per_second']:.0f} images/s, "
            f"{measured[name]['peak_memory_gib']:.2f} GiB",
            flush=True,
        )
    results_file.write(
        _OUTPUT.value,
        {
            "command": "python -m benchmarks.faces_cost",
            "device": jax.default_backend(),
            "num_cores": host.num_cores(),
            "jax": jax.__version__,
            "variants": measured,
        },
    )


if __name__ == "__main__":
    app.run(main)
