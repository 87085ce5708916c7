"""The grammars of the data sets that have captions.

Of digits and clothes the middle value of an attribute has a word for the slant only, "upright":
nobody writes that a digit is of medium size. Of faces nobody writes that there is no beard.
"""

from vae_jax.data.avatars.faces import FACTORS
from vae_jax.data.captions.attributes import CLOTHES, DIGITS, FACES
from vae_jax.data.captions.grammar import Grammar, Wording
from vae_jax.errors import UserError


def _lean(side: str) -> Wording:
    return Wording(
        (side, f"{side}-leaning"),
        (f"{side}-leaning",),
        (f" leaning to the {side}", f", leaning to the {side}", f" slanted to the {side}"),
    )


def _strokes(*adjectives: str) -> Wording:
    plain = adjectives[0]
    return Wording(adjectives, adjectives, (f" with {plain} strokes", f", {plain} strokes"))


def _with(way: str, meaning: str = "", *adjectives: str) -> Wording:
    """Return a wording after the noun, whose last word is its meaning unless one is given."""
    return Wording((meaning or way.split()[-1], *adjectives), adjectives, (f" {way}",))


def _looking(*adjectives: str, also: tuple[str, ...] = ()) -> Wording:
    return Wording(adjectives + also, adjectives, tuple(f", {word}" for word in adjectives + also))


def _background(colour: str) -> Wording:
    return Wording((colour,), (), (f" before a {colour} background", f", {colour} background"))


_TOPS = {
    "bald": Wording(("bald",), ("bald",), (", bald",)),
    "bob": _with("with a bob"),
    "bun": _with("with a bun"),
    "caesar": _with("with a caesar cut", "caesar"),
    "cornrows": _with("with cornrows"),
    "curly": _with("with curly hair", "curly"),
    "dreads": _with("with dreadlocks"),
    "frizzle": _with("with frizzy hair", "frizzy"),
    "fro": _with("with an afro"),
    "long": _with("with long hair", "long", "long-haired"),
    "mohawk": _with("with a mohawk"),
    "page": _with("with a pageboy cut", "pageboy"),
    "pixie": _with("with a pixie cut", "pixie"),
    "pompadour": _with("with a pompadour"),
    "shaggy": _with("with shaggy hair", "shaggy"),
    "short_curly": _with("with short curls", "curls"),
    "spiky": _with("with spiky hair", "spiky"),
    "straight": _with("with straight hair", "straight"),
    "wild": _with("with wild hair", "wild"),
    "hat": _with("under a wide-brimmed hat", "wide-brimmed"),
    "turban": _with("under a turban"),
    "winter_hat": _with("under a fur-lined hat", "fur-lined"),
    "striped_winter_hat": _with("under a zigzag hat", "zigzag"),
    "beanie": _with("under a beanie"),
}
_MOUTHS = {
    "big_smile": _looking("grinning"),
    "concerned": _looking("concerned"),
    "default": Wording(),
    "eating": _looking("eating", also=("chewing",)),
    "grimace": _looking("grimacing"),
    "sad": _looking("sad"),
    "serious": _looking("serious"),
    "smile": _looking("smiling"),
    "tongue": Wording(("tongue",), (), (", tongue out",)),
    "twinkle": _looking("smirking"),
}
_BEARDS = {
    "none": Wording(),
    "light_beard": _with("with a light beard", "light", "stubbly"),
    "medium_beard": _with("with a medium beard", "medium"),
    "long_beard": _with("with a full beard", "full", "long-bearded"),
    "moustache": _with("with a moustache", "moustache", "moustached"),
}
# By attribute: the wordings of its values by name.
_OF_FACES = {
    "top": _TOPS,
    "hair_color": {
        name: Wording((f"{name}-haired",), (f"{name}-haired",), (f", {name}-haired",))
        for name in FACTORS["hair_color"].values
    },
    "facial_hair": _BEARDS,
    "mouth": _MOUTHS,
    "background": {name: _background(name) for name in FACTORS["background"].values},
}
_FACES = Grammar(
    FACES,
    ("{a}", "", "a picture of {a}", "this is {a}"),
    (("a", "person"), ("a", "person in glasses"), ("a", "person in sunglasses")),
    tuple(
        tuple(_OF_FACES[attribute.name][value] for value in attribute.values)
        for attribute in FACES.attributes
    ),
    (
        "a person in sunglasses",
        "a smiling person in sunglasses with long hair",
        "a bald person with a full beard, mint background",
        "a black-haired person in glasses with an afro",
        "a red-haired person with a bob, tongue out",
        "a grinning person under a turban with a moustache",
        "a pink-haired person with a mohawk before a stone background",
        "a sad person under a beanie, rose background",
    ),
)

GRAMMARS = {
    "mnist": Grammar(
        DIGITS,
        ("{a}", "", "a drawing of {a}", "this is {a}"),
        tuple(("a", noun) for noun in DIGITS.classes),
        (
            (
                Wording(("small", "little"), ("small", "little"), (", small in size",)),
                Wording(),
                Wording(("large", "big"), ("large", "big"), (", large in size",)),
            ),
            (_strokes("thin", "slender"), Wording(), _strokes("thick", "bold")),
            (
                _lean("left"),
                Wording(("upright",), ("upright",), (" standing upright", ", upright")),
                _lean("right"),
            ),
        ),
        (
            "a thin upright four",
            "a bold four leaning to the right",
            "a left-leaning seven",
            "a slender three leaning to the right",
            "a thick upright zero",
            "small two, thin strokes",
            "a large two with thick strokes",
            "a nine",
        ),
    ),
    "fashion_mnist": Grammar(
        CLOTHES,
        ("{a}", "", "a picture of {a}", "this is {a}"),
        tuple(("a pair of" if noun == "trousers" else "a", noun) for noun in CLOTHES.classes),
        (
            (
                Wording(("dark",), ("dark",), (" in a dark shade", ", dark")),
                Wording(),
                Wording(("light", "pale"), ("light", "pale"), (" in a light shade", ", pale")),
            ),
            (
                Wording(("narrow", "slim"), ("narrow", "slim"), (", narrow in shape",)),
                Wording(),
                Wording(("wide", "broad"), ("wide", "broad"), (", wide in shape",)),
            ),
            (
                Wording(("low", "flat"), ("low", "flat"), (", low in shape",)),
                Wording(),
                Wording(("tall", "high"), ("tall", "high"), (", tall in shape",)),
            ),
        ),
        (
            "a dark pullover",
            "a light dress, narrow in shape",
            "a pair of wide trousers",
            "a tall ankle boot",
            "a flat sneaker",
            "a dark bag",
            "a pale shirt",
            "a sandal",
        ),
    ),
    "avatars": _FACES,
}


def find_grammar(name: str) -> Grammar:
    """Return the grammar for a data set.

    Args:
        name: as `data.load` takes it; a version or config of a known set has the same captions.

    Raises:
        UserError: the data set has no grammar.
    """
    grammar = GRAMMARS.get(name.partition(":")[0].partition("/")[0])
    if grammar is None:
        raise UserError(
            f"data.name={name!r} has no captions; use {', '.join(GRAMMARS)}, or name a text file "
            "of your own in data.captions"
        )
    return grammar
