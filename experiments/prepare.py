"""Prepare a data set for TFDS but without TensorFlow: of the MNIST family, sprites or avatars.

    python -m experiments.prepare --name=fashion_mnist
    python -m experiments.prepare --name=fashion_mnist --source=DIR --data_dir=data
    python -m experiments.prepare --name=avatars
    python -m experiments.prepare --name=sprites --image_size=64 --num_examples=100000
    python -m experiments.prepare --name=mnist --without_label=4

The first form downloads the official files; in the second they come from a folder or a URL. Each
takes about ten seconds on two cores. A config names the set: `--config.data.name=fashion_mnist
--config.data.dir=data`. avatars, drawn faces with known factors (docs/guide/faces.md), take two
minutes of one core and two optional packages.

Training renders sprites itself; the fourth form is for other programs, and a config reads it as
`--config.data.name=sprites/64x64_first_100000`, all 737,280 as `sprites/64x64`. The fifth leaves a
class out of a bundled or prepared set. The file, read as
`--config.data.name=data/mnist_without_4.npz`, has the left-out test images as split `outliers`.
"""

import functools
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
    "Folder of the four idx files, gzipped or plain, or URL of the gzipped ones. Empty: official.",
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
    rendered = _IMAGE_SIZE.value, _NUM_EXAMPLES.value
    if name in VARIANTS:
        return builder.prepare(name, *rendered, flags.FLAGS.data_dir)
    if name == avatars.NAME:
        bar = functools.partial(progress_bar, unit="face", name="rendering")
        return avatars.prepare(*rendered, flags.FLAGS.data_dir, bar)
    return idx_builder.prepare(name, _SOURCE.value, flags.FLAGS.data_dir)


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {size}" for split, size in sizes.items()) + " examples"


def main() -> None:
    """Prepare the data set that the flags name and print a line about it."""
    _refuse_unread(_NAME.value)
    data_dir, label = flags.FLAGS.data_dir, _WITHOUT_LABEL.value
    if label is not None:
        path, sizes = class_left_out.write_npz(_NAME.value, data_dir, label)
        print(f"{path}: {_listed(sizes)}")
        return
    start = time.perf_counter()
    with workdir.left_as_it_was(Path(data_dir)):
        prepared = _prepare(_NAME.value)
    seconds, listed = time.perf_counter() - start, _listed(prepared.sizes)
    did = "was prepared before in" if prepared.was_there else f"took {seconds:.1f} s to prepare in"
    print(f"{_NAME.value} {did} {prepared.folder}: {listed}, {prepared.num_bytes} bytes")


if __name__ == "__main__":
    command_line.run(main)
