"""M1+M2: M2 on the latents of a trained VAE, where a hundred labels go further.

python -m experiments.train --config=configs/m1_m2.py --config.data.name=latents.npz \
    --workdir=runs/m1_m2

docs/guide/conditions.md writes latents.npz, from a VAE that comes with the package. Its time on two
cores and its accuracy are not measured at this size.
"""

from ml_collections import ConfigDict

from configs import m2


def get_config() -> ConfigDict:
    """Return the settings of configs/m2.py with latents for images."""
    config = m2.get_config()
    config.data = {
        "name": "latents.npz",
        "train_split": "train",
        "validation_split": "",
        "test_split": "test",
        "binarization": {"name": "none"},
        "labelled": 100,
    }
    config.model["likelihood"] = {"name": "normal", "scale_kind": "per_pixel"}
    return config
