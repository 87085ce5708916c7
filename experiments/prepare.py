"""Prepares a data set of the MNIST family for TFDS, without TensorFlow.

    python -m experiments.prepare --name=fashion_mnist
    python -m experiments.prepare --name=fashion_mnist --source=DIR --data_dir=data

The first form downloads the official files; in the second they come from a folder or a URL. It
takes about ten seconds on two cores. Afterwards a config names the data set:
`--config.data.name=fashion_mnist --config.data.dir=data`.
"""

import time

from absl import flags

from experiments import command_line
from vae_jax.data import idx_builder

_NAME = flags.DEFINE_enum(
    "name", "fashion_mnist", list(idx_builder.FAMILY), "The data set to prepare."
)
_SOURCE = flags.DEFINE_string(
    "source",
    "",
    "A folder with the four idx files, gzipped or plain, or the http, https or file URL of one "
    "with the gzipped files. Empty means the official URL.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data", "Where to write. Empty means TFDS's default, ~/tensorflow_datasets."
)


def main() -> None:
    """Prepares the data set that the flags name and prints one line on it."""
    start = time.perf_counter()
    prepared = idx_builder.prepare(_NAME.value, _SOURCE.value, _DATA_DIR.value)
    seconds = time.perf_counter() - start
    examples = ", ".join(f"{split} {size}" for split, size in prepared.sizes.items())
    did = "was prepared before in" if prepared.was_there else f"took {seconds:.1f} s to prepare in"
    print(f"{_NAME.value} {did} {prepared.folder}: {examples} examples, {prepared.num_bytes} bytes")


if __name__ == "__main__":
    command_line.run(main)
