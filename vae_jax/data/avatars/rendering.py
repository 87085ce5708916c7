"""Renders faces: python_avatars composes the drawing of a face, resvg makes pixels of it.

Both packages are optional. python_avatars (MIT licence) has the drawings, which are those of
Avataaars by Pablo Stanley, free for personal and commercial use.
"""

import functools
import importlib
import importlib.metadata
import io
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from vae_jax.data.avatars.faces import FACTORS
from vae_jax.errors import UserError

# By distribution, the version by which the recorded digests were made.
VERSIONS = {"python_avatars": "1.4.1", "resvg_py": "0.5.0"}

_INSTALL = "pip install 'python_avatars>=1.4.1,<1.5' 'resvg-py>=0.5,<0.6'"

# The whole drawing, and the square of it that head and collar fill.
_WHOLE = 'width="264px" height="280px" viewBox="0 0 264 280"'
_SQUARE = "32 18 200 200"

_BACKGROUND = {
    "sky": "#9fc5e8",
    "mint": "#b6d7a8",
    "sand": "#ffe599",
    "rose": "#ea9999",
    "lilac": "#b4a7d6",
    "stone": "#cccccc",
}

# By factor: python_avatars' enumeration, and the name in it of each value, in the order of
# `FACTORS`.
_PARTS = {
    "accessory": ("AccessoryType", "NONE PRESCRIPTION_2 SUNGLASSES"),
    "clothing": ("ClothingType", "SHIRT_CREW_NECK SHIRT_SCOOP_NECK COLLAR_SWEATER HOODIE"),
    "clothing_color": (
        "ClothingColor",
        "BLACK BLUE_01 BLUE_03 GRAY_02 PASTEL_GREEN PASTEL_YELLOW PINK RED",
    ),
    "eyebrows": (
        "EyebrowType",
        "ANGRY DEFAULT FLAT_NATURAL RAISED_EXCITED SAD_CONCERNED UP_DOWN",
    ),
    "eyes": ("EyeType", "CLOSED DEFAULT EYE_ROLL HAPPY SIDE SQUINT SURPRISED WINK"),
    "facial_hair": (
        "FacialHairType",
        "NONE BEARD_LIGHT BEARD_MEDIUM BEARD_MAGESTIC MOUSTACHE_FANCY",
    ),
    "hair_color": (
        "HairColor",
        "AUBURN BLACK BLONDE BLONDE_GOLDEN BROWN PASTEL_PINK PLATINUM RED",
    ),
    "mouth": (
        "MouthType",
        "BIG_SMILE CONCERNED DEFAULT EATING GRIMACE SAD SERIOUS SMILE TONGUE TWINKLE",
    ),
    "skin_color": ("SkinColor", "TANNED YELLOW PALE LIGHT BROWN DARK_BROWN BLACK"),
    "top": (
        "HairType",
        "NONE BOB BUN CAESAR CORNROWS CURLY DREADS FRIZZLE FRO LONG_NOT_TOO_LONG MOHAWK "
        "MIA_WALLACE PIXIE POMPADOUR SHAGGY SHORT_CURLY SHORT_DREADS_2 STRAIGHT_STRAND WILD",
    ),
}
# The values of `top` that follow its hair.
_HATS = ("HatType", "HAT TURBAN WINTER_HAT_1 WINTER_HAT_2 WINTER_HAT_3")


def import_packages() -> tuple[ModuleType, ModuleType]:
    """Return the modules python_avatars and resvg_py.

    Raises:
        UserError: one of them is not installed.
    """
    try:
        return importlib.import_module("python_avatars"), importlib.import_module("resvg_py")
    except ImportError as error:
        raise UserError(
            f"avatars need python_avatars and resvg-py, which are optional ({error}): {_INSTALL}"
        ) from None


def installed_versions() -> dict[str, str]:
    """Return the versions of both packages that are installed."""
    return {name: importlib.metadata.version(name) for name in VERSIONS}


@functools.cache
def _members() -> dict[str, list[Any]]:
    """Return python_avatars' value for each value of each factor but the background."""
    avatars, _ = import_packages()

    def named(part: tuple[str, str]) -> list[Any]:
        return [getattr(avatars, part[0])[name] for name in part[1].split()]

    members = {name: named(part) for name, part in _PARTS.items()}
    members["top"] += named(_HATS)
    return members


def render(
    values: Int[np.ndarray, " num_factors"], image_size: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Render one face.

    Args:
        values: the index of each factor's value, in the order of `FACTORS`.
        image_size: height and width.

    Raises:
        UserError: a package is not installed.
    """
    from PIL import Image

    avatars, resvg = import_packages()
    members = _members()
    indices = dict(zip(FACTORS, values.tolist(), strict=True))
    background = FACTORS["background"].values[indices.pop("background")]
    parts = {name: members[name][index] for name, index in indices.items()}
    drawing = avatars.Avatar(
        style=avatars.AvatarStyle.TRANSPARENT,
        nose=avatars.NoseType.DEFAULT,
        facial_hair_color=parts["hair_color"],
        hat_color=parts["clothing_color"],
        **parts,
    ).render()
    assert _WHOLE in drawing, "so it is in every version that the bounds allow"
    size = f'width="{image_size}px" height="{image_size}px" viewBox="{_SQUARE}"'
    png = resvg.svg_to_bytes(
        svg_string=drawing.replace(_WHOLE, size, 1),
        background=_BACKGROUND[background],
        skip_system_fonts=True,
    )
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))
