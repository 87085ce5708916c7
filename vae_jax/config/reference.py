"""Every choice and every setting, in words, from their declarations."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vae_jax import settings
from vae_jax.config.data_settings import TableData
from vae_jax.config.experiment import Experiment, JointExperiment
from vae_jax.errors import UserError
from vae_jax.settings import Setting


class Entry(NamedTuple):
    """A part or section of a config.

    Attributes:
      path: its dotted name; "" is the config itself.
      sentence: what it is for.
      default: the default choice; "" without a choice.
      classes: the choices by name; a single one without a choice.
    """

    path: str
    sentence: str
    default: str
    classes: dict[str, type]


def entries() -> list[Entry]:
    """Return all parts and sections, the config itself first."""
    found: dict[str, Entry] = {}
    for path, setting in [*_parts(Experiment, ""), *_parts(JointExperiment, "")]:
        first = Entry(path, setting.sentence, setting.default_choice, {})
        found.setdefault(path, first).classes.update(_classes(setting))
    found["data"].classes["TableData"] = TableData
    top = Entry("", "The experiment.", "", {"of images": Experiment})
    return [top, *sorted(found.values())]


def _classes(setting: Setting) -> Mapping[str, type]:
    """Return the choices of a part by name, or the class of a section."""
    if setting.section is not None:
        return {setting.section.__name__: setting.section}
    return setting.choices or {}


def _parts(cls: type, path: str) -> Iterator[tuple[str, Setting]]:
    for name, setting in settings.settings_of(cls).items():
        if not setting.is_part:
            continue
        inner = f"{path}.{name}" if path else name
        yield inner, setting
        for choice in _classes(setting).values():
            if not getattr(choice, "is_read", False):
                yield from _parts(choice, inner)


@functools.cache
def declarations() -> dict[str, list[Setting]]:
    """Return every setting by its dotted name, as each choice that has it declares it."""
    found: dict[str, list[Setting]] = {}
    for entry in entries():
        for cls in entry.classes.values():
            for name, setting in settings.settings_of(cls).items():
                path = f"{entry.path}.{name}" if entry.path else name
                found.setdefault(path, []).append(setting)
    for name, setting in settings.settings_of(JointExperiment).items():
        found.setdefault(name, []).append(setting)
    return found


def listing() -> str:
    """Return all choices, a line per choice."""
    lines = ["The config: " + ", ".join(settings.settings_of(Experiment))]
    for entry in entries()[1:]:
        if not entry.default:
            names = sorted(
                {name for cls in entry.classes.values() for name in settings.settings_of(cls)}
            )
            lines.append(f"\n{entry.path}: {entry.sentence}\n  {', '.join(names)}")
            continue
        lines.append(f"\n{entry.path}: {entry.sentence} Default: {entry.default}.")
        for name, cls in sorted(entry.classes.items()):
            known = ", ".join(settings.settings_of(cls)) or "no settings"
            lines.append(f"  {name}: {_doc(cls)} [{known}]")
    lines.append("\nOne of them: python -m experiments.settings --of=objective.elbo")
    return "\n".join(lines)


def describe(name: str) -> str:
    """Return the settings of a choice, such as "objective.elbo", or of a section.

    Raises:
      UserError: there is no such choice.
    """
    known: dict[str, type] = {}
    for entry in entries():
        if entry.default:
            known |= {f"{entry.path}.{choice}": cls for choice, cls in entry.classes.items()}
        else:
            known[entry.path or "config"] = next(iter(entry.classes.values()))
    if name not in known:
        choices = sorted(path for path in known if path.startswith(f"{name}."))
        hint = f"; use one of {', '.join(choices)}" if choices else ""
        raise UserError(f"--of={name} is no choice{hint or settings.nearest(name, list(known))}")
    cls = known[name]
    lines = [f"{name}: {_doc(cls)}"]
    for row in _rows(cls):
        lines.append(f"\n  {row.name} = {row.default}\n    {row.sentence}")
        lines.append(f"    {row.limits}; {row.kind}")
    return "\n".join(lines)


def page() -> str:
    """Return the reference page in Markdown."""
    parts = [
        "# Settings",
        "",
        "Written by `python -m experiments.settings --markdown` from the declarations that stand "
        "beside what reads them. A traced setting enters the compiled program as an array: a sweep "
        "over it compiles once.",
        "",
    ]
    for entry in entries():
        heading = f"`config.{entry.path}`" if entry.path else "The config"
        parts += [f"## {heading}", "", entry.sentence, ""]
        if entry.default:
            parts += [f"A choice; the default is `{entry.default}`.", ""]
        for name, cls in sorted(entry.classes.items()):
            if entry.default:
                parts += [f"### `{name}`", "", _doc(cls), ""]
            rows = _rows(cls)
            if not rows:
                continue
            parts += ["| setting | default | values | | |", "| --- | --- | --- | --- | --- |"]
            parts += [
                f"| `{row.name}` | `{row.default}` | {row.limits} | {row.kind} | "
                + row.sentence.replace("|", "\\|")
                + " |"
                for row in rows
            ]
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _doc(cls: type) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]


class _Row(NamedTuple):
    name: str
    default: str
    limits: str
    kind: str
    sentence: str


def _rows(cls: type) -> list[_Row]:
    """Return the settings of a part, in words."""
    rows = []
    for name, setting in settings.settings_of(cls).items():
        default: Any = getattr(cls(), name)
        if setting.choices is not None:
            shown, limits = (
                settings.name_of(default),
                f"one of {', '.join(sorted(setting.choices))}",
            )
        elif setting.section is not None:
            shown, limits = "{}", "settings of its own"
        else:
            shown = "{}" if setting.entry is not None else repr(default)
            limits = setting.limits
        kind = "traced" if setting.is_traced else "static"
        rows.append(_Row(name, shown, limits, kind, setting.sentence))
    return rows
