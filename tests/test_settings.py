import dataclasses
import math
from typing import ClassVar, Protocol

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from vae_jax import settings
from vae_jax.config.data_settings import TableData
from vae_jax.config.experiment import Experiment, JointExperiment, ReconstructionEvaluation
from vae_jax.errors import UserError
from vae_jax.settings import (
    bounded,
    flag,
    integer,
    names,
    numbers,
    one_of,
    part,
    register,
    section,
    seed,
    sizes,
    text,
    traced,
)

SHAPES: dict[str, type] = {}


class ShapePart(Protocol):
    """A shape."""

    name: ClassVar[str]
    corners: ClassVar[int]

    def area(self) -> float:
        """Return its area."""


@register(SHAPES, "square")
@dataclasses.dataclass(frozen=True)
class Square:
    """A square."""

    corners: ClassVar[int] = 4

    side: float = traced(1.0, "Its side.", at_least=0.0)

    def area(self) -> float:
        return self.side**2


@register(SHAPES, "polygon")
@dataclasses.dataclass(frozen=True)
class Polygon:
    """A polygon."""

    corners: int = integer(3, "Its corners.", at_least=3)
    radius: float = traced(1.0, "Its radius.", above=0.0)

    def area(self) -> float:
        return self.corners / 2 * self.radius**2 * math.sin(2 * math.pi / self.corners)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A border. A second sentence."""

    width: float = traced(0.5, "Its width.", at_least=0.0)
    colours: tuple[str, ...] = names(("red",), "Its colours.")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A framed shape."""

    title: str = text("", "Its title.")
    sizes: tuple[int, ...] = sizes((4, 3), "Its sizes.")
    shares: tuple[float, ...] = numbers(
        (), "Its shares.", each="above 0", check_each=lambda value: value > 0
    )
    shape: ShapePart = part("square", SHAPES, ShapePart, "Its content.")
    frame: Frame = section(Frame, "Its frame.")


def resolved(content):
    return settings.resolve_part(Picture, content, "picture")


def refused(content):
    """Return the message that refuses a picture."""
    with pytest.raises(UserError) as error:
        resolved(content)
    assert "\n" not in str(error.value)
    return str(error.value)


NOT_INTEGERS = [0.5, 1.0, True, "1", None, (1,)]
NOT_NUMBERS = [math.nan, math.inf, -math.inf, "1", None, True, (1.0,)]
BEYOND_FLOAT32 = [1e39, 1e-46]

# Declarations, values that they take, values that they refuse, and the message's right values.
DECLARATIONS = {
    "bounded": (
        bounded(0.5, "", at_least=0.0, below=1.0),
        [0, 0.0, 0.5, 0.999, 1e-37],
        [-1e-9, 1, 1.0, *NOT_NUMBERS],
        "a number of at least 0 and below 1",
    ),
    "above": (
        bounded(1.0, "", above=0.0, at_most=2.5),
        [1e-30, 1, 2.5],
        [0, 0.0, -1.0, 2.6, *NOT_NUMBERS],
        "a number above 0 and at most 2.5",
    ),
    "traced": (traced(1.0, "", at_least=0.0), [0, 3e38], [-1.0, *NOT_NUMBERS], "of at least 0"),
    "unbounded": (traced(1.0, ""), [-7.5, 0, 7], NOT_NUMBERS, "a finite number"),
    "float32": (traced(1.0, ""), [1e38, -1e38, 1e-37], BEYOND_FLOAT32, "that float32 holds"),
    "integer": (
        integer(2, "", at_least=1, at_most=10),
        [1, 10],
        [0, 11, *NOT_INTEGERS],
        "an integer of at least 1 and at most 10",
    ),
    "zero": (
        integer(0, "", at_least=2, zero=True),
        [0, 2, 9],
        [1, -2, 0.0, False, *NOT_INTEGERS],
        "0, or an integer of at least 2",
    ),
    "seed": (
        seed(0, ""),
        [0, 2**32 - 1],
        [-1, 2**32, *NOT_INTEGERS],
        "an integer from 0 to 2**32 - 1",
    ),
    "flag": (flag(False, ""), [True, False], [0, 1, "True", None], "True or False"),
    "text": (text("", ""), ["", "a"], [3, None, ("a",)], "a text"),
    "not empty": (
        text("a", "", may_be_empty=False),
        ["a"],
        ["", 3, None],
        "a text that is not empty",
    ),
    "one of": (one_of("a", ["b", "a"], ""), ["a", "b"], ["c", "", 3, None, []], "one of a, b"),
    "sizes": (
        sizes((4,), ""),
        [(1,), (3, 2)],
        [(), (0,), (-3,), (1.5,), (True,), 400, "400", None],
        "a tuple of one or more positive integers, such as (400,)",
    ),
    "no sizes": (
        sizes((), "", may_be_empty=True),
        [(), (3,)],
        [(0,), 400, None],
        "a tuple of positive integers, such as (400,)",
    ),
    "numbers": (
        numbers((), "", each="above 0", check_each=lambda value: value > 0),
        [(), (1.0, 0.5)],
        [1.0, None, (0.0,), (True,), ("1",), (math.nan,), (math.inf,), (1e39,), (1e-46,)],
        "a tuple of numbers above 0, such as (1.0, 0.1)",
    ),
    "names": (
        names((), ""),
        [(), ("a", "b")],
        ["ab", 3, None, ("a", "a"), ("a", ""), ("a", 2)],
        "a tuple of different names",
    ),
}


def setting_of(field):
    """Return the declaration in a dataclass field."""
    cls = dataclasses.make_dataclass("Part", [("value", object, field)], frozen=True)
    return settings.settings_of(cls)["value"]


@pytest.mark.parametrize("name", DECLARATIONS)
def test_a_declaration_takes_values_within_its_limits_and_refuses_others(name):
    field, good, bad, right = DECLARATIONS[name]
    setting = setting_of(field)
    assert not setting.is_part
    for value in good:
        assert settings.resolve(setting, value, "part.value") == value
    for value in bad:
        with pytest.raises(UserError) as error:
            settings.resolve(setting, value, "part.value")
        message = str(error.value)
        assert message.startswith(f"part.value={value!r} must be ")
        assert right in message
        assert "\n" not in message


def test_values_are_converted_to_the_type_of_their_setting():
    found = resolved({"sizes": [4, 3], "shares": [1, 2.5], "frame": {"width": 2}})
    assert (found.sizes, found.shares) == ((4, 3), (1.0, 2.5))
    assert [type(share) for share in found.shares] == [float, float]
    assert type(found.frame.width) is float


def test_missing_settings_have_their_defaults_with_and_without_a_choice():
    assert resolved({}) == Picture()
    assert resolved({"shape": {}}) == resolved({"shape": "square"}) == Picture()
    assert resolved({"shape": {"side": 2.0}}).shape == Square(2.0)
    assert resolved({"shape": "polygon"}).shape == Polygon()
    assert resolved({"shape": {"name": "polygon", "corners": 5}}).shape == Polygon(5)
    assert resolved({"shape": Polygon(6), "frame": Frame(0.1)}) == Picture(
        shape=Polygon(6), frame=Frame(0.1)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"titel": "a"},
            "picture.titel is not a setting here (a framed shape); did you mean title",
        ),
        (
            {"shape": {"name": "polygon", "radiuss": 1.0}},
            "picture.shape.radiuss is not a setting of picture.shape='polygon'; did you mean "
            "radius?",
        ),
        # A setting of another choice.
        (
            {"shape": {"name": "square", "corners": 3}},
            "picture.shape.corners is not a setting of picture.shape='square'; it has side",
        ),
        (
            {"frame": {"widht": 1.0}},
            "picture.frame.widht is not a setting here (a border); did you mean width?",
        ),
        (
            {"shape": "poligon"},
            "picture.shape.name='poligon' must be one of polygon, square, or a part of your own as "
            "'package.module:Name'; did you mean polygon?",
        ),
        ({"shape": {"name": 3}}, "picture.shape.name=3 must be one of polygon, square"),
        ({"shape": {"name": None, "radius": 1.0}}, "picture.shape.radius is not a setting of"),
        ({"shape": 3}, "picture.shape=3 must be a choice, one of polygon, square, or {'name': ..."),
        ({"frame": "wide"}, "picture.frame='wide' must be settings, such as {...}"),
        ({"frame": {"width": -1}}, "picture.frame.width=-1 must be a number of at least 0"),
        ({"shape": Frame()}, "picture.shape"),
        ({"frame": Square()}, "is the wrong kind of part"),
    ],
)
def test_unknown_settings_and_choices_are_refused_with_the_nearest_known_one(content, message):
    assert message in refused(content)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            np.zeros((300, 8, 8)),
            "picture.title=an array of shape [300, 8, 8] and type float64 must be a text; write an "
            "array into a .npz file with np.savez, and name the file",
        ),
        ([0.5] * 999, f"picture.title=[{'0.5, ' * 19}0.5,... must be a text"),
    ],
)
def test_long_values_are_shown_in_a_short_line(value, message):
    assert refused({"title": value}) == message


def test_a_setting_of_a_part_without_settings_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Nothing:
        """Nothing."""

        name = "nothing"

    assert settings.unknown_setting(Nothing, "shape", "side") == (
        "shape.side is not a setting of shape='nothing'; it has none"
    )


HEADER = """
import dataclasses
from vae_jax.settings import integer, traced
"""
CIRCLE = """
@dataclasses.dataclass(frozen=True)
class Circle:
    '''A circle.'''

    corners = 0

    radius: float = traced(2.0, "Its radius.", above=0.0)

    def area(self):
        return 3.14 * self.radius**2
"""


@pytest.fixture
def outside(tmp_path, monkeypatch, request):
    """Return a function that writes a module and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source):
        name = f"outside_{abs(hash((request.node.name, source)))}"
        (tmp_path / f"{name}.py").write_text(HEADER + source)
        return name

    return write


def test_a_part_from_outside_is_chosen_by_its_path(outside):
    name = f"{outside(CIRCLE)}:Circle"
    picture = resolved({"shape": {"name": name, "radius": 3}})
    assert picture.shape.area() == pytest.approx(3.14 * 9)
    assert resolved({"shape": name}).shape.radius == 2.0
    assert settings.to_dict(picture)["shape"] == {"name": name, "radius": 3.0}
    assert settings.changed(picture) == {"shape": {"name": name, "radius": 3.0}}
    assert settings.traced_values(picture) == {"shape.radius": 3.0, "frame.width": 0.5}
    assert resolved(settings.to_dict(picture)) == picture
    # The part itself is accepted, too.
    assert resolved({"shape": picture.shape}) == picture
    message = refused({"shape": {"name": name, "radius": -1.0}})
    assert message.startswith("picture.shape.radius=-1.0 must be a number above 0")
    message = refused({"shape": {"name": name, "corners": 3}})
    assert message.startswith("picture.shape.corners is not a setting")
    assert message.endswith("it has radius")


@pytest.mark.parametrize(
    ("source", "attribute", "expected"),
    [
        (CIRCLE, "Cirlce", "has no 'Cirlce'; did you mean Circle?"),
        ("def Circle():\n    return 3", "Circle", "is not a frozen dataclass"),
        ("Circle = 3", "Circle", "is not a frozen dataclass"),
        (CIRCLE.replace("frozen=True", "frozen=False"), "Circle", "is not a frozen dataclass"),
        (
            CIRCLE.replace('traced(2.0, "Its radius.", above=0.0)', "2.0"),
            "Circle",
            "its field 'radius' is not declared by vae_jax.settings",
        ),
        (
            CIRCLE.replace("def area", "def circumference"),
            "Circle",
            "is the wrong kind of part: it has no 'area', which",
        ),
        (CIRCLE.replace("corners = 0", ""), "Circle", "it has no 'corners', which"),
        ("1 / 0", "Circle", "fails when it is imported: ZeroDivisionError: division by zero"),
        ("def Circle(", "Circle", "fails when it is imported: SyntaxError: "),
        ("import nothing_like_it", "Circle", "cannot be imported (No module named 'nothing_like"),
    ],
)
def test_an_invalid_part_from_outside_is_refused_in_one_line(outside, source, attribute, expected):
    name = f"{outside(source)}:{attribute}"
    message = refused({"shape": name})
    assert message.startswith(f"picture.shape.name={name!r}")
    assert expected in message


@pytest.mark.parametrize("name", ["nothing.like.it:Circle", ":Circle", "..relative:Circle"])
def test_a_missing_module_is_refused_in_one_line(name):
    assert refused({"shape": name}).startswith(f"picture.shape.name={name!r}: the module ")


def test_a_part_from_outside_must_be_a_subclass_of_the_base_class_if_there_is_one(outside):
    message = refused_by(Experiment, {"optimizer": f"{outside(CIRCLE)}:Circle"})
    assert "is not a subclass of vae_jax.training.optimizers.Optimizer" in message


def refused_by(cls, content):
    with pytest.raises(UserError) as error:
        settings.resolve_part(cls, content, "")
    return str(error.value)


PICTURE = Picture("a", (2,), (0.5,), Polygon(5, 3.0), Frame(0.25, ("red", "blue")))


def test_traced_settings_are_found_by_dotted_name_and_replaced():
    assert settings.traced_values(PICTURE) == {"shape.radius": 3.0, "frame.width": 0.25}
    found = settings.substitute(PICTURE, {"shape.radius": 7.0, "title": "b"})
    # Static settings do not change, and unknown names are ignored.
    assert found == dataclasses.replace(PICTURE, shape=Polygon(5, 7.0))
    assert settings.substitute(PICTURE.frame, {"x.width": 1.0, "width": 2.0}, "x").width == 1.0
    assert [path for path, _ in settings.walk(PICTURE)] == ["", "shape", "frame"]


def test_only_settings_that_are_not_the_default_count_as_changed():
    assert settings.changed(Picture()) == {}
    assert settings.changed(Picture(shape=Polygon())) == {"shape": {"name": "polygon"}}
    assert settings.changed(Picture(shape=Square(2.0))) == {"shape": {"side": 2.0}}
    assert settings.changed(PICTURE) == {
        "title": "a",
        "sizes": [2],
        "shares": [0.5],
        "shape": {"name": "polygon", "corners": 5, "radius": 3.0},
        "frame": {"width": 0.25, "colours": ["red", "blue"]},
    }


@pytest.mark.parametrize("picture", [Picture(), PICTURE, Picture(shape=Polygon())])
def test_a_part_is_the_same_after_a_round_trip(picture):
    content = settings.to_dict(picture)
    assert content["shape"]["name"] == picture.shape.name
    assert "name" not in content["frame"]
    assert resolved(content) == resolved(settings.changed(picture)) == picture
    flat = settings.flatten(content)
    assert flat["frame.width"] == picture.frame.width
    assert flat["shape.name"] == picture.shape.name


# All settings of all parts: values at their limits, and values that they refuse.
INTEGERS_0 = ([0, 1], [-1, *NOT_INTEGERS])
INTEGERS_1 = ([1], [0, -1, *NOT_INTEGERS])
INTEGERS_2 = ([2], [1, 0, *NOT_INTEGERS])
SEEDS = ([0, 2**32 - 1], [-1, 2**32, *NOT_INTEGERS])
NUMBERS_0 = ([0, 0.0, 2.5], [-0.5, *NOT_NUMBERS, *BEYOND_FLOAT32])
NUMBERS_ABOVE_0 = ([1e-6, 2.5], [0, 0.0, -0.5, *NOT_NUMBERS, *BEYOND_FLOAT32])
NUMBERS_BELOW_1 = ([0, 0.999], [1, 1.0, -0.5, *NOT_NUMBERS])
FLAGS = ([True, False], [0, 1, "True", None])
TEXTS = (["", "a"], [3, None, ("a",)])
TEXTS_NOT_EMPTY = (["a"], ["", *TEXTS[1]])
SIZES = ([(1,), (3, 2)], [(0,), (-3,), (1.5,), (True,), 400, "400", None])
SIZES_NOT_EMPTY = (SIZES[0], [(), *SIZES[1]])
SIZES_OR_NONE = ([(), *SIZES[0]], SIZES[1])


def names_of(*chosen):
    return (list(chosen), ["nonsense", "", 3, None, [chosen[0]]])


LIMITS = {
    "accumulation_steps": INTEGERS_1,
    "activation": names_of("elu", "gelu", "leaky_relu", "relu", "silu", "softplus", "tanh"),
    "b1": NUMBERS_BELOW_1,
    "b2": NUMBERS_BELOW_1,
    "batch_size": INTEGERS_1,
    "beta": NUMBERS_0,
    "blocks": INTEGERS_1,
    "capacity": NUMBERS_0,
    "capacity_epochs": NUMBERS_0,
    "channels": SIZES_NOT_EMPTY,
    "components": INTEGERS_1,
    "compute_dtype": names_of("bfloat16", "float32"),
    "decoder_start": names_of("grey", "mean_image"),
    "diagonal": NUMBERS_0,
    "dir": TEXTS,
    "disentanglement": FLAGS,
    "distortion_weight": NUMBERS_0,
    "downsampling": names_of("pool", "stride"),
    "elbo_weight": NUMBERS_BELOW_1,
    "embedding_size": INTEGERS_1,
    "epochs": INTEGERS_1,
    "epsilon": NUMBERS_ABOVE_0,
    "estimator": names_of("stratified", "weighted"),
    "every": INTEGERS_1,
    "every_seconds": NUMBERS_0,
    "factors": names_of("continuous", "grid"),
    "file": TEXTS_NOT_EMPTY,
    "free_nats": NUMBERS_0,
    "gamma": NUMBERS_0,
    "gradient": names_of("dreg", "plain"),
    "gradient_clip_norm": NUMBERS_0,
    "image_size": INTEGERS_0,
    "images_every_epochs": INTEGERS_0,
    "initializer": names_of("glorot", "lecun"),
    "joint_posterior": names_of("joint", "mixture", "mixture_of_products", "product"),
    "kernel_size": INTEGERS_2,
    "kind": names_of("i", "ii"),
    "latent_size": INTEGERS_1,
    "layers": INTEGERS_1,
    "learning_rate": NUMBERS_ABOVE_0,
    "length": ([0, 2], [1, -1, *NOT_INTEGERS]),
    "level": NUMBERS_ABOVE_0,
    "Box.level": ([1, 0.001], [0, 1.001, *NUMBERS_ABOVE_0[1]]),
    "Downsampling.level": ([2, 2.5], [0, 1, 1.5, *NOT_NUMBERS]),
    "Masking.level": ([1, 0.001], [0, 1.001, *NUMBERS_ABOVE_0[1]]),
    "SaltAndPepper.level": ([1, 0.001], [0, 1.001, *NUMBERS_ABOVE_0[1]]),
    "max_to_keep": INTEGERS_1,
    "memory_limit": NUMBERS_ABOVE_0,
    "modalities": (
        [(), ("image", "label")],
        ["image", 3, None, ("image", "image"), ("image", ""), ("image", 2)],
    ),
    "modality_seed": SEEDS,
    "modality_shares": (
        [(), (1.0, 0.1)],
        [0.5, None, (0.0, 1.0), (1.1, 1.0), (True,), ("1",), (math.nan,)],
    ),
    "modality_weights": (
        [(), (0.0, 3)],
        [1.0, None, (1.0, -1.0), (math.nan,), (True,), ("1",), (1e39, 1.0)],
    ),
    "name": TEXTS_NOT_EMPTY,
    "num_groups": INTEGERS_1,
    "num_samples": INTEGERS_1,
    "Evaluation.num_samples": ([1, 10**9], [10**9 + 1, *INTEGERS_1[1]]),
    "JointEvaluation.num_samples": ([1, 10**9], [10**9 + 1, *INTEGERS_1[1]]),
    "num_subsets": INTEGERS_0,
    "off_diagonal": NUMBERS_0,
    "patience": INTEGERS_0,
    "remat": FLAGS,
    "sampled_kl": FLAGS,
    "scale": NUMBERS_ABOVE_0,
    "ColumnsSettings.scale_kind": names_of("learned", "per_cell"),
    "DiscretizedLogisticSettings.scale_kind": names_of("learned", "per_pixel"),
    "scale_kind": names_of("fixed", "learned", "optimal", "per_pixel"),
    "seed": SEEDS,
    "steps_per_call": INTEGERS_1,
    "test_split": TEXTS_NOT_EMPTY,
    "top_latent_size": INTEGERS_1,
    "train_split": TEXTS_NOT_EMPTY,
    "unimodal_kl_weight": NUMBERS_0,
    "unknown_words": names_of("refuse", "replace"),
    "upsampling": names_of("resize", "transpose"),
    "validation_split": TEXTS,
    "warmup_cycle_epochs": NUMBERS_0,
    "warmup_epochs": NUMBERS_0,
    "weight_decay": NUMBERS_0,
    "width": INTEGERS_1,
    "widths": SIZES_NOT_EMPTY,
    "ClassSettings.widths": SIZES_OR_NONE,
    "ConvDecoderSettings.widths": SIZES_OR_NONE,
    "ConvEncoderSettings.widths": SIZES_OR_NONE,
    "GatedMLPSettings.widths": SIZES_OR_NONE,
    "ImageDiscriminatorSettings.widths": SIZES_OR_NONE,
    "MLPSettings.widths": SIZES_OR_NONE,
    "ResidualDecoderSettings.widths": SIZES_OR_NONE,
    "ResidualEncoderSettings.widths": SIZES_OR_NONE,
    "VQVAESettings.channels": INTEGERS_1,
    "word_dropout": NUMBERS_BELOW_1,
}


def every_part():
    """Return the class of every part that a config can have, and every table of choices."""
    classes, tables = {}, []

    def visit(cls):
        if cls in classes:
            return
        classes[cls] = None
        for setting in settings.settings_of(cls).values():
            if setting.section is not None:
                visit(setting.section)
            elif setting.choices is not None:
                tables.append(setting)
                for choice in setting.choices.values():
                    visit(choice)

    for cls in (Experiment, JointExperiment, ReconstructionEvaluation, TableData):
        visit(cls)
    return list(classes), tables


PARTS, TABLES = every_part()


def values_of(cls):
    """Return the settings of a part that are not parts themselves."""
    return {
        name: setting for name, setting in settings.settings_of(cls).items() if not setting.is_part
    }


def limits_of(cls, name):
    """Return values that a setting takes, and values that it refuses, if only those of any."""
    default = getattr(cls(), name)
    common = ((default,), (None, float("nan"), object))
    return LIMITS.get(f"{cls.__name__}.{name}", LIMITS.get(name, common))


def test_limits_belong_to_existing_settings():
    known = {name for cls in PARTS for name in values_of(cls)}
    own = {f"{cls.__name__}.{name}" for cls in PARTS for name in values_of(cls)}
    assert set(LIMITS) <= known | own


@pytest.mark.parametrize("cls", PARTS, ids=lambda cls: cls.__name__)
def test_every_setting_of_a_part_keeps_to_its_limits(cls):
    for name, setting in values_of(cls).items():
        good, bad = limits_of(cls, name)
        for value in good:
            assert getattr(settings.resolve_part(cls, {name: value}, "part"), name) == value, name
        for value in bad:
            with pytest.raises(UserError) as error:
                settings.resolve_part(cls, {name: value}, "part")
            assert str(error.value).startswith(f"part.{name}={value!r} must be "), name
        default = getattr(cls(), name)
        assert settings.resolve(setting, default, name) == default
        assert setting.sentence.endswith(".")


@pytest.mark.parametrize("cls", PARTS, ids=lambda cls: cls.__name__)
def test_every_part_with_its_defaults_is_the_same_after_a_round_trip(cls):
    default = cls()
    assert settings.resolve_part(cls, settings.to_dict(default), "part") == default
    assert settings.resolve_part(cls, settings.changed(default), "part") == default
    assert settings.changed(default) == {}
    assert settings.substitute(default, settings.traced_values(default)) == default
    assert (cls.__doc__ or "").strip()


@hypothesis_settings(deadline=None)
@given(data=st.data())
def test_every_choice_with_any_of_its_values_is_the_same_after_a_round_trip(data):
    setting = data.draw(st.sampled_from(TABLES))
    name = data.draw(st.sampled_from(sorted(setting.choices)))
    content = {"name": name}
    for inner in values_of(setting.choices[name]):
        cls = setting.choices[name]
        good, _ = limits_of(cls, inner)
        if data.draw(st.booleans()):
            content[inner] = data.draw(st.sampled_from(good))
    chosen = settings.resolve(setting, content, "part")
    assert settings.name_of(chosen) == name
    assert settings.resolve(setting, settings.to_dict(chosen), "part") == chosen
    assert settings.resolve(setting, chosen, "part") == chosen
    shortest = {"name": name, **settings.changed(chosen)}
    assert settings.resolve(setting, shortest, "part") == chosen


@dataclasses.dataclass(frozen=True)
class Named:
    """Values by free names."""

    kinds: tuple = settings.by_name("Kinds by name.", ["count", "real"])


def test_values_by_name_are_a_mapping_in_a_config_and_pairs_in_the_part():
    part = settings.resolve_part(Named, {"kinds": {"b": "real", "a.b c": "count"}}, "data")
    assert part.kinds == (("a.b c", "count"), ("b", "real"))
    assert settings.resolve_part(Named, {"kinds": part.kinds}, "data") == part
    assert settings.to_dict(part)["kinds"] == {"a.b c": "count", "b": "real"}
    assert settings.changed(part) == {"kinds": {"a.b c": "count", "b": "real"}}
    assert settings.changed(Named()) == {}
    with pytest.raises(UserError, match=r"data\.kinds\.b='x' must be one of count, real"):
        settings.resolve_part(Named, {"kinds": {"b": "x"}}, "data")
    with pytest.raises(UserError, match=r"data\.kinds=3 must be values by name"):
        settings.resolve_part(Named, {"kinds": 3}, "data")
