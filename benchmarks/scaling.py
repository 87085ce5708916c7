"""Measure the cost of a step by the number of devices, and whether all ways to spread it agree.

    python -m benchmarks.scaling --output=benchmarks/results/scaling_cpu.json \
        --figure=docs/loss_by_layout.png

Four parts. FLOPs and bytes per device, and what crosses between devices, are read from the compiled
program. Losses of one run on one device, on eight under jit and under pmap, and on two processes of
four, are laid over one another. The gradient noise scale says where larger batches stop paying
(McCandlish, Kaplan, Amodei 2018, arXiv 1812.06162, appendix A.1). Times on more devices are
projected from these with an accelerator's data sheet, and called so.

The devices are simulated: eight of them on one CPU show costs and numbers, but no speed.
"""

import functools
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from flax import nnx
from jaxtyping import PyTree

from benchmarks.collectives import collectives
from configs import conv, vanilla
from vae_jax import config as factory
from vae_jax import plots
from vae_jax.evaluation import results_file
from vae_jax.training.parallel import compile_program
from vae_jax.training.records import read_records
from vae_jax.training.step import train_epoch, train_step

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_FIGURE = flags.DEFINE_string(
    "figure", "", "plot of the losses to write, .png, .pdf or .svg; empty draws none"
)

_NUM_DEVICES = 8
# Draws of the gradient noise at each epoch.
_DRAWS = 5
_ROOT = Path(__file__).parents[1]

# An NVIDIA H100 SXM by its data sheet, and a network of 400 Gb/s for each: what is projected rests
# on these, and on the share of the peak that products of this size are taken to reach.
_ACCELERATOR_NAME = "H100 SXM, data sheet"
_ACCELERATOR = {
    "flops": 494e12,
    "share_of_peak": 0.3,
    "bytes_per_second_within_8": 450e9,
    "bytes_per_second_beyond_8": 50e9,
    "seconds_per_hop": 3e-6,
}


def step_costs(config: factory.Experiment, num_devices: int) -> dict[str, Any]:
    """Return what one device computes and moves in a step, by the compiler's own count."""
    num_examples = 2 * config.batch_size
    build_program = functools.partial(factory.build_program, config, (28, 28, 1), num_examples)
    compiled = compile_program(build_program, jax.devices()[:num_devices])
    mean_image, key = jnp.full((28, 28, 1), 0.5), factory.make_key(0)
    hparams = factory.build_hparams(config)
    state = compiled.init(*compiled.put((mean_image, key, hparams))).train
    images = compiled.put(np.zeros((num_examples, 28, 28, 1), np.uint8))
    lower: Any = compiled.run_steps
    executable = lower.lower(state, images, 1).compile()
    cost, sent = executable.cost_analysis(), collectives(executable.as_text())
    return {
        "devices": num_devices,
        "flops": cost["flops"],
        "bytes_accessed": cost["bytes accessed"],
        "bytes_reduced": sum(collective.bytes for collective in sent),
        "collectives": len(sent),
        "kinds": sorted({collective.kind for collective in sent}),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }


def projected_seconds(costs: dict[str, Any], batch_size: int, num_devices: int) -> dict[str, float]:
    """Return the time of a step on accelerators: products, and a ring that sums the gradients."""
    share = _ACCELERATOR["flops"] * _ACCELERATOR["share_of_peak"]
    compute = costs["flops"] / costs["batch_size"] * batch_size / num_devices / share
    speed = _ACCELERATOR[f"bytes_per_second_{'within' if num_devices <= 8 else 'beyond'}_8"]
    ring = 2 * (num_devices - 1) / num_devices * 4 * costs["parameters"] / speed
    hops = _ACCELERATOR["seconds_per_hop"] * math.ceil(math.log2(max(num_devices, 1)))
    return {
        "devices": num_devices,
        "compute_seconds": compute,
        "reduce_seconds": ring + hops if num_devices > 1 else 0.0,
    }


def noise_scales(config: factory.Experiment, epochs: Sequence[int]) -> list[dict[str, float]]:
    """Return the simple noise scale after some epochs: the batch beyond which little is gained."""
    images = jnp.asarray(factory.load_splits(config).train_examples)
    steps_per_epoch = len(images) // config.batch_size
    program = factory.build_program(config, (28, 28, 1), len(images))
    players = factory.build_players(config, (28, 28, 1), len(images))
    loss_fn = players[0].loss
    step_fn = functools.partial(train_step, players=players)
    state = jax.jit(program.init)(
        images.mean(axis=0) / 255, factory.make_key(0), factory.build_hparams(config)
    ).train
    train = jax.jit(
        functools.partial(
            train_epoch,
            step_fn=step_fn,
            batch_size=config.batch_size,
            num_steps=steps_per_epoch,
        ),
        donate_argnums=0,
    )
    small, num_small, after_warmup = config.batch_size, 128, jnp.float32(jnp.inf)

    @jax.jit
    def measure(params: nnx.State, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the mean squared norm of gradients of small batches, and that of their mean."""
        order = jax.random.permutation(key, len(images))[: small * num_small]

        def body(total: PyTree, batch: tuple[jax.Array, jax.Array]) -> tuple[PyTree, jax.Array]:
            indices, key = batch
            grads = jax.grad(
                lambda p: loss_fn(
                    p, state.extra, (images[indices],), state.hparams, after_warmup, key
                )[0]
            )(params)
            return jax.tree.map(jnp.add, total, grads), _squared_norm(grads)

        keys = jax.random.split(key, num_small)
        zeros = jax.tree.map(jnp.zeros_like, params)
        total, norms = jax.lax.scan(body, zeros, (order.reshape(num_small, small), keys))
        return norms.mean(), _squared_norm(total) / num_small**2

    measured = []
    for epoch in range(max(epochs) + 1):
        if epoch in epochs:
            draws = [measure(state.params, jax.random.key(draw)) for draw in range(_DRAWS)]
            measured.append({"epoch": epoch, **_noise_scale(np.asarray(draws), small, num_small)})
        if epoch < max(epochs):
            state, _ = train(state, images)
    return measured


def _noise_scale(draws: np.ndarray, small: int, num_small: int) -> dict[str, float]:
    """Return the noise scale from squared gradient norms of small and large batches, `[n, 2]`."""
    large = small * num_small
    of_small, of_large = np.asarray(draws, np.float64).T
    # Both are biased by the noise, each by its share: their differences are not.
    signal = (large * of_large - small * of_small) / (large - small)
    noise = (of_small - of_large) / (1 / small - 1 / large)
    return {
        "noise_scale": float(noise.mean() / signal.mean()),
        "lowest_of_draws": float((noise / signal).min()),
        "highest_of_draws": float((noise / signal).max()),
    }


def _squared_norm(tree: PyTree) -> jax.Array:
    return jnp.stack([(leaf**2).sum() for leaf in jax.tree.leaves(tree)]).sum()


# Name, processes, simulated devices of each, and how they are used.
_LAYOUTS = {
    "1 device": (1, 1, "jit"),
    "8 devices, jit": (1, 8, "jit"),
    "8 devices, pmap": (1, 8, "pmap"),
    "2 processes of 4, jit": (2, 4, "jit"),
}
_CURVE_OVERRIDES = {
    "batch_size": 256,
    "epochs": 12,
    "steps_per_call": 8,
    "data.train_split": "train[:8192]",
    "data.validation_split": "train[55000:56024]",
    "data.test_split": "test[:100]",
    "evaluation.num_samples": 10,
    "tensorboard.images_every_epochs": 0,
}


def losses(folder: Path, num_processes: int, num_devices: int, kind: str) -> list[list[float]]:
    """Return epoch and training loss of each call of a run, as `experiments.train` writes."""
    simulated = f"--xla_force_host_platform_device_count={num_devices}"
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {simulated}"}
    command = [
        *(sys.executable, "-m", "experiments.train", "--config=configs/vanilla.py"),
        *(f"--workdir={folder}", f"--parallel={kind}"),
        *(f"--config.{field}={value}" for field, value in _CURVE_OVERRIDES.items()),
    ]
    if num_processes > 1:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command += [f"--coordinator=127.0.0.1:{port}", f"--num_processes={num_processes}"]
    processes = [
        subprocess.Popen(
            [*command, *([f"--process_id={rank}"] if num_processes > 1 else [])],
            cwd=_ROOT,
            env=environment,
        )
        for rank in range(num_processes)
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"a process of {folder.name} failed")
    records = read_records(folder / "metrics.jsonl")
    return [[r["epoch"], r["loss"]] for r in records if r["split"] == "train"]


def main(argv: list[str]) -> None:
    """Measure everything, print the results, write the JSON and the plot."""
    del argv
    experiments = {"mlp": vanilla.get_config(), "conv": conv.get_config()}
    costs, projections = {}, {}
    for name, given in experiments.items():
        config = factory.resolve({**given.to_dict(), "batch_size": 1024})
        costs[name] = [step_costs(config, num) for num in (1, 2, 4, _NUM_DEVICES)]
        alone = {**costs[name][0], "batch_size": config.batch_size}
        projections[name] = {
            f"batch of {per_device} a device": [
                projected_seconds(alone, per_device * num, num) for num in (1, 8, 64, 1024)
            ]
            for per_device in (128, 1024, 8192)
        }
        for entry in costs[name]:
            print(f"{name}: {json.dumps(entry)}", flush=True)
    scales = noise_scales(vanilla.get_config(), (0, 1, 5, 20))
    print(f"noise scale: {json.dumps(scales)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        curves = {name: losses(Path(folder) / name, *how) for name, how in _LAYOUTS.items()}
    reference = np.asarray(curves["1 device"])[:, 1]
    apart = {
        name: float(np.abs(np.asarray(points)[:, 1] - reference).max())
        for name, points in curves.items()
    }
    print(f"largest difference of the loss, nats: {json.dumps(apart)}", flush=True)
    if _FIGURE.value:
        series = {name: np.asarray(points).T for name, points in curves.items()}
        plots.save(plots.overlaid_losses(series), Path(_FIGURE.value))
    results_file.write(
        _OUTPUT.value,
        {
            "command": "python -m benchmarks.scaling",
            "simulated_devices": _NUM_DEVICES,
            "jax": jax.__version__,
            "batch_size": 1024,
            "step_costs": costs,
            "accelerator_assumed": {"name": _ACCELERATOR_NAME, **_ACCELERATOR},
            "projected": projections,
            "gradient_noise_scale": scales,
            "losses_apart": apart,
            "losses": curves,
        },
    )


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", _NUM_DEVICES)
    app.run(main)
