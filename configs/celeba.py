r"""A residual convolutional VAE on the faces of CelebA, at 64x64 pixels in colour.

    tfds build celeb_a --data_dir=data --file_format=array_record
    python -m experiments.train --config=configs/celeba.py --workdir=runs/celeba

Products run in bfloat16, and residual blocks are computed anew in the backward pass. Test figures
include bits per dimension: the likelihood is one of 8-bit values.

Not measured here: the data set has to be downloaded, which TFDS does with TensorFlow, and the
training wants an accelerator.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Four levels, from 64x64 down to 4x4."""
    config = vanilla.get_config()
    config.epochs = 40
    config.data.name = "celeb_a"
    config.data.image_size = 64
    config.data.train_split = "train"
    config.data.validation_split = "validation"
    config.data.binarization = "none"
    config.model.latent_size = 128
    config.model.network = "resnet"
    config.model.channels = (64, 128, 256, 256)
    config.model.widths = ()
    config.model.kernel_size = 3
    # Transposed convolutions leave a checkerboard in areas of one colour.
    config.model.upsampling = "resize"
    config.model.remat = True
    config.model.compute_dtype = "bfloat16"
    config.model.likelihood = "discretized_logistic"
    config.optimizer.gradient_clip_norm = 200.0
    config.hparams.learning_rate = 5e-4
    config.hparams.warmup_epochs = 4.0
    # Each sample decodes an image of 12,288 values.
    config.evaluation.num_samples = 100
    config.evaluation.batch_size = 100
    return config
