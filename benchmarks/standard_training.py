"""The speed of the standard training, and of a test likelihood, on the machine of the results.

    taskset -c 0 python -m benchmarks.standard_training \
        --output=benchmarks/results/standard_training_cpu.json

`experiments.reproduce` estimates from them how long a card takes on another machine. The file has
an entry per number of cores, and keeps those of other numbers. On one core the processor's seconds
count, so that it may be shared; more cores must do nothing else.
"""

import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import flags
from flax import nnx

from experiments import command_line
from experiments import flags as shared
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.evaluation import likelihood, results_file
from vae_jax.papers import standard
from vae_jax.training import host

shared.define(output="JSON file to write; empty prints only")

_NUM_IMAGES = 20
_NUM_SAMPLES = 2_000
_REPEATS = 3


def multiplications_per_second(clock: Callable[[], float]) -> float:
    """Return the multiplications of a test likelihood per second, as `estimates` counts them."""
    config = factory.resolve(standard.CONFIG)
    model = factory.build_model(config, standard.IMAGE_SHAPE, jax.random.key(0))
    graphdef, params = nnx.split(model)
    images = np.random.default_rng(0).integers(0, 2, (_NUM_IMAGES, *standard.IMAGE_SHAPE))
    targets = images.astype(np.float32)
    seconds = []
    # The first one compiles.
    for _ in range(1 + _REPEATS):
        start = clock()
        likelihood.estimate(
            graphdef,
            params,
            targets,
            jax.random.key(1),
            num_samples=_NUM_SAMPLES,
            batch_size=_NUM_IMAGES,
        )
        seconds.append(clock() - start)
    half = sum(leaf.size for leaf in jax.tree.leaves(params)) / 2
    return half * _NUM_SAMPLES * _NUM_IMAGES / min(seconds[1:])


def main() -> None:
    """Measure both, print a line, write the JSON."""
    circumstances = results_file.circumstances("benchmarks.standard_training")
    num_cores = circumstances.pop("num_cores")
    clock = time.process_time if num_cores == 1 else time.perf_counter
    entry = {
        "examples_per_second": standard.measure_speed(clock),
        "multiplications_per_second": multiplications_per_second(clock),
        "processor": host.processor(),
    }
    print(
        f"{num_cores} cores: {entry['examples_per_second']:,.0f} examples/s, "
        f"{entry['multiplications_per_second']:.3g} multiplications/s"
    )
    path = Path(flags.FLAGS.output)
    before = workdir.read_json(path, {"by_cores": dict})["by_cores"] if path.is_file() else {}
    by_cores = {**before, str(num_cores): entry}
    results_file.write(flags.FLAGS.output, {**circumstances, "by_cores": by_cores})


if __name__ == "__main__":
    command_line.run(main)
