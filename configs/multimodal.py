r"""MVAE on MNIST: images and captions that say what is measured of them, with one latent space.

    python -m experiments.train --config=configs/multimodal.py --workdir=runs/captions
    python -m experiments.train --config=configs/multimodal.py --config.data.name=fashion_mnist \
        --workdir=runs/captions_fashion

The product of experts of Wu & Goodman 2018 (arXiv 1802.05335), with the ELBOs of both modalities
and of each alone. A caption is worth a few nats where an image has a hundred: its weight of 10
keeps the latents from leaving it to chance. `--config.model.joint_posterior=joint`
with `--config.hparams.unimodal_kl_weight=0.1` is JMVAE, `mixture` MMVAE, `mixture_of_products`
MoPoE. Afterwards:

    vae_jax.load("runs/captions").generate({"text": "a thin upright four"}, key)
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """`vanilla` with an expert for the image and one for its caption."""
    config = vanilla.get_config()
    config.data.modalities = ("image", "text")
    config.model.name = "multimodal"
    config.model.latent_size = 64
    config.model.widths = (512, 512)
    config.objective.modality_weights = (1.0, 10.0)
    config.hparams.learning_rate = 1e-3
    config.hparams.warmup_epochs = 10.0
    config.hparams.word_dropout = 0.3
    config.tensorboard.images_every_epochs = 0
    config.evaluation.num_samples = 100
    return config
