"""Training speed as a share of the machine's matrix-product peak.

    python -m benchmarks.train_throughput --output=benchmarks/results/train_throughput_cpu.json

The peak is the fastest float32 product of two square matrices in the same process. A step's useful
work is three times the matrix products of its forward pass, the usual convention: it counts the
gradient with respect to the images, which nobody needs and the step does not compute.
"""

import functools
import json
import math
import multiprocessing
import os
import time
from typing import Any

import jax
import jax.extend.core as jex_core
import jax.numpy as jnp
from absl import app, flags
from flax import nnx
from ml_collections import ConfigDict

from benchmarks import results_file
from benchmarks.matmul_peak import matmul_peak
from configs import conv, vanilla
from experiments import command_line
from experiments.worker_processes import shares_of_cores
from vae_jax import factory
from vae_jax.training import init_state, train_epoch, train_step

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_REPEATS = flags.DEFINE_integer("repeats", 7, "timed epochs an experiment; the fastest counts")


def matmul_flops(jaxpr: jex_core.Jaxpr) -> int:
    """FLOPs of the matrix products in a jaxpr, those of its inner jaxprs included."""
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


def measure(config: ConfigDict, num_examples: int, repeats: int) -> dict[str, Any]:
    """Images a second of the compiled epoch, and the FLOPs of one image's forward pass."""
    factory.validate(config)
    splits = factory.load_splits(config)
    examples = jnp.asarray(splits.train_examples[:num_examples])
    model = factory.build_model(config, splits.train.shape[1:], jax.random.key(0))
    graphdef, params = nnx.split(model)
    loss_fn = factory.build_loss(config, graphdef)
    num_steps = num_examples // config.batch_size
    make_optimizer = factory.build_optimizer(config, num_steps)
    state = init_state(params, factory.build_hparams(config), make_optimizer, jax.random.key(1))

    forward = jax.make_jaxpr(loss_fn)(
        state.params, examples[: config.batch_size], state.hparams, jnp.float32(0), state.noise_key
    )
    epoch = jax.jit(
        functools.partial(
            train_epoch,
            step_fn=functools.partial(train_step, loss_fn=loss_fn, make_optimizer=make_optimizer),
            batch_size=config.batch_size,
            num_steps=num_steps,
        ),
        donate_argnums=0,
    )
    start = time.perf_counter()
    compiled = epoch.lower(state, examples).compile()
    compile_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        state, metrics = compiled(state, examples)
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - start)
    return {
        "batch_size": config.batch_size,
        "examples_per_second": num_steps * config.batch_size / min(seconds[1:]),
        "forward_flops_per_example": matmul_flops(forward.jaxpr) / config.batch_size,
        "compile_seconds": compile_seconds,
    }


def _measure_on(
    cores: set[int], config_json: str, num_examples: int, repeats: int, results: Any
) -> None:
    # Before JAX counts the cores for its thread pool.
    os.sched_setaffinity(0, cores)
    results.put(measure(ConfigDict(json.loads(config_json)), num_examples, repeats))


def measure_at_once(config: ConfigDict, num_examples: int, repeats: int) -> dict[str, Any]:
    """The same of as many runs at once as there are cores, each on its own, taken together."""
    spawn = multiprocessing.get_context("spawn")
    results = spawn.SimpleQueue()
    shares = shares_of_cores(command_line.num_cores())
    arguments = (json.dumps(config.to_dict()), num_examples, repeats, results)
    processes = [spawn.Process(target=_measure_on, args=(cores, *arguments)) for cores in shares]
    for process in processes:
        process.start()
    # A queue that is read late would keep the processes from ending.
    measured = [results.get() for _ in processes]
    for process in processes:
        process.join()
    rates = [entry["examples_per_second"] for entry in measured]
    return {**measured[0], "examples_per_second": sum(rates), "processes": len(processes)}


def main(argv: list[str]) -> None:
    """Measure every experiment, print a line each, write the JSON."""
    del argv
    mlp, grey, convolutional = vanilla.get_config(), vanilla.get_config(), conv.get_config()
    grey.data.binarization = "none"
    for config in (mlp, grey, convolutional):
        config.model.latent_size = 20
        config.model.activation = "relu"
    small_batch = vanilla.get_config()
    small_batch.batch_size, small_batch.optimizer.epsilon = 20, 1e-4
    small_batch.model.widths, small_batch.model.latent_size = (200, 200), 50
    small_batch.model.activation = "tanh"
    several = "mlp 784-200-200-50-200-200-784, batch 20, as many runs as cores"
    experiments = {
        "mlp 784-400-20-400-784, dynamic binarisation": (mlp, 54_912),
        "mlp 784-400-20-400-784, grey": (grey, 54_912),
        "mlp 784-200-200-50-200-200-784, batch 20, dynamic binarisation": (small_batch, 12_000),
        several: (small_batch, 12_000),
        "conv 32-64-20-64-32, dynamic binarisation": (convolutional, 12_800),
    }
    results: dict[str, Any] = {
        "command": "python -m benchmarks.train_throughput",
        "device": jax.devices()[0].device_kind,
        "num_cores": os.cpu_count(),
        "jax": jax.__version__,
        "experiments": {},
    }
    peaks = [matmul_peak()]
    for name, (config, num_examples) in experiments.items():
        measure_it = measure_at_once if name == several else measure
        # Long enough that the processes, which do not begin at once, are timed beside each other.
        repeats = 5 * _REPEATS.value if name == several else _REPEATS.value
        measured = measure_it(config, num_examples, repeats)
        peaks.append(matmul_peak())
        work = 3 * measured["forward_flops_per_example"] * measured["examples_per_second"]
        # The machine's speed wanders: the higher peak of before and after is the strict one.
        measured["matmul_peak_flops"] = max(peaks[-2:])
        measured["share_of_matmul_peak"] = work / measured["matmul_peak_flops"]
        results["experiments"][name] = measured
        print(
            f"{name}: {measured['examples_per_second']:,.0f} images/s, "
            f"{measured['share_of_matmul_peak']:.1%} of {measured['matmul_peak_flops'] / 1e9:.0f} "
            f"GFLOP/s; compiled in {measured['compile_seconds']:.1f} s",
            flush=True,
        )
    results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    app.run(main)
