import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from vae_jax.evaluation.streamed_means import LogMeanExp, Moments

NUM = 5000


def streamed(empty, values, chunk):
    """All samples in chunks, the last one filled up with what must not count."""
    whole = -(-len(values) // chunk) * chunk
    padded = np.full((whole, *values.shape[1:]), 1e30, np.float32)
    padded[: len(values)] = values

    def add(sums, first):
        part = jax.lax.dynamic_slice_in_dim(padded, first, chunk)
        return sums.add(part, first + jnp.arange(chunk) < len(values)), None

    run = jax.jit(lambda: jax.lax.scan(add, empty(values.shape[1:]), jnp.arange(0, whole, chunk)))
    return run()[0]


@pytest.fixture(scope="module", params=[-90.0, -3000.0, -7000.0])
def values(request):
    """Samples of four images near a number of nats, some far apart and some close."""
    spread = np.array([0.1, 2.0, 8.0, 30.0])
    noise = np.random.default_rng(0).normal(size=(NUM, 4)) * spread
    return (request.param + noise).astype(np.float32)


@pytest.mark.parametrize("chunk", [1, 7, 500, NUM])
def test_a_log_mean_exp_is_that_of_all_samples_at_once(values, chunk):
    exact = special.logsumexp(values.astype(np.float64), axis=0) - np.log(NUM)
    result = streamed(LogMeanExp.empty, values, chunk).result(NUM)
    # One rounding of the result: float32 has no more.
    np.testing.assert_allclose(result, exact, rtol=1.2e-7, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 500, NUM])
def test_mean_and_variance_are_those_of_all_samples_at_once(values, chunk):
    exact = values.astype(np.float64)
    moments = streamed(Moments.empty, values, chunk)
    np.testing.assert_allclose(moments.mean(NUM), exact.mean(axis=0), rtol=1.2e-7, atol=1e-4)
    expected = exact.var(axis=0, ddof=1) / NUM
    np.testing.assert_allclose(moments.variance_of_mean(NUM), expected, rtol=1e-3)


def test_samples_that_all_have_probability_zero_have_a_mean_of_zero_probability():
    values = np.full((3, 2), -np.inf, np.float32)
    values[1, 0] = -5.0
    result = streamed(LogMeanExp.empty, values, 1).result(3)
    np.testing.assert_allclose(result, [-5.0 - np.log(3), -np.inf], rtol=1e-6)


def test_what_is_not_finite_is_not_hidden():
    values = np.array([[1.0, np.nan], [np.nan, 2.0]], np.float32)
    assert np.isnan(streamed(LogMeanExp.empty, values, 1).result(2)).all()
    assert np.isnan(streamed(Moments.empty, values, 1).mean(2)).all()


def test_a_single_sample_has_a_mean_and_no_variance():
    moments = streamed(Moments.empty, np.array([[3.0]], np.float32), 1)
    assert moments.mean(1) == 3.0
    assert np.isnan(moments.variance_of_mean(1)).all()
