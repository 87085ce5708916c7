import jax
import numpy as np
import pytest

from vae_jax import plots
from vae_jax.data import corruptions
from vae_jax.evaluation import drawing
from vae_jax.trained import TrainedModel


class Identity(TrainedModel):
    """A model that reconstructs what it sees."""

    corruption = None

    def __init__(self, corruption):
        self.corruption = corruption

    def reconstruct(self, images):
        return images


@pytest.mark.parametrize(
    ("corruption", "task"),
    [
        (corruptions.Masking(0.5), "denoising"),
        (corruptions.Box(0.5), "inpainting"),
        (corruptions.Downsampling(2.0), "upscaling"),
        (corruptions.Blur(1.0), "deblurring"),
    ],
)
def test_the_plots_of_a_recovery_are_named_after_its_task(monkeypatch, tmp_path, corruption, task):
    names = []
    monkeypatch.setattr(plots, "save", lambda figure, path: names.append(path.name))
    errors = {"levels": [0.0, 1.0], "noisy": [0.0, 0.2], "denoised": [0.1, 0.1]}
    clean = np.zeros((2, 8, 8, 1), np.float32)
    drawing._draw_recovery(tmp_path, Identity(corruption), clean, errors, jax.random.key(0))
    assert names == [f"{task}.png", f"{task}_curve.png"]
