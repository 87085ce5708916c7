r"""An autoencoder that upscales digits: it sees them at half their height and width.

    python -m experiments.train --config=configs/upscaling.py --workdir=runs/upscaling
    python -m experiments.train --config=configs/upscaling.py --workdir=runs/upscaling4 \
        --config.corruption.level=4

Each square of 2x2 pixels, or of 4x4, has its mean, so that the image keeps its size.
`experiments.measure --use=recovery` compares with bicubic interpolation: expect a PSNR of 26.0 dB
where that has 19.8 (20.6 and 14.5 at a quarter), after less than two minutes of training on one
core.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return a wide autoencoder that sees half the resolution."""
    config = vanilla.get_config()
    config.epochs = 30
    config.data.binarization = "none"
    # PSNR counts squared errors alone, and at half resolution bicubic interpolation leaves few: no
    # KL, and more latents than a VAE would use.
    config.model = {
        "name": "autoencoder",
        "latent_size": 128,
        "encoder": {"name": "mlp", "widths": (1024,)},
    }
    config.optimizer.learning_rate = 1e-3
    config.corruption = {"name": "downsampling", "level": 2.0}
    return config
