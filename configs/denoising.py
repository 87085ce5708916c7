r"""A denoising VAE on MNIST: it sees corrupted digits and reconstructs the clean ones.

    python -m experiments.train --config=configs/denoising.py --workdir=runs/denoising
    python -m experiments.train --config=configs/denoising.py --config.model=autoencoder \
        --config.corruption=masking --workdir=runs/denoising_autoencoder

The criterion is that of Im et al. 2015 (arXiv 1511.06406). The corruption is drawn afresh in each
minibatch. Test metrics are for clean inputs; the part "denoising" of the summary has the squared
error by level of corruption, beside that of the corrupted images themselves.
`experiments.measure --use=recovery` compares with the median filter and total variation.

On two cores without an accelerator it trains for 50 s and is measured in 35 s. Expect a squared
error of about 0.015 per pixel at the trained level, where that of the noisy images is 0.25.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` on grey values, with Gaussian noise of standard deviation 0.5."""
    config = vanilla.get_config()
    config.epochs = 30
    config.data.binarization = "none"
    config.corruption = {"name": "gaussian", "level": 0.5}
    return config
