"""All that sweeps know of a config: its settings by dotted name, and the values they take.

No other module of `vae_jax.sweeps` names a setting or asks what one means. A setting may also be a
part: its values are then choices, by name or with settings of their own.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any

from vae_jax.config.experiment import AnyExperiment, resolve
from vae_jax.config.overrides import with_values as with_settings
from vae_jax.config.reference import declarations
from vae_jax.config.upgrades import RENAMED
from vae_jax.errors import UserError
from vae_jax.settings import changed, nearest
from vae_jax.settings import resolve as resolve_setting

SEED = "seed"


def is_known(field: str) -> bool:
    """Return whether some choice has the setting."""
    return field in declarations()


def check(field: str, value: Any) -> None:
    """Refuse a value that a setting does not take, whatever is chosen.

    Raises:
      UserError: names the setting, the value, and what would be right.
    """
    if field in RENAMED and not is_known(field):
        raise UserError(f"{field} is not a setting any more; it is {RENAMED[field]} now")
    if not is_known(field):
        raise UserError(f"{field} is not a setting{nearest(field, list(declarations()))}")
    problem = None
    for setting in declarations()[field]:
        try:
            resolve_setting(setting, value, field)
            return
        except UserError as error:
            problem = error
    assert problem is not None
    raise problem


def takes_floats(field: str) -> bool:
    """Return whether the setting takes numbers that are no integers."""
    return any(setting.is_number for setting in declarations().get(field, []))


def is_traced(field: str) -> bool:
    """Return whether a compiled program takes it as an array, so that members may differ."""
    return field == SEED or any(s.is_traced for s in declarations().get(field, []))


def expanded(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return a setting in which parts are choices by name, followed by settings of their own.

    A section without a name sets what it says, and leaves the choice and the rest as they are.
    """
    found: dict[str, Any] = {}
    for field, value in setting.items():
        if not isinstance(value, Mapping):
            found[field] = value
            continue
        is_choice = "name" in value and not is_known(f"{field}.name")
        if is_choice:
            found[field] = value["name"]
        found |= expanded(
            {
                f"{field}.{name}": own
                for name, own in value.items()
                if not (is_choice and name == "name")
            }
        )
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


def experiment(config: Mapping[str, Any]) -> AnyExperiment:
    """Return the experiment that a config describes, checked."""
    return resolve(config)


def resolved(config: Any) -> dict[str, Any]:
    """Return the config as this version of the code writes it into a config.json."""
    return dict(json.loads(json.dumps(resolve(config).to_dict())))


def num_epochs(config: Mapping[str, Any]) -> int:
    """Return the number of epochs that a run trains for."""
    return int(resolve(config).epochs)


def has_validation(config: Mapping[str, Any]) -> bool:
    """Return whether a run is validated after each epoch."""
    return bool(resolve(config).data.validation_split)


def has_elbo(config: Mapping[str, Any]) -> bool:
    """Return whether the model has an ELBO."""
    return bool(resolve(config).model.has_density)
