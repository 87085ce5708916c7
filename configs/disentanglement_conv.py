"""Locatello et al. 2019 (arXiv 1811.12359), section 5: the protocol of the large studies, at 64x64.

python -m experiments.train --config=configs/disentanglement_conv.py --workdir=runs/sprites_conv

Four convolutions of 32, 32, 64 and 64 channels, a dense layer of 256 units, ten latents, batch 64,
Adam at 1e-4 for about 300,000 steps. Made for an accelerator; not measured.
"""

from ml_collections import ConfigDict

from configs import disentanglement


def get_config() -> ConfigDict:
    """Return `disentanglement` at the size and length of the paper."""
    config = disentanglement.get_config()
    # Each has 11,289 steps.
    config.epochs = 27
    config.data.train_split = "train[:98%]"
    config.batch_size = 64
    config.data.image_size = 64
    config.model.encoder = {
        "name": "conv",
        "channels": (32, 32, 64, 64),
        "widths": (256,),
        "activation": "relu",
    }
    config.optimizer.learning_rate = 1e-4
    return config
