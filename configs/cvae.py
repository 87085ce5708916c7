"""A conditional VAE completes digits of which the lower left quadrant is seen.

python -m experiments.train --config=configs/cvae.py --workdir=runs/cvae

On one of two cores that other work kept busy it trained in 35 minutes. Expect a test ELBO of -70.3
and, of the network without latents, a log likelihood of -97.9 nats of the pixels that are not seen.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return the settings of the card configs/papers/cvae_quadrants.py, with one quadrant seen."""
    config = vanilla.get_config()
    config.epochs = 15
    config.patience = 3
    config.data["binarization"] = {"name": "none"}
    layers = {"widths": (500, 500), "activation": "relu"}
    config.model = {
        "name": "vae",
        "latent_size": 200,
        "encoder": {"name": "mlp", **layers},
        "condition": {"name": "quadrants", "guess_widths": (500, 500), **layers},
    }
    config.optimizer = {"name": "adam", "learning_rate": 1e-3}
    return config
