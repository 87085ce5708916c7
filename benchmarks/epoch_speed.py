"""Measure how fast a config trains, and the matrix products in it."""

import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.extend.core as jex_core
import jax.numpy as jnp
from ml_collections import ConfigDict

from vae_jax import config as factory


def matmul_flops(jaxpr: jex_core.Jaxpr) -> int:
    """Return the FLOPs of the matrix products in a jaxpr, and in the jaxprs inside it."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape  # type: ignore[attr-defined]
            total += (
                2
                * math.prod(equation.outvars[0].aval.shape)  # type: ignore[attr-defined]
                * math.prod(left[axis] for axis in contracted)
            )
        for inner in jax.tree.leaves(
            list(equation.params.values()),
            is_leaf=lambda p: isinstance(p, jex_core.Jaxpr | jex_core.ClosedJaxpr),
        ):
            if isinstance(inner, jex_core.ClosedJaxpr):
                total += matmul_flops(inner.jaxpr)
            elif isinstance(inner, jex_core.Jaxpr):
                total += matmul_flops(inner)
    return total


def measure(
    config: ConfigDict,
    num_examples: int,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Return examples per second of the compiled epoch, and the FLOPs of a forward pass of one.

    Args:
      config: the experiment.
      num_examples: training examples of an epoch.
      repeats: timed epochs, after one that is not; the fastest counts.
      clock: in seconds.
    """
    experiment = factory.resolve({**config.to_dict(), "epochs": 1})
    splits = factory.load_splits(experiment)
    examples = jnp.asarray(splits.train_examples[:num_examples])
    program = factory.build_program(experiment, splits.form, num_examples)
    loss_fn = factory.build_players(experiment, splits.form, num_examples)[0].loss
    num_steps = num_examples // experiment.batch_size
    hparams = factory.build_hparams(experiment)
    state = jax.jit(program.init)(splits.mean_image, jax.random.key(1), hparams).train

    forward = jax.make_jaxpr(loss_fn)(
        state.params,
        state.extra,
        (examples[: experiment.batch_size],),
        state.hparams,
        jnp.float32(0),
        state.noise_key,
    )
    epoch = jax.jit(program.run_steps, static_argnums=2, donate_argnums=0)
    start = time.perf_counter()
    compiled = epoch.lower(state, examples, num_steps).compile()
    compile_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(repeats + 1):
        start = clock()
        state, metrics = compiled(state, examples)
        jax.block_until_ready(metrics)
        seconds.append(clock() - start)
    return {
        "batch_size": experiment.batch_size,
        "examples_per_second": num_steps * experiment.batch_size / min(seconds[1:]),
        "forward_flops_per_example": matmul_flops(forward.jaxpr) / experiment.batch_size,
        "compile_seconds": compile_seconds,
    }


def seconds_in_turn(
    configs: Mapping[str, ConfigDict], num_examples: int, repeats: int
) -> dict[str, float]:
    """Return the fastest compiled epoch of each config, in seconds; they take turns.

    Args:
      configs: by name; their data may be of several modalities.
      num_examples: training examples of an epoch.
      repeats: timed epochs of each, after one that is not.
    """
    runs = {}
    for name, given in configs.items():
        config = factory.resolve(given)
        splits = factory.load_examples(config)
        examples = jax.tree.map(lambda x: jnp.asarray(x[:num_examples]), splits.train_examples)
        program = factory.build_program(config, splits.form, num_examples)
        hparams = factory.build_hparams(config)
        state = jax.jit(program.init)(splits.mean_image, jax.random.key(0), hparams).train
        run_steps = jax.jit(program.run_steps, static_argnums=2)
        runs[name] = functools.partial(
            run_steps, state, examples, num_examples // config.batch_size
        )
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - start)
    return {name: min(of_run[1:]) for name, of_run in seconds.items()}
