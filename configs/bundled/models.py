"""The models that come with the package: each a config, and what is changed in it.

python -m experiments.bundle --workdir=runs/bundled --output=vae_jax/bundled

trains them, writes them in half precision, and measures what it has written.
"""

from typing import Any


def get_models() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the config's file and the changed settings of each model, by its name."""
    return {
        "vanilla": ("configs/vanilla.py", {}),
        "beta4": ("configs/beta.py", {"objective.beta": 4.0}),
        "latent2d": ("configs/latent2d.py", {}),
        # Half the width, so that all fit into 8 MB, and a third of the epochs.
        "captions": ("configs/multimodal.py", {"model.encoder.widths": (256, 256), "epochs": 20}),
    }
