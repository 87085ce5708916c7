"""Build objects from settings. Only this package and `experiments/` see a config."""

from vae_jax.config.build import (
    build_graphdef,
    build_likelihood,
    build_model,
    build_players,
    refused_values,
    split_model,
)
from vae_jax.config.data_digests import (
    data_digests,
    digest_of_split,
    refuse_other_data,
)
from vae_jax.config.datasets import (
    Splits,
    StreamedSplits,
    build_prepare,
    build_simulator,
    load_complete,
    load_splits,
    load_test,
    load_validation,
    mean_image,
    open_splits,
    refuse_stream,
    split_sizes,
)
from vae_jax.config.experiment import (
    AnyExperiment,
    Experiment,
    JointExperiment,
    digest,
    digests,
    plain,
    resolve,
)
from vae_jax.config.first_stage import read_first_stage_arrays
from vae_jax.config.forms import (
    DataForm,
    ImageShape,
    blank_examples,
    from_metadata,
    to_metadata,
)
from vae_jax.config.initial_model import read_initial_arrays
from vae_jax.config.keys import EvaluationKeys, build_evaluation_keys, make_key
from vae_jax.config.modalities import (
    JointSplits,
    form_of_first,
    load_examples,
    load_test_examples,
    open_examples,
)
from vae_jax.config.overrides import parse, setting_at, with_texts, with_values
from vae_jax.config.programs import (
    Program,
    build_hparams,
    build_plan,
    build_program,
    run_state_template,
)
from vae_jax.config.resume import hold_run, read_member_states, read_run_state
from vae_jax.config.rules import refuse_parts, unfinished
from vae_jax.config.stored import refuse_other_config
from vae_jax.config.streams import build_stream, most_streamed_steps

__all__ = [
    "AnyExperiment",
    "DataForm",
    "EvaluationKeys",
    "Experiment",
    "ImageShape",
    "JointExperiment",
    "JointSplits",
    "Program",
    "Splits",
    "StreamedSplits",
    "blank_examples",
    "build_evaluation_keys",
    "build_graphdef",
    "build_hparams",
    "build_likelihood",
    "build_model",
    "build_plan",
    "build_players",
    "build_prepare",
    "build_program",
    "build_simulator",
    "build_stream",
    "data_digests",
    "digest",
    "digest_of_split",
    "digests",
    "form_of_first",
    "from_metadata",
    "hold_run",
    "load_complete",
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
    "parse",
    "plain",
    "read_first_stage_arrays",
    "read_initial_arrays",
    "read_member_states",
    "read_run_state",
    "refuse_other_config",
    "refuse_other_data",
    "refuse_parts",
    "refuse_stream",
    "refused_values",
    "resolve",
    "run_state_template",
    "setting_at",
    "split_model",
    "split_sizes",
    "to_metadata",
    "unfinished",
    "with_texts",
    "with_values",
]
