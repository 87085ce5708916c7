"""Pictures of what a joint model makes of one modality from others."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num

from vae_jax.plots.images import as_rgb, picture, tiled
from vae_jax.plots.style import ACCENT, INK, styled

if TYPE_CHECKING:
    # Imported inside the functions that draw: a training run that draws nothing pays nothing.
    import matplotlib.figure

Images = Num[np.ndarray, "n height width channels"]

# In inches: of one image, between two, and of a line of text of 7 points.
_SIDE = 1.12
_GAP = 0.16
_LINE = 0.125
_SIGNS_A_LINE = 21


@styled
def captioned_images(
    images: Images, captions: Mapping[str, Sequence[str]], columns: int = 5
) -> "matplotlib.figure.Figure":
    """Return images in reading order, beneath each what is said of it: a colour a teller.

    Args:
      images: to be shown.
      captions: as many texts by who said them; with more than one teller, a line on top names
        them in their colours.
      columns: images a row.
    """
    from matplotlib.figure import Figure

    rgb = as_rgb(images)
    for teller, told in captions.items():
        if len(told) != len(rgb):
            raise ValueError(f"{len(told)} captions of {teller!r} for {len(rgb)} images")
    colours = dict(zip(captions, (INK, ACCENT), strict=False))
    wrapped = {
        teller: [textwrap.wrap(text, _SIGNS_A_LINE) or ["(nothing)"] for text in told]
        for teller, told in captions.items()
    }
    columns = min(columns, len(rgb))
    rows = [range(first, min(first + columns, len(rgb))) for first in range(0, len(rgb), columns)]
    below = [_height_of_texts(wrapped, row) for row in rows]
    top = 0.3 if len(captions) > 1 else 0.06
    width, height = columns * (_SIDE + _GAP) + 0.1, top + sum(below) + len(rows) * _SIDE
    figure = Figure(figsize=(width, height))
    bottom = height - top
    for row, below_row in zip(rows, below, strict=True):
        bottom -= _SIDE
        for column, place in enumerate(row):
            left = 0.13 + column * (_SIDE + _GAP)
            axes = figure.add_axes((left / width, bottom / height, _SIDE / width, _SIDE / height))
            axes.imshow(rgb[place])
            axes.set_axis_off()
            y = bottom - 0.05
            for teller, texts in wrapped.items():
                figure.text(
                    (left + _SIDE / 2) / width,
                    y / height,
                    "\n".join(texts[place]),
                    ha="center",
                    va="top",
                    fontsize=7,
                    linespacing=1.15,
                    color=colours[teller],
                )
                y -= _LINE * (len(texts[place]) + 0.5)
        bottom -= below_row
    if len(captions) > 1:
        x = 0.13
        for teller in captions:
            figure.text(
                x / width, 1 - 0.08 / height, teller, va="top", fontsize=8, color=colours[teller]
            )
            x += 0.075 * len(teller) + 0.25
    return figure


@styled
def images_of_captions(
    images: Num[np.ndarray, "captions samples height width channels"], captions: Sequence[str]
) -> "matplotlib.figure.Figure":
    """Return a row of images drawn of each caption, which stands beside it."""
    if len(images) != len(captions):
        raise ValueError(f"{len(captions)} captions for {len(images)} rows of images")
    return picture(tiled(as_rgb(images)), row_labels=captions)


@styled
def joint_samples(samples: Mapping[str, Images]) -> "matplotlib.figure.Figure":
    """Return a column a draw of the latents, a row each modality that is made of it."""
    return picture(
        tiled(np.stack([as_rgb(images) for images in samples.values()])),
        row_labels=[_words(name) for name in samples],
    )


@styled
def missing_modalities(
    originals: Mapping[str, Images], recovered: Mapping[str, Images]
) -> "matplotlib.figure.Figure":
    """Plot each modality above its reconstruction from all others, a block per modality.

    Args:
      originals: by modality, row i of the same example.
      recovered: of some of them, from the other modalities of the same examples.
    """
    unknown = [name for name in recovered if name not in originals]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is recovered and has no original")
    strips = [as_rgb(images) for name in recovered for images in (originals[name], recovered[name])]
    labels = [label for name in recovered for label in (_words(name), "from the others")]
    return picture(tiled(np.stack(strips), rows_in_block=2), row_labels=labels)


def _height_of_texts(wrapped: Mapping[str, Sequence[Sequence[str]]], row: Iterable[int]) -> float:
    """Return the height in inches of the longest text beneath a row's images, and of a gap."""
    lines = max(sum(len(texts[i]) + 0.5 for texts in wrapped.values()) for i in row)
    return _LINE * lines + 0.1


def _words(name: str) -> str:
    return name.replace("_", " ")
