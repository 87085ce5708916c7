"""Set settings by dotted name, from the command line or a sweep."""

import ast
import copy
from collections.abc import Iterable, Mapping
from typing import Any

from vae_jax import settings
from vae_jax.config.experiment import Config, plain, shape_of
from vae_jax.config.upgrades import RENAMED
from vae_jax.errors import UserError
from vae_jax.settings import Setting


def with_values(config: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings in which some, by dotted name, have other values.

    A choice replaces the whole section, so it goes before the settings of what is chosen.

    Args:
      config: nested settings.
      values: by dotted name; a choice is set before the settings of what is chosen.

    Raises:
      UserError: names a setting that is not there, with the nearest one.
    """
    content = _said(plain(config))
    for path, value in sorted(values.items(), key=lambda item: item[0].count(".")):
        _set(content, path, value)
    return content


def value_at(content: Mapping[str, Any], path: str) -> Any:
    """Return the value of a setting, or the section of a part, in nested settings."""
    for name in path.split("."):
        content = content[name]
    return content


def _said(content: Any) -> Any:
    """Return a copy of nested settings in which parts that are objects are sections, too."""
    if isinstance(content, Mapping):
        return {name: _said(value) for name, value in content.items()}
    return copy.deepcopy(settings.to_dict(content))


def parse(config: Config, path: str, text: str) -> Any:
    """Return the value that a text on the command line gives to a setting.

    Raises:
      UserError: there is no such setting.
    """
    setting = setting_at(_said(plain(config)), path)
    if setting.is_part:
        return _literal(text) if text.startswith("{") else text
    # Where the setting takes a text, "3" and "True" are texts.
    if setting.check("text") is None or "one of" in setting.limits:
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return _literal(text)


def with_texts(config: Any, texts: Iterable[tuple[str, str]]) -> Any:
    """Return nested settings in which a command line sets some, in order.

    Args:
      config: nested settings.
      texts: dotted names and the texts of their values.

    Raises:
      UserError: there is no such setting.
    """
    for name, text in texts:
        config = with_values(config, {name: parse(config, name, text)})
    return config


def setting_at(content: Mapping[str, Any], path: str) -> Setting:
    """Return the declaration of the setting with a dotted name, given the choices of a config.

    Raises:
      UserError: names the nearest setting that is there.
    """
    cls: Any
    cls, sections, model = shape_of(content)
    *parents, last = _without_name(path).split(".")
    inner: Any = content
    seen, chosen = "", None
    for name in parents:
        setting = _declared(cls, seen, name, path)
        if setting.entry is not None:
            return setting.entry
        if not setting.is_part:
            raise UserError(f"{path} is not a setting: {seen}{name} has none of its own")
        inner = inner.get(name, {}) if isinstance(inner, Mapping) else {}
        chosen = None
        if setting.section is not None:
            cls = setting.section if seen else sections.get(name, setting.section)
        else:
            chosen = inner.get("name") if isinstance(inner, Mapping) else inner
            if chosen is None and f"{seen}{name}" == "objective":
                chosen = getattr(model, "default_objective", None)
            cls = settings.chosen_class(setting, f"{seen}{name}", chosen)
        seen += f"{name}."
    return _declared(cls, seen, last, path, chosen)


def _without_name(path: str) -> str:
    """Return the path of a part for that of its name; `data.name` is a setting of its own.

    So is the kind of a column with that name.
    """
    is_own = path == "data.name" or path.startswith("data.columns.")
    return path if is_own else path.removesuffix(".name")


def _names(content: Mapping[str, Any], path: str) -> list[str]:
    """Return the names of a path; one that is free, of values by name, may have dots."""
    names = _without_name(path).split(".")
    for num in range(1, len(names)):
        try:
            setting = setting_at(content, ".".join(names[:num]))
        except UserError:
            break
        if setting.entry is not None:
            return [*names[:num], ".".join(names[num:])]
    return names


def _declared(cls: type, seen: str, name: str, path: str, choice: str | None = None) -> Setting:
    declared = settings.settings_of(cls)
    if name in declared:
        return declared[name]
    if path in RENAMED:
        raise UserError(f"{path} is not a setting any more; it is {RENAMED[path]} now")
    raise UserError(settings.unknown_setting(cls, seen.rstrip("."), name, choice))


def _set(content: dict[str, Any], path: str, value: Any) -> None:
    setting = setting_at(content, path)
    *parents, last = _names(content, path)
    inner = content
    for name in parents:
        below = inner.get(name)
        if isinstance(below, str):
            below = {"name": below}
        inner[name] = dict(below or {})
        inner = inner[name]
    if setting.choices is not None and isinstance(value, str):
        value = {"name": value}
    inner[last] = value


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
