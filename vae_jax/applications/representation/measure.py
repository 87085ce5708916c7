"""What the codes of a run tell of the classes, beside PCA of the same size and raw pixels.

A part of `benchmarks/representation.py`, which has the flags.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.decomposition import PCA

from vae_jax import config as factory
from vae_jax import trained
from vae_jax.applications.representation import probing
from vae_jax.config.experiment import AnyExperiment
from vae_jax.data.dataset import read_all
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring


class LabelledImages(NamedTuple):
    """Images as a model sees them, and their classes."""

    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def name(config: AnyExperiment) -> str:
    """What the table calls a model."""
    denoising = "" if config.corruption == "none" else "denoising "
    if config.model.name == "autoencoder":
        return f"{denoising}autoencoder"
    beta = config.hparams.beta
    return f"{denoising}VAE" if beta == 1 else f"{denoising}beta-VAE, beta {beta:g}"


def numbers_of_labels(asked: Sequence[str], num_examples: int) -> list[int]:
    """The numbers that --num_labels names.

    Raises:
      UserError: one is no number from 1 to that of the examples.
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


def load_images(config: AnyExperiment) -> LabelledImages:
    """The training and test images of a run, which must have labels.

    Raises:
      UserError: they have none, or cannot be read.
    """
    splits = factory.load_splits(config)
    train, test = read_all(splits.train), splits.test
    if train.labels is None or test.labels is None:
        raise UserError(f"data.name={config.data.name!r} has no labels, which a probe needs")
    return LabelledImages(
        measuring.prepare_train(config, train),
        train.labels,
        measuring.prepare_test(config, test),
        test.labels,
    )


def measure(
    codes: np.ndarray,
    test_codes: np.ndarray,
    images: LabelledImages,
    *,
    numbers: Sequence[int],
    num_draws: int,
    seed: int,
) -> dict[str, Any]:
    """Both accuracies at each number of labels, and the size of the codes."""
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
    """The row of a run, and those of PCA and pixels as far as they are not yet known.

    Args:
      folder: its workdir.
      known: what was measured of PCA and pixels before; this run's are added.
      num_labels: numbers of labels, or "all".
      num_draws: of the labelled images.

    Raises:
      UserError: the run or its data cannot be measured.
    """
    model = trained.load_images(folder)
    config, seed = model.config, model.config.seed
    images = load_images(config)
    numbers = numbers_of_labels(num_labels, len(images.train))
    options: dict[str, Any] = {"numbers": numbers, "num_draws": num_draws, "seed": seed}
    seen = {"data": config.data.name, "images": _seen(config)}
    found = measure(model.encode(images.train), model.encode(images.test), images, **options)
    digest = model.digest
    rows = [{"representation": name(config), "config_digest": digest, **seen, **found}]
    pixels, test_pixels = (part.reshape(len(part), -1) for part in (images.train, images.test))
    size = min(model.latent_size, *pixels.shape)
    for baseline in (("PCA", size), ("pixels", pixels.shape[1])):
        key = (*seen.values(), config.data.train_split, seed, *baseline)
        if key in known:
            continue
        known.add(key)
        codes = pixels, test_pixels
        if baseline[0] == "PCA":
            pca = PCA(size, random_state=0).fit(pixels)
            codes = pca.transform(pixels), pca.transform(test_pixels)
        rows.append({"representation": baseline[0], **seen, **measure(*codes, images, **options)})
    return rows


def _seen(config: AnyExperiment) -> str:
    return "grey values" if config.data.binarization.name == "none" else "binarised"
