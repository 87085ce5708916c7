"""Measure how well semi-supervised runs classify, beside a classifier that sees the labels alone.

Runs that differ only in their seeds count as one model. Which training images are labelled is drawn
by `data.labelled_seed`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vae_jax import plots, trained
from vae_jax.applications.few_labels import report
from vae_jax.errors import UserError
from vae_jax.evaluation import few_labels
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.reports import Measured, Row
from vae_jax.trained import TrainedModel


def measure(folders: Sequence[Path], *, num_test_examples: int | None = None) -> Iterator[Measured]:
    """Classify the test images of runs; yield the results so far after each run.

    Args:
      folders: workdirs of the runs.
      num_test_examples: test images, at most; None is all.
    """
    models = [trained.load_images(folder) for folder in folders]
    for folder, model in zip(folders, models, strict=True):
        refuse_without_classifier(folder, model)
    rows: list[dict[str, Any]] = []
    for model in models:
        rows.append(measure_run(model, num_test_examples))
        print(_line(rows[-1]), flush=True)
        yield {"rows": rows}


def draw(rows: Sequence[Row], plots_folder: Path) -> None:
    """Draw the accuracies of all measured runs by number of labels."""
    panels = report.panels(rows)
    if panels:
        figure = plots.accuracy_by_labels(panels, [report.ALONE])
        plots.save(figure, plots_folder / report.PLOT)


def refuse_without_classifier(folder: Path, model: TrainedModel) -> None:
    """Refuse a run that cannot classify.

    Raises:
      UserError: its model has no classifier.
    """
    if not model.classifies:
        raise UserError(
            f"{folder} holds a run of model={model.name!r}, which has no classifier; train "
            "model='m2', as configs/m1_m2.py does"
        )


def measure_run(model: TrainedModel, num_images: int | None = None) -> dict[str, Any]:
    """Return the accuracy of a run on the test images, and that of a classifier alone."""
    test = model.load_test()
    assert test.labels is not None, "a model with a classifier has classes"
    targets = measuring.prepare_test(model, test)[:num_images]
    return {
        "data": Path(model.data.name).name,
        "model": model.name,
        "seed": model.seed,
        "labelled_seed": model.data.labelled_seed,
        "config_digest": model.digest,
        "num_test_examples": len(targets),
        **few_labels.accuracies(model, targets, test.labels[:num_images]),
    }


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['data']}, {row['num_labels']} labels, seed {row['seed']}: {row['model']} "
        f"{row['accuracy']:.2%}, classifier alone {row['accuracy_of_classifier_alone']:.2%}"
    )
