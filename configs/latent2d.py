r"""A VAE with two latent dimensions, whose latent space can be drawn.

    python -m experiments.train --config=configs/latent2d.py --workdir=runs/latent2d

The textbook plot compares it with each of its two terms alone:

    python -m experiments.train --config=configs/latent2d.py --config.objective.beta=0 \
        --workdir=runs/reconstruction_alone
    python -m experiments.train --config=configs/latent2d.py \
        --config.objective.distortion_weight=0 --workdir=runs/kl_alone
    python -m experiments.compare --output=runs/textbook \
        --workdirs=runs/kl_alone,runs/reconstruction_alone,runs/latent2d

On two cores without an accelerator a run trains for 50 s and is measured in 40 s. Expect a test
ELBO of -139.5 nats with both terms.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` with two latent dimensions and one more hidden layer."""
    config = vanilla.get_config()
    config.epochs = 30
    config.model.latent_size = 2
    config.model.encoder.widths = (400, 200)
    config.optimizer.learning_rate = 1e-3
    return config
