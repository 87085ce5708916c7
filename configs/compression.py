"""The model of the paper on bits-back coding, for binarised MNIST (Townsend et al. 2019).

    python -m experiments.train --config=configs/compression.py --workdir=runs/compression
    python -m experiments.compress --workdir=runs/compression --output=test.vae

One hidden layer of 100 units, 40 latents, 20 epochs of Adam at 1e-3 with batches of 100 (arXiv
1901.04866, section 3.2). On two cores without an accelerator it trains for 30 s and is measured in
as long; the test images take less than a second. Expect a test ELBO of -105.5 nats, 0.194 bits per
dimension, and a file of 0.195.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` with the paper's network and optimiser."""
    config = vanilla.get_config()
    config.epochs = 20
    config.batch_size = 100
    config.model.latent_size = 40
    config.model.encoder = {"name": "mlp", "widths": (100,), "activation": "relu"}
    config.optimizer.schedule = "constant"
    config.optimizer.learning_rate = 1e-3
    return config
