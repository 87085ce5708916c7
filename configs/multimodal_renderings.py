r"""MoPoE on five renderings of a digit, in the manner of PolyMNIST.

    python -m experiments.train --config=configs/multimodal_renderings.py --workdir=runs/mopoe
    python -m experiments.train --config=configs/multimodal_renderings.py \
        --config.model.joint_posterior=product --config.objective=mvae \
        --config.objective.num_subsets=2 --workdir=runs/mvae
    python -m experiments.train --config=configs/multimodal_renderings.py \
        --config.model.joint_posterior=mixture --config.objective=mmvae --workdir=runs/mmvae

The modalities share their class and nothing else (vae_jax/data/renderings.py). As in Sutter et al.
2021 (arXiv 2105.02470) pixels have a Laplace likelihood of scale 0.75, and every modality weight 1;
the networks are smaller than theirs.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` with five convolutional experts of images in colour."""
    config = vanilla.get_config()
    config.epochs = 30
    config.data.modalities = tuple(f"rendering_{i}" for i in range(5))
    config.data.binarization = "none"
    config.model = {
        "name": "multimodal",
        "joint_posterior": "mixture_of_products",
        "latent_size": 64,
        "encoder": {"name": "conv", "widths": (256,)},
        "likelihood": {"name": "laplace", "scale": 0.75},
    }
    config.objective = {"name": "mopoe"}
    config.optimizer.learning_rate = 1e-3
    config.evaluation = {"num_samples": 10}
    return config
