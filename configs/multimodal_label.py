"""JMVAE on MNIST: images and their labels with one latent space.

python -m experiments.train --config=configs/multimodal_label.py --workdir=runs/jmvae

The model of Suzuki et al. 2016 (arXiv 1611.01891, section 4.1): dense layers of 512 rectifiers, 64
latents, dynamic binarisation, alpha = 0.1, the KL from the prior warmed up over two fifths of the
epochs, without which fewer latents come into use. The log likelihood of each modality has weight 1.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` with a joint encoder of image and label."""
    config = vanilla.get_config()
    config.epochs = 100
    config.batch_size = 100
    config.data.modalities = ("image", "label")
    layers = {"widths": (512, 512), "activation": "relu"}
    config.model = {
        "name": "multimodal",
        "joint_posterior": "joint",
        "latent_size": 64,
        "encoder": {"name": "mlp", **layers},
        "label": layers,
    }
    config.objective = {"name": "jmvae", "warmup_epochs": 40.0, "unimodal_kl_weight": 0.1}
    config.optimizer.schedule = "constant"
    config.optimizer.learning_rate = 1e-3
    return config
