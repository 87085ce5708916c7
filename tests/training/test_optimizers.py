import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax.training.optimizers import scale_by_adam


@pytest.mark.parametrize("options", [(0.9, 0.999, 1e-8), (0.9, 0.999, 1e-4), (0.0, 0.5, 1e-2)])
def test_folded_adam_takes_the_steps_of_optax(options):
    params = {"w": jnp.ones((3, 4)), "b": jnp.zeros(4)}
    ours, theirs = scale_by_adam(*options), optax.scale_by_adam(*options)
    our_state, their_state = ours.init(params), theirs.init(params)
    assert jax.tree.structure(our_state) == jax.tree.structure(their_state)
    rng = np.random.default_rng(0)
    for step in range(30):
        scale = 10.0 ** rng.uniform(-6, 2)
        grads = {
            "w": jnp.asarray(scale * rng.normal(size=(3, 4)), jnp.float32),
            "b": jnp.zeros(4) if step < 3 else jnp.full(4, scale, jnp.float32),
        }
        got, our_state = ours.update(grads, our_state)
        expected, their_state = theirs.update(grads, their_state)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7), got, expected
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), our_state, their_state)
