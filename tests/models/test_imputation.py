"""Imputation by importance sampling, of a model whose answer is known."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.distributions import Columns, Group, Normal
from vae_jax.models.imputation import impute
from vae_jax.models.interfaces import DensityModel

NOISE = 0.5


class Linear(DensityModel):
    """One latent z from N(0, 1); the columns are z and 2 z, each with noise."""

    latent_size = 1
    likelihood = types.SimpleNamespace(outputs_per_channel=1)

    @property
    def prior(self):
        """Return N(0, 1)."""
        return Normal(jnp.zeros(1), jnp.zeros(1))

    def encode(self, rows):
        """Return a posterior that is too wide, whatever is seen."""
        return Normal(jnp.zeros((len(rows), 1)), jnp.full((len(rows), 1), np.log(1.5)))

    def decode(self, latents):
        mean = latents * jnp.asarray([1.0, 2.0])
        return Columns((Group(Normal(mean, jnp.full(mean.shape, np.log(NOISE))), (0, 1)),))


@pytest.fixture(scope="module")
def found():
    rows = jnp.asarray([[1.0, np.nan], [np.nan, 1.0], [np.nan, np.nan], [0.3, 0.7]])
    keys = jax.random.split(jax.random.key(0), len(rows))

    def run(rows, keys):
        return impute(Linear(), rows[:, None, :, None], keys, num_samples=20_000, num_draws=4_000)

    return jax.tree.map(np.asarray, jax.jit(run)(rows.astype(jnp.float32), keys))


def posterior(seen, slope):
    """Return mean and variance of z given slope * z + noise = seen."""
    precision = 1 + slope**2 / NOISE**2
    return slope * seen / NOISE**2 / precision, 1 / precision


def test_the_point_is_the_conditional_mean(found):
    point = found.point[:, 0, :, 0]
    assert point[0, 1] == pytest.approx(2 * posterior(1.0, 1)[0], abs=0.03)
    assert point[1, 0] == pytest.approx(posterior(1.0, 2)[0], abs=0.03)
    np.testing.assert_allclose(point[2], [0, 0], atol=0.06)
    np.testing.assert_array_equal(point[3], np.float32([0.3, 0.7]))


def test_draws_have_the_conditional_distribution_and_leave_what_was_seen(found):
    draws = found.draws[:, :, 0, :, 0]
    mean, variance = posterior(1.0, 1)
    assert draws[:, 0, 1].mean() == pytest.approx(2 * mean, abs=0.06)
    assert draws[:, 0, 1].var() == pytest.approx(4 * variance + NOISE**2, rel=0.1)
    # Nothing was seen: the marginal.
    assert draws[:, 2, 1].var() == pytest.approx(4 + NOISE**2, rel=0.1)
    np.testing.assert_array_equal(draws[:, 3], np.tile(np.float32([0.3, 0.7]), (4_000, 1)))
    assert (draws[:, 0, 0] == 1).all()


def test_few_samples_count_where_the_posterior_does_not_fit(found):
    assert (found.effective_samples <= 20_000).all()
    assert found.effective_samples[1] < found.effective_samples[0] < found.effective_samples[2]
