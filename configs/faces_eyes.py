r"""An autoencoder that fills in the eyes of drawn faces from the rest.

    python -m experiments.train --config=configs/faces_eyes.py --workdir=runs/faces_eyes

A grey box lies over eyes, eyebrows and nose. The rest does not tell whether the eyes are open, so
that the best guess is their mean. `experiments.measure --use=recovery` keeps the pixels outside the
box and compares with biharmonic inpainting: expect a PSNR of 27.4 dB where that has 19.3, after
five minutes of training on one core.
"""

from ml_collections import ConfigDict

from configs import faces_upscaling


def get_config() -> ConfigDict:
    """Return the network of `faces_upscaling`."""
    config = faces_upscaling.get_config()
    config.corruption = {"name": "box", "level": 0.4, "centre": (0.45, 0.5)}
    return config
