r"""A residual VAE of drawn faces in colour, at 64x64 pixels.

    python -m experiments.prepare --name=avatars
    python -m experiments.train --config=configs/faces.py --workdir=runs/faces

The level next to the image sees squares of 4x4 pixels as one: on a CPU most of the time would pass
at full resolution otherwise. Test metrics include bits per dimension: the likelihood is one of
8-bit values.

Not measured yet: neither the time nor the result.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return a network of two levels, from grids of 16x16 down to 4x4."""
    config = vanilla.get_config()
    config.epochs = 20
    config.batch_size = 64
    config.data.name = "avatars"
    config.data.train_split = "train[:38000]"
    config.data.validation_split = "train[38000:]"
    config.data.binarization = "none"
    network = {
        "name": "resnet",
        "square": 4,
        "channels": (48, 96),
        "blocks": 1,
        "widths": (256,),
    }
    config.model = {
        "name": "vae",
        "latent_size": 64,
        "encoder": network,
        "decoder": {**network, "upsampling": "resize"},
        "likelihood": "discretized_logistic",
    }
    config.optimizer.learning_rate = 1e-3
    config.optimizer.gradient_clip_norm = 200.0
    config.objective = {"name": "elbo", "warmup_epochs": 2.0}
    config.evaluation = {"num_samples": 100, "batch_size": 100}
    return config
