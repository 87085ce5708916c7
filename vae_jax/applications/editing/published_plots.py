"""The curves of latent arithmetic, drawn from the measured rows alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import plots
from vae_jax.applications.editing.plot import attribute_curves, class_curves
from vae_jax.data.captions.morphology import Morphology

Rows = Sequence[dict[str, Any]]

UNITS = {"thickness": "pixels", "slant": "degrees", "size": "pixels"}


def method_name(row: dict[str, Any]) -> str:
    """Return the printed name of the method that found a direction."""
    name = str(row["method"]).replace("_", " ")
    return name if row["balanced"] else f"{name}, not balanced"


def draw_curves(rows: Rows, plots_folder: Path) -> None:
    """Draw the metrics of all runs against the degree: of attributes, and of classes."""
    measured = [row for row in rows if row["attribute"] in UNITS]
    # Balanced ones first: they get the solid lines.
    names = dict.fromkeys(
        method_name(row) for row in sorted(measured, key=lambda row: not row["balanced"])
    )

    def curves(metric: str) -> dict[str, dict[str, np.ndarray]]:
        def values(row: dict[str, Any]) -> np.ndarray:
            if metric in UNITS:
                return np.array(row["measured"][metric])
            return 100 * np.array(row[metric])

        return {
            added: {
                name: np.stack(
                    [
                        values(row)
                        for row in measured
                        if row["attribute"] == added and method_name(row) == name
                    ]
                )
                for name in names
            }
            for added in Morphology._fields
        }

    panels = {f"{name} ({unit})": curves(name) for name, unit in UNITS.items()}
    panels["class kept (%)"] = curves("class_kept")
    apart = {
        added: float(
            np.mean(
                [r["groups_apart"] for r in measured if r["attribute"] == added and r["balanced"]]
            )
        )
        for added in Morphology._fields
    }
    degrees = np.array(measured[0]["degrees"])
    plots.save(attribute_curves(degrees, panels, apart), plots_folder / "curves.png")

    of_classes = [row for row in rows if row["attribute"] not in UNITS]
    classes = list(dict.fromkeys(row["attribute"] for row in of_classes))
    reached = {
        method: {
            name: np.stack(
                [
                    np.array(row["class_reached"])
                    for row in of_classes
                    if row["attribute"] == name and method_name(row) == method
                ]
            )
            for name in classes
        }
        for method in dict.fromkeys(map(method_name, of_classes))
    }
    figure = class_curves(np.array(of_classes[0]["degrees"]), reached, classes)
    plots.save(figure, plots_folder / "class_reached.png")
