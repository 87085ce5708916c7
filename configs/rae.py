"""A regularised autoencoder (RAE) on the grey values of MNIST, sampled by a fitted density.

python -m experiments.train --config=configs/rae.py --workdir=runs/rae
python -m experiments.sample --workdir=runs/rae --sampler=mixture --output=rae.npz

Ghosh et al. 2019 (arXiv 1903.12436) with their 16 latents and the network of `vanilla`.
`--config.objective=rae_gp` penalises the decoder's gradient in place of its parameters. The codes
have no prior: images are drawn by `--sampler=mixture` or `flow`, and `prior` is refused.

On two cores without an accelerator, shared with other work, it trains for 3 minutes. Expect a
squared error of 0.013 per pixel.
"""

import math

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return an autoencoder of 16 latents, trained by the RAE-L2 objective."""
    config = vanilla.get_config()
    config.epochs = 30
    config.data.binarization = "none"
    config.model = {
        "name": "autoencoder",
        "latent_size": 16,
        "likelihood": {"name": "normal", "scale": math.sqrt(0.5)},
    }
    config.objective = {"name": "rae_l2", "latent_weight": 1e-2, "decoder_weight": 1e-3}
    config.optimizer.learning_rate = 1e-3
    return config
