"""Renders faces: python_avatars makes the drawings, resvg makes pixels of them.

A face is several layers, one over the other. Many faces share a layer, which is rendered once.

Both packages are optional. python_avatars has the drawings and is under the MIT licence, as is
resvg-py.
"""

import functools
import importlib
import importlib.metadata
import io
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

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

# The colours of a top and of what it is drawn with, by argument of python_avatars' `Avatar`.
_COLOURS_OF_TOPS = {
    "hair_color": "hair_color",
    "facial_hair_color": "hair_color",
    "hat_color": "clothing_color",
}
# The identifier of the head in the drawing, where the other layers leave it out.
_WITHOUT_BODY = "#transparent_Body { display: none }"


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
    indices = dict(zip(FACTORS, values.tolist(), strict=True))
    background = _BACKGROUND[FACTORS["background"].values[indices.pop("background")]]
    image = np.array([int(background[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
    for names in _layers(indices):
        parts = tuple((name, indices[name]) for name in names)
        colour, uncovered = _layer(parts, image_size)
        image = colour + image * uncovered
    return np.rint(image).astype(np.uint8)


def _layers(indices: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """Yield the factors that each layer of a drawing depends on, the lowest layer first."""
    yield ("skin_color",)
    yield ("clothing", "clothing_color")
    yield ("mouth",)
    yield ("eyes",)
    yield ("eyebrows",)
    # A top is drawn around what it leaves free: glasses lie above some hair and below other.
    has_hat = indices["top"] >= len(_PARTS["top"][1].split())
    has_beard = indices["facial_hair"] != 0
    yield (
        "top",
        "facial_hair",
        "accessory",
        *(("clothing_color",) if has_hat else ()),
        *(("hair_color",) if has_beard or not has_hat else ()),
    )


# Few faces have the same hat, beard and two colours.
@functools.lru_cache(maxsize=4096)
def _layer(
    parts: tuple[tuple[str, int], ...], image_size: int
) -> tuple[Float[np.ndarray, "height width 3"], Float[np.ndarray, "height width 1"]]:
    """Return the colour that a layer adds, and the share of what is below that stays visible."""
    from PIL import Image

    avatars, resvg = import_packages()
    chosen = {name: _members()[name][index] for name, index in parts}
    colours = {name: chosen.get(source) for name, source in _COLOURS_OF_TOPS.items()}
    absent = dict.fromkeys(("top", "eyebrows", "eyes", "mouth", "facial_hair", "clothing"))
    drawing = avatars.Avatar(
        **{
            **absent,
            "style": avatars.AvatarStyle.TRANSPARENT,
            "nose": avatars.NoseType.DEFAULT if "skin_color" in chosen else None,
            **chosen,
            **colours,
        }
    ).render()
    assert _WHOLE in drawing, "so it is in every version that the bounds allow"
    size = f'width="{image_size}px" height="{image_size}px" viewBox="{_SQUARE}"'
    png = resvg.svg_to_bytes(
        svg_string=drawing.replace(_WHOLE, size, 1),
        style_sheet="" if "skin_color" in chosen else _WITHOUT_BODY,
        skip_system_fonts=True,
    )
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGBA"), np.float32)
    opacity = pixels[..., 3:] / 255
    return pixels[..., :3] * opacity, 1 - opacity
