"""A VAE over the 256 levels of MNIST, to compress the images as they are.

python -m experiments.train --config=configs/compression_levels.py --workdir=runs/levels
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """`vanilla` over levels: ten logistics a pixel."""
    config = vanilla.get_config()
    config.epochs = 10
    config.batch_size = 100
    config.data.binarization = "none"
    config.model.latent_size = 50
    config.model.widths = (200,)
    config.model.likelihood = "discretized_logistic_mixture"
    config.model.num_mixture = 3
    config.hparams.learning_rate = 3e-3
    config.evaluation.num_samples = 10
    return config
