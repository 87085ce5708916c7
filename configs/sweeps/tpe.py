"""Learning rate, warm-up and latent size searched by TPE, laggards ended by successive halving.

    python -m experiments.sweep --config=configs/vanilla.py --sweep=configs/sweeps/tpe.py \
        --trials=64 --workdir=runs/tpe

Settings are suggested sixteen at a time. Each latent size is a program of its own, in which
learning rate and warm-up vary. A third of the settings goes on after 6 epochs, and a third of these
after 20.
"""

from vae_jax.sweeps import space


def get_sweep() -> space.Sweep:
    """Return 64 settings with one seed, judged by the validation ELBO."""
    return space.tpe(
        {
            "optimizer.learning_rate": space.Uniform(3e-4, 1e-2, log=True),
            "objective.warmup_epochs": space.Uniform(0, 20),
            "model.latent_size": space.Choice((10, 20, 32, 50)),
        },
        num_trials=64,
        batch=16,
        halving=space.Halving(epochs=(6, 20), reduction=3),
    )
