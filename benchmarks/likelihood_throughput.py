"""Time and memory of the test log likelihood: 5,000 importance samples of 10,000 images.

    python -m benchmarks.likelihood_throughput --output=benchmarks/results/likelihood_cpu.json

The network is that of Burda et al. 2015, 784-200-200-50 and back, with fresh parameters: what they
are changes neither the time nor the memory. Beside it stands how long the decoder's matrix products
alone would take at the float32 peak, measured just before in the same process.
"""

import itertools
import resource
import time
from typing import Any

import jax
import numpy as np
from absl import app, flags
from flax import nnx

from benchmarks.matmul_peak import matmul_peak
from configs import vanilla
from vae_jax import config as factory
from vae_jax.evaluation import likelihood, metrics, results_file

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 5000, "importance samples per image")
_NUM_IMAGES = flags.DEFINE_integer("num_images", 10_000, "images of the test set")


def main(argv: list[str]) -> None:
    """Measure, print a line, write the JSON."""
    del argv
    given = vanilla.get_config()
    given.model.latent_size = 50
    given.model.encoder = {"name": "mlp", "widths": (200, 200), "activation": "tanh"}
    config = factory.resolve(given)
    keys = factory.build_evaluation_keys(config)
    images = factory.load_splits(config).test.images[: _NUM_IMAGES.value]
    targets = metrics.prepare_targets(factory.build_prepare(config), images, keys.targets)
    model = factory.build_model(config, targets.shape[1:], jax.random.key(0))
    graphdef, params = nnx.split(model)
    peak = matmul_peak()
    batch_size = config.evaluation.batch_size

    def estimate(images: np.ndarray) -> likelihood.LikelihoodEstimates:
        return likelihood.estimate(
            graphdef,
            params,
            images,
            keys.samples,
            num_samples=_NUM_SAMPLES.value,
            batch_size=batch_size,
        )

    start = time.perf_counter()
    estimates = estimate(targets)
    seconds = time.perf_counter() - start
    widths = [config.model.latent_size, *config.model.encoder.widths[::-1], targets[0].size]
    flops = 2 * sum(a * b for a, b in itertools.pairwise(widths))
    flops *= _NUM_SAMPLES.value * len(targets)
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.likelihood_throughput"),
        "num_images": len(targets),
        "num_samples": _NUM_SAMPLES.value,
        "seconds": seconds,
        "matmul_peak_flops": peak,
        "seconds_of_products_at_peak": flops / peak,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "mean_iwae_bound": float(np.asarray(estimates.iwae_bound, np.float64).mean()),
    }
    print(
        f"{len(targets):,} images x {_NUM_SAMPLES.value:,} samples in {seconds:.0f} s; the "
        f"matrix products alone, at {peak / 1e9:.0f} GFLOP/s, {flops / peak:.0f} s; "
        f"{results['peak_memory_gib']:.2f} GiB"
    )
    results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    app.run(main)
