"""Plots of modalities that a joint model generated from others."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num

from vae_jax.plots.images import as_rgb, picture, tiled
from vae_jax.plots.style import ACCENT, INK, styled

if TYPE_CHECKING:
    # Imported in the functions that draw: it is slow, and most programs draw nothing.
    import matplotlib.figure

Images = Num[np.ndarray, "n height width channels"]

# In inches: the side of an image, the gap between two, the height of a line of 7-point text.
_SIDE = 1.12
_GAP = 0.16
_LINE = 0.125
_CHARACTERS_PER_LINE = 21


@styled
def captioned_images(
    images: Images, captions: Mapping[str, Sequence[str]], columns: int = 5
) -> "matplotlib.figure.Figure":
    """Plot images in reading order with captions beneath, one colour per source of captions.

    Args:
      images: images to show.
      captions: one text per image, by the source's name; with two sources, a line on top names them
        in their colours.
      columns: images per row.
    """
    from matplotlib.figure import Figure

    rgb = as_rgb(images)
    for source, texts in captions.items():
        if len(texts) != len(rgb):
            raise ValueError(f"{len(texts)} captions of {source!r} for {len(rgb)} images")
    colours = dict(zip(captions, (INK, ACCENT), strict=False))
    wrapped = {
        source: [textwrap.wrap(text, _CHARACTERS_PER_LINE) or ["(nothing)"] for text in texts]
        for source, texts in captions.items()
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
        for column, index in enumerate(row):
            left = 0.13 + column * (_SIDE + _GAP)
            axes = figure.add_axes((left / width, bottom / height, _SIDE / width, _SIDE / height))
            axes.imshow(rgb[index])
            axes.set_axis_off()
            y = bottom - 0.05
            for source, lines in wrapped.items():
                figure.text(
                    (left + _SIDE / 2) / width,
                    y / height,
                    "\n".join(lines[index]),
                    ha="center",
                    va="top",
                    fontsize=7,
                    linespacing=1.15,
                    color=colours[source],
                )
                y -= _LINE * (len(lines[index]) + 0.5)
        bottom -= below_row
    if len(captions) > 1:
        x = 0.13
        for source in captions:
            figure.text(
                x / width, 1 - 0.08 / height, source, va="top", fontsize=8, color=colours[source]
            )
            x += 0.075 * len(source) + 0.25
    return figure


@styled
def images_of_captions(
    images: Num[np.ndarray, "captions samples height width channels"], captions: Sequence[str]
) -> "matplotlib.figure.Figure":
    """Plot a row of images per caption, beside the caption that they were generated from."""
    if len(images) != len(captions):
        raise ValueError(f"{len(captions)} captions for {len(images)} rows of images")
    return picture(tiled(as_rgb(images)), row_labels=captions)


@styled
def joint_samples(samples: Mapping[str, Images]) -> "matplotlib.figure.Figure":
    """Plot joint samples, one column per draw of the latents, one row per modality."""
    return picture(
        tiled(np.stack([as_rgb(images) for images in samples.values()])),
        row_labels=[_words(name) for name in samples],
    )


@styled
def missing_modalities(
    originals: Mapping[str, Images], recovered: Mapping[str, Images]
) -> "matplotlib.figure.Figure":
    """Plot each modality above its reconstruction from all others, one block per modality.

    Args:
      originals: by modality; row i belongs to example i.
      recovered: some of the modalities, generated from the others of the same examples.
    """
    unknown = [name for name in recovered if name not in originals]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is recovered and has no original")
    strips = [as_rgb(images) for name in recovered for images in (originals[name], recovered[name])]
    labels = [label for name in recovered for label in (_words(name), "from the others")]
    return picture(tiled(np.stack(strips), rows_in_block=2), row_labels=labels)


def _height_of_texts(wrapped: Mapping[str, Sequence[Sequence[str]]], row: Iterable[int]) -> float:
    """Return the height in inches of the longest text beneath a row's images, with a gap."""
    lines = max(sum(len(texts[i]) + 0.5 for texts in wrapped.values()) for i in row)
    return _LINE * lines + 0.1


def _words(name: str) -> str:
    return name.replace("_", " ")
