"""Random keys from the seeds of a config."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Key

from vae_jax.config.experiment import AnyExperiment
from vae_jax.data.random_bits import make_key


class EvaluationKeys(NamedTuple):
    """One key for each thing that evaluation draws, none used twice.

    New ones are added at the end, so that the others stay the same.
    """

    validation: Key[Array, ""]
    targets: Key[Array, ""]
    samples: Key[Array, ""]
    corruption: Key[Array, ""]
    prior: Key[Array, ""]
    factors: Key[Array, ""]
    training_targets: Key[Array, ""]
    anomaly: Key[Array, ""]
    editing: Key[Array, ""]
    recovery: Key[Array, ""]
    imputation: Key[Array, ""]


def build_evaluation_keys(experiment: AnyExperiment) -> EvaluationKeys:
    """Return the keys that `evaluation.seed` gives, the same for every run."""
    keys = jax.random.split(make_key(experiment.evaluation.seed), len(EvaluationKeys._fields))
    return EvaluationKeys(*keys)
