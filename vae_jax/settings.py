"""Settings, declared beside the code that reads them, and parts: the classes that have them.

A part is a frozen dataclass whose fields are settings: an encoder, a prior, an objective, an
optimiser. Each setting is declared once, with its type, default, limits and a sentence:

    @register(OBJECTIVES, "beta")
    @dataclasses.dataclass(frozen=True)
    class BetaVAE:
        beta: Traced = traced(1.0, "Weight of the KL.", at_least=0.0)
        num_samples: int = integer(1, "Samples of the latents per image.", at_least=1)

A table of choices is a plain dict from names to parts. A config names a choice and gives its
settings, `{"name": "beta", "beta": 4.0}`; all others have their defaults. A name with a colon,
"package.module:Name", is a part from outside the package.

A *traced* setting enters the compiled program as an array, so that one program serves all of its
values. All others are static.
"""

import dataclasses
import difflib
import functools
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from vae_jax.errors import UserError, first_line

# The value of a traced setting: a number in a config, an array in a compiled program.
Traced = float | int | jax.Array

# Returns a description of right values, or None if the value is right.
Check = Callable[[Any], str | None]

_KEY = "setting"
_PartClass = TypeVar("_PartClass", bound=type)

# Integers are counted in 32 bits.
_TOO_LARGE = 2**31
# Characters of a value in a message.
_LONGEST = 100
# A network of more layers takes hours to compile.
_MOST_SIZES = 1000

# The range of float32 without a loss of digits.
_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Setting:
    """The declaration of a setting.

    Attributes:
      sentence: its meaning.
      check: returns a description of right values for a wrong one, None for a right one.
      limits: the values that it takes, in words.
      is_traced: whether it enters compiled programs as an array.
      choices: the table of a part's choices; None for a value or a part without a choice.
      kind: the protocol or base class of parts from outside; None if there can be none.
      section: the class of a part without a choice.
      default_choice: the choice of a config that names none.
      is_number: whether integers are converted to floats.
      entry: the declaration of the value under each name, of a setting that is values by name.
    """

    sentence: str
    check: Check
    limits: str
    is_traced: bool = False
    choices: Mapping[str, type] | None = None
    kind: type | None = None
    section: type | None = None
    default_choice: str = ""
    is_number: bool = False
    entry: "Setting | None" = None

    @property
    def is_part(self) -> bool:
        """True if the value is a part, with settings of its own."""
        return self.choices is not None or self.section is not None


def declare(default: Any, setting: Setting) -> Any:
    """Return the dataclass field of a setting."""
    return dataclasses.field(default=default, metadata={_KEY: setting})


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number_check(
    at_least: float | None, above: float | None, below: float | None, at_most: float | None
) -> tuple[Check, str]:
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    limits = " and ".join(f"{k} {v:g}" for k, v in bounds.items() if v is not None)
    # "of at least 0", but "above 0".
    join = " of " if limits.startswith("at") else " "

    def check(value: Any) -> str | None:
        good = (_is_integer(value) or isinstance(value, float)) and math.isfinite(value)
        if (
            good
            and (at_least is None or value >= at_least)
            and (above is None or value > above)
            and (at_most is None or value <= at_most)
            and (below is None or value < below)
        ):
            if value == 0 or _SMALLEST <= abs(value) <= _LARGEST:
                return None
            return f"a number that float32 holds: 0, or from {_SMALLEST:.1e} to {_LARGEST:.1e}"
        return f"a number{join}{limits}" if limits else "a finite number"

    return check, limits or "any finite number"


def traced(
    default: float,
    sentence: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> Any:
    """Declare a number that enters compiled programs as an array."""
    check, limits = _number_check(at_least, above, below, at_most)
    return declare(default, Setting(sentence, check, limits, is_traced=True, is_number=True))


def bounded(
    default: float,
    sentence: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> Any:
    """Declare a static number."""
    check, limits = _number_check(at_least, above, below, at_most)
    return declare(default, Setting(sentence, check, limits, is_number=True))


def integer(
    default: int, sentence: str, *, at_least: int, at_most: int | None = None, zero: bool = False
) -> Any:
    """Declare a static integer; `zero` allows 0 below the limit."""
    high = "" if at_most is None else f" and at most {at_most}"
    limits = ("0, or an integer of at least " if zero else "an integer of at least ") + (
        f"{at_least}{high}"
    )

    def check(value: Any) -> str | None:
        good = _is_integer(value) and value >= at_least and (at_most is None or value <= at_most)
        if good and value >= _TOO_LARGE:
            return f"{limits}, and below {_TOO_LARGE}"
        return None if good or (zero and _is_integer(value) and value == 0) else limits

    return declare(default, Setting(sentence, check, limits))


def seed(default: int, sentence: str) -> Any:
    """Declare a seed."""
    limits = "an integer from 0 to 2**32 - 1"

    def check(value: Any) -> str | None:
        # For other seeds `jax.random.key` fails, or gives the same key for two of them.
        return None if _is_integer(value) and 0 <= value < 2**32 else limits

    return declare(default, Setting(sentence, check, limits))


def flag(default: bool, sentence: str) -> Any:
    """Declare a switch."""
    return declare(
        default,
        Setting(sentence, lambda v: None if isinstance(v, bool) else "True or False", "a switch"),
    )


def text(default: str, sentence: str, *, may_be_empty: bool = True) -> Any:
    """Declare a text."""
    limits = "a text" if may_be_empty else "a text that is not empty"

    def check(value: Any) -> str | None:
        if hasattr(value, "shape"):
            return f"{limits}; write an array into a .npz file with np.savez, and name the file"
        return None if isinstance(value, str) and (value or may_be_empty) else limits

    return declare(default, Setting(sentence, check, limits))


def one_of(default: str, names: Sequence[str], sentence: str) -> Any:
    """Declare one of several names."""
    limits = f"one of {', '.join(sorted(names))}"
    return declare(default, Setting(sentence, lambda v: None if v in names else limits, limits))


def sizes(default: tuple[int, ...], sentence: str, *, may_be_empty: bool = False) -> Any:
    """Declare a tuple of positive integers."""
    limits = f"a tuple of {'' if may_be_empty else 'one or more '}positive integers"

    def check(value: Any) -> str | None:
        good = isinstance(value, tuple | list) and all(_is_integer(v) and v >= 1 for v in value)
        if good and (len(value) > _MOST_SIZES or any(v >= _TOO_LARGE for v in value)):
            return f"at most {_MOST_SIZES} integers, each below {_TOO_LARGE}"
        return None if good and (value or may_be_empty) else f"{limits}, such as (400,)"

    return declare(default, Setting(sentence, check, limits))


def numbers(
    default: tuple[float, ...], sentence: str, *, each: str, check_each: Callable[[float], bool]
) -> Any:
    """Declare a tuple of numbers; `each` describes the numbers that `check_each` accepts."""
    check_number, _ = _number_check(None, None, None, None)

    def check(value: Any) -> str | None:
        good = isinstance(value, tuple | list) and all(
            check_number(v) is None and check_each(v) for v in value
        )
        return None if good else f"a tuple of numbers {each}, such as (1.0, 0.1)"

    limits = f"a tuple of numbers {each}"
    return declare(default, Setting(sentence, check, limits, is_number=True))


def names(default: tuple[str, ...], sentence: str) -> Any:
    """Declare a tuple of different names."""
    limits = "a tuple of different names"

    def check(value: Any) -> str | None:
        good = isinstance(value, tuple | list) and all(isinstance(v, str) and v for v in value)
        return None if good and len(set(value)) == len(value) else limits

    return declare(default, Setting(sentence, check, limits))


def by_name(sentence: str, names: Sequence[str]) -> Any:
    """Declare values by free names, each one of several; the default is none.

    A config has a mapping; the part has its pairs, `((name, value), ...)`.
    """
    limits = f"values by name, each one of {', '.join(sorted(names))}"
    one = f"one of {', '.join(sorted(names))}"

    def check(value: Any) -> str | None:
        try:
            pairs = dict(value)
        except (TypeError, ValueError):
            return limits
        good = all(isinstance(name, str) and name for name in pairs)
        return None if good and all(v in names for v in pairs.values()) else limits

    entry = Setting(sentence, lambda v: None if v in names else one, one)
    return declare((), Setting(sentence, check, limits, entry=entry))


def part(default: str, choices: Mapping[str, type], kind: type | None, sentence: str) -> Any:
    """Declare a part that is chosen by name.

    Args:
      default: the name of the default choice.
      choices: the parts by name.
      kind: the protocol or base class of every choice, also from outside; None if there can be none
        from outside.
      sentence: the purpose of the part.
    """
    setting = Setting(
        sentence,
        lambda value: None,
        "a choice and its settings",
        choices=choices,
        kind=kind,
        default_choice=default,
    )
    return dataclasses.field(default_factory=lambda: choices[default](), metadata={_KEY: setting})


def section(cls: type, sentence: str) -> Any:
    """Declare a part without a choice: a group of settings."""
    setting = Setting(sentence, lambda value: None, "settings", section=cls)
    return dataclasses.field(default_factory=cls, metadata={_KEY: setting})


def register(table: dict[str, type], name: str) -> Callable[[_PartClass], _PartClass]:
    """Return a decorator that adds a part to a table of choices."""

    def put(cls: _PartClass) -> _PartClass:
        cls.name = name  # type: ignore[attr-defined]
        table[name] = cls
        return cls

    return put


def import_modules(package: str) -> None:
    """Import every module of a package, so that its parts register themselves."""
    import pkgutil

    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")


def settings_of(cls: Any) -> dict[str, Setting]:
    """Return the settings of a part by name, in the order of their declaration."""
    return _settings_of(cls)


@functools.cache
def _settings_of(cls: Any) -> dict[str, Setting]:
    return {
        field.name: field.metadata[_KEY]
        for field in dataclasses.fields(cls)
        if _KEY in field.metadata
    }


def name_of(value: Any) -> str:
    """Return the name by which a config chooses a part."""
    cls = type(value)
    return str(vars(cls).get("name") or f"{cls.__module__}:{cls.__qualname__}")


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a question that suggests the nearest known name; "" if none is near."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def shown(value: Any) -> str:
    """Return a value as a message shows it: in one line, which is short."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {list(value.shape)} and type {value.dtype}"
    written = " ".join(repr(value).split("\n"))
    return written if len(written) <= _LONGEST else f"{written[:_LONGEST]}..."


def import_outside(path: str, name: str) -> Any:
    """Import the object that "package.module:Name" names.

    Args:
      path: the dotted name of the setting, for messages.
      name: module and attribute.

    Raises:
      UserError: the module cannot be imported, fails, or has no such name.
    """
    module_name, _, attribute = name.partition(":")
    where = f"{path}={name!r}"
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(
            f"{where}: the module {module_name!r} cannot be imported ({first_line(error)}); put it "
            "where Python finds modules, such as the current directory or PYTHONPATH"
        ) from None
    except Exception as error:
        raise UserError(
            f"{where}: the module {module_name!r} fails when it is imported: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from None
    found = getattr(module, attribute, None)
    if found is None:
        public = [other for other in vars(module) if not other.startswith("_")]
        raise UserError(
            f"{where}: the module {module_name!r} has no {attribute!r}{nearest(attribute, public)}"
        )
    return found


def _check_declared(found: Any, where: str) -> type:
    """Return the class; refuse it if it is not a frozen dataclass whose fields are settings."""
    parameters = getattr(found, "__dataclass_params__", None)
    if not isinstance(found, type) or parameters is None or not parameters.frozen:
        raise UserError(
            f"{where} is not a frozen dataclass with fields that are declared by vae_jax.settings"
        )
    undeclared = [f.name for f in dataclasses.fields(found) if _KEY not in f.metadata]
    if undeclared:
        raise UserError(
            f"{where}: its field {undeclared[0]!r} is not declared by vae_jax.settings, such as "
            'integer(512, "Units.", at_least=1)'
        )
    return found


def _check_kind(found: type, setting: Setting, path: str, name: str) -> type:
    kind = setting.kind
    assert kind is not None
    if not getattr(kind, "_is_protocol", False):
        if issubclass(found, kind):
            return found
        raise UserError(
            f"{path}={name!r} is the wrong kind of part: it is not a subclass of "
            f"{kind.__module__}.{kind.__name__}"
        )
    # Registration gives the name.
    declared = {*vars(kind), *vars(kind).get("__annotations__", {})} - {"name"}
    wanted = sorted(name for name in declared if not name.startswith("_"))
    fields = {field.name for field in dataclasses.fields(found)}
    missing = [name for name in wanted if name not in fields and not hasattr(found, name)]
    if missing:
        raise UserError(
            f"{path}={name!r} is the wrong kind of part: it has no {missing[0]!r}, "
            f"which {kind.__module__}:{kind.__name__} requires"
        )
    return found


def chosen_class(setting: Setting, path: str, name: Any = None) -> type:
    """Return the class of a part that is chosen by name, or of the default choice.

    Raises:
      UserError: there is no such choice, or it is of another kind.
    """
    assert setting.choices is not None
    name = setting.default_choice if name is None else name
    if isinstance(name, str) and name in setting.choices:
        return setting.choices[name]
    if isinstance(name, str) and ":" in name and setting.kind is not None:
        where = f"{path}.name"
        found = _check_declared(import_outside(where, name), f"{where}={name!r}")
        return _check_kind(found, setting, where, name)
    known = sorted(setting.choices)
    hint = nearest(name, known) if isinstance(name, str) else ""
    own = ", or a part of your own as 'package.module:Name'" if setting.kind is not None else ""
    raise UserError(f"{path}.name={shown(name)} must be one of {', '.join(known)}{own}{hint}")


def _class_of(value: Any, setting: Setting, path: str) -> type:
    """Return the class of a part that is given as an object, if it is of the right kind."""
    cls, name = type(value), name_of(value)
    if setting.kind is not None and ":" in name:
        return _check_kind(_check_declared(cls, f"{path}.name={name!r}"), setting, path, name)
    if cls is (chosen_class(setting, path, name) if setting.choices else setting.section):
        return cls
    raise UserError(f"{path}={shown(value)} is the wrong kind of part")


def resolve(setting: Setting, value: Any, path: str) -> Any:
    """Return the value of a setting, or the part that a config's section describes.

    Args:
      setting: its declaration.
      value: the config's value. For a part it is a name, a mapping of its settings with or without
        a "name", or the part itself.
      path: the dotted name of the setting, for messages.

    Raises:
      UserError: names the setting, its value, and the values that are right.
    """
    if not setting.is_part:
        expected = setting.check(value)
        if expected is not None:
            raise UserError(_refused(setting, value, path, expected))
        if setting.entry is not None:
            return tuple(sorted(dict(value).items()))
        if isinstance(value, tuple | list):
            return tuple(map(float, value)) if setting.is_number else tuple(value)
        return float(value) if setting.is_number else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = _class_of(value, setting, path)
        return resolve_part(cls, {name: getattr(value, name) for name in settings_of(cls)}, path)
    if setting.section is not None:
        if not isinstance(value, Mapping):
            raise UserError(f"{path}={shown(value)} must be settings, such as {{...}}")
        return resolve_part(setting.section, value, path)
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise UserError(
            f"{path}={shown(value)} must be a choice, one of "
            f"{', '.join(sorted(setting.choices or ()))}, or {{'name': ..., and its settings}}"
        )
    name = value.get("name")
    return resolve_part(chosen_class(setting, path, name), value, path, choice=name)


def _refused(setting: Setting, value: Any, path: str, expected: str) -> str:
    """Return the message that refuses a value; of values by name the first wrong one."""
    if setting.entry is not None and isinstance(value, Mapping):
        for name, inner in value.items():
            problem = setting.entry.check(inner)
            if problem is not None:
                return f"{path}.{name}={shown(inner)} must be {problem}"
    return f"{path}={shown(value)} must be {expected}"


def resolve_part(
    cls: type,
    section: Mapping[str, Any],
    path: str,
    sections: Mapping[str, type] | None = None,
    *,
    choice: str | None = None,
) -> Any:
    """Return the part of a class with the settings of a config's section.

    Args:
      cls: the part's class.
      section: settings by name; a "name" is ignored.
      path: the dotted name of the section, "" for the whole config.
      sections: classes that replace the declared ones of sections without a choice, by name.
      choice: the name by which the part was chosen, for messages.

    Raises:
      UserError: names the setting, its value, and the values that are right.
    """
    declared = settings_of(cls)
    if sections:
        declared = {
            name: dataclasses.replace(setting, section=sections.get(name, setting.section))
            for name, setting in declared.items()
        }
    prefix = f"{path}." if path else ""
    values = {}
    for name, value in section.items():
        if name == "name" and "name" not in declared:
            continue
        if name not in declared:
            raise UserError(unknown_setting(cls, path, str(name), choice))
        values[name] = resolve(declared[name], value, f"{prefix}{name}")
    for name, replaced in (sections or {}).items():
        if name in declared and name not in values:
            values[name] = replaced()
    return cls(**values)


def unknown_setting(cls: type, path: str, name: str, choice: str | None = None) -> str:
    """Return the message that refuses a setting which a part does not have.

    Args:
      cls: the part's class.
      path: the dotted name of its section.
      name: the setting that it lacks.
      choice: the name by which the part was chosen, if it was.
    """
    known = list(settings_of(cls))
    if choice is not None and ":" in choice:
        # Nothing lists the settings of a part from outside.
        there = f"it has {', '.join(known)}" if known else "it has none"
        return f"{path}.{name} is not a setting of {path}={choice!r}; {there}{nearest(name, known)}"
    whose = f" of {path}={vars(cls)['name']!r}" if "name" in {*vars(cls)} - {*known} else ""
    if not whose and path:
        what = (cls.__doc__ or "").split(".")[0]
        whose = f" here ({what[:1].lower()}{what[1:]})" if what else ""
    hint = nearest(name, known)
    if not hint:
        hint = f"; it has {', '.join(known)}" if known else "; it has none"
    return f"{path + '.' if path else ''}{name} is not a setting{whose}{hint}"


def to_dict(value: Any) -> Any:
    """Return a part as a section of a config: every setting, and the name of every choice."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    # A choice has a name by registration, or its import path if it is from outside.
    has_name = "name" in vars(type(value)) or not type(value).__module__.startswith("vae_jax.")
    return _as_section(value, has_name and "name" not in settings_of(type(value)))


def _as_section(value: Any, is_choice: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"name": name_of(value)} if is_choice else {}
    for name, setting in settings_of(type(value)).items():
        inner = getattr(value, name)
        if setting.is_part:
            inner = _as_section(inner, setting.choices is not None)
        content[name] = inner if setting.entry is None else dict(inner)
    return content


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested sections by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def walk(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a part and all parts within it, with their dotted names."""
    yield prefix, value
    for name, setting in settings_of(type(value)).items():
        if setting.is_part:
            yield from walk(getattr(value, name), f"{prefix}.{name}" if prefix else name)


def traced_values(value: Any, prefix: str = "") -> dict[str, float]:
    """Return the traced settings of a part and of all parts within it, by dotted name."""
    found: dict[str, float] = {}
    for path, inner in walk(value, prefix):
        for name, setting in settings_of(type(inner)).items():
            if setting.is_traced:
                found[f"{path}.{name}" if path else name] = getattr(inner, name)
    return found


def substitute(value: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """Return a part in which traced settings have the given values, by dotted name."""
    changes: dict[str, Any] = {}
    for name, setting in settings_of(type(value)).items():
        path = f"{prefix}.{name}" if prefix else name
        if setting.is_part:
            changes[name] = substitute(getattr(value, name), values, path)
        elif setting.is_traced and path in values:
            changes[name] = values[path]
    return dataclasses.replace(value, **changes)


def changed(value: Any) -> dict[str, Any]:
    """Return the nested settings of a part that differ from the defaults."""
    content: dict[str, Any] = {}
    for name, setting in settings_of(type(value)).items():
        inner = getattr(value, name)
        if setting.is_part:
            nested = changed(inner)
            if setting.section is None and name_of(inner) != setting.default_choice:
                nested = {"name": name_of(inner), **nested}
            if nested:
                content[name] = nested
            continue
        field = next(f for f in dataclasses.fields(value) if f.name == name)
        if inner != field.default and setting.entry is not None:
            content[name] = dict(inner)
        elif inner != field.default:
            content[name] = list(inner) if isinstance(inner, tuple) else inner
    return content
