r"""A residual convolutional VAE on CIFAR-10, 32x32 pixels in colour.

    tfds build cifar10 --data_dir=data --file_format=array_record
    python -m experiments.train --config=configs/cifar10.py --workdir=runs/cifar10

Products run in bfloat16. Test figures include bits per dimension: the likelihood is one of 8-bit
values.

Not measured here: the data set has to be downloaded, which TFDS does with TensorFlow, and the
training wants an accelerator.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Three levels, from 32x32 down to 4x4."""
    config = vanilla.get_config()
    config.epochs = 100
    config.data.name = "cifar10"
    config.data.train_split = "train[:45000]"
    config.data.validation_split = "train[45000:]"
    config.data.binarization = "none"
    config.model.latent_size = 128
    config.model.network = "resnet"
    config.model.channels = (64, 128, 256)
    config.model.widths = ()
    config.model.kernel_size = 3
    # Transposed convolutions leave a checkerboard in areas of one colour.
    config.model.upsampling = "resize"
    config.model.compute_dtype = "bfloat16"
    config.model.likelihood = "discretized_logistic_mixture"
    config.model.num_mixture = 5
    config.optimizer.gradient_clip_norm = 200.0
    config.hparams.learning_rate = 5e-4
    config.hparams.warmup_epochs = 10.0
    config.evaluation.num_samples = 100
    config.evaluation.batch_size = 100
    return config
