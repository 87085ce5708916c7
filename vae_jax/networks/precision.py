"""Mixed precision: what a body computes in fewer bits, and what it does not.

A body's matrix products and convolutions may take their operands, and give their results, in
bfloat16: half the memory, and on accelerators several times the speed. Parameters, biases, sums and
normalisations stay float32, and with them gradients, the optimiser's state, and whatever a
distribution is made of: each layer's result is float32, for the next layer to round. XLA fuses the
rounding into the product's neighbours, so that it costs no pass over memory.

Posteriors, priors and flows are float32 throughout: they are small, and their numbers are latents
and log densities.

What is measured rather than trained asks for products in full float32 (`full_precision`): there an
accelerator rounds float32 operands too, to 11 bits on a GPU and to 8 on a TPU, unless it is asked
not to.
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
    """Return the function with its products and convolutions of float32 in full.

    It must be inside of `jax.jit`, since tracing decides. Bodies of bfloat16 stay so.
    """

    @functools.wraps(function)
    def precise(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return precise


def _round_operands(arrays: Any, /, *, dtype: Any = None, inexact: bool = True) -> Any:
    """Flax's hook on what inputs, kernel and bias become before the product."""
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
