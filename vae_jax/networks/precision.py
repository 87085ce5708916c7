"""Mixed precision: which computations of a network run in bfloat16.

The matrix products and convolutions of encoders and decoders may take their operands, and give
their results, in bfloat16: half the memory, and on accelerators several times the speed.
Parameters, biases, sums and normalisations stay float32, and with them gradients, the optimiser's
state and the parameters of distributions. Each layer's result is float32, and the next layer rounds
it. XLA fuses the rounding into the product's neighbours, so that it costs no pass over memory.

Posteriors, priors and flows are float32 throughout: they are small, and they compute latents and
log densities.

Evaluation runs products in full float32 (`full_precision`). By default an accelerator rounds
float32 operands, too, to 11 bits on a GPU and to 8 on a TPU.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from vae_jax.networks.initializers import LECUN, Initializer

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# A scalar type of JAX, such as `jnp.bfloat16`.
ComputeDtype = Any

COMPUTE_DTYPES: dict[str, ComputeDtype] = {"bfloat16": jnp.bfloat16, "float32": jnp.float32}


def full_precision(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Return the function with its float32 products and convolutions in full precision.

    It must be called inside `jax.jit`, since the precision is chosen at tracing. Products in
    bfloat16 stay so.
    """

    @functools.wraps(function)
    def precise(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return precise


def _round_operands(arrays: Any, /, *, dtype: Any = None, inexact: bool = True) -> Any:
    """Cast inputs, kernel and bias before the product, as Flax's `promote_dtype`."""
    del inexact
    inputs, kernel, bias = arrays
    return inputs.astype(dtype), kernel.astype(dtype), bias.astype(jnp.float32)


class Dense(nnx.Linear):
    """A dense layer whose product runs in `dtype`; its bias and its result are float32."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        dtype: ComputeDtype = jnp.float32,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            dtype=dtype,
            promote_dtype=_round_operands,
            kernel_init=kernel_init,
            rngs=rngs,
        )
