"""Two weights of the KL, two seeds each."""

from vae_jax.sweeps import space


def get_sweep() -> space.Sweep:
    """Nothing is searched."""
    return space.grid({"objective.beta": (0.5, 2.0)}, seeds=(0, 1))
