"""The settings of a sweep by dotted name, and configs in which they have other values.

A setting may be a part: its values are then choices, by name or with settings of their own.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any

from vae_jax.config.experiment import resolve
from vae_jax.config.overrides import with_values as with_settings
from vae_jax.settings import changed

SEED = "seed"


def expanded(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return a setting in which parts are choices by name, followed by settings of their own.

    A section without a name sets what it says, and leaves the choice and the rest as they are.
    """
    found: dict[str, Any] = {}
    for field, value in setting.items():
        if not isinstance(value, Mapping):
            found[field] = value
            continue
        own = dict(value)
        # `data.name` is a setting like others; any other name is that of a choice.
        if "name" in own and field != "data":
            found[field] = own.pop("name")
        found |= expanded({f"{field}.{name}": inner for name, inner in own.items()})
    return found


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config in which some settings have other values.

    Only what is not the default is kept of a config of this version: another choice may lack a
    setting that the config has by default alone.

    Args:
      config: nested, of this version of the code or an earlier one.
      values: by dotted name, of the same version; sections are expanded.
    """
    if "hparams" not in config:
        return with_settings(changed(resolve(config)), expanded(values))
    flat = copy.deepcopy(dict(config))
    for field, value in values.items():
        *sections, name = field.split(".")
        inner = flat
        for section in sections:
            inner = inner[section]
        inner[name] = value
    return flat


def resolved(config: Any) -> dict[str, Any]:
    """Return the config as this version of the code writes it into a config.json."""
    return dict(json.loads(json.dumps(resolve(config).to_dict())))
