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


def make_key(first, second):
    return jax.random.wrap_key_data(jnp.array([first, second], jnp.uint32), impl="threefry2x32")


@settings(max_examples=50, deadline=None)
@given(first=words, second=words, counts=st.tuples(*[words] * 6), high=st.booleans())
def test_threefry_gives_the_bits_of_jax(first, second, counts, high):
    counts = jnp.array(counts, jnp.uint32)
    high_counts = counts[::-1] if high else jnp.zeros_like(counts)
    options = [high_counts.reshape(2, 3)] if high else []
    a, b = threefry(make_key(first, second), counts.reshape(2, 3), *options)
    # JAX takes the first words of all blocks, then the second words, and returns them so.
    expected = threefry_2x32(
        jnp.array([first, second], jnp.uint32), jnp.concatenate([counts, high_counts])
    )
    np.testing.assert_array_equal(a.reshape(-1), expected[:6])
    np.testing.assert_array_equal(b.reshape(-1), expected[6:])


def test_threefry_passes_the_known_answer_test_of_its_authors():
    # kat_vectors of Random123, threefry2x32 with 20 rounds.
    a, b = threefry(make_key(0, 0), jnp.zeros(1, jnp.uint32))
    assert (int(a[0]), int(b[0])) == (0x6B200159, 0x99BA4EFE)


def normals(key, first, num, size):
    return normal(key, jnp.int32(first), num, size)


def test_a_normal_vector_depends_on_its_number_alone():
    key = jax.random.key(3)
    together = normals(key, 0, 40, 7)
    apart = jnp.concatenate([normals(key, i, 10, 7) for i in (0, 10, 20, 30)])
    np.testing.assert_array_equal(together, apart)
    np.testing.assert_array_equal(normals(key, 31, 1, 7), together[31:32])
    assert len(np.unique(together)) == together.size
    assert not np.array_equal(normals(jax.random.key(4), 0, 40, 7), together)


def test_normal_vectors_are_standard_normal_and_independent():
    vectors = np.asarray(normals(jax.random.key(0), 0, 40_000, 5), np.float64)
    assert stats.kstest(vectors.ravel(), "norm").pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(vectors.T), np.eye(5), atol=0.025)
    assert abs(np.corrcoef(vectors[:-1, 0], vectors[1:, 0])[0, 1]) < 0.025
    assert 4 < np.abs(vectors).max() < 5.5


@pytest.mark.parametrize("size", [31, 32, 1000, 131_070])
def test_draws_do_not_repeat_where_the_count_of_blocks_passes_32_bits(size):
    key, blocks = jax.random.key(0), -(-size // 2)
    first = -(-(2**32) // blocks)
    beyond = normals(key, first - 1, 3, size)
    # With 32 bits the count would begin anew.
    before = normals(key, (first * blocks) % 2**32 // blocks, 3, size)
    assert len(np.unique(np.asarray(jnp.concatenate([before, beyond])), axis=0)) == 6
    for number in range(3):
        np.testing.assert_array_equal(normals(key, first - 1 + number, 1, size)[0], beyond[number])


@given(number=st.integers(0, 2**31 - 1), factor=st.integers(1, 2**16 - 1))
def test_a_product_has_all_of_its_64_bits(number, factor):
    low, high = _product(jnp.uint32(number), factor)
    assert (int(high) << 32) + int(low) == number * factor


def test_vectors_too_long_to_be_counted_are_refused():
    with pytest.raises(ValueError, match="131071 normals are too long"):
        normals(jax.random.key(0), 0, 1, 131_071)
