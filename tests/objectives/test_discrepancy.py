import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import normal

from vae_jax.objectives.discrepancy import (
    inverse_multiquadratic_kernel,
    maximum_mean_discrepancy,
    normal_kernel,
    sum_of_kernels,
)

SCALES = (0.5, 2.0)


def all_multiquadratic():
    return sum_of_kernels([inverse_multiquadratic_kernel(np.sqrt(scale)) for scale in SCALES])


# Each kernel, and the same as a function of a squared distance in 3 dimensions.
KERNELS = {
    "normal": (normal_kernel(0.7), lambda square: np.exp(-square / (2 * 3 * 0.7**2))),
    "multiquadratic": (
        all_multiquadratic(),
        lambda square: sum(2 * 3 * s / (2 * 3 * s + square) for s in SCALES),
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_discrepancy_is_the_sum_over_pairs(name):
    kernel, expected_kernel = KERNELS[name]
    a, b = np.asarray(normal(0, 5, 3)), np.asarray(normal(1, 4, 3))

    def mean_kernel(u, v, same):
        pairs = [(i, j) for i in range(len(u)) for j in range(len(v)) if not (same and i == j)]
        return np.mean([expected_kernel(np.sum((u[i] - v[j]) ** 2)) for i, j in pairs])

    expected = mean_kernel(a, a, True) + mean_kernel(b, b, True) - 2 * mean_kernel(a, b, False)
    estimate = jax.jit(lambda a, b: maximum_mean_discrepancy(a, b, kernel))
    assert float(estimate(a, b)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", KERNELS)
def test_the_discrepancy_has_mean_zero_for_one_density_and_grows_with_the_distance(name):
    kernel = KERNELS[name][0]
    first, second = np.asarray(normal(2, 2, 400, 16, 3))
    estimates = jax.jit(jax.vmap(lambda a, b: maximum_mean_discrepancy(a, b, kernel)))
    same, near, far = (
        np.asarray(estimates(*map(jnp.asarray, (first, second + np.float32(shift)))))
        for shift in (0, 0.5, 2)
    )
    assert abs(same.mean()) < 4 * same.std() / np.sqrt(len(same))
    assert same.mean() < near.mean() < far.mean()


def test_a_single_draw_has_no_pairs():
    one = jnp.asarray(np.zeros((1, 2), np.float32))
    found = jax.jit(lambda a, b: maximum_mean_discrepancy(a, b, normal_kernel(1.0)))(one, one)
    assert float(found) == -2
