"""Prepares a data set for TFDS, without TensorFlow: of the MNIST family, or rendered sprites.

    python -m experiments.prepare --name=fashion_mnist
    python -m experiments.prepare --name=fashion_mnist --source=DIR --data_dir=data
    python -m experiments.prepare --name=sprites --image_size=64 --num_examples=100000

The first form downloads the official files; in the second they come from a folder or a URL. Each
takes about ten seconds on two cores. Afterwards a config names the data set:
`--config.data.name=fashion_mnist --config.data.dir=data`.

Training needs no prepared sprites, since `--config.data.name=sprites` renders them. What the third
form writes is for other programs, or is read as `--config.data.name=sprites/64x64_first_100000`;
all 737,280 are `sprites/64x64`.
"""

import time

from absl import flags

from experiments import command_line
from vae_jax.data import idx_builder, sprites_builder
from vae_jax.data.sprites import VARIANTS
from vae_jax.data.tfds_writing import Prepared
from vae_jax.errors import UserError

_NAME = flags.DEFINE_enum(
    "name", "fashion_mnist", [*idx_builder.FAMILY, *VARIANTS], "The data set to prepare."
)
_SOURCE = flags.DEFINE_string(
    "source",
    "",
    "A folder with the four idx files, gzipped or plain, or the http, https or file URL of one "
    "with the gzipped files. Empty means the official URL.",
)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 0, "Height and width of sprites. 0 means 64.")
_NUM_EXAMPLES = flags.DEFINE_integer(
    "num_examples", 0, "How many sprites, the first of their fixed order. 0 means all."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data", "Where to write. Empty means TFDS's default, ~/tensorflow_datasets."
)


def _prepare(name: str) -> Prepared:
    is_rendered = name in VARIANTS
    unread = [_SOURCE] if is_rendered else [_IMAGE_SIZE, _NUM_EXAMPLES]
    for flag in unread:
        if flag.value != flag.default:
            raise UserError(f"--{flag.name}={flag.value} has no effect with --name={name}; drop it")
    if is_rendered:
        return sprites_builder.prepare(
            name, _IMAGE_SIZE.value, _NUM_EXAMPLES.value, _DATA_DIR.value
        )
    return idx_builder.prepare(name, _SOURCE.value, _DATA_DIR.value)


def main() -> None:
    """Prepares the data set that the flags name and prints one line on it."""
    start = time.perf_counter()
    prepared = _prepare(_NAME.value)
    seconds = time.perf_counter() - start
    examples = ", ".join(f"{split} {size}" for split, size in prepared.sizes.items())
    did = "was prepared before in" if prepared.was_there else f"took {seconds:.1f} s to prepare in"
    print(f"{_NAME.value} {did} {prepared.folder}: {examples} examples, {prepared.num_bytes} bytes")


if __name__ == "__main__":
    command_line.run(main)
