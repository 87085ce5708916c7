r"""A VAE of drawn faces in colour, at 64x64 pixels.

    python -m experiments.prepare --name=avatars
    python -m experiments.train --config=configs/faces.py --workdir=runs/faces
    python -m experiments.sample --workdir=runs/faces --sampler=diffusion --output=runs/faces.npz

It trains for 51 minutes on one of two cores and is measured in one minute. Expect 3.33 to 3.34
bits per dimension by minus the ELBO: the likelihood is one of 8-bit values. Samples of the prior
mix some features that exclude each other; the third command fits a diffusion model of the latents,
in 5 to 15 minutes of a core that other work shares, whose samples do so less.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return a dense network with one scale for all pixels and an autoregressive prior."""
    config = vanilla.get_config()
    config.epochs = 90
    config.batch_size = 64
    config.data.name = "avatars"
    config.data.train_split = "train[:38000]"
    config.data.validation_split = "train[38000:]"
    config.data.binarization = "none"
    config.model = {
        "name": "vae",
        "latent_size": 64,
        "encoder": {"name": "mlp", "widths": (512, 512), "input_range": "symmetric"},
        "prior": {"name": "autoregressive", "width": 512},
        "likelihood": {
            "name": "discretized_logistic",
            "scale_kind": "learned",
            "scale": 0.03,
        },
    }
    config.optimizer.learning_rate = 5e-4
    # The first latents are far from the prior.
    config.optimizer.gradient_clip_norm = 1e4
    config.evaluation = {"num_samples": 20, "batch_size": 100}
    return config
