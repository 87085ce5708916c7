"""A model's state, and functions of the model compiled once per batch shape."""

import copy
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float
from numpy.typing import ArrayLike

from vae_jax import arguments
from vae_jax.config import model_file
from vae_jax.config.build import abstract_model
from vae_jax.config.experiment import AnyExperiment
from vae_jax.config.forms import DataForm
from vae_jax.networks.precision import full_precision
from vae_jax.trained.run_read_back import RunReadBack


class Compiled(RunReadBack):
    """A model's state, and functions of the model compiled once per batch shape.

    Attributes:
      params: the model's parameters.
      extra: the model's state that is learned without a gradient.
      graphdef: the model without its state.
      has_density: whether log p(x) has a bound, from a posterior and a prior.
      has_codes: whether `encode` returns discrete codes.
      latent_size: number of latent dimensions.
    """

    _batch_size: int

    def __init__(
        self,
        config: AnyExperiment,
        form: DataForm,
        params: nnx.State,
        extra: nnx.State | None = None,
    ) -> None:
        super().__init__(config, form)
        self.params = params
        self.extra = nnx.State({}) if extra is None else extra
        self.graphdef, *shapes = abstract_model(config, form)
        self._shape = nnx.merge(self.graphdef, *shapes)
        self.has_density = bool(self._shape.has_density)
        self.has_codes = bool(getattr(self._shape, "has_codes", False))
        self.latent_size = int(self._shape.latent_size)
        self._compiled: dict[str, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        data = getattr(self.data, "name", "")
        return f"<{type(self).__name__} {self.name} of {data}, {self.latent_size} latents>"

    def with_params(
        self, config: AnyExperiment, params: nnx.State, extra: nnx.State | None = None
    ) -> Any:
        """Return the same network with the parameters of another run, without compiling again."""
        other = copy.copy(self)
        other.config, other.params = config, params
        other.extra = self.extra if extra is None else extra
        return other

    @property
    def state(self) -> nnx.State:
        """The model's parameters and extra state, for `nnx.merge`."""
        return nnx.merge_state(self.params, self.extra)

    @property
    def named_arrays(self) -> dict[str, np.ndarray]:
        """Parameters and extra state by their names in a file, in the order of the trees."""
        named = model_file.named_arrays(self.params, self.extra)
        return {name: np.asarray(jax.device_get(leaf)) for name, leaf in named}

    def to_bytes(self, *, half_precision: bool = False) -> bytes:
        """Return the content of a .safetensors file that `load` reads.

        Args:
          half_precision: whether to store the arrays as float16.

        Raises:
          UserError: a value is too large for float16.
        """
        assert self.written_config is not None, "a run has a config"
        return model_file.to_bytes(
            self.written_config, self.form, self.params, self.extra, half_precision=half_precision
        )

    def _run(self, name: str, function: Callable[..., Any], *batched: Any) -> Any:
        """Return `function(model, *trees)`, compiled and computed in batches."""
        if name not in self._compiled:

            @full_precision
            def apply(params: nnx.State, extra: nnx.State, *trees: Any) -> Any:
                return function(nnx.merge(self.graphdef, params, extra), *trees)

            self._compiled[name] = jax.jit(apply)
        # JAX arrays stay as they are, keys among them.
        batched = jax.tree.map(
            lambda leaf: leaf if isinstance(leaf, jax.Array) else np.asarray(leaf), batched
        )
        parts = []
        for first in range(0, len(jax.tree.leaves(batched)[0]), self._batch_size):
            rows = slice(first, first + self._batch_size)
            part = jax.tree.map(lambda array, rows=rows: array[rows], batched)
            parts.append(self._compiled[name](self.params, self.extra, *part))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def _latents(self, latents: ArrayLike) -> Float[np.ndarray, "num latents"]:
        return arguments.float_latents(latents, self.latent_size)
