"""Categorical latents by Gumbel-softmax on dynamically binarised MNIST: 20 groups of 10 classes.

python -m experiments.train --config=configs/gumbel.py --workdir=runs/gumbel
python -m experiments.sample --workdir=runs/gumbel --output=gumbel.npz

Jang et al. 2016 (arXiv 1611.01144), Table 2, report a bound of -101.5 nats by 1,000 samples, and
-107.8 with `--config.objective.straight_through=True`. Here as there the decoder has 200 units and
the temperature decays by 1e-4 per step (550 steps are an epoch) from 1 to 0.5; other than there the
encoder has a hidden layer, too, and Adam takes the place of momentum. Test metrics and samples are
of exact draws. After 8 epochs, with 100 samples of 2,000 test images, the bound is -110.0 and the
ELBO -127.1 nats. Latents of 0 and 1 are `--config.model.num_classes=2`.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return a VAE of 20 x 10 categorical latents, trained by the relaxed bound."""
    config = vanilla.get_config()
    config.batch_size = 100
    config.model = {
        "name": "categorical",
        "latent_size": 200,
        "num_classes": 10,
        "encoder": {"name": "mlp", "widths": (200,)},
    }
    config.objective = {
        "name": "gumbel",
        "temperature": 1.0,
        "decay_rate": 0.055,
        "least_temperature": 0.5,
    }
    config.optimizer.learning_rate = 1e-3
    return config
