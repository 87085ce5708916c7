"""Compress images by a trained run; `experiments.decompress` restores them.

    python -m experiments.compress --workdir=runs/compression --input=digits.npy --output=digits.vae

--input is a .npy file, or an .npz file with `images`. The default is the run's own test images, as
zeros and ones if the run binarises them. A run of model='code_prior' compresses with loss: the
images come back as those that their codes stand for. All others come back exactly.
"""

from experiments import command_line
from experiments import flags as shared
from vae_jax import trained, workdir
from vae_jax.applications.compression import compressor_of, overhead, pack
from vae_jax.data import image_arrays
from vae_jax.evaluation import summary as measuring

shared.define("workdir", "member", "output", input="images to compress; by default the test set")


def main() -> None:
    """Compress --input into --output by the run of --workdir."""
    folder = shared.existing_workdir()
    source, target = shared.input_path(), shared.required_output()
    images = None if source is None else image_arrays.read(source)
    model = trained.load_images(folder)
    compressor = compressor_of(model)
    if images is None:
        images = measuring.integer_test_images(model, model.load_test())
    compressed = compressor.compress(images)
    # Checked before the file is written: an error if the images, or their codes, do not come back.
    compressor.decompress(compressed)
    content = pack(compressed)
    workdir.write_atomically(target, content)
    print(
        f"{target}: {len(images):,} images in {len(content):,} bytes, "
        f"{8 * len(content) / images.size:.4f} bits/dim; header {overhead(compressed):,} bytes, "
        f"initial bits {compressor.initial_bytes:,} bytes{', lossy' if compressed.lossy else ''}"
    )


if __name__ == "__main__":
    command_line.run(main)
