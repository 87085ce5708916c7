r"""Codes of an autoencoder, VAE, beta-VAE and denoising VAE; two sizes, three seeds: 24 runs.

    python -m experiments.sweep --config=configs/vanilla.py --config.data.binarization=none \
        --config.epochs=30 --config.evaluation.num_samples=10 \
        --sweep=configs/sweeps/representation.py --workdir=runs/representation
    python -m experiments.measure --use=representation --output=results/uses/representation.json \
        --workdirs=$(ls -d runs/representation/members/* | paste -sd,)

All see grey values, as PCA does. The first command trains, the second measures what the codes tell
of the digits, beside PCA of the same sizes and raw pixels. On one core, shared with other work, the
first took 33 minutes and the second, with `--num_draws=5`, 9.
"""

from vae_jax.sweeps import space

_FIELDS = ("model.name", "hparams.beta", "corruption", "hparams.corruption_level")


def get_sweep() -> space.Sweep:
    """The four models in each size, each with three seeds."""
    models = [
        ("autoencoder", 1.0, "none", 0.0),
        ("vae", 1.0, "none", 0.0),
        ("vae", 4.0, "none", 0.0),
        ("vae", 1.0, "gaussian", 0.5),
    ]
    axes = {_FIELDS: models, "model.latent_size": (10, 32)}
    # An autoencoder has no ELBO.
    return space.grid(axes, seeds=range(3), objective="distortion")
