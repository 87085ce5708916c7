"""A beta-VAE on dynamically binarised MNIST (Higgins et al. 2017).

python -m experiments.train --config=configs/beta.py --config.hparams.beta=4 --workdir=runs/beta4
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """`vanilla` with the KL weighted by beta, which rises to its value over ten epochs."""
    config = vanilla.get_config()
    config.epochs = 30
    config.hparams.beta = 4.0
    config.hparams.warmup_epochs = 10.0
    return config
