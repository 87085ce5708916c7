"""The second stage of a VQ-VAE: a prior over its codes, which gives it samples and a bound.

python -m experiments.train --config=configs/vq_vae.py --workdir=runs/vq_vae
python -m experiments.train --config=configs/code_prior.py --workdir=runs/code_prior

The first command trains the codes, the second a causal transformer over them. The second copies
what it needs of runs/vq_vae when it begins; `--config.model.first_stage=runs/other` names another
run, also of finite scalars. The data must be those of the first stage. `experiments.compress` then
writes images as codes, with loss, in the bits that the prior gives them.
"""

from ml_collections import ConfigDict

from configs import vq_vae


def get_config() -> ConfigDict:
    """Return a causal transformer over the codes of runs/vq_vae."""
    config = vq_vae.get_config()
    config.epochs = 20
    config.model = {"name": "code_prior", "first_stage": "runs/vq_vae"}
    return config
