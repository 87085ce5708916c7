"""The test metrics of a run, measured, plotted and written into summary.json."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from vae_jax import trained, workdir
from vae_jax.data import Dataset
from vae_jax.data.captions.vocabulary import Vocabulary
from vae_jax.data.corruptions import at_any_level, levels_around
from vae_jax.data.multimodal import MultimodalDataset
from vae_jax.evaluation import denoising, drawing, few_labels, joint_metrics, metrics, reports
from vae_jax.evaluation.disentanglement import MetricSizes, disentanglement_metrics
from vae_jax.evaluation.progress import progress_bar
from vae_jax.trained import TrainedModel, TrainedMultimodal
from vae_jax.training import host

COLUMNS = {
    "elbo": "ELBO",
    "rate": "rate",
    "distortion": "distortion",
    "iwae_bound": "IWAE bound",
    "num_samples": "samples",
    "active_units": "active units",
    "reconstruction_error": "squared error per pixel",
}


Trained = TrainedModel | TrainedMultimodal
# Test examples as a model sees them: images, or values by the name of their modality.
Targets = np.ndarray | dict[str, np.ndarray]


def prepare_test(model: Trained, test: Dataset) -> np.ndarray:
    """Return the test images as the model sees them; all metrics and plots use this one draw."""
    key = model.keys.targets
    return metrics.prepare_targets(model.prepare(), test.images, key)


def prepare_examples(model: Trained, test: Dataset | MultimodalDataset) -> Targets:
    """Return test images or modalities as the model sees them, each modality by its own draw."""
    return (
        prepare_test(model, test) if isinstance(test, Dataset) else prepare_modalities(model, test)
    )


def prepare_modalities(model: Trained, test: MultimodalDataset) -> dict[str, np.ndarray]:
    """Return test examples of several modalities as the model sees them."""
    return _prepare_modalities(model, test, model.keys.targets)


def readable(model: TrainedMultimodal, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return examples of several modalities with texts decoded into words."""
    return {
        name: Vocabulary(form.words).decode(arrays[name]) if form.kind == "text" else arrays[name]
        for name, form in model.forms.items()
    }


def prepare_train_examples(model: Trained, train: MultimodalDataset) -> dict[str, np.ndarray]:
    """Return training examples of several modalities as the model sees them."""
    return _prepare_modalities(model, train, model.keys.training_targets)


def _prepare_modalities(
    model: Trained, dataset: MultimodalDataset, key: Key[Array, ""]
) -> dict[str, np.ndarray]:
    prepare = model.prepare()
    return {
        name: metrics.prepare_targets(prepare, array, jax.random.fold_in(key, index))
        if array.ndim == 4
        else array
        for index, (name, array) in enumerate(dataset.modalities.items())
    }


def prepare_train(model: Trained, train: Dataset) -> np.ndarray:
    """Return the training images as the model sees them, for codes of labelled examples."""
    key = model.keys.training_targets
    return metrics.prepare_targets(model.prepare(), train.images, key)


def integer_test_images(model: Trained, test: Dataset) -> np.ndarray:
    """Return the test images as integers: as stored, or 0 and 1 where the model sees those."""
    if not model.binarizes:
        return test.images
    return prepare_test(model, test).astype(np.uint8)


def condition_of(model: Trained, test: Dataset | MultimodalDataset, targets: Targets) -> Any:
    """Return the condition of each test example; None for a model without conditions."""
    if isinstance(model, TrainedMultimodal):
        return None
    assert isinstance(test, Dataset)
    return model.condition_of(targets, test.labels, test.conditions)


def measure(
    model: TrainedModel | TrainedMultimodal,
    targets: Targets,
    num_samples: int,
    condition: np.ndarray | None = None,
    *,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Return the "test" part of the summary.

    Args:
      model: the trained model.
      targets: test examples as it sees them.
      num_samples: importance samples per example.
      condition: of each example, for a model of p(x|c); see `condition_of`.
      show_progress: whether to show a progress bar.
    """
    if isinstance(model, TrainedMultimodal):
        assert isinstance(targets, dict)
        return _measure_joint(model, targets, num_samples, show_progress=show_progress)
    assert isinstance(targets, np.ndarray)
    keys = model.keys
    measured: dict[str, Any] = {
        "num_examples": len(targets),
        "reconstruction_error": metrics.reconstruction_error(model, targets, condition),
    }
    if model.has_density:
        with progress_bar(len(targets), "img", show=show_progress) as bar:
            measured |= metrics.vae_metrics(
                model,
                targets,
                keys.samples,
                num_samples=num_samples,
                batch_size=model.evaluation.batch_size,
                condition=condition,
                on_batch=bar.update,
            )
    else:
        measured["distortion"] = metrics.distortion(model, targets)
    if model.has_guess:
        measured["guess_nll"] = float(-model.guess_log_likelihood(targets).mean(dtype=np.float64))
    if model.classifies:
        assert condition is not None, "a classifier's classes are the condition"
        measured |= few_labels.accuracies(model, targets, condition)
    if model.has_codes:
        measured |= metrics.code_metrics(model, targets)
    if hasattr(model.corruption, "level"):
        errors = denoising.denoising_errors(
            functools.partial(model.reconstruct, condition=condition),
            targets,
            at_any_level(model.corruption),
            levels_around(model.corruption, model.image_shape),
            keys.corruption,
        )
        measured["denoising"] = errors._asdict()
    if model.evaluation.disentanglement:
        measured |= disentanglement_metrics(
            model.latents,
            model.simulator(),
            keys.factors,
            MetricSizes(),
            # Encoded anew, the groups of two scores would take a convolutional encoder minutes.
            reuse_points=model.is_convolutional,
            posterior=model.posterior if model.has_normal_posterior else None,
        )
    return measured


def _measure_joint(
    model: TrainedMultimodal,
    values: dict[str, np.ndarray],
    num_samples: int,
    *,
    show_progress: bool,
) -> dict[str, Any]:
    num_examples = len(values[model.names[0]])
    total = num_examples * joint_metrics.num_estimates(len(model.names))
    with progress_bar(total, "example", show=show_progress) as bar:
        measured = joint_metrics.joint_metrics(
            model,
            values,
            model.keys.samples,
            num_samples=num_samples,
            batch_size=model.evaluation.batch_size,
            on_batch=bar.update,
        )
    return {"num_examples": num_examples, **measured}


def evaluate_run(
    folder: Path,
    test: Dataset | MultimodalDataset,
    num_samples: int,
    output: Path | None = None,
    *,
    accept_data: bool = False,
    draw: bool = True,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Measure and plot a run, write summary.json and return its content.

    Args:
      folder: the workdir, which the caller holds.
      test: the test set.
      num_samples: importance samples per image.
      output: the file to write in place of summary.json and the plots.
      accept_data: whether to measure on other examples than those that the run began with.
      draw: whether to plot.
      show_progress: whether to show a progress bar.

    Raises:
      UserError: there is no checkpoint that can be read, or the examples do not fit the run.
    """
    model = trained.load(folder)
    saved = model.checkpoint
    assert saved is not None, "a run has one"
    model.require_test(folder, test, accept=accept_data)
    targets = prepare_examples(model, test)
    condition = condition_of(model, test, targets)
    measured = measure(model, targets, num_samples, condition, show_progress=show_progress)
    summary = summarize(model, measured, saved.metadata, saved.damaged)
    if output is not None:
        workdir.write_json(output, summary)
        return summary
    # The summary comes last, since it marks the run as finished.
    if draw:
        draw_run(folder, model, test, measured, targets=targets)
    workdir.write_summary(folder, summary)
    return summary


def draw_run(
    folder: Path,
    model: Trained,
    test: Dataset | MultimodalDataset,
    measured: dict[str, Any],
    degrees: np.ndarray = drawing.DEGREES,
    targets: Targets | None = None,
    out: Path | None = None,
) -> None:
    """Draw every plot of a run.

    Args:
      folder: the workdir.
      model: its model.
      test: the test set.
      measured: the "test" part of the summary.
      degrees: of the interpolations of images, from 0 to 1.
      targets: the test examples as the model sees them, if they are prepared already.
      out: folder of the plots; by default `plots/` of the workdir.
    """
    if targets is None:
        targets = prepare_examples(model, test)
    if isinstance(model, TrainedMultimodal):
        assert isinstance(targets, dict)
        drawing.draw_training_curves(folder, out)
        drawing.draw_joint_run(folder, model, readable(model, targets), test.labels, out)
    else:
        assert isinstance(targets, np.ndarray)
        condition = condition_of(model, test, targets)
        drawing.draw_run(folder, model, targets, test.labels, measured, degrees, condition, out)


def summarize(
    model: Trained, test: dict[str, Any], saved: dict[str, Any], damaged: Sequence[int] = ()
) -> dict[str, Any]:
    """Return the content of summary.json.

    Args:
      model: the trained model.
      test: metrics on the test set.
      saved: metadata of the checkpoint that was measured.
      damaged: steps of newer checkpoints, which are damaged.
    """
    return {
        "test": test,
        "step": saved["step"],
        **({"damaged_checkpoints": list(damaged)} if damaged else {}),
        "best_epoch": saved["best_epoch"],
        "epochs": saved["epoch"],
        "wall_seconds": saved["train_seconds"],
        "examples_per_second": saved["examples_seen"] / max(saved["train_seconds"], 1e-9),
        "device": host.describe_devices(jax.devices()),
        "processor": host.processor(),
        "num_cores": host.num_cores(),
        "versions": host.versions(),
        "seed": model.seed,
        "config_digest": model.digest,
    }


def describe(summary: dict[str, Any]) -> str:
    """Return the test metrics in a line, and what was measured if newer checkpoints are damaged."""
    text = _describe_test(summary["test"])
    damaged = summary.get("damaged_checkpoints")
    if not damaged:
        return text
    steps = ", ".join(map(str, damaged))
    return f"{text}; of step {summary['step']}, since the checkpoint of step {steps} is damaged"


def _describe_test(test: dict[str, Any]) -> str:
    if "conditional_log_likelihood" in test:
        named = {**test["log_likelihood"], **_given_the_rest(test)}
        listed = ", ".join(f"{name} {_nats(value)}" for name, value in named.items())
        return (
            f"test elbo {_nats(test['elbo'])}, rate {_nats(test['rate'])}, distortion "
            f"{_nats(test['distortion'])}; log p ({test['num_samples']} samples): {listed} nats"
        )
    if "elbo" not in test:
        text = (
            f"test distortion {_nats(test['distortion'])} nats, "
            f"squared error {_nats(test['reconstruction_error'], 4)} per pixel"
        )
        if "perplexity" in test:
            text += f", perplexity {test['perplexity']:.1f}, codes used {test['codes_used']:.0%}"
        return text
    text = (
        f"test elbo {_nats(test['elbo'])}, rate {_nats(test['rate'])}, distortion "
        f"{_nats(test['distortion'])}, iwae_bound ({test['num_samples']} samples) "
        f"{_nats(test['iwae_bound'])} nats"
    )
    if test.get("nats_of") == "cross-entropy":
        text += " (cross-entropy of grey values, not a log probability)"
    units = test["active_units"]
    if units is not None:
        text = f"{text}; {units} active units"
    if "guess_nll" in test:
        text += f"; without latents {_nats(-test['guess_nll'])} nats"
    if "accuracy" in test:
        text += (
            f"; accuracy {test['accuracy']:.1%} with {test['num_labels']} labels, "
            f"{test['accuracy_of_classifier_alone']:.1%} of a classifier alone"
        )
    return text


def _nats(value: float | None, digits: int = 2) -> str:
    """Return a metric as text; summary.json has null for what is not finite."""
    return "not finite" if value is None else f"{value:.{digits}f}"


def _given_the_rest(test: dict[str, Any]) -> dict[str, float]:
    conditional: dict[str, float] = test["conditional_log_likelihood"]
    return {f"{name} given the rest": value for name, value in conditional.items()}


def table(summaries: dict[str, dict[str, Any]]) -> str:
    """Return the runs' test metrics as a Markdown table; what a run lacks is left empty."""

    def cell(value: float | int | None) -> str:
        if value is None:
            return ""
        if isinstance(value, int):
            return str(value)
        return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"

    rows = [
        [name, *(cell(summary["test"].get(field)) for field in COLUMNS)]
        for name, summary in summaries.items()
    ]
    return reports.table(["run", *COLUMNS.values()], rows)
