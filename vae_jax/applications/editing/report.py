"""The tables of what moving latents along attributes does to images."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from vae_jax.applications.editing.published_plots import UNITS, Rows, method_name
from vae_jax.evaluation import markdown
from vae_jax.evaluation.measured_section import Measured, mean_and_deviation, of_results, pictures

_DEGREES_OF_CLASSES = (1.0, 1.5, 2.0)

_PICTURES = {
    "curves.png": "Attributes and class against the degree",
    "thickness.png": "Thickness by degree",
    "slant.png": "Slant by degree",
    "size.png": "Size by degree",
    "class_reached.png": "Images that have become another class, by degree",
    "classes.png": "Digits moved towards each class",
}


@of_results
def section(measured: Measured, path: Path) -> str:
    """The section of a document.

    Args:
      measured: what `benchmarks.latent_arithmetic` wrote.
      path: where it stands; its pictures lie in a folder of its name beside it.
    """
    rows = measured["rows"]
    first = rows[0]
    tables = [
        _attributes_table([row for row in rows if row["attribute"] in UNITS]),
        _classes_table([row for row in rows if row["attribute"] not in UNITS]),
    ]
    seeds = len({row["seed"] for row in rows})
    originals = statistics.fmean(row["class_told_of_originals"] for row in rows)
    kept = statistics.fmean(row["class_kept"][row["degrees"].index(0)] for row in rows)
    return (
        "## Latent arithmetic\n\n"
        f"{first['num_images']:,} test images of {first['data']}, encoded, moved along the "
        "direction of an attribute and decoded: mean ±\nstandard deviation over "
        f"{seeds} seeds of `configs/vanilla.py`. Degree 1 is as far as from the quarter of the\n"
        "training images with the least of the attribute to the quarter with the most. Both have "
        "the same\nclasses, and on average the same of the other attributes; of directions that "
        "are not balanced they\nhave not. Changes are from degree 0, the reconstruction, to degree "
        "1, as measured of the decoded\nimages (`vae_jax/data/captions/morphology.py`), beside the "
        "difference "
        "of the quarters. Correlation is that of degree\nand attribute within an image, from -2 to "
        "2, and rising the share of the images whose attribute grows\nat each of eight steps. A "
        "class is kept where 5 neighbours among training images, by pixels at unit\nlength, tell "
        f"it: they tell that of {originals:.1%} of the test images, and of {kept:.1%} as "
        "reconstructed.\n\n"
        f"{tables[0]}\n"
        "Images of all other classes moved towards one, and the share that the neighbours take "
        "for it. Degree\n1 is from the mean of the other classes' means to that of the class.\n\n"
        f"{tables[1]}{pictures(path, _PICTURES)}"
    )


def _attributes_table(rows: Rows) -> str:
    heading = ["added", "direction", *(f"{name} ({unit})" for name, unit in UNITS.items())]
    heading += ["groups differ by", "correlation", "rising"]
    heading += ["class kept at -1", "at 1", "at 2"]
    lines = []
    for added, method in dict.fromkeys((row["attribute"], method_name(row)) for row in rows):
        group = [row for row in rows if (row["attribute"], method_name(row)) == (added, method)]
        zero, one = (group[0]["degrees"].index(degree) for degree in (0, 1))
        of_seeds = [row["measured"] for row in group]
        changes = {
            name: mean_and_deviation(
                [values[name][one] - values[name][zero] for values in of_seeds], "+.2f"
            )
            for name in UNITS
        }
        changes[added] = f"**{changes[added]}**"
        kept = [
            _percent([row["class_kept"][group[0]["degrees"].index(degree)] for row in group])
            for degree in (-1, 1, 2)
        ]
        lines.append(
            [
                added,
                method,
                *changes.values(),
                f"{statistics.fmean(row['groups_apart'] for row in group):.2f}",
                f"{statistics.fmean(row['correlation'] for row in group):.3f}",
                _percent([row["rising"] for row in group]),
                *kept,
            ]
        )
    return markdown.table(heading, lines)


def _classes_table(rows: Rows) -> str:
    methods = list(dict.fromkeys(map(method_name, rows)))
    heading = ["made"]
    heading += [f"{method}, {degree:g}" for method in methods for degree in _DEGREES_OF_CLASSES]

    def cells(chosen: Rows) -> list[str]:
        """Shares of a seed are averaged over classes before the deviation is taken."""
        return [
            _percent(
                [
                    statistics.fmean(
                        row["class_reached"][row["degrees"].index(degree)]
                        for row in chosen
                        if row["seed"] == seed and method_name(row) == method
                    )
                    for seed in dict.fromkeys(row["seed"] for row in chosen)
                ]
            )
            for method in methods
            for degree in _DEGREES_OF_CLASSES
        ]

    lines = [
        [name, *cells([row for row in rows if row["attribute"] == name])]
        for name in dict.fromkeys(row["attribute"] for row in rows)
    ]
    return markdown.table(heading, [*lines, ["mean", *cells(rows)]])


def _percent(values: Sequence[float]) -> str:
    return f"{mean_and_deviation([100 * value for value in values], '.1f')} %"
