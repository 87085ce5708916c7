r"""A residual convolutional VAE on CIFAR-10, 32x32 pixels in colour.

    tfds build cifar10 --data_dir=data --file_format=array_record
    python -m experiments.train --config=configs/cifar10.py --workdir=runs/cifar10

Products run in bfloat16. Test metrics include bits per dimension: the likelihood is one of 8-bit
values.

Not measured here: the data set has to be downloaded, which TFDS does with TensorFlow, and the
training wants an accelerator.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return a network of three levels, from 32x32 down to 4x4."""
    config = vanilla.get_config()
    config.epochs = 100
    config.data.name = "cifar10"
    config.data.train_split = "train[:45000]"
    config.data.validation_split = "train[45000:]"
    config.data.binarization = "none"
    network = {
        "name": "resnet",
        "channels": (64, 128, 256),
        "kernel_size": 3,
        "compute_dtype": "bfloat16",
    }
    config.model = {
        "name": "vae",
        "latent_size": 128,
        "encoder": network,
        # Transposed convolutions leave a checkerboard in areas of one colour.
        "decoder": {**network, "upsampling": "resize"},
        "likelihood": {"name": "discretized_logistic_mixture", "components": 5},
    }
    config.optimizer.gradient_clip_norm = 200.0
    config.optimizer.learning_rate = 5e-4
    config.objective = {"name": "elbo", "warmup_epochs": 10.0}
    config.evaluation = {"num_samples": 100, "batch_size": 100}
    return config
