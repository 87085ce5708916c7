"""Bring back the images that `experiments.compress` compressed, by the same run.

python -m experiments.decompress --workdir=runs/compression --input=digits.vae --output=digits.npy
"""

from experiments import command_line, file_flags
from vae_jax import trained
from vae_jax.applications.compression import Compressor, unpack
from vae_jax.data import image_arrays
from vae_jax.errors import UserError


def main() -> None:
    """Decompress --input into --output, a .npy file or a .npz file with `images`."""
    folder = command_line.existing_workdir()
    source = file_flags.required_input("a file that experiments.compress wrote")
    target = file_flags.required_output()
    image_arrays.require_suffix(target)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror}") from None
    compressed = unpack(content, str(source))
    command_line.use_compilation_cache()
    images = Compressor(trained.load_images(folder)).decompress(compressed)
    image_arrays.write(target, images)
    print(f"{target}: {len(images):,} images, {images.dtype} {list(images.shape)}")


if __name__ == "__main__":
    command_line.run(main)
