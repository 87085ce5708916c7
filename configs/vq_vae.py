"""A VQ-VAE on the grey values of MNIST: 7x7 codes of 256 per image.

python -m experiments.train --config=configs/vq_vae.py --workdir=runs/vq_vae
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return a codebook of moving averages between small convolutional networks."""
    config = vanilla.get_config()
    config.epochs = 10
    config.data.binarization = "none"
    config.model = {
        "name": "vq_vae",
        "quantizer": {"name": "vq", "codebook_size": 256, "vector_size": 16},
        "codes": (7, 7),
        "channels": 32,
        "blocks": 1,
    }
    config.optimizer.learning_rate = 1e-3
    return config
