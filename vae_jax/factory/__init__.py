"""From a config to plain objects. With `experiments/`, the only place that sees a config."""

from vae_jax.factory.datasets import (
    Splits,
    build_corrupt,
    build_prepare,
    load_splits,
    mean_image,
)
from vae_jax.factory.keys import EvaluationKeys, build_evaluation_keys, make_key
from vae_jax.factory.losses import build_loss
from vae_jax.factory.models import (
    ImageShape,
    build_graphdef,
    build_likelihood,
    build_model,
    latent_size,
    refused_values,
)
from vae_jax.factory.programs import (
    Program,
    build_hparams,
    build_optimizer,
    build_plan,
    build_program,
    run_state_template,
)
from vae_jax.factory.rules import validate

__all__ = [
    "EvaluationKeys",
    "ImageShape",
    "Program",
    "Splits",
    "build_corrupt",
    "build_evaluation_keys",
    "build_graphdef",
    "build_hparams",
    "build_likelihood",
    "build_loss",
    "build_model",
    "build_optimizer",
    "build_plan",
    "build_prepare",
    "build_program",
    "latent_size",
    "load_splits",
    "make_key",
    "mean_image",
    "refused_values",
    "run_state_template",
    "validate",
]
