import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.extend.random import threefry_2x32
from scipy import stats

from vae_jax.data.random_bits import _product, normal, threefry

words = st.integers(0, 2**32 - 1)


@jax.jit
def words_of(key_data, counts, high_counts=None):
    """Both words of each count, and those of JAX."""
    ours = threefry(jax.random.wrap_key_data(key_data, impl="threefry2x32"), counts, high_counts)
    # JAX takes the first words of all blocks, then the second words, and returns them so.
    high = jnp.zeros_like(counts) if high_counts is None else high_counts
    both = jnp.concatenate([counts.reshape(-1), high.reshape(-1)])
    return jnp.stack(ours), threefry_2x32(key_data, both).reshape(2, *counts.shape)


@settings(max_examples=50, deadline=None)
@given(first=words, second=words, counts=st.tuples(*[words] * 6), high=st.booleans())
def test_threefry_gives_the_bits_of_jax(first, second, counts, high):
    counts = np.array(counts, np.uint32).reshape(2, 3)
    options = [counts[::-1, ::-1]] if high else []
    ours, expected = words_of(np.array([first, second], np.uint32), counts, *options)
    np.testing.assert_array_equal(ours, expected)


def test_threefry_passes_the_known_answer_test_of_its_authors():
    # kat_vectors of Random123, threefry2x32 with 20 rounds.
    (a, b), _ = words_of(np.zeros(2, np.uint32), np.zeros((1, 1), np.uint32))
    assert (int(a[0, 0]), int(b[0, 0])) == (0x6B200159, 0x99BA4EFE)


compiled = jax.jit(normal, static_argnums=(2, 3))


def normals(key, first, num, size):
    return np.asarray(compiled(key, np.int32(first), num, size))


def test_a_normal_vector_depends_on_its_number_alone():
    key = jax.random.key(3)
    together = normals(key, 0, 40, 7)
    apart = np.concatenate([normals(key, i, 10, 7) for i in (0, 10, 20, 30)])
    np.testing.assert_array_equal(together, apart)
    np.testing.assert_array_equal(normals(key, 31, 1, 7), together[31:32])
    assert len(np.unique(together)) == together.size
    assert not np.array_equal(normals(jax.random.key(4), 0, 40, 7), together)


def test_normal_vectors_are_standard_normal_and_independent():
    vectors = normals(jax.random.key(0), 0, 40_000, 5).astype(np.float64)
    assert stats.kstest(vectors.ravel(), "norm").pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(vectors.T), np.eye(5), atol=0.025)
    assert abs(np.corrcoef(vectors[:-1, 0], vectors[1:, 0])[0, 1]) < 0.025
    assert 4 < np.abs(vectors).max() < 5.5


@pytest.mark.parametrize("size", [31, 1000, 131_070])
def test_draws_do_not_repeat_where_the_count_of_blocks_passes_32_bits(size):
    key, blocks = jax.random.key(0), -(-size // 2)
    first = -(-(2**32) // blocks)
    beyond = normals(key, first - 1, 3, size)
    # With 32 bits the count would begin anew.
    before = normals(key, (first * blocks) % 2**32 // blocks, 3, size)
    assert len(np.unique(np.concatenate([before, beyond]), axis=0)) == 6
    for number in range(3):
        np.testing.assert_array_equal(normals(key, first - 1 + number, 1, size)[0], beyond[number])


@given(number=st.integers(0, 2**31 - 1), factor=st.integers(1, 2**16 - 1))
def test_a_product_has_all_of_its_64_bits(number, factor):
    low, high = _product(jnp.uint32(number), factor)
    assert (int(high) << 32) + int(low) == number * factor


def test_vectors_too_long_to_be_counted_are_refused():
    with pytest.raises(ValueError, match="131071 normals are too long"):
        normals(jax.random.key(0), 0, 1, 131_071)
