"""The speed of a machine: that of one standard training, on random images."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import config as factory
from vae_jax import workdir

# Measured by `python -m benchmarks.standard_training`.
REFERENCE = Path(__file__).parents[2] / "benchmarks" / "results" / "standard_training_cpu.json"

# Every setting that the speed depends on, whatever the defaults become. On several cores small
# batches gain little and large ones much; those of the cards have 20 to 128 examples.
CONFIG: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 64,
    "data": {"name": "mnist", "binarization": {"name": "dynamic"}},
    "model": {
        "name": "vae",
        "latent_size": 20,
        "encoder": {"name": "mlp", "widths": (400,), "activation": "relu"},
        "likelihood": {"name": "bernoulli"},
    },
    "objective": {"name": "elbo"},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
}
IMAGE_SHAPE = (28, 28, 1)
_NUM_IMAGES = 5_120
_NUM_CALLS = 7


class Reference(NamedTuple):
    """The machine that rows of results files were measured on.

    Attributes:
      device: the kind of its devices.
      speeds: examples of the standard training per second, by number of cores.
      evaluation_pace: work (see `vae_jax.papers.durations`) per multiplication of a likelihood.
    """

    device: str
    speeds: dict[int, float]
    evaluation_pace: float

    def speed(self, num_cores: int) -> float:
        """Return the speed on a number of cores, in proportion to the nearest one measured."""
        nearest = min(self.speeds, key=lambda measured: abs(measured - num_cores))
        return self.speeds[nearest] * num_cores / nearest


def read_reference(path: Path = REFERENCE) -> Reference | None:
    """Return the machine of the results files; None where its file is not installed."""
    if not path.is_file():
        return None
    content = workdir.read_json(path, {"device": str, "by_cores": dict})
    by_cores = content["by_cores"]
    fewest = by_cores[min(by_cores, key=int)]
    return Reference(
        device=content["device"],
        speeds={int(num): entry["examples_per_second"] for num, entry in by_cores.items()},
        evaluation_pace=fewest["examples_per_second"] / fewest["multiplications_per_second"],
    )


def measure_speed(clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the examples per second of the standard training here, in some five seconds.

    The median over several calls: what else the machine does will slow the runs, too.

    Args:
      clock: in seconds.
    """
    experiment = factory.resolve(CONFIG)
    images = np.random.default_rng(0).integers(0, 256, (_NUM_IMAGES, *IMAGE_SHAPE), np.uint8)
    examples = jnp.asarray(images)
    program = factory.build_program(experiment, IMAGE_SHAPE, _NUM_IMAGES)
    train = jax.jit(program.run_steps, static_argnums=2, donate_argnums=0)
    mean_image = jnp.full(IMAGE_SHAPE, 0.5, jnp.float32)
    hparams = factory.build_hparams(experiment)
    state = jax.jit(program.init)(mean_image, factory.make_key(0), hparams).train
    num_steps = _NUM_IMAGES // experiment.batch_size
    seconds = []
    # The first call compiles.
    for _ in range(1 + _NUM_CALLS):
        start = clock()
        state, metrics = train(state, examples, num_steps)
        jax.block_until_ready(metrics)
        seconds.append(clock() - start)
    return num_steps * experiment.batch_size / statistics.median(seconds[1:])
