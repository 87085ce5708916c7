"""From a config to plain objects. With `experiments/`, the only place that sees a config."""

from vae_jax.config.bodies import build_likelihood, refused_values
from vae_jax.config.datasets import (
    Splits,
    StreamedSplits,
    build_corrupt,
    build_prepare,
    build_simulator,
    load_splits,
    load_test,
    load_validation,
    mean_image,
    open_splits,
    refuse_stream,
)
from vae_jax.config.forms import DataForm, ImageShape, blank_examples, from_metadata, to_metadata
from vae_jax.config.keys import EvaluationKeys, build_evaluation_keys, make_key
from vae_jax.config.losses import build_loss
from vae_jax.config.modalities import (
    JointSplits,
    form_of_first,
    load_examples,
    load_test_examples,
    open_examples,
)
from vae_jax.config.models import build_graphdef, build_model, latent_size
from vae_jax.config.programs import (
    Program,
    build_hparams,
    build_optimizer,
    build_plan,
    build_program,
    run_state_template,
)
from vae_jax.config.rules import refuse_parts, validate
from vae_jax.config.streams import build_stream, most_streamed_steps

__all__ = [
    "DataForm",
    "EvaluationKeys",
    "ImageShape",
    "JointSplits",
    "Program",
    "Splits",
    "StreamedSplits",
    "blank_examples",
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
    "build_simulator",
    "build_stream",
    "form_of_first",
    "from_metadata",
    "latent_size",
    "load_examples",
    "load_splits",
    "load_test",
    "load_test_examples",
    "load_validation",
    "make_key",
    "mean_image",
    "most_streamed_steps",
    "open_examples",
    "open_splits",
    "refuse_parts",
    "refuse_stream",
    "refused_values",
    "run_state_template",
    "to_metadata",
    "validate",
]
