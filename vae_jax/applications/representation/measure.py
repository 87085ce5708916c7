"""Measure how well codes predict classes, beside PCA of the same size and raw pixels.

Measured is the test accuracy of a linear probe and of 5 neighbours
(vae_jax/applications/representation/probing.py) with some or all labels of the training images.
Codes are posterior means of the images as the model sees them; PCA and pixels use the same images.
A run's seed also draws the labelled images, the same for all codes. PCA and pixels are measured
once per seed, PCA also per size.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.decomposition import PCA

from vae_jax import plots, trained
from vae_jax.applications.representation import probing, report
from vae_jax.data.dataset import read_all
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.model_names import model_name
from vae_jax.evaluation.reports import Measured, Row
from vae_jax.trained import TrainedModel


class LabelledImages(NamedTuple):
    """Images as a model sees them, and their classes."""

    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def numbers_of_labels(asked: Sequence[str], num_examples: int) -> list[int]:
    """Return the requested numbers of labels.

    Raises:
      UserError: one is not between 1 and the number of examples.
    """
    numbers = [
        num_examples if number == "all" else int(number) if number.isdecimal() else 0
        for number in asked
    ]
    if not numbers or not all(0 < number <= num_examples for number in numbers):
        raise UserError(
            f"--num_labels={','.join(asked)} must be numbers from 1 to {num_examples}, or all"
        )
    return numbers


def load_images(model: TrainedModel) -> LabelledImages:
    """Return the labelled training and test images of a run.

    Raises:
      UserError: they have none, or cannot be read.
    """
    splits = model.load_splits()
    train, test = read_all(splits.train), splits.test
    if train.labels is None or test.labels is None:
        raise UserError(f"data.name={model.data.name!r} has no labels, which a probe needs")
    return LabelledImages(
        measuring.prepare_train(model, train),
        train.labels,
        measuring.prepare_test(model, test),
        test.labels,
    )


def measure(
    folders: Sequence[Path],
    *,
    num_labels: Sequence[str] = ("100", "600", "1000", "all"),
    num_draws: int = 10,
) -> Iterator[Measured]:
    """Probe the codes of runs; yield the results so far after each run.

    Args:
      folders: workdirs of the runs.
      num_labels: numbers of labels, or "all".
      num_draws: draws of the labelled images.
    """
    rows: list[dict[str, Any]] = []
    known: set[tuple[Any, ...]] = set()
    for folder in folders:
        for row in measure_run(folder, known, num_labels=num_labels, num_draws=num_draws):
            rows.append(row)
            print(
                f"{row['representation']}, size {row['size']}, seed {row['seed']}: linear "
                + ", ".join(f"{share:.2%}" for share in row["linear"])
                + "; neighbours "
                + ", ".join(f"{share:.2%}" for share in row["neighbours"]),
                flush=True,
            )
        yield {"num_draws": num_draws, "rows": rows}


def draw(rows: Sequence[Row], plots_folder: Path) -> None:
    """Draw the accuracies by number of labels."""
    figure = plots.accuracy_by_labels(report.panels(rows), report.BASELINES)
    plots.save(figure, plots_folder / "accuracy_by_labels.png")


def measure_codes(
    codes: np.ndarray,
    test_codes: np.ndarray,
    images: LabelledImages,
    *,
    numbers: Sequence[int],
    num_draws: int,
    seed: int,
) -> dict[str, Any]:
    """Return both accuracies at each number of labels, and the size of the codes."""
    found = [
        probing.accuracies(
            codes,
            images.labels,
            test_codes,
            images.test_labels,
            num_labels=number,
            num_draws=num_draws,
            seed=seed,
        )
        for number in numbers
    ]
    return {
        "size": codes.shape[1],
        "seed": seed,
        "num_labels": list(numbers),
        "linear": [accuracies.linear for accuracies in found],
        "neighbours": [accuracies.neighbours for accuracies in found],
    }


def measure_run(
    folder: Path, known: set[tuple[Any, ...]], *, num_labels: Sequence[str], num_draws: int
) -> list[dict[str, Any]]:
    """Return the row of a run, and those of PCA and pixels if not yet known.

    Args:
      folder: its workdir.
      known: the baselines that were measured before; this run's are added.
      num_labels: numbers of labels, or "all".
      num_draws: of the labelled images.

    Raises:
      UserError: the run or its data cannot be measured.
    """
    model = trained.load_images(folder)
    seed = model.seed
    images = load_images(model)
    numbers = numbers_of_labels(num_labels, len(images.train))
    options: dict[str, Any] = {"numbers": numbers, "num_draws": num_draws, "seed": seed}
    seen = {"data": model.data.name, "images": _seen(model)}
    found = measure_codes(
        model.latents(images.train), model.latents(images.test), images, **options
    )
    digest = model.digest
    rows = [{"representation": model_name(model), "config_digest": digest, **seen, **found}]
    pixels, test_pixels = (part.reshape(len(part), -1) for part in (images.train, images.test))
    size = min(model.latent_size, *pixels.shape)
    for baseline in (("PCA", size), ("pixels", pixels.shape[1])):
        key = (*seen.values(), model.data.train_split, seed, *baseline)
        if key in known:
            continue
        known.add(key)
        codes = pixels, test_pixels
        if baseline[0] == "PCA":
            pca = PCA(size, random_state=0).fit(pixels)
            codes = pca.transform(pixels), pca.transform(test_pixels)
        rows.append(
            {"representation": baseline[0], **seen, **measure_codes(*codes, images, **options)}
        )
    return rows


def _seen(model: TrainedModel) -> str:
    return "grey values" if not model.binarizes else "binarised"
