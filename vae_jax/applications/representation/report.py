"""The table and the picture of what the codes of trained models tell of the classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.evaluation import markdown
from vae_jax.evaluation.measured_section import Measured, grouped, mean_and_deviation, of_results

_METHODS = {"linear": "linear probe", "neighbours": "5 neighbours"}

BASELINES = ("PCA", "pixels")

Panels = dict[str, dict[str, tuple[Sequence[int], np.ndarray]]]


@of_results
def section(measured: Measured, path: Path) -> str:
    """The section of a document.

    Args:
      measured: what `benchmarks.representation` wrote.
      path: where it stands.
    """
    rows = measured["rows"]
    tables = "".join(
        f"\n{data}, {seen}:\n\n{_table(group)}"
        for (data, seen), group in grouped(rows, "data", "images").items()
    )
    picture = path.with_suffix(".png")
    shown = f"\n![Accuracy by number of labels]({picture.parent.name}/{picture.name})\n"
    return (
        "## Representation\n\n"
        "Test accuracy in per cent of a linear probe, and of the vote of 5 neighbours, on "
        "posterior means, on PCA\nof the same size and on raw pixels, by how many training images "
        "have labels: of each class as many,\nthe mean of "
        f"{measured['num_draws']} draws. Mean ± standard deviation over seeds, of training and of "
        "the draws. The probe's\npenalty is chosen on a fifth of the labelled images "
        "(`vae_jax/applications/representation/probing.py`).\n"
        f"{tables}{shown if picture.is_file() else ''}"
    )


def panels(rows: Sequence[dict[str, Any]]) -> Panels:
    """What `figures.accuracy_by_labels` draws: a row of panels for each size and kind of images."""
    found: Panels = {}
    kinds = grouped(rows, "data", "images")
    for (data, seen), kind in kinds.items():
        pixels = [row for row in kind if row["representation"] == "pixels"]
        coded = [row for row in kind if row["representation"] != "pixels"]
        for (size,), group in grouped(coded, "size").items():
            lines = grouped([*group, *pixels], "representation")
            for method, title in _METHODS.items():
                of_images = f", {data}, {seen}" if len(kinds) > 1 else ""
                found[f"{title}, {size} latents{of_images}"] = {
                    name: (members[0]["num_labels"], np.array([row[method] for row in members]))
                    for (name,), members in lines.items()
                }
    return found


def _table(rows: Sequence[dict[str, Any]]) -> str:
    numbers = rows[0]["num_labels"]
    heading = ["representation", "numbers", "seeds"]
    heading += [f"{title}, {number:,}" for title in _METHODS.values() for number in numbers]
    lines = []
    groups = grouped(rows, "representation", "size")
    for name, size in sorted(groups, key=lambda group: group[1]):
        members = groups[name, size]
        cells = [
            mean_and_deviation([100 * row[method][place] for row in members], ".1f")
            for method in _METHODS
            for place in range(len(numbers))
        ]
        lines.append([name, str(size), str(len(members)), *cells])
    return markdown.table(heading, lines)
