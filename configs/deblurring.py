"""An autoencoder that sharpens blurred digits.

python -m experiments.train --config=configs/deblurring.py --workdir=runs/deblurring

The blur is normal, of two pixels. `benchmarks/recovery.py` compares with deconvolution that is told
this: expect that to win where the blur is weaker. Time and figures on two cores: not measured yet.
"""

from ml_collections import ConfigDict

from configs import upscaling


def get_config() -> ConfigDict:
    """The network of `upscaling`."""
    config = upscaling.get_config()
    config.corruption = "blur"
    config.hparams.corruption_level = 2.0
    return config
