"""The images of each family that the plots of the zoo show, kept beside its results.

An .npz file has "test" and, by family, "FAMILY/reconstructions" and "FAMILY/samples", each `[num,
height, width, channels]` of 8 bits. A family without samples has none.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vae_jax.errors import numpy_file_errors
from vae_jax.workdir import write_atomically

_Images = UInt8[np.ndarray, "num height width channels"]
Shown = dict[str, _Images]


def of_family(
    family: str,
    images: Mapping[str, Float[np.ndarray, "num height width channels"]],
    sampler: str | None,
) -> Shown:
    """Return what is shown of a measured run, in 8 bits.

    Args:
      family: its name.
      images: in [0, 1]: "test", "reconstructions", and samples by sampler.
      sampler: the one whose samples are shown; None for none.
    """
    found = {"test": images["test"], f"{family}/reconstructions": images["reconstructions"]}
    if sampler is not None:
        found[f"{family}/samples"] = images[sampler]
    return {name: np.rint(255 * part).astype(np.uint8) for name, part in found.items()}


def strip(shown: Shown, family: str) -> tuple[_Images, _Images | None] | None:
    """Return reconstructions and samples of a family; None if it is not there."""
    reconstructions = shown.get(f"{family}/reconstructions")
    if reconstructions is None:
        return None
    return reconstructions, shown.get(f"{family}/samples")


def read(path: Path) -> Shown:
    """Return the images of a file; none while there is no file.

    Raises:
      UserError: the file cannot be read.
    """
    if not path.is_file():
        return {}
    with numpy_file_errors(path, f"{path} does not exist"), np.load(path) as arrays:
        return dict(arrays)


def write(path: Path, shown: Shown) -> None:
    """Write the images, all or nothing; equal ones give equal bytes.

    Raises:
      UserError: the file cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(
        content, allow_pickle=False, **{name: shown[name] for name in sorted(shown)}
    )
    write_atomically(path, content.getvalue())
