"""A convolutional VAE on dynamically binarised MNIST.

python -m experiments.train --config=configs/conv.py --workdir=runs/conv
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Two strided convolutions down, two transposed ones up."""
    config = vanilla.get_config()
    config.epochs = 10
    config.model.network = "conv"
    config.model.widths = ()
    config.hparams.learning_rate = 1e-3
    # Decoding by convolutions takes five times as long as by the MLP.
    config.evaluation.num_samples = 200
    return config
