"""The distance of codes from the prior, for each member of a sweep over WAEs.

    python -m benchmarks.code_distances --workdir=runs/wae_weights \
        --output=benchmarks/results/code_distances_cpu.json

The distance is that of the runs' objective, a squared MMD without a unit, between the codes of
2,000 training or test images and as many draws of the prior. It is compared with that of two sets
of draws.
"""

import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from jaxtyping import Array, Float, Key

from experiments import command_line
from experiments import flags as shared
from vae_jax import trained, workdir
from vae_jax.data.dataset import evenly_spaced
from vae_jax.data.pixels import as_floats
from vae_jax.errors import UserError
from vae_jax.evaluation import metrics, results_file
from vae_jax.objectives.discrepancy import Kernel, maximum_mean_discrepancy
from vae_jax.objectives.wae import WAE

shared.define(workdir="required; directory of a sweep over WAEs", output="JSON file to write")

_NUM_DRAWS = 2_000
# Pairs of sets of draws of the prior.
_NUM_PAIRS = 20


def distances_of_draws(
    kernel: Kernel, shape: tuple[int, int], num_pairs: int, key: Key[Array, ""]
) -> Float[np.ndarray, " pairs"]:
    """Return the squared MMD of each of some pairs of sets of draws of N(0, I).

    Args:
      kernel: of the distance.
      shape: draws in a set, and latents.
      num_pairs: number of pairs.
      key: of the draws.
    """

    def distance(key: Key[Array, ""]) -> Float[Array, ""]:
        one, other = jax.random.normal(key, (2, *shape))
        return maximum_mean_discrepancy(one, other, kernel)

    # One pair after the other: a kernel has an entry per pair of rows and scale.
    return np.asarray(
        jax.jit(lambda keys: jax.lax.map(distance, keys))(jax.random.split(key, num_pairs))
    )


def distance_from_prior(
    codes: Float[np.ndarray, "draws latents"], kernel: Kernel, key: Key[Array, ""]
) -> float:
    """Return the squared MMD between codes and as many draws of N(0, I)."""

    @jax.jit
    def distance(codes: Float[Array, "draws latents"]) -> Float[Array, ""]:
        return maximum_mean_discrepancy(codes, jax.random.normal(key, codes.shape), kernel)

    return float(distance(codes))


def member_row(folder: Path, member: int) -> dict[str, Any]:
    """Return the distances of a member's codes from the prior, and its squared error.

    Raises:
      UserError: the member is no WAE.
    """
    model = trained.load_images(folder, member)
    objective = model.config.objective
    if not isinstance(objective, WAE):
        raise UserError(f"{folder}: member {member} was not trained by objective=wae")
    own, others = jax.random.split(jax.random.key(member))
    kernel = objective.build_kernel()
    # The first test images are not like the last ones.
    test, train = (
        dataset.images[evenly_spaced(len(dataset.images), _NUM_DRAWS)]
        for dataset in (model.load_test(), model.load_labelled())
    )
    codes = model.encode(test)
    draws = distances_of_draws(kernel, codes.shape, _NUM_PAIRS, others)
    return {
        "mmd_weight": objective.mmd_weight,
        "seed": model.config.seed,
        "test_distance": distance_from_prior(codes, kernel, own),
        "train_distance": distance_from_prior(model.encode(train), kernel, own),
        "squared_norm": float(np.square(codes).sum(axis=1).mean()),
        "reconstruction_mse": metrics.reconstruction_error(model, as_floats(test)),
        "draws_mean": float(draws.mean()),
        "draws_deviation": float(draws.std(ddof=1)),
    }


def main() -> None:
    """Measure all members, print a line for each, write the JSON."""
    folder = shared.required_workdir()
    there = (workdir.member_folder(folder, member).is_dir() for member in itertools.count())
    rows = []
    for member, _ in enumerate(itertools.takewhile(bool, there)):
        row = member_row(folder, member)
        rows.append(row)
        print(
            f"weight {row['mmd_weight']:g}, seed {row['seed']}: squared MMD "
            f"{row['train_distance']:.5f} in training and {row['test_distance']:.5f} in test; "
            f"two sets of draws have {row['draws_mean']:.5f} ± {row['draws_deviation']:.5f}",
            flush=True,
        )
    if not rows:
        raise UserError(f"--workdir={folder} has no members; name that of a sweep")
    circumstances = results_file.circumstances("benchmarks.code_distances")
    results_file.write(flags.FLAGS.output, {**circumstances, "rows": rows})


if __name__ == "__main__":
    command_line.run(main)
