"""A trace of one compiled call, for TensorBoard's profiler."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def profiled(call: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """Return a function like `call` whose second call is traced; the first one compiles.

    Args:
      call: a compiled function.
      folder: TensorBoard's folder; the trace is written to its `plugins/profile`.
    """
    num_calls = 0

    def wrapped(*args: Any) -> Any:
        nonlocal num_calls
        num_calls += 1
        if num_calls != 2:
            return call(*args)
        with jax.profiler.trace(str(folder)):
            result = jax.block_until_ready(call(*args))
        print(f"a trace of one call is in {folder}; tensorboard --logdir={folder}", flush=True)
        return result

    return wrapped
