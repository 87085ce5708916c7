"""Five renderings of a digit as modalities, similar to PolyMNIST (Sutter et al. 2021).

As there (arXiv 2105.02470, section 5.1) the modalities of an example share only its class: each
shows another handwritten digit, before a random part of the modality's background. Here the
backgrounds are computed instead of downloaded, and the digits are drawn in five styles.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

# Height and width of a background, from which parts of an image's size are cut.
LARGEST = 256
# Images drawn at once: their floats fit into the cache of a core.
_IMAGES_AT_ONCE = 250

_Digits = Float[np.ndarray, "num height width 1"]
_Colour = Float[np.ndarray, "... 3"]


class _Style(NamedTuple):
    """The style of a modality: its background, [side, side, 3] from 0 to 1, and how digits look."""

    background: Callable[[], Float[np.ndarray, "side side 3"]]
    draw: Callable[[_Digits, _Colour, np.random.RandomState], _Colour]


def render(
    images: UInt8[np.ndarray, "num side side 1"],
    labels: Int[np.ndarray, " num"],
    index: int,
    random: np.random.RandomState,
) -> UInt8[np.ndarray, "num side side 3"]:
    """Return one modality: an image of each example's class in the modality's style.

    Args:
        images: of light digits on black ground, at most `LARGEST` pixels high and wide.
        labels: of the images, and of the examples.
        index: of the modality in `NAMES`.
        random: draws images of the class, parts of the background, and colours. It should differ
            between modalities, or they would share the handwritten digits.
    """
    style = _STYLES[index]
    background = style.background().astype(np.float32)
    chosen = _shuffle_within_classes(labels, random)
    side = images.shape[1]
    tops, lefts = random.randint(LARGEST - side + 1, size=(2, len(images)))
    parts = np.lib.stride_tricks.sliding_window_view(background, (side, side), (0, 1))
    rendered = np.empty((len(images), side, side, 3), np.uint8)
    for first in range(0, len(images), _IMAGES_AT_ONCE):
        some = slice(first, first + _IMAGES_AT_ONCE)
        digits = images[chosen[some]] / np.float32(255)
        behind = np.moveaxis(parts[tops[some], lefts[some]], 1, -1)
        rendered[some] = np.rint(255 * style.draw(digits, behind, random))
    return rendered


def _shuffle_within_classes(
    labels: Int[np.ndarray, " num"], random: np.random.RandomState
) -> Int[np.ndarray, " num"]:
    """Permute the indices of examples within each class."""
    shuffled = random.permutation(len(labels))
    chosen = np.empty(len(labels), np.int64)
    chosen[np.argsort(labels, kind="stable")] = shuffled[
        np.argsort(labels[shuffled], kind="stable")
    ]
    return chosen


def _cover(digits: _Digits, colour: _Colour | float, behind: _Colour) -> _Colour:
    return digits * colour + (1 - digits) * behind


def _draw_inverted(digits: _Digits, behind: _Colour, random: np.random.RandomState) -> _Colour:
    """Invert the background where the digit is, as in PolyMNIST."""
    return _cover(digits, 1 - behind, behind)


def _draw_outlined(digits: _Digits, behind: _Colour, random: np.random.RandomState) -> _Colour:
    """Draw the outline in white: the pixels that the digit gains by dilation."""
    framed = np.pad(digits, ((0, 0), (1, 1), (1, 1), (0, 0)))
    tall = np.maximum(np.maximum(framed[:, :-2], framed[:, 1:-1]), framed[:, 2:])
    spread = np.maximum(np.maximum(tall[:, :, :-2], tall[:, :, 1:-1]), tall[:, :, 2:])
    return _cover(spread - digits, 1.0, behind)


def _draw_coloured(digits: _Digits, behind: _Colour, random: np.random.RandomState) -> _Colour:
    """Draw the digit in one bright colour, drawn for each image."""
    return _cover(digits, _hue(random.random_sample(len(digits)))[:, None, None], behind)


def _draw_turned(digits: _Digits, behind: _Colour, random: np.random.RandomState) -> _Colour:
    """Draw the digit in black, rotated by 90 degrees to the left."""
    return _cover(np.rot90(digits, axes=(1, 2)), 0.0, behind)


def _draw_mirrored(digits: _Digits, behind: _Colour, random: np.random.RandomState) -> _Colour:
    """Draw the digit in ivory, mirrored."""
    return _cover(digits[:, :, ::-1], np.array([1.0, 0.95, 0.8], np.float32), behind)


def _hue(turns: Float[np.ndarray, "..."]) -> _Colour:
    """Return saturated colours by hue, from red at 0 around the circle to red at 1."""
    steps = (6 * turns[..., None] + np.array([0, 4, 2])) % 6
    return np.clip(np.abs(steps - 3) - 1, 0, 1).astype(np.float32)


def _blend(degrees: Float[np.ndarray, "..."], first: str, last: str) -> _Colour:
    """Interpolate between two colours, given as "#rrggbb", by degrees from 0 to 1."""
    ends = [np.array(list(bytes.fromhex(colour[1:]))) / 255 for colour in (first, last)]
    return ends[0] + degrees[..., None] * (ends[1] - ends[0])


def _grid() -> Float[np.ndarray, "2 side side"]:
    return np.mgrid[:LARGEST, :LARGEST].astype(np.float64)


def _smooth_noise(random: np.random.RandomState, slope: float) -> Float[np.ndarray, "side side"]:
    """Return noise from 0 to 1 whose amplitude falls with a power of the frequency."""
    frequencies = np.hypot(np.fft.fftfreq(LARGEST)[:, None], np.fft.rfftfreq(LARGEST))
    frequencies[0, 0] = np.inf
    noise = np.fft.rfft2(random.standard_normal((LARGEST, LARGEST))) / frequencies**slope
    field = np.fft.irfft2(noise, (LARGEST, LARGEST))
    return np.clip(0.5 + field / (4 * field.std()), 0, 1)


def _waves() -> Float[np.ndarray, "side side 3"]:
    row, column = _grid()
    crest = np.sin(0.45 * row + 2.5 * np.sin(0.11 * column) + 0.12 * column)
    return _blend(0.5 + 0.5 * crest, "#06143c", "#1f6f8b")


def _tiles() -> Float[np.ndarray, "side side 3"]:
    row, column = _grid().astype(int)
    shades = np.random.RandomState(1).random_sample((LARGEST, LARGEST))[row // 7, column // 7]
    joint = (row % 7 == 0) | (column % 7 == 0)
    return np.where(joint[..., None], 0.08, _blend(shades, "#5b1a18", "#b5642d"))


def _clouds() -> Float[np.ndarray, "side side 3"]:
    return _blend(_smooth_noise(np.random.RandomState(2), 1.5), "#101418", "#77808c")


def _cells() -> Float[np.ndarray, "side side 3"]:
    """Return stained glass: every pixel has the colour of the nearest of random points."""
    random = np.random.RandomState(3)
    seeds, colours = random.random_sample((600, 2)) * LARGEST, random.random_sample(600)
    row, column = _grid()
    nearest = np.full((LARGEST, LARGEST), np.inf)
    cell = np.zeros((LARGEST, LARGEST), int)
    for i, (y, x) in enumerate(seeds):
        distance = (row - y) ** 2 + (column - x) ** 2
        cell[distance < nearest] = i
        nearest = np.minimum(nearest, distance)
    return 0.55 + 0.45 * _hue(colours[cell])


def _marble() -> Float[np.ndarray, "side side 3"]:
    """Return veins where a slope, distorted by noise, passes multiples of pi."""
    row, column = _grid()
    bent = 0.25 * column + 0.1 * row + 14 * _smooth_noise(np.random.RandomState(4), 2.0)
    return _blend(np.abs(np.sin(bent)) ** 0.7, "#6d9440", "#1d3a1a")


_STYLES = (
    _Style(_waves, _draw_inverted),
    _Style(_tiles, _draw_outlined),
    _Style(_clouds, _draw_coloured),
    _Style(_cells, _draw_turned),
    _Style(_marble, _draw_mirrored),
)

# The names of the modalities.
NAMES = tuple(f"rendering_{index}" for index in range(len(_STYLES)))
