"""Four settings searched by TPE, two at a time, of the weight of the KL and the latent size."""

from vae_jax.sweeps import space


def get_sweep() -> space.Sweep:
    """The second two settings are suggested once the first two have ended."""
    axes = {
        "objective.beta": space.Uniform(0.25, 4.0, log=True),
        "model.latent_size": space.Choice((2, 3)),
    }
    return space.tpe(axes, num_trials=4, batch=2)
