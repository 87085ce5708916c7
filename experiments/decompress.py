"""Decompress images that `experiments.compress` compressed, by the same run.

python -m experiments.decompress --workdir=runs/compression --input=test.vae --output=test.npy
"""

from experiments import command_line
from experiments import flags as shared
from vae_jax import trained
from vae_jax.applications.compression import compressor_of, unpack
from vae_jax.data import image_arrays
from vae_jax.errors import UserError

shared.define("workdir", "member", "output", input="required; file to decompress")


def main() -> None:
    """Decompress --input into --output, a .npy file or a .npz file with `images`."""
    folder = shared.existing_workdir()
    source = shared.required_input("a file that experiments.compress wrote")
    target = shared.required_output()
    image_arrays.require_suffix(target)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror}") from None
    compressed = unpack(content, str(source))
    images = compressor_of(trained.load_images(folder)).decompress(compressed)
    image_arrays.write(target, images)
    loss = ", lossy" if compressed.lossy else ""
    print(f"{target}: {len(images):,} images, {images.dtype} {list(images.shape)}{loss}")


if __name__ == "__main__":
    command_line.run(main)
