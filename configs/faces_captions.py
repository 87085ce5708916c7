r"""JMVAE on drawn faces and captions of what they wear and look like.

    python -m experiments.prepare --name=avatars
    python -m experiments.train --config=configs/faces_captions.py --workdir=runs/faces_captions

Captions are written from the factors of a face: "a smiling person in sunglasses with long hair".
The scale of the pixels is fixed and wide: what a caption does not say, such as the skin's colour,
then costs few nats, and the latents stay near what captions predict.

It trains for a quarter of an hour on one core. Not measured yet: after 8 epochs most captions named
what their image shows, beards and mouths less often; images of captions were blurred, and mixed
features that exclude each other.
"""

from ml_collections import ConfigDict

from configs import multimodal


def get_config() -> ConfigDict:
    """Return `multimodal` with dense networks of faces in colour."""
    config = multimodal.get_config()
    config.epochs = 10
    config.data.name = "avatars"
    config.data.train_split = "train[:38000]"
    config.data.validation_split = "train[38000:]"
    config.data.binarization = "none"
    config.model.encoder = {"name": "mlp", "widths": (512, 512), "input_range": "symmetric"}
    config.model.likelihood = {"name": "normal", "scale": 0.1}
    config.objective.modality_weights = (1.0, 10.0)
    config.objective.warmup_epochs = 2.0
    config.optimizer.gradient_clip_norm = 1e4
    return config
