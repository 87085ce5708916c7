"""Two weights of the KL, two seeds each."""

from vae_jax import search_space as space


def get_sweep() -> space.Sweep:
    """Nothing is searched."""
    return space.grid({"hparams.beta": (0.5, 2.0)}, seeds=(0, 1))
