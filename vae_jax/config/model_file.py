"""A model in one file: its config and parameters in the safetensors format.

The arrays are named by their paths in the model, "params.encoder.0.kernel" or "extra....", and may
be stored in half precision; computations are in float32 all the same. The header's metadata are the
resolved config and the form of the examples, each as JSON.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vae_jax.config.build import abstract_model
from vae_jax.config.experiment import AnyExperiment, resolve
from vae_jax.config.forms import DataForm, from_metadata, to_metadata
from vae_jax.errors import UserError

SUFFIX = ".safetensors"

_CONFIG, _FORM = "vae_jax.config", "vae_jax.form"


def to_bytes(
    written_config: dict[str, Any],
    form: DataForm,
    params: nnx.State,
    extra: nnx.State,
    *,
    half_precision: bool = False,
) -> bytes:
    """Return the content of a file with a model.

    Args:
      written_config: the config as it stands in the run's directory.
      form: of the run's examples.
      params: the model's parameters.
      extra: the model's state that is learned without a gradient.
      half_precision: whether to store float32 arrays as float16, in half the size. The caller
        measures what that costs.

    Raises:
      UserError: a value is too large for float16.
    """
    arrays = {name: np.asarray(jax.device_get(leaf)) for name, leaf in named_arrays(params, extra)}
    if half_precision:
        arrays = {name: _halved(name, array) for name, array in arrays.items()}
    metadata = {
        _CONFIG: json.dumps(written_config),
        _FORM: json.dumps(to_metadata(form)),
    }
    return save(arrays, metadata)


def _halved(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        raise UserError(f"{name} has values too large for half precision")
    return array.astype(np.float16)


def read(path: Path) -> tuple[dict[str, Any], AnyExperiment, DataForm, nnx.State, nnx.State]:
    """Return the config as it is written, the experiment, the form, parameters and extra state.

    Raises:
      UserError: the file is not there, is damaged, or has no model of this package.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there; experiments.export writes such a file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names: list[str] = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
        written = json.loads(metadata[_CONFIG])
        form = from_metadata(json.loads(metadata[_FORM]))
    except UserError:
        raise
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no file of experiments.export: {error}") from None
    try:
        config = resolve(written)
    except UserError as error:
        raise UserError(f"the config in {path}: {error}") from None
    _, params, extra = abstract_model(config, form)
    shapes = {name: (leaf.shape, leaf.dtype) for name, leaf in named_arrays(params, extra)}
    for name, array in arrays.items():
        if array.dtype == np.float16 and shapes.get(name) == (array.shape, np.float32):
            arrays[name] = array.astype(np.float32)
    if {name: (array.shape, array.dtype) for name, array in arrays.items()} != shapes:
        raise UserError(f"{path} has other arrays than the model of its config; export it again")

    def filled(part: str, state: nnx.State) -> nnx.State:
        return jax.tree.map_with_path(
            lambda path, _: jax.device_put(arrays[_name(part, path)]), state
        )

    return written, config, form, filled("params", params), filled("extra", extra)


def named_arrays(params: nnx.State, extra: nnx.State) -> list[tuple[str, Any]]:
    """Return the names and arrays of a model, "params.encoder.0.kernel" or "extra....", in order.

    Args:
      params: the model's parameters.
      extra: the model's state that is learned without a gradient.
    """
    return [
        (_name(part, path), leaf)
        for part, state in (("params", params), ("extra", extra))
        for path, leaf in jax.tree.leaves_with_path(state)
    ]


def _name(part: str, path: tuple[Any, ...]) -> str:
    """Return the name of an array: its path without the ".value" of Flax's variables."""
    keys = [str(getattr(key, "key", getattr(key, "name", key))) for key in path]
    return ".".join([part, *(key for key in keys if key != "value")])
