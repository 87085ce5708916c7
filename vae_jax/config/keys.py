"""The keys that seeds give."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Key
from ml_collections import ConfigDict


class EvaluationKeys(NamedTuple):
    """One key for each thing that evaluation draws, none used twice.

    New ones go to the end: the keys before them stay what they are.
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


def make_key(seed: int) -> Key[Array, ""]:
    """The key of a seed, of the one kind that gives the same bits on every platform."""
    return jax.random.key(seed, impl="threefry2x32")


def build_evaluation_keys(config: ConfigDict) -> EvaluationKeys:
    """The keys that `evaluation.seed` gives, the same for every run."""
    keys = jax.random.split(make_key(config.evaluation.seed), len(EvaluationKeys._fields))
    return EvaluationKeys(*keys)
