"""Measure how images change when their latents move along an attribute.

Thickness, slant and size of the decoded images are measured against the degree. Directions come
from the difference of means and from a linear classifier, each with and without balancing the
classes and the other attributes of both groups of training images. The class is measured too: how
often it stays, and how often a digit becomes the class that it is moved towards.

Attributes (vae_jax/data/captions/morphology.py) and classes are measured on the decoded images, in
pixels. The class is the vote of the nearest training images, which have not passed through the
model. Images are scaled to unit length first: a pale digit would be nearest to whatever has little
ink.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax import plots, trained
from vae_jax.applications.editing import directions, published_plots
from vae_jax.applications.editing.attribute_vectors import METHODS, Contrast
from vae_jax.applications.editing.directions import Attribute, ClassChange, KnownImages
from vae_jax.data.captions.morphology import Morphology
from vae_jax.data.dataset import evenly_spaced
from vae_jax.data.pixels import as_floats
from vae_jax.errors import UserError
from vae_jax.evaluation import neighbours
from vae_jax.evaluation.reports import Measured
from vae_jax.trained import TrainedModel

# For classes only those from 0 on: an image cannot have less of a class than none.
DEGREES = np.linspace(-2, 2, 9)
_SHOWN_DEGREE = 1.5
_NUM_NEIGHBOURS = 5
# Training images among which the neighbours are searched.
_MOST_NEIGHBOURS = 5000


class Edited(NamedTuple):
    """Measurements of the edited images at each degree: attributes by name, and classes."""

    measured: dict[str, Float[np.ndarray, "degrees n"]]
    classes: Int[np.ndarray, "degrees n"]


class Examples(NamedTuple):
    """Test images as stored, their latents and their classes."""

    images: np.ndarray
    latents: Float[np.ndarray, "n latents"]
    labels: Int[np.ndarray, " n"]


def measure(
    folders: Sequence[Path], *, plots_folder: Path | None = None, num_test_examples: int = 1000
) -> Iterator[Measured]:
    """Edit the test images of runs; yield the results so far after each run.

    Args:
      folders: workdirs of runs of one config with several seeds.
      plots_folder: where edited images are drawn; None draws nothing.
      num_test_examples: test images that are edited, at most.
    """
    rows: list[dict[str, Any]] = []
    for folder in folders:
        # The plots show the edited images of the first run.
        found = measure_run(folder, num_test_examples, None if rows else plots_folder)
        rows += found
        print("\n".join([f"{folder}:", *map(_line, found)]), flush=True)
        yield {"rows": rows}


draw = published_plots.draw_curves


def _line(row: dict[str, Any]) -> str:
    degrees = row["degrees"]
    zero, one = degrees.index(0), degrees.index(1)
    changes = ", ".join(
        f"{name} {values[one] - values[zero]:+.3f}" for name, values in row["measured"].items()
    )
    text = f"{row['attribute']}, {published_plots.method_name(row)}: {changes}"
    if "class_reached" in row:
        return f"{text}; made that class: {row['class_reached'][one]:.1%}"
    return f"{text}; correlation {row['correlation']:.3f}, class kept {row['class_kept'][one]:.1%}"


def measure_run(folder: Path, num_images: int, plots_folder: Path | None) -> list[dict[str, Any]]:
    """Return a row per direction of a run.

    Args:
      folder: its workdir.
      num_images: test images that are edited, at most.
      plots_folder: where edited images are drawn; None draws nothing.

    Raises:
      UserError: the run's data have no classes.
    """
    model = trained.load_images(folder)
    opened = model.open_splits()
    known = directions.load_known(model, opened.train)
    test, labels = opened.test.images[:num_images], opened.test.labels
    if known.labels is None or labels is None:
        raise UserError(f"data.name={model.data.name!r} has no classes, which editing measures")
    examples = Examples(test, model.latents(test), labels[:num_images])
    if plots_folder is not None:
        _draw_images(plots_folder, model, known, examples)
    run = {
        "data": model.data.name,
        "seed": model.seed,
        "config_digest": model.digest,
        "num_images": len(test),
        "deviations": {
            name: float(np.nanstd(values)) for name, values in known.morphology._asdict().items()
        },
        "class_accuracy_of_originals": float(np.mean(_classify(known, test) == examples.labels)),
    }
    rows = []
    for attribute, balanced, contrast in _contrasts(known):
        name, degrees = attribute, DEGREES
        if isinstance(attribute, ClassChange):
            name, degrees = str(attribute.target), DEGREES[DEGREES >= 0]
        for method, find in METHODS.items():
            edited = _edit(model, known, examples, find(contrast), degrees)
            row = {
                "attribute": name,
                "method": method,
                "balanced": balanced,
                "degrees": degrees.tolist(),
            }
            rows.append(run | row | _metrics(edited, examples, known, attribute, contrast))
    return rows


def _contrasts(known: KnownImages) -> Iterator[tuple[Attribute, bool, Contrast]]:
    for name in Morphology._fields:
        for balanced in (True, False):
            yield name, balanced, directions.contrast(known, name, balanced=balanced)
    assert known.labels is not None, "refused by measure"
    for target in np.unique(known.labels):
        change = ClassChange(int(target))
        yield change, True, directions.contrast(known, change)


def _classify(known: KnownImages, images: np.ndarray) -> Int[np.ndarray, " n"]:
    """Return the classes of images, by the pixels of known images."""
    indices = evenly_spaced(len(known.images), _MOST_NEIGHBOURS)
    assert known.labels is not None, "refused by measure"

    def pixels(stored: np.ndarray) -> np.ndarray:
        flat = as_floats(stored).reshape(len(stored), -1)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

    return neighbours.predict(
        pixels(known.images[indices]), known.labels[indices], pixels(images), _NUM_NEIGHBOURS
    )


def _edit(
    model: TrainedModel,
    known: KnownImages,
    examples: Examples,
    vector: np.ndarray,
    degrees: np.ndarray,
) -> Edited:
    morphologies, classes = [], []
    for images in directions.edits(model, examples.latents, vector, degrees):
        morphologies.append(directions.measure_stored(images))
        classes.append(_classify(known, images))
    by_name = zip(Morphology._fields, zip(*morphologies, strict=True), strict=True)
    return Edited({name: np.stack(values) for name, values in by_name}, np.stack(classes))


def _metrics(
    edited: Edited,
    examples: Examples,
    known: KnownImages,
    attribute: Attribute,
    contrast: Contrast,
) -> dict[str, Any]:
    """Return the metrics of a direction; an attribute's are over images where it is measurable."""
    found: dict[str, Any] = {
        "measured": {
            name: np.nanmean(values, axis=1).tolist() for name, values in edited.measured.items()
        },
        "class_kept": (edited.classes == examples.labels).mean(axis=1).tolist(),
        "num_unmeasured": int(np.isnan(edited.measured["size"]).sum()),
    }
    if isinstance(attribute, ClassChange):
        others = examples.labels != attribute.target
        is_target = edited.classes[:, others] == attribute.target
        return found | {"class_reached": is_target.mean(axis=1).tolist()}
    assert isinstance(attribute, str), "factors have a use of their own, factor_editing"
    values = edited.measured[attribute]
    whole = values[:, np.isfinite(values).all(axis=0)]
    return found | {
        "groups_apart": contrast.difference(getattr(known.morphology, attribute)),
        "correlation": _correlation(whole),
        "rising": float((np.diff(whole, axis=0) > 0).all(axis=0).mean()),
    }


def _correlation(values: Float[np.ndarray, "degrees n"]) -> float:
    """Return the correlation of degree and attribute within each image, averaged over images."""
    degrees = DEGREES - DEGREES.mean()
    centred = values - values.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=0) * np.linalg.norm(degrees)
    # An image that does not change has no correlation, and counts as 0.
    return float(np.mean(degrees @ centred / np.where(lengths > 0, lengths, 1)))


def _draw_images(
    plots_folder: Path, model: TrainedModel, known: KnownImages, examples: Examples
) -> None:
    """Plot the first test image of each class with more and less of each attribute."""
    classes, first = np.unique(examples.labels, return_index=True)
    latents = examples.latents[first]
    minus = "\N{MINUS SIGN}"
    find = METHODS["mean_difference"]
    for name in Morphology._fields:
        vector = find(directions.contrast(known, name))
        rows = np.stack(list(directions.edits(model, latents, vector, DEGREES)), axis=1)
        labels = [f"{degree:g}".replace("-", minus) for degree in DEGREES]
        figure = plots.edited_images(rows, labels, f"degree of {name}")
        plots.save(figure, plots_folder / f"{name}.png")
    columns = [
        next(directions.edits(model, latents, vector, np.array([_SHOWN_DEGREE])))
        for vector in (find(directions.contrast(known, ClassChange(int(c)))) for c in classes)
    ]
    figure = plots.edited_images(
        np.stack([model.decode(latents), *columns], axis=1),
        ["as is", *map(str, classes)],
        f"moved by degree {_SHOWN_DEGREE:g} towards class",
    )
    plots.save(figure, plots_folder / "classes.png")
