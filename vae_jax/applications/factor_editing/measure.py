"""Measure how one factor of images changes by degree, and what else changes with it.

Held-out images move from the training images without a value of the factor, such as sunglasses,
towards those with it. Classifiers that were trained on real images, one per factor,
read the decoded images: whether they have the value, and whether the other factors are read as in
the reconstruction at degree 0. Images that have the value are moved back, which removes it.

Where the data have a split `twins`, the test images in the same order with the factor changed, the
edited images are compared with them, and a path leads from an image to its twin.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax import data, plots, trained, workdir
from vae_jax.applications.editing import directions
from vae_jax.applications.editing.attribute_vectors import CONDITIONAL, METHODS, shift
from vae_jax.applications.editing.directions import FactorChange
from vae_jax.applications.factor_editing.plot import factor_curves
from vae_jax.data import Dataset
from vae_jax.data.factors import Factors
from vae_jax.data.pixels import as_floats
from vae_jax.errors import UserError
from vae_jax.evaluation.classifier import Classifier, load_by_factor, require_same_data
from vae_jax.evaluation.image_quality import peak_signal_to_noise_ratio
from vae_jax.evaluation.reports import Measured, Row
from vae_jax.models import latent_paths
from vae_jax.trained import TrainedModel

DEGREES = np.linspace(-0.5, 1.5, 9)
# Of a path from an image to its twin.
_PATH_DEGREES = np.linspace(0, 1, 9)
_NUM_SHOWN = 6
_TWINS = "twins"


class Readings(NamedTuple):
    """The values of factors that classifiers read from the edited images.

    Attributes:
      by_factor: by the name of the factor, the value of each image at each degree.
      images: edited images at degree 1.
    """

    by_factor: dict[str, Int[np.ndarray, "degrees n"]]
    images: Float[np.ndarray, "n height width channels"]


def measure(
    folders: Sequence[Path],
    *,
    plots_folder: Path | None = None,
    change: str = "accessory:none-sunglasses",
    classifiers: Sequence[str] = (),
    num_test_examples: int = 1000,
) -> Iterator[Measured]:
    """Edit a factor of runs' test images; yield the results so far after each.

    Args:
      folders: workdirs of runs of one config with several seeds.
      plots_folder: where edited images are drawn; None draws nothing.
      change: of a factor, such as `accessory:none-sunglasses`.
      classifiers: directories of classifiers, one per factor, among them the edited one.
      num_test_examples: test images of which those with and without the value are edited, at most.

    Raises:
      UserError: `change` is of no factor, its classifier is missing, or a classifier was trained
        on other data than a run.
    """
    parsed = directions.parse(change)
    if not isinstance(parsed, FactorChange):
        raise UserError(f"--change={change} is of no factor; name one such as mouth:sad-smile")
    readers = _readers(classifiers, parsed.factor)
    models = [trained.load_images(folder) for folder in folders]
    for model in models:
        for name, reader in readers.items():
            require_same_data(reader, f"the classifier of {name!r}", model.data.name)
    rows: list[dict[str, Any]] = []
    for folder, model in zip(folders, models, strict=True):
        found = measure_run(
            folder, model, parsed, readers, num_test_examples, None if rows else plots_folder
        )
        rows += found
        print("\n".join([f"{folder}:", *map(_line, found)]), flush=True)
        yield {"rows": rows, "classifiers": _described(readers)}


def draw(rows: Sequence[Row], plots_folder: Path) -> None:
    """Draw what classifiers read, by degree."""
    plots.save(factor_curves(rows), plots_folder / "curves.png")


def _readers(folders: Sequence[str], edited: str) -> dict[str, Classifier]:
    """Return classifiers by their factor, the edited one first."""
    readers = load_by_factor(folders)
    if edited not in readers:
        raise UserError(
            f"--classifiers has none of the factor {edited!r}, which is edited; train it with "
            f"experiments.classifier --factor={edited}"
        )
    return {edited: readers.pop(edited), **readers}


def _described(readers: Mapping[str, Classifier]) -> dict[str, dict[str, Any]]:
    """Return the accuracy on real test images and the blur in training, by factor."""
    return {
        name: {
            "test_accuracy": reader.facts["test_accuracy"],
            # Classifiers of earlier versions lack it, and were trained without.
            "blur": reader.facts.get("blur"),
        }
        for name, reader in readers.items()
    }


def _line(row: dict[str, Any]) -> str:
    zero, one = (row["degrees"].index(degree) for degree in (0, 1))
    added, removed = row["added"], row["removed"]
    kept = ", ".join(f"{name} {shares[one]:.1%}" for name, shares in added["unchanged"].items())
    return (
        f"{row['attribute']}, {row['method']}: read at degree 0 {added['read'][zero]:.1%}, at 1 "
        f"{added['read'][one]:.1%}; unchanged {kept}; removed, read at 1 "
        f"{removed['read'][one]:.1%}"
    )


def measure_run(
    folder: Path,
    model: TrainedModel,
    change: FactorChange,
    readers: Mapping[str, Classifier],
    num_images: int,
    plots_folder: Path | None,
) -> list[dict[str, Any]]:
    """Return a row per method that finds the direction.

    Args:
      folder: the run's workdir.
      model: of the run.
      change: of a factor.
      readers: classifiers by the factor that they read, the edited one first.
      num_images: test images, at most.
      plots_folder: where edited images are drawn; None draws nothing.

    Raises:
      UserError: the run's data have no such factor or value, or no test image has the value.
    """
    opened = model.open_splits()
    known = directions.load_known(model, opened.train)
    contrast = directions.contrast(known, change)
    test = opened.test.read(np.arange(min(num_images, opened.test.shape[0])))
    twins = _twins(model, len(test.images))
    values = test.factors.column(change.factor)
    target = test.factors.value(change.factor, change.target)
    with_value = values == target
    without = ~with_value
    if change.source is not None:
        without = values == test.factors.value(change.factor, change.source)
    if not with_value.any() or not without.any():
        raise UserError(
            f"the {len(values):,} test images do not all differ in {change.factor!r}; use more"
        )
    latents = model.latents(test.images)
    run = {
        "data": model.data.name,
        "seed": model.seed,
        "config_digest": model.digest,
        "attribute": f"{change.factor}:{change.target}",
        "source": change.source,
        "num_test_images": len(test.images),
        "degrees": DEGREES.tolist(),
    }
    summary = workdir.read_summary(folder)
    if summary is not None and "bits_per_dim" in summary["test"]:
        run["bits_per_dim"] = summary["test"]["bits_per_dim"]
    found: dict[str, dict[str, Any]] = {method: {} for method in (*METHODS, CONDITIONAL)}
    for name, is_chosen, towards in (
        ("added", without, contrast),
        ("removed", with_value, contrast.reversed()),
    ):
        chosen = np.flatnonzero(is_chosen)
        again = None if twins is None else model.decode(model.latents(twins.images[chosen]))
        for method, row in found.items():
            moved_by = shift(method, towards, latents[chosen])
            read = _read(model, readers, latents[chosen], moved_by)
            row[name] = _shares(read, target, change.factor, test.factors.read(chosen))
            if twins is not None and again is not None:
                row[name]["psnr_to_twins"] = _psnr(read.images, twins.images[chosen])
                row[name]["psnr_of_reconstructed_twins"] = _psnr(again, twins.images[chosen])
                row[name]["unchanged_in_twins"] = _unchanged(read, readers, again)
            if plots_folder is not None and method == CONDITIONAL:
                shown, path = chosen[:_NUM_SHOWN], plots_folder / f"{name}.png"
                images = test.images[shown]
                _draw_edits(model, images, latents[shown], moved_by[:_NUM_SHOWN], path)
    if plots_folder is not None and twins is not None:
        shown = np.flatnonzero(without)[:_NUM_SHOWN]
        path = plots_folder / "twins.png"
        _draw_paths(model, test.images[shown], latents[shown], twins.images[shown], path)
    return [{**run, "method": method, **row} for method, row in found.items()]


def _twins(model: TrainedModel, num: int) -> Dataset | None:
    """Return the twins of the first test images; None where the data have none."""
    section = model.data
    # The test set, or a slice of it.
    split = re.fullmatch(r"test(\[[^+]*\])?", section.test_split)
    if split is None or _TWINS not in data.split_sizes(section.name, section.dir):
        return None
    twins = f"{_TWINS}{split[1] or ''}"
    return data.load(section.name, twins, section.dir, section.image_size).read(np.arange(num))


def _read(
    model: TrainedModel,
    readers: Mapping[str, Classifier],
    latents: Float[np.ndarray, "n latents"],
    change: Float[np.ndarray, "n latents"],
) -> Readings:
    by_factor: dict[str, list[np.ndarray]] = {name: [] for name in readers}
    at_one = np.empty(0)
    for degree, edited in zip(
        DEGREES, directions.edits(model, latents, change, DEGREES), strict=True
    ):
        images = np.clip(edited, 0, 1)
        for name, reader in readers.items():
            by_factor[name].append(reader.predict(images))
        at_one = images if degree == 1 else at_one
    return Readings({name: np.stack(values) for name, values in by_factor.items()}, at_one)


def _shares(read: Readings, target: int, edited: str, factors: Factors) -> dict[str, Any]:
    """Return the share of images with the value, and with each other factor as at degree 0.

    `right` is the share whose other factor is read as it is in the image that was edited.
    """
    zero = DEGREES.tolist().index(0)
    unchanged = {
        name: (values == values[zero]).mean(axis=1).tolist()
        for name, values in read.by_factor.items()
        if name != edited
    }
    right = {
        name: (values == factors.column(name)).mean(axis=1).tolist()
        for name, values in read.by_factor.items()
        if name != edited
    }
    values = read.by_factor[edited]
    return {
        "num_images": values.shape[1],
        "read": (values == target).mean(axis=1).tolist(),
        "unchanged": unchanged,
        "right": right,
    }


def _unchanged(
    read: Readings, readers: Mapping[str, Classifier], twins: Float[np.ndarray, "n ..."]
) -> dict[str, float]:
    """Return the share of reconstructed twins whose factor is read as in the image's own.

    No edit can be expected to keep more.
    """
    zero = DEGREES.tolist().index(0)
    images = np.clip(twins, 0, 1)
    return {
        name: float((reader.predict(images) == read.by_factor[name][zero]).mean())
        for name, reader in readers.items()
    }


def _psnr(images: np.ndarray, stored: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB, of the squared error over all images."""
    clean = as_floats(stored)
    return peak_signal_to_noise_ratio(np.clip(images, 0, 1), clean)


def _draw_edits(
    model: TrainedModel, stored: np.ndarray, latents: np.ndarray, change: np.ndarray, path: Path
) -> None:
    """Plot images, then their edits by degree."""
    edited = np.stack(list(directions.edits(model, latents, change, DEGREES)), axis=1)
    minus = "\N{MINUS SIGN}"
    labels = ["image", *(f"{degree:g}".replace("-", minus) for degree in DEGREES)]
    whole = np.concatenate([_column(stored), edited], axis=1)
    plots.save(plots.edited_images(np.clip(whole, 0, 1), labels, "degree"), path)


def _draw_paths(
    model: TrainedModel, stored: np.ndarray, latents: np.ndarray, twins: np.ndarray, path: Path
) -> None:
    """Plot paths from images to their twins, between both as they are stored."""
    degrees = _PATH_DEGREES.astype(np.float32)
    points = latent_paths.linear_interpolation(latents, model.latents(twins), degrees)
    decoded = np.stack([model.decode(of_degree) for of_degree in points], axis=1)
    labels = ["image", *(f"{degree:g}" for degree in _PATH_DEGREES), "twin"]
    whole = np.concatenate([_column(stored), decoded, _column(twins)], axis=1)
    caption = "degree of linear interpolation"
    plots.save(plots.edited_images(np.clip(whole, 0, 1), labels, caption), path)


def _column(stored: np.ndarray) -> Float[np.ndarray, "n 1 height width channels"]:
    """Return stored images as a column of a plot."""
    return as_floats(stored)[:, None]
