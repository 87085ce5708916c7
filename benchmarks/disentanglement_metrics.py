"""Time of all metrics of disentanglement of one model, at 32x32 and 64x64 pixels.

    python -m benchmarks.disentanglement_metrics \
        --output=benchmarks/results/disentanglement_metrics_cpu.json

The images are sprites, and the encoders have fresh parameters and 10 latents: what a model has
learned changes the time of the classifiers only. The total includes compilation and, of
the first model, imports; afterwards the metrics are timed one by one.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import app, flags
from flax import nnx

from configs import conv, vanilla
from vae_jax import config as factory
from vae_jax.evaluation import results_file
from vae_jax.evaluation.disentanglement import (
    MetricSizes,
    disentanglement_metrics,
    encoded,
    unsupervised,
)
from vae_jax.evaluation.disentanglement.beta_vae import beta_vae_score
from vae_jax.evaluation.disentanglement.dci import dci
from vae_jax.evaluation.disentanglement.factor_vae import factor_vae_score
from vae_jax.evaluation.disentanglement.irs import interventional_robustness
from vae_jax.evaluation.disentanglement.mig import mutual_information_gap
from vae_jax.evaluation.disentanglement.modularity import modularity
from vae_jax.evaluation.disentanglement.sap import separated_attribute_predictability
from vae_jax.trained import TrainedModel

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")

_CONFIGS = {"mlp": vanilla.get_config, "conv": conv.get_config}

# Network, image size, and whether groups are chosen among the points that are encoded anyhow.
_MODELS = [
    ("mlp", 32, False),
    ("mlp", 64, False),
    ("conv", 32, True),
    ("conv", 64, True),
]


def build_config(network: str, image_size: int) -> factory.Experiment:
    """Return the experiment of a model of sprites with 10 latents."""
    config = _CONFIGS[network]()
    config.data.name, config.data.image_size = "sprites", image_size
    config.model.latent_size = 10
    return factory.resolve(config)


def build_encode(config: factory.Experiment) -> encoded.Encode:
    """Return the posterior means of an untrained network."""
    image_shape = (config.data.image_size, config.data.image_size, 1)
    model = factory.build_model(config, image_shape, jax.random.key(0))
    trained = TrainedModel(config, image_shape, nnx.split(model)[1])
    # Untrained codes hardly vary, and the FactorVAE score would leave them out.
    return lambda images: 100 * trained.encode(images)


def seconds_of(compute: Callable[[], Any]) -> float:
    """Return the time of one call."""
    start = time.perf_counter()
    compute()
    return time.perf_counter() - start


def measure(network: str, image_size: int, reuse_points: bool) -> dict[str, Any]:
    """Return seconds of all metrics of one model, of its points, and of each metric."""
    config, sizes = build_config(network, image_size), MetricSizes()
    encode, simulator = build_encode(config), factory.build_simulator(config)
    key, num_images = jax.random.key(0), 0

    def counted(images: np.ndarray) -> np.ndarray:
        nonlocal num_images
        num_images += len(images)
        return encode(images)

    total = seconds_of(
        lambda: disentanglement_metrics(counted, simulator, key, sizes, reuse_points=reuse_points)
    )
    num_points = sizes.num_train + sizes.num_test
    start = time.perf_counter()
    all_codes, all_factors = encoded.encode_points(encode, simulator, key, num_points)
    points_seconds = time.perf_counter() - start
    codes, test_codes = np.split(all_codes, [sizes.num_train])
    factors, test_factors = np.split(all_factors, [sizes.num_train])
    parts = codes, factors, test_codes, test_factors
    covariance = unsupervised.covariance(codes)
    information = mutual_information_gap(codes, factors).information
    draw_groups: encoded.DrawGroups = (
        functools.partial(encoded.choose_groups, codes, factors)
        if reuse_points
        else functools.partial(encoded.encode_groups, encode, simulator)
    )
    used = list(range(len(simulator.sizes)))
    seconds = {
        "points": points_seconds,
        "mig": seconds_of(lambda: mutual_information_gap(codes, factors)),
        "modularity": seconds_of(lambda: modularity(information)),
        "sap": seconds_of(lambda: separated_attribute_predictability(*parts)),
        "dci": seconds_of(lambda: dci(*parts, seed=0)),
        "irs": seconds_of(lambda: interventional_robustness(codes, factors)),
        "gaussian correlations": seconds_of(
            lambda: (
                unsupervised.gaussian_total_correlation(covariance),
                unsupervised.gaussian_wasserstein_correlation(covariance),
            )
        ),
        "average mutual information": seconds_of(
            lambda: unsupervised.average_mutual_information(codes)
        ),
        "beta-VAE score": seconds_of(
            lambda: beta_vae_score(
                draw_groups,
                used,
                key,
                num_train=sizes.beta_train,
                num_test=sizes.beta_test,
                num_pairs=sizes.num_pairs,
            )
        ),
        "FactorVAE score": seconds_of(
            lambda: factor_vae_score(
                draw_groups,
                used,
                key,
                variance=np.diag(covariance),
                num_train=sizes.factor_train,
                num_test=sizes.factor_test,
                group_size=sizes.group_size,
            )
        ),
    }
    return {
        "network": network,
        "image_size": image_size,
        "reuse_points": reuse_points,
        "num_images": num_images,
        "total_seconds": total,
        "seconds": seconds,
    }


def main(argv: list[str]) -> None:
    """Measure, print a line per model, write the JSON."""
    del argv
    rows = []
    for network, image_size, reuse_points in _MODELS:
        row = measure(network, image_size, reuse_points)
        rows.append(row)
        each = ", ".join(f"{name} {seconds:.2f}" for name, seconds in row["seconds"].items())
        print(
            f"{network} at {image_size}x{image_size}, {row['num_images']:,} images: all metrics in "
            f"{row['total_seconds']:.1f} s; {each}"
        )
    results = {
        **results_file.circumstances("benchmarks.disentanglement_metrics"),
        "sizes": MetricSizes()._asdict(),
        "models": rows,
    }
    results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    app.run(main)
