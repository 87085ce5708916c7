"""The variants of sprites: their factors, and the look of their images."""

from typing import NamedTuple

SHAPES = ("square", "ellipse", "heart")


class Variant(NamedTuple):
    """A grid of factors and how its images look.

    Attributes:
        names: of the factors. The first is the shape, which is discrete; the others are continuous.
        sizes: the number of values of each factor.
        smooth: whether edges are antialiased; otherwise pixels are 0 or 255.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    smooth: bool

    @property
    def num_channels(self) -> int:
        """The number of channels of an image: 1 for grey, or 3."""
        return 3 if "hue" in self.names else 1


_NAMES = ("shape", "scale", "orientation", "x", "y")
_SIZES = (len(SHAPES), 6, 40, 32, 32)

VARIANTS = {
    "sprites": Variant(_NAMES, _SIZES, smooth=False),
    "sprites_smooth": Variant(_NAMES, _SIZES, smooth=True),
    "sprites_color": Variant((*_NAMES, "hue", "background"), (*_SIZES, 6, 4), smooth=True),
}
