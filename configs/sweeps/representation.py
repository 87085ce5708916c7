r"""Codes of an autoencoder, VAE, beta-VAE and denoising VAE; two sizes, three seeds: 24 runs.

    python -m experiments.sweep --config=configs/vanilla.py --config.data.binarization=none \
        --config.epochs=30 \
        --sweep=configs/sweeps/representation.py --workdir=runs/representation
    python -m experiments.measure --use=representation --output=results/uses/representation.json \
        --workdirs=$(ls -d runs/representation/members/* | paste -sd,)

All see grey values, as PCA does. The first command trains, the second measures what the codes say
about the digits, beside PCA of the same sizes and raw pixels. On one core, shared with other work,
the first took 33 minutes and the second, with `--num_draws=5`, 9.
"""

from vae_jax.sweeps import space


def get_sweep() -> space.Sweep:
    """Return the four models in each size, each with three seeds."""
    noise = {"name": "gaussian", "level": 0.5}
    models = [
        ("autoencoder", "reconstruction", "none"),
        ("vae", "elbo", "none"),
        ("vae", {"name": "elbo", "beta": 4.0}, "none"),
        ("vae", "elbo", noise),
    ]
    axes = {("model", "objective", "corruption"): models, "model.latent_size": (10, 32)}
    # An autoencoder has no ELBO.
    return space.grid(axes, seeds=range(3), objective="distortion")
