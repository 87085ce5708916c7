r"""All families of models at one budget: one table, with error bars over seeds.

    python -m experiments.prepare --name=fashion_mnist
    python -m experiments.zoo

trains each family of `FAMILIES` on MNIST and Fashion-MNIST with three seeds, measures it, and
writes a table and plots. `--families=vae,iwae --datasets=mnist --seeds=1 --config.epochs=5` is a
part of it. `python -m experiments.train --config=configs/zoo.py` trains its VAE alone.

All share 784-400-400-784 networks around 16 latents, dynamic binarisation, batches of 128, Adam at
1e-3 and 20 epochs on all training images; the last parameters are measured. A family changes what
makes it a family, with weights of its own. There are exceptions. VQ-VAE and FSQ have spatial codes,
which need a convolutional body; the prior over their codes is a second run of as many epochs. The
discriminator of the VAE-GAN sees grey values: binarised images would give every decoded one away.
The categorical model has 16 variables of ten classes each, the S-VAE a sphere of 16 dimensions.

A dense family took three to ten minutes on one core, three seeds with all that is measured. VQ-VAE
and FSQ took two hours each: up to 10 minutes a run, and 21 minutes of the prior over its codes.
Expect, on MNIST, an NLL of 93.1 with the VampPrior, 95.9 with IAF and 97.2 of the VAE, and samples
of the prior at a Fréchet distance of 31, 126 and 141; those of VQ-VAE are at 64 and those of FSQ at
72. results/zoo.md has the table. The families on Fashion-MNIST are added to it by the same command.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import vanilla
from vae_jax.zoo.families import Family, Zoo

_LATENT_SIZE = 16
_ENCODER = {"name": "mlp", "widths": (400,)}
_DISCRIMINATOR = {"widths": (400, 400)}


def get_config() -> ConfigDict:
    """Return the config that the families share, which is that of the VAE."""
    config = vanilla.get_config()
    config.epochs = 20
    config.data.train_split = "train"
    config.data.validation_split = ""
    config.model.latent_size = _LATENT_SIZE
    config.model.encoder = _ENCODER
    config.optimizer.learning_rate = 1e-3
    config.evaluation = {"num_samples": 1000}
    return config


def _vae(**parts: Any) -> dict[str, Any]:
    return {"name": "vae", "latent_size": _LATENT_SIZE, "encoder": _ENCODER, **parts}


_AUTOENCODER = {"name": "autoencoder", "latent_size": _LATENT_SIZE, "encoder": _ENCODER}


def _quantized(**quantizer: Any) -> dict[str, Any]:
    model = {"name": "vq_vae", "codes": (7, 7), "channels": 32, "blocks": 1}
    return {"model": {**model, "quantizer": quantizer}, "objective": {"name": "quantized"}}


def _prior_over_codes(first_stage: str) -> dict[str, Any]:
    return {
        "model": {"name": "code_prior", "first_stage": first_stage},
        "objective": {"name": "code_likelihood"},
    }


FAMILIES = {
    "autoencoder": Family(
        "autoencoder", {"model": _AUTOENCODER, "objective": {"name": "reconstruction"}}
    ),
    "vae": Family("VAE", {}),
    "beta_vae": Family("β-VAE, β = 4", {"objective": {"name": "elbo", "beta": 4.0}}),
    "iwae": Family("IWAE, 5 samples", {"objective": {"name": "iwae", "num_samples": 5}}),
    "vampprior": Family("VampPrior", {"model": _vae(prior={"name": "vamp", "components": 100})}),
    "iaf": Family("IAF", {"model": _vae(posterior={"name": "iaf"})}),
    "wae": Family(
        "WAE-MMD", {"model": _AUTOENCODER, "objective": {"name": "wae", "mmd_weight": 100.0}}
    ),
    "info_vae": Family(
        "InfoVAE", {"objective": {"name": "info", "alpha": 0.5, "mmd_weight": 100.0}}
    ),
    "rae_l2": Family("RAE-L2", {"model": _AUTOENCODER, "objective": {"name": "rae_l2"}}),
    "rae_gp": Family("RAE-GP", {"model": _AUTOENCODER, "objective": {"name": "rae_gp"}}),
    "vae_gan": Family(
        "VAE-GAN",
        {
            "data.binarization": {"name": "none"},
            "objective": {
                "name": "vae_gan",
                "decoder": {"learning_rate": 1e-3},
                "discriminator": {"network": _ENCODER, "learning_rate": 1e-3},
            },
        },
    ),
    "aae": Family(
        "AAE",
        {
            "objective": {
                "name": "adversarial",
                "weight": 20.0,
                "discriminator": {**_DISCRIMINATOR, "learning_rate": 1e-4},
            }
        },
    ),
    "factor_vae": Family(
        "FactorVAE, γ = 3",
        {
            "objective": {
                "name": "factor",
                "gamma": 3.0,
                "discriminator": {**_DISCRIMINATOR, "learning_rate": 1e-3},
            }
        },
    ),
    "beta_tcvae": Family("β-TCVAE, β = 4", {"objective": {"name": "tc", "beta": 4.0}}),
    "gumbel": Family(
        "Gumbel",
        {
            "model": {
                "name": "categorical",
                "latent_size": 10 * _LATENT_SIZE,
                "num_classes": 10,
                "encoder": _ENCODER,
            },
            "objective": {"name": "gumbel", "decay_rate": 0.055},
        },
    ),
    "vq_vae": Family(
        "VQ-VAE + prior",
        _quantized(name="vq", codebook_size=256, vector_size=16),
        second_stage=_prior_over_codes,
    ),
    "fsq": Family("FSQ + prior", _quantized(name="fsq"), second_stage=_prior_over_codes),
    "s_vae": Family(
        "S-VAE",
        {
            "model": {
                "name": "vae",
                # A sphere of 16 dimensions.
                "latent_size": _LATENT_SIZE + 1,
                "encoder": _ENCODER,
                "posterior": {"name": "von_mises_fisher"},
                "prior": {"name": "uniform_sphere"},
            }
        },
    ),
}


def get_zoo() -> Zoo:
    """Return all families."""
    return Zoo(get_config(), FAMILIES)
