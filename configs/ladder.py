"""A ladder of six layers of convolutional latents on dynamically binarised MNIST.

python -m experiments.train --config=configs/ladder.py --workdir=runs/ladder

Posterior and prior share a network from the top layer down (Sonderby et al. 2016, arXiv
1602.02282; Child 2021, arXiv 2011.10650). The rate of each layer is in the records and in
rates_by_layer.png; samples_by_temperature.png and samples_by_layer.png show what the layers do.
This config was not measured. The row layers_6 of configs/papers/ladder_mnist.py was: the same
network after 5 epochs on statically binarised MNIST, with a -ELBO of 92.0 nats.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return three layers at 14x14 pixels and three at 7x7, with free bits for each layer."""
    config = vanilla.get_config()
    config.epochs = 10
    config.batch_size = 50
    # Longer calls are unrolled, and four steps of six layers take minutes to compile.
    config.steps_per_call = 50
    config.model = {
        "name": "top_down",
        "layers": 6,
        "channels": (24, 32),
        "width": 12,
        "latent_channels": 4,
    }
    config.objective = {
        "name": "elbo",
        "free_nats": 0.5,
        "free_nats_per": "layer",
        "warmup_epochs": 1.0,
    }
    config.optimizer = {
        "name": "adam",
        "learning_rate": 2e-3,
        "gradient_clip_norm": 200.0,
        "gradient_skip_norm": 2000.0,
    }
    config.evaluation = {"num_samples": 100}
    return config
