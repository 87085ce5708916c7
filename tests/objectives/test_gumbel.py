import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_configs import small_experiment
from small_games import KEY, Game
from small_models import normal

from vae_jax.distributions import OneHot
from vae_jax.errors import UserError
from vae_jax.evaluation.likelihood import estimate_batch
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.objectives.gumbel import annealed_temperature, straight_through

MODEL = {
    "model": {"name": "categorical", "num_classes": 3},
    "model.latent_size": 6,
}
IMAGES = jnp.asarray(np.abs(np.sin(np.asarray(normal(3, 12, 3, 4, 1)))))
VECTORS = jnp.asarray(
    np.float32([np.eye(3)[list(pair)].ravel() for pair in itertools.product(range(3), repeat=2)])
)


def game_of(**objective):
    return Game({**MODEL, "objective": {"name": "gumbel", **objective}})


def exact_terms(model, images):
    """Return log p(x), E[log p(x|z)] and the KL of each image, by enumeration."""
    posterior, prior = model.encode(images), model.prior
    log_likelihood = jnp.stack(
        [model.decode(jnp.broadcast_to(v, (len(images), 6))).log_prob(images) for v in VECTORS]
    )
    log_q = jnp.stack([posterior.log_prob(jnp.broadcast_to(v, (len(images), 6))) for v in VECTORS])
    log_p = prior.log_prob(VECTORS)[:, None]
    q = jnp.exp(log_q)
    evidence = jax.nn.logsumexp(log_likelihood + log_p, axis=0)
    return evidence, (q * log_likelihood).sum(axis=0), (q * (log_q - log_p)).sum(axis=0)


def test_evaluation_is_of_the_discrete_model():
    model = game_of().model

    @jax.jit
    def estimated():
        keys = jax.random.split(KEY, len(IMAGES))
        estimate = estimate_batch(model, IMAGES, keys, num_samples=2000)
        terms = elbo_terms(model, IMAGES, IMAGES, KEY, num_samples=2000)
        return exact_terms(model, IMAGES), estimate, terms.elbo

    (evidence, log_likelihood, kl), found, elbo = jax.tree.map(np.asarray, estimated())
    np.testing.assert_allclose(found.kl.sum(axis=-1), kl, rtol=1e-4)
    np.testing.assert_allclose(-found.distortion, log_likelihood, atol=0.05)
    np.testing.assert_allclose(found.iwae_bound, evidence, atol=0.05)
    assert (found.elbo < evidence + 0.05).all()
    np.testing.assert_allclose(elbo, log_likelihood - kl, atol=0.05)


def test_validation_is_the_bound_of_exact_draws_whatever_the_temperature():
    game = game_of()
    sample_key = jax.random.split(KEY, 3)[2]
    means = jax.jit(lambda: elbo_terms(game.model, IMAGES, IMAGES, sample_key).means())()
    for temperature in (0.6, 3.0):
        loss, metrics = game(IMAGES, temperature=temperature, beta=1.0)
        assert float(loss) == pytest.approx(-float(means["elbo"]), rel=1e-5)
        assert float(metrics["rate"]) == pytest.approx(float(means["rate"]), rel=1e-5)
    loss, metrics = game(IMAGES, epoch=0.0, beta=0.5)
    distortion, rate = float(metrics["distortion"]), float(metrics["rate"])
    assert float(loss) == pytest.approx(distortion + 0.5 * rate, rel=1e-5)
    assert distortion != float(means["distortion"])


def test_straight_through_draws_are_exact_with_the_gradient_of_relaxed_ones():
    logits, noise, weights = normal(0, 4, 2, 3), normal(1, 4, 6), normal(2, 4, 6)

    def through(logits):
        q = OneHot(logits)
        return straight_through(q.draw(noise).latents, q.relaxed(noise, 0.8))

    def relaxed(logits):
        return OneHot(logits).relaxed(noise, 0.8)

    @jax.jit
    def drawn(logits):
        gradients = [
            jax.grad(lambda x, f=f: (weights * f(x)).sum())(logits) for f in (through, relaxed)
        ]
        return through(logits), OneHot(logits).draw(noise).latents, gradients

    found, exact, gradients = jax.tree.map(np.asarray, drawn(logits))
    np.testing.assert_array_equal(found, exact)
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-7)
    assert np.abs(gradients[0]).max() > 0.01


def test_straight_through_training_sees_exact_draws():
    game = game_of(straight_through=True)
    first, later = game(IMAGES, epoch=0.0)[0], game(IMAGES)[0]
    assert float(first) == pytest.approx(float(later), rel=1e-5)


def test_the_temperature_decays_to_its_least_value():
    temperature = jax.jit(annealed_temperature)
    found = [float(temperature(epoch, 2.0, 0.1, 0.5)) for epoch in (0.0, 5.0, 100.0, np.inf)]
    assert found == pytest.approx([2.0, 2 * np.exp(-0.5), 0.5, 0.5])
    assert float(temperature(np.inf, 2.0, 0.0, 0.5)) == 2.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {"name": "gumbel", "temperature": 0.0}}, r"objective\.temperature=0"),
        ({"objective": {"name": "gumbel", "temperature": -1.0}}, r"objective\.temperature=-1"),
        (
            {"objective": {"name": "gumbel", "least_temperature": 2.0}},
            r"objective\.least_temperature=2 must be at most objective\.temperature=1",
        ),
        ({"model.num_classes": 1}, r"model\.num_classes=1"),
        ({"model.latent_size": 7}, r"model\.latent_size=7 must be a multiple"),
        ({"objective": {"name": "elbo"}}, "objective='elbo' differentiates draws"),
        ({"objective": {"name": "wae"}}, "objective='wae' differentiates draws"),
        ({"model": {"name": "vae"}, "objective": "gumbel"}, "relaxes categorical latents"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes, message):
    with pytest.raises(UserError, match=message):
        small_experiment({**MODEL, **changes})
