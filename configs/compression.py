"""The model of bits-back coding's paper, to compress binarised MNIST with (Townsend et al. 2019).

    python -m experiments.train --config=configs/compression.py --workdir=runs/compression

One hidden layer of 100 units, 40 latents, 20 epochs of Adam at 1e-3 with batches of 100
(arXiv 1901.04866, section 3.2).
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """`vanilla` with the paper's network and optimiser."""
    config = vanilla.get_config()
    config.epochs = 20
    config.batch_size = 100
    config.model.latent_size = 40
    config.model.widths = (100,)
    config.model.activation = "relu"
    config.optimizer.schedule = "constant"
    config.hparams.learning_rate = 1e-3
    return config
