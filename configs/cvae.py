"""A conditional VAE completes digits of which the lower left quadrant is seen.

python -m experiments.train --config=configs/cvae.py --workdir=runs/cvae
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return the settings."""
    config = vanilla.get_config()
    config.epochs = 20
    config.data["binarization"] = {"name": "none"}
    config.model = {
        "name": "vae",
        "latent_size": 50,
        "encoder": {"name": "mlp", "widths": (500,)},
        "condition": {"name": "quadrants", "seen": 1, "widths": (500,), "guess_widths": (500,)},
    }
    config.optimizer = {"name": "adam", "learning_rate": 1e-3}
    return config
