"""An adversarial autoencoder on dynamically binarised MNIST (Makhzani et al. 2015).

python -m experiments.train --config=configs/aae.py --workdir=runs/aae
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` with eight latents, whose prior a discriminator matches in place of a KL."""
    config = vanilla.get_config()
    config.epochs = 30
    config.model.latent_size = 8
    config.objective = {"name": "adversarial"}
    config.optimizer = {"name": "adam", "learning_rate": 1e-3}
    config.evaluation = {"num_samples": 100}
    return config
