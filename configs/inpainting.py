"""An autoencoder that fills in a box of a digit from the rest.

python -m experiments.train --config=configs/inpainting.py --workdir=runs/inpainting

The box is half as high and wide as the image and lies anywhere in it, grey.
`experiments.measure --use=recovery` keeps the pixels outside it and compares with biharmonic
inpainting: expect a PSNR of 18.2 dB where that has 14.8, after less than two minutes of training on
one core.
"""

from ml_collections import ConfigDict

from configs import upscaling


def get_config() -> ConfigDict:
    """Return the network of `upscaling`."""
    config = upscaling.get_config()
    config.corruption = {"name": "box", "level": 0.5}
    return config
