"""A VAE-GAN on the grey values of MNIST (Larsen et al. 2015, arXiv 1512.09300).

python -m experiments.train --config=configs/vae_gan.py --workdir=runs/vae_gan

Encoder, decoder and discriminator are three players; reconstructions are compared in the
discriminator's last hidden layer (docs/two_player_game.md).
`--config.objective.discriminator.network=conv` is a convolutional one. The model keeps a posterior,
a prior and a likelihood of pixels, so that all metrics of a VAE exist. No player maximises the ELBO
of the pixels: it is a bound, and a poor one. It trains for nine minutes on two busy cores
without an accelerator. Expect a squared error of 0.022 per pixel and an ELBO of -178 nats on the
first 1,000 test images, and a discriminator that is right in 80% of cases.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` on grey values, its images compared in a discriminator's features."""
    config = vanilla.get_config()
    config.epochs = 6
    config.data.binarization = "none"
    config.model.latent_size = 16
    config.objective = {
        "name": "vae_gan",
        "decoder": {"learning_rate": 1e-3},
        "discriminator": {
            "network": {"name": "mlp", "widths": (400,)},
            "learning_rate": 1e-3,
        },
    }
    config.optimizer = {"name": "adam", "learning_rate": 1e-3}
    config.evaluation = {"num_samples": 100}
    return config
