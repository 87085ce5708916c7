import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from small_models import normal, randomized

from vae_jax.distributions import Classes
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.classes import ClassDecoder, ClassEncoder

RELU = ACTIVATIONS["relu"]


def test_the_probabilities_of_all_classes_sum_to_one():
    classes = Classes(normal(0, 3, 4))
    log_probs = jnp.stack([classes.log_prob(jnp.full(3, i)) for i in range(4)])
    np.testing.assert_allclose(jnp.exp(log_probs).sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(jnp.exp(log_probs).T, classes.mean, rtol=1e-5)


def test_classes_are_broadcast_over_samples():
    classes, value = Classes(normal(0, 5, 3, 4)), jnp.asarray([1, 0, 3])
    found = classes.log_prob(value)
    assert found.shape == (5, 3)
    apart = jnp.stack([Classes(logits).log_prob(value) for logits in classes.logits])
    np.testing.assert_allclose(found, apart, rtol=1e-6)


def test_draws_have_the_probabilities():
    classes = Classes(jnp.tile(normal(1, 4), (20_000, 1)))
    shares = np.bincount(classes.sample(jax.random.key(0)), minlength=4) / 20_000
    np.testing.assert_allclose(shares, classes.mean[0], atol=0.015)


def test_every_class_has_features_and_latents_have_logits():
    encoder = randomized(lambda: ClassEncoder(4, (6, 5), activation=RELU, rngs=nnx.Rngs(0)))
    features = encoder(jnp.arange(4))
    assert features.shape == (4, encoder.num_features) == (4, 5)
    assert len(np.unique(np.asarray(features), axis=0)) == 4
    decoder = randomized(lambda: ClassDecoder(3, 4, (5, 6), activation=RELU, rngs=nnx.Rngs(0)))
    assert decoder(normal(2, 7, 2, 3)).shape == (7, 2, 4)
