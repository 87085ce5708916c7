import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_models import randomized

from vae_jax.networks.causal_transformer import CausalTransformer, TransformerSettings

NUM_CODES, LENGTH = 5, 6
SETTINGS = TransformerSettings(width=8, layers=2, heads=2)


def build():
    return SETTINGS.build(NUM_CODES, LENGTH, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def network():
    return randomized(build, scale=0.6)


def codes_of(seed, *shape):
    return np.random.default_rng(seed).integers(0, NUM_CODES, (*shape, LENGTH)).astype(np.int32)


@jax.jit
def logits_of(network: CausalTransformer, codes):
    return network(codes)


def test_a_code_changes_the_logits_after_it_alone(network):
    codes = codes_of(0)
    changed = np.stack([codes] * LENGTH)
    np.fill_diagonal(changed, (codes + 1) % NUM_CODES)
    before, after = logits_of(network, codes), np.asarray(logits_of(network, changed))
    differs = np.abs(after - before).max(axis=-1) > 1e-6
    np.testing.assert_array_equal(differs, np.tri(LENGTH, k=-1, dtype=bool).T)


def test_step_by_step_the_logits_are_those_of_the_whole_sequence(network):
    codes = codes_of(1, 3, 2)

    @jax.jit
    def step_by_step(network, codes):
        def step(state, inputs):
            pasts, before = state
            position, code = inputs
            pasts, logits = network.next_logits(pasts, before, position)
            return (pasts, code), logits

        by_position = jnp.arange(LENGTH), jnp.moveaxis(codes, -1, 0)
        # The code before the first position has no effect.
        start = network.begin((3, 2)), jnp.full((3, 2), 4)
        return jnp.moveaxis(jax.lax.scan(step, start, by_position)[1], 0, -2)

    whole = logits_of(network, codes)
    np.testing.assert_allclose(step_by_step(network, codes), whole, rtol=1e-4, atol=1e-5)


def test_codes_start_as_uniform():
    logits = logits_of(jax.jit(build)(), codes_of(2, 4))
    assert logits.shape == (4, LENGTH, NUM_CODES)
    assert not np.asarray(logits).any()


def test_a_width_that_the_heads_do_not_divide_is_refused():
    assert (
        TransformerSettings(width=10, heads=4).problem() == "width=10 must be a multiple of heads=4"
    )
    assert SETTINGS.problem() is None
