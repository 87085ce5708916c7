r"""JMVAE on MNIST: images, and captions of their measurements, with one latent space.

    python -m experiments.train --config=configs/multimodal.py --workdir=runs/captions
    python -m experiments.train --config=configs/multimodal.py --config.data.name=fashion_mnist \
        --workdir=runs/captions_fashion

Takes 19 minutes of one core. Expect nine images in ten to show the class that their caption names,
nearly as many its stroke thickness and slant, and 97 captions in 100 the class of their image
(`experiments.measure --use=multimodal`, results/README.md).

A joint encoder of image and caption with the two KL terms of Suzuki et al. 2016 (arXiv 1611.01891,
equation 8), which bring the encoders of single modalities near it. A caption is worth ten nats
where an image has a hundred, which its weight of 3 makes up for in part.
`--config.model.joint_posterior=mixture_of_products` with `--config.objective=mopoe` is MoPoE,
`product` with `mvae` is MVAE, `mixture` with `mmvae` is MMVAE; these three also train on examples
that lack a modality (`--config.data.modality_shares=(1.0,0.1)`). MoPoE shows the class asked for
more often, but the mean of what a caption leaves open: blurred, so that thin strokes measure wider.
Afterwards:

    vae_jax.load("runs/captions").generate({"text": "a thin upright four"}, key)
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` with encoders and decoders for the image and for its caption."""
    config = vanilla.get_config()
    config.epochs = 60
    config.data.modalities = ("image", "text")
    config.model = {
        "name": "multimodal",
        "joint_posterior": "joint",
        "latent_size": 64,
        "encoder": {"name": "mlp", "widths": (512, 512)},
    }
    config.objective = {
        "name": "jmvae",
        "modality_weights": (1.0, 3.0),
        "warmup_epochs": 10.0,
        "unimodal_kl_weight": 2.0,
        "word_dropout": 0.1,
    }
    config.optimizer.learning_rate = 1e-3
    config.evaluation = {"num_samples": 100}
    return config
