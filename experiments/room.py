"""Room for the images that a command is to draw: on the disk, and in memory for their latents."""

import math
import shutil
from pathlib import Path

import jax

from vae_jax.errors import UserError
from vae_jax.trained import TrainedModel
from vae_jax.training import host


def require(model: TrainedModel, num_images: int, folder: Path) -> None:
    """Refuse more images than a disk or the memory takes.

    Images are decoded and written in parts; their latents are drawn at once.

    Raises:
      UserError: there is too little room.
    """
    for values, there, where in (
        (math.prod(model.image_shape), shutil.disk_usage(folder).free, "disk"),
        (4 * model.latent_size, host.memory(jax.devices()[0]), "memory"),
    ):
        needed = num_images * 4 * values
        if needed > there:
            raise UserError(
                f"--num_images={num_images} would take {needed / 2**30:.3g} GiB of "
                f"{where}, where {there / 2**30:.3g} GiB are there; draw fewer"
            )
