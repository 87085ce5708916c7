"""WAE-MMD on the grey values of MNIST: deterministic codes, matched to N(0, I).

python -m experiments.train --config=configs/wae.py --workdir=runs/wae
python -m experiments.sample --workdir=runs/wae --sampler=mixture --output=wae.npz

Tolstikhin et al. 2017 (arXiv 1711.01558) with their 8 latents, squared error, inverse
multiquadratics and weight 10, and the network of `vanilla`. `--config.model=vae` gives the codes a
normal posterior. Images are drawn by `--sampler=prior`, `mixture` or `flow`; there is no bound on
log p(x) with deterministic codes, so that no metric in nats but the distortion is measured.

On two cores without an accelerator, shared with other work, it trains for 5 minutes. Expect a
squared error of 0.022 per pixel, a squared norm of the codes of 8.3, and an MMD of 0.014 in
training. Between 2,000 codes and as many draws of the prior it is 0.016; two sets of draws have 0,
with a deviation of 0.0005. With `--config.objective.mmd_weight=2000` it is 0.0011, and 0.0021 of
test images, for a squared error of 0.029; weight 10,000 is no closer
(configs/sweeps/wae_weights.py, benchmarks/results/code_distances_cpu.json). The MMD in validation,
0.045, is larger since its batches are in the order of the data, where neighbours look alike.
"""

import math

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return an autoencoder of 8 latents, trained by the WAE objective."""
    config = vanilla.get_config()
    config.epochs = 30
    config.data.binarization = "none"
    config.model = {
        "name": "autoencoder",
        "latent_size": 8,
        "likelihood": {"name": "normal", "scale": math.sqrt(0.5)},
    }
    config.objective = {"name": "wae", "mmd_weight": 10.0}
    config.optimizer.learning_rate = 1e-3
    return config
