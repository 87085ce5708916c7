"""The metrics of cards, for runs that have ended."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vae_jax import config, trained, workdir
from vae_jax.applications.imputation.measure import measure_run, refuse_without_holes
from vae_jax.applications.multimodal.examples import load_examples, load_model
from vae_jax.applications.multimodal.measure import measure_coherence
from vae_jax.data.dataset import read_all
from vae_jax.errors import UserError
from vae_jax.evaluation import neighbours
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.reports import Number
from vae_jax.papers.card import COHERENCE_METRICS, IMPUTATION_METRICS, NEIGHBOUR_METRICS
from vae_jax.trained import TrainedModel

# By metric: the key in the "test" part of a summary, its factor, and the key of the standard error;
# a dot separates nested keys.
_OF_SUMMARY = {
    "nll": ("iwae_bound", -1, "iwae_bound_standard_error"),
    "negative_elbo": ("elbo", -1, "elbo_standard_error"),
    "rate": ("rate", 1, None),
    "distortion": ("distortion", 1, None),
    "active_units": ("active_units", 1, None),
    "joint_nll": ("log_likelihood.joint", -1, "log_likelihood_standard_error.joint"),
    "image_nll": ("log_likelihood.image", -1, "log_likelihood_standard_error.image"),
    "image_nll_given_others": (
        "conditional_log_likelihood.image",
        -1,
        "conditional_standard_error.image",
    ),
    "guess_nll": ("guess_nll", 1, None),
    "accuracy": ("accuracy", 100, None),
    "accuracy_of_classifier_alone": ("accuracy_of_classifier_alone", 100, None),
}

# The maximal number of test examples for coherence.
_NUM_COHERENCE = 2000


def run_metrics(folder: Path, test: dict[str, Any], asked: Sequence[str]) -> dict[str, Any]:
    """Return value and standard error over test images by metric; an unknown error is None.

    Args:
      folder: the run's workdir.
      test: the "test" part of its summary; all metrics in it are returned.
      asked: metrics to return that the summary may not have.

    Raises:
      UserError: one that is asked for cannot be measured of this run.
    """
    found = {
        metric: (sign * value, _part(test, error) if error else None)
        for metric, (name, sign, error) in _OF_SUMMARY.items()
        if (value := _part(test, name)) is not None
    }
    if "image_nll_given_others" in found:
        gain = found["image_nll"][0] - found["image_nll_given_others"][0]
        found["gain_for_image"] = (gain, None)
    by_neighbours = [metric for metric in asked if metric in NEIGHBOUR_METRICS]
    if by_neighbours:
        accuracies = _neighbours(folder, by_neighbours)
        found |= {metric: (accuracies[metric], None) for metric in by_neighbours}
    of_coherence = [metric for metric in asked if metric in COHERENCE_METRICS]
    if of_coherence:
        shares = _once(folder, "coherence.json", _coherence)
        found |= {metric: (shares[metric], None) for metric in of_coherence}
    of_imputation = [metric for metric in asked if metric in IMPUTATION_METRICS]
    if of_imputation:
        imputed = _once(folder, "imputation.json", _imputation)
        found |= {metric: (imputed[metric], None) for metric in of_imputation}
    return found


def _part(test: dict[str, Any], name: str) -> Number | None:
    """Return a metric of the summary, None where it is missing."""
    part: Any = test
    for key in name.split("."):
        part = part.get(key) if isinstance(part, dict) else None
    return part


def _once(
    folder: Path, name: str, measure: Callable[[Path], dict[str, Number]]
) -> dict[str, Number]:
    """Return what `measure` found of a run, which its workdir keeps in a file."""
    path = folder / name
    if path.is_file():
        return dict(workdir.read_json(path))
    found = measure(folder)
    workdir.write_json(path, found)
    return found


def _neighbours(folder: Path, metrics: Sequence[str]) -> dict[str, Number]:
    """Return the k-NN accuracies by latents, in percent; each is measured once per run."""
    path = folder / "neighbours.json"
    known = workdir.read_json(path) if path.is_file() else {}
    if any(metric not in known for metric in metrics):
        known |= _measure_neighbours(trained.load_images(folder), metrics)
        workdir.write_json(path, known)
    return known


def _measure_neighbours(model: TrainedModel, metrics: Sequence[str]) -> dict[str, Number]:
    splits = config.load_splits(model.config)
    train, test = read_all(splits.train), splits.test
    section = model.config.data
    labels, test_labels = train.labels, test.labels
    if labels is None or test_labels is None:
        raise UserError(f"data.name={section.name!r} has no labels, which k-NN accuracy needs")
    most = max(NEIGHBOUR_METRICS[metric] for metric in metrics)
    if most > len(labels):
        raise UserError(
            f"data.train_split={section.train_split!r} has {len(labels)} images, fewer than "
            f"the {most} labels of a k-NN accuracy"
        )
    latents = model.latents(measuring.prepare_train(model, train))
    queries = model.latents(measuring.prepare_test(model, test))

    def percent(num_labels: int) -> float:
        return 100 * neighbours.accuracy(
            latents, labels, queries, test_labels, num_labels=num_labels
        )

    return {metric: percent(NEIGHBOUR_METRICS[metric]) for metric in metrics}


def _coherence(folder: Path) -> dict[str, Number]:
    """Return the coherence metrics, in percent.

    The classifiers are stored in the workdir: all runs at a budget have the same data.
    """
    model = load_model(folder)
    classifiers = folder.parents[1] / "classifiers"
    examples = load_examples(model, classifiers, _NUM_COHERENCE, {})
    measured = measure_coherence(model, examples)
    found = {
        f"coherence_{size}": 100 * share
        for size, share in measured["conditional_coherence"].items()
    }
    found["joint_coherence"] = 100 * measured["joint_coherence"]
    found["reader_accuracy"] = 100 * min(measured["reader_accuracy"].values())
    return found


def _imputation(folder: Path) -> dict[str, Number]:
    """Return the imputation metrics, errors as `measure_run`."""
    model = trained.load_images(folder, rows=True)
    refuse_without_holes(folder, model)
    measured = measure_run(model)
    if measured["coverage"] is None:
        raise UserError(
            f"data.name={model.data.name!r} has no numbers among its hidden cells, which the "
            "coverage of intervals needs"
        )
    errors = measured["errors"]
    return {
        "imputation_error": errors["model"],
        "imputation_error_of_iterative_imputer": errors["IterativeImputer"],
        "imputation_error_of_mean": errors["mean"],
        "gain_over_iterative_imputer": errors["IterativeImputer"] - errors["model"],
        "interval_coverage": 100 * measured["coverage"],
    }
