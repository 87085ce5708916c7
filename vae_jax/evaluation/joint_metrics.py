"""The test metrics of a joint model, for its summary."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from vae_jax.evaluation import joint_likelihood
from vae_jax.evaluation.joint_likelihood import JointEstimates
from vae_jax.trained import TrainedMultimodal


def joint_metrics(
    model: TrainedMultimodal,
    values: Mapping[str, np.ndarray],
    key: Key[Array, ""],
    *,
    num_samples: int,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda num_examples: None,
) -> dict[str, Any]:
    """Return bounds and their terms, averaged over the test set, in nats.

    Args:
      model: the trained model.
      values: all modalities of the test set as the model sees them.
      key: of the samples.
      num_samples: importance samples per example.
      batch_size: examples per compiled call.
      on_batch: called with the number of examples done, for every estimate anew.

    Returns:
      "elbo", "rate" and "distortion" of all modalities, without weights, and "distortion_NAME" of
      each; "log_likelihood", by importance sampling, of all modalities together ("joint") and of
      each; "conditional_log_likelihood" of each given the others, and
      "conditional_standard_error" of its mean over examples.
    """
    names = model.names

    def estimate(index: int, asked: tuple[str, ...]) -> JointEstimates:
        return joint_likelihood.estimate(
            model.graphdef,
            model.state,
            values,
            jax.random.fold_in(key, index),
            asked=asked,
            num_samples=num_samples,
            batch_size=batch_size,
            on_batch=on_batch,
        )

    # Each set of modalities once: of two, "the others" of one is the other, a single again.
    singles = [(name,) for name in names]
    others = {name: tuple(other for other in names if other != name) for name in names}
    asked_sets = list(dict.fromkeys([names, *singles, *others.values()]))
    found = {asked: estimate(index, asked) for index, asked in enumerate(asked_sets)}
    whole = found[names]
    log_probability = {
        asked: np.asarray(part.log_probability, np.float64) for asked, part in found.items()
    }
    conditional = {name: log_probability[names] - log_probability[others[name]] for name in names}
    distortions = {name: _mean(part) for name, part in zip(names, whole.distortions, strict=True)}
    return {
        "elbo": _mean(whole.elbo),
        "elbo_standard_error": _standard_error(whole.elbo),
        "rate": _mean(whole.kl),
        "distortion": sum(distortions.values()),
        **{f"distortion_{name}": value for name, value in distortions.items()},
        "log_likelihood": {
            "joint": _mean(log_probability[names]),
            **{name: _mean(log_probability[(name,)]) for name in names},
        },
        "log_likelihood_standard_error": {
            "joint": _standard_error(log_probability[names]),
            **{name: _standard_error(log_probability[(name,)]) for name in names},
        },
        "conditional_log_likelihood": {name: _mean(x) for name, x in conditional.items()},
        "conditional_standard_error": {name: _standard_error(x) for name, x in conditional.items()},
        "num_samples": num_samples,
    }


def num_estimates(num_modalities: int) -> int:
    """Return how often `joint_metrics` goes through the examples."""
    return 3 if num_modalities == 2 else 2 * num_modalities + 1


def _mean(values: np.ndarray | Array) -> float:
    return float(np.asarray(values).mean(dtype=np.float64))


def _standard_error(values: np.ndarray | Array) -> float | None:
    array = np.asarray(values)
    if len(array) < 2:
        return None
    return float(array.std(dtype=np.float64, ddof=1) / np.sqrt(len(array)))
