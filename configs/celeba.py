r"""A residual convolutional VAE on the faces of CelebA, at 64x64 pixels in colour.

    tfds build celeb_a --data_dir=data --file_format=array_record
    python -m experiments.train --config=configs/celeba.py --workdir=runs/celeba

Products run in bfloat16, and the backward pass recomputes residual blocks. Test metrics include
bits per dimension: the likelihood is one of 8-bit values.

Not measured here: the data set has to be downloaded, which TFDS does with TensorFlow, and the
training wants an accelerator.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return a network of four levels, from 64x64 down to 4x4."""
    config = vanilla.get_config()
    config.epochs = 40
    config.data.name = "celeb_a"
    config.data.image_size = 64
    config.data.train_split = "train"
    config.data.validation_split = "validation"
    config.data.binarization = "none"
    network = {
        "name": "resnet",
        "channels": (64, 128, 256, 256),
        "kernel_size": 3,
        "remat": True,
        "compute_dtype": "bfloat16",
    }
    config.model = {
        "name": "vae",
        "latent_size": 128,
        "encoder": network,
        # Transposed convolutions leave a checkerboard in areas of one colour.
        "decoder": {**network, "upsampling": "resize"},
        "likelihood": "discretized_logistic",
    }
    config.optimizer.gradient_clip_norm = 200.0
    config.optimizer.learning_rate = 5e-4
    config.objective = {"name": "elbo", "warmup_epochs": 4.0}
    # Each sample decodes an image of 12,288 values.
    config.evaluation = {"num_samples": 100, "batch_size": 100}
    return config
