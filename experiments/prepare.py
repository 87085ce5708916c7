"""Prepare a data set for TFDS but without TensorFlow: of the MNIST family, sprites or avatars.

    python -m experiments.prepare --name=fashion_mnist
    python -m experiments.prepare --name=fashion_mnist --source=DIR --data_dir=data
    python -m experiments.prepare --name=avatars
    python -m experiments.prepare --name=sprites --image_size=64 --num_examples=100000
    python -m experiments.prepare --name=mnist --without_label=4

The first form downloads the official files; in the second they come from a folder or a URL. Each
takes about ten seconds on two cores. A config names the set: `--config.data.name=fashion_mnist
--config.data.dir=data`.

avatars are 44,000 drawn faces in colour with known factors (docs/guide/faces.md). They take MINUTES
minutes on two cores and `pip install 'python_avatars>=1.4.1,<1.5' 'resvg-py>=0.5,<0.6'`.

Training renders sprites itself; the fourth form is for other programs, and a config reads it as
`--config.data.name=sprites/64x64_first_100000`, all 737,280 as `sprites/64x64`.

The fifth leaves a class out of a bundled or prepared data set. The file, read as
`--config.data.name=data/mnist_without_4.npz`, has the left-out test images as its split `outliers`.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import workdir
from vae_jax.data import class_left_out, idx_builder
from vae_jax.data.avatars import builder as avatars
from vae_jax.data.sprites import builder
from vae_jax.data.sprites.variants import VARIANTS
from vae_jax.data.tfds_writing import Prepared
from vae_jax.errors import UserError
from vae_jax.evaluation.progress import progress_bar

shared.define("data_dir")

_RENDERED = (*VARIANTS, avatars.NAME)
_NAME = flags.DEFINE_enum(
    "name", "fashion_mnist", [*idx_builder.FAMILY, *_RENDERED], "The data set to prepare."
)
_SOURCE = flags.DEFINE_string(
    "source",
    "",
    "A folder with the four idx files, gzipped or plain, or the http, https or file URL of one "
    "with the gzipped files. Empty means the official URL.",
)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 0, "Height and width of rendered images. 0: 64.")
_NUM_EXAMPLES = flags.DEFINE_integer(
    "num_examples", 0, "Number of sprites or training avatars, in their fixed order. 0 means all."
)
_WITHOUT_LABEL = flags.DEFINE_integer(
    "without_label", None, "A class to leave out of a data set of the MNIST family."
)


def _refuse_unread(name: str) -> None:
    """Refuse flags that would have no effect."""
    reason = f"--name={name}"
    unread = [_SOURCE, _WITHOUT_LABEL] if name in _RENDERED else [_IMAGE_SIZE, _NUM_EXAMPLES]
    if name not in _RENDERED and _WITHOUT_LABEL.value is not None:
        reason, unread = f"--without_label={_WITHOUT_LABEL.value}", [_SOURCE, *unread]
    for flag in unread:
        if flag.value != flag.default:
            raise UserError(f"--{flag.name}={flag.value} has no effect with {reason}; drop it")


def _prepare(name: str) -> Prepared:
    if name in VARIANTS:
        return builder.prepare(name, _IMAGE_SIZE.value, _NUM_EXAMPLES.value, flags.FLAGS.data_dir)
    if name == avatars.NAME:
        return avatars.prepare(
            _IMAGE_SIZE.value,
            _NUM_EXAMPLES.value,
            flags.FLAGS.data_dir,
            lambda num: progress_bar(num, "face", "rendering"),
        )
    return idx_builder.prepare(name, _SOURCE.value, flags.FLAGS.data_dir)


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {size}" for split, size in sizes.items()) + " examples"


def main() -> None:
    """Prepare the data set that the flags name and print a line about it."""
    _refuse_unread(_NAME.value)
    if _WITHOUT_LABEL.value is not None:
        path, sizes = class_left_out.write_npz(
            _NAME.value, flags.FLAGS.data_dir, _WITHOUT_LABEL.value
        )
        print(f"{path}: {_listed(sizes)}")
        return
    start, folder = time.perf_counter(), Path(flags.FLAGS.data_dir)
    with workdir.left_as_it_was(folder):
        prepared = _prepare(_NAME.value)
    seconds, listed = time.perf_counter() - start, _listed(prepared.sizes)
    did = "was prepared before in" if prepared.was_there else f"took {seconds:.1f} s to prepare in"
    print(f"{_NAME.value} {did} {prepared.folder}: {listed}, {prepared.num_bytes} bytes")


if __name__ == "__main__":
    command_line.run(main)
