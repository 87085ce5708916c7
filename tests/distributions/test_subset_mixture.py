"""The mixture of experts of subsets: its density, and which component lies at a quantile."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vae_jax.distributions import Normal, SubsetMixture


def test_the_density_is_the_weighted_sum_of_those_of_the_components():
    rng = np.random.default_rng(0)
    means, log_scales = rng.normal(size=(2, 3, 2, 4)).astype(np.float32)
    weights = np.float32([[0.2, 0.5], [0.5, 0.25], [0.3, 0.25]])
    # Several samples of each of two examples.
    values = rng.normal(size=(5, 2, 4)).astype(np.float32)
    found = jax.jit(SubsetMixture.log_prob)(
        SubsetMixture(Normal(*map(jax.device_put, (means, log_scales))), jnp.log(weights)), values
    )
    densities = stats.norm(means, np.exp(log_scales)).pdf(values[:, None]).prod(axis=-1)
    np.testing.assert_allclose(found, np.log((weights * densities).sum(axis=1)), rtol=1e-4)


@pytest.mark.parametrize("total", [1.0, 0.5])
def test_a_quantile_is_in_the_component_that_the_weights_give_it_to(total):
    """Weights of which rounding lost a part are weights by their ratio."""
    weights = total * np.float32([[0.2, 0.0], [0.5, 0.25], [0.3, 0.75]])
    mixture = SubsetMixture(
        Normal(jnp.zeros((3, 2, 1)), jnp.zeros((3, 2, 1))), jnp.log(jnp.asarray(weights))
    )
    uniform = np.float32([[0.1, 0.1], [0.19, 0.24], [0.3, 0.3], [0.69, 0.9], [0.71, 0.999]])
    chosen = jax.jit(SubsetMixture.at)(mixture, uniform)
    assert chosen.tolist() == [[0, 1], [0, 1], [1, 2], [1, 2], [2, 2]]


def test_a_chosen_component_has_its_own_mean_and_scale():
    means = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    mixture = SubsetMixture(Normal(jnp.asarray(means), jnp.asarray(-means)), jnp.zeros((3, 2)))
    chosen = np.array([[0, 2], [1, 0], [2, 2], [0, 1]])
    found = jax.jit(SubsetMixture.of)(mixture, chosen)
    expected = means[chosen, np.arange(2)]
    np.testing.assert_array_equal(found.mean, expected, strict=True)
    np.testing.assert_array_equal(found.log_scale, -expected, strict=True)
