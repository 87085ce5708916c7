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
    @jax.jit
    def probabilities_and_mean(logits):
        classes = Classes(logits)
        log_probs = [classes.log_prob(jnp.full(3, i)) for i in range(4)]
        return jnp.exp(jnp.stack(log_probs)), classes.mean

    probabilities, mean = map(np.asarray, probabilities_and_mean(normal(0, 3, 4)))
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(probabilities.T, mean, rtol=1e-5)


def test_classes_are_broadcast_over_samples():
    logits, value = np.asarray(normal(0, 5, 3, 4)), np.int32([1, 0, 3])
    log_prob = jax.jit(lambda logits: Classes(logits).log_prob(jnp.asarray(value)))
    found = log_prob(logits)
    assert found.shape == (5, 3)
    apart = np.stack([log_prob(sample) for sample in logits])
    np.testing.assert_allclose(found, apart, rtol=1e-6)


def test_draws_have_the_probabilities():
    @jax.jit
    def draw(logits):
        classes = Classes(jnp.tile(logits, (20_000, 1)))
        return classes.sample(jax.random.key(0)), classes.mean[0]

    drawn, mean = draw(normal(1, 4))
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, mean, atol=0.015)


def test_every_class_has_features_and_latents_have_logits():
    encoder = randomized(lambda: ClassEncoder(4, (6, 5), activation=RELU, rngs=nnx.Rngs(0)))
    features = jax.jit(lambda classes: encoder(classes))(np.arange(4, dtype=np.int32))
    assert features.shape == (4, encoder.num_features) == (4, 5)
    assert len(np.unique(np.asarray(features), axis=0)) == 4
    decoder = randomized(lambda: ClassDecoder(3, 4, (5, 6), activation=RELU, rngs=nnx.Rngs(0)))
    decoded = jax.eval_shape(lambda latents: decoder(latents), normal(2, 7, 2, 3))
    assert decoded.shape == (7, 2, 4)
