"""All that sweeps know of a config: its fields by dotted name, and the values they take.

No other module of `vae_jax.sweeps` names a field or asks what one means.
"""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vae_jax.config.fields import FIELDS, unknown_field_message, with_fields
from vae_jax.errors import UserError

SEED = "seed"


def is_known(field: str) -> bool:
    """Return whether configs have the field."""
    return field in FIELDS


def check(field: str, value: Any) -> None:
    """Refuse a value that a field does not take.

    Raises:
      UserError: names the field, the value, and what would be right.
    """
    if not is_known(field):
        raise UserError(unknown_field_message(field))
    expected = FIELDS[field](value)
    if expected is not None:
        raise UserError(f"{field}={value!r} must be {expected}")


def takes_floats(field: str) -> bool:
    """Return whether the field takes numbers that are no integers."""
    return is_known(field) and FIELDS[field](0.5) is None


def is_traced(field: str) -> bool:
    """Return whether a compiled program takes the field as an array, so that members may differ."""
    return field == SEED or field.startswith("hparams.")


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the config in which some fields have other values.

    Args:
      config: nested, of this version of the code or an earlier one.
      values: by dotted field name, of the same version.
    """
    return with_fields(config, values)


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config as this version of the code writes it into a config.json."""
    return dict(json.loads(json.dumps(config)))


def experiment(config: Mapping[str, Any]) -> ConfigDict:
    """Return the config, of this version or an earlier one, as `vae_jax.config` takes it."""
    return ConfigDict(resolved(config))


def num_epochs(config: Mapping[str, Any]) -> int:
    """Return the number of epochs that a run trains for."""
    return int(config["epochs"])


def has_validation(config: Mapping[str, Any]) -> bool:
    """Return whether a run is validated after each epoch."""
    return bool(config["data"]["validation_split"])


def has_elbo(config: Mapping[str, Any]) -> bool:
    """Return whether the model has an ELBO."""
    return bool(config["model"]["name"] != "autoencoder")
