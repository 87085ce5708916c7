import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special
from small_games import Game
from small_models import LinearGaussian

from vae_jax.distributions import Bernoulli, kl_divergence
from vae_jax.models import Autoencoder
from vae_jax.objectives import OBJECTIVES
from vae_jax.objectives.bounds import (
    ElboTerms,
    elbo_terms,
    log_weight_terms,
)
from vae_jax.objectives.elbo import negative_elbo, warmup
from vae_jax.objectives.reconstruction import autoencoder_loss

TERMS = ElboTerms(
    log_likelihood=jnp.array([-3.0, -5.0, -10.0]),
    kl=jnp.array([[0.1, 2.0, 0.0], [0.3, 1.0, 0.2], [0.2, 6.0, 0.1]]),
)
UNIT = {"distortion_weight": 1.0, "kl_weight": 1.0, "free_nats": 0.0}


_loss = jax.jit(negative_elbo)


def loss_of(terms, **weights):
    return _loss(terms, **{k: jnp.float32(v) for k, v in (UNIT | weights).items()})


def test_the_elbo_is_the_log_likelihood_less_the_summed_kl():
    elbo, means = jax.jit(lambda terms: (terms.elbo, terms.means()))(TERMS)
    np.testing.assert_allclose(elbo, [-5.1, -6.5, -16.3], rtol=1e-6)
    assert means["distortion"] == pytest.approx(6)
    assert means["rate"] == pytest.approx(3.3)
    assert means["elbo"] == pytest.approx(-9.3)


def test_with_unit_weights_the_loss_is_the_mean_negative_elbo():
    assert loss_of(TERMS) == pytest.approx(9.3)


@pytest.mark.parametrize(("distortion_weight", "beta"), [(1, 4), (0, 1), (0.5, 0), (2, 0.25)])
def test_each_weight_scales_its_own_term(distortion_weight, beta):
    loss = loss_of(TERMS, distortion_weight=distortion_weight, kl_weight=beta)
    assert loss == pytest.approx(distortion_weight * 6 + beta * 3.3)


def test_free_nats_are_granted_to_the_batch_mean_of_each_dimension():
    # Rates 0.2, 3 and 0.1. Example by example, 0.15 free nats would cost more than these.
    assert loss_of(TERMS, free_nats=0.15) == pytest.approx(6 + 0.2 + 3 + 0.15)
    assert loss_of(TERMS, free_nats=0.5, kl_weight=2) == pytest.approx(6 + 2 * (0.5 + 3 + 0.5))
    assert loss_of(TERMS, free_nats=5) == pytest.approx(6 + 15)


def test_dimensions_below_their_free_nats_have_no_gradient():
    gradient = jax.jit(jax.grad(lambda terms: loss_of(terms, free_nats=0.15)))(TERMS)
    np.testing.assert_allclose(gradient.kl, [[1 / 3, 1 / 3, 0]] * 3)
    np.testing.assert_allclose(gradient.log_likelihood, [-1 / 3] * 3)


_warmups = jax.jit(jax.vmap(warmup, in_axes=(0, None, None)))


def weights_at(epochs, warmup_epochs, cycle_epochs=0.0):
    return _warmups(*map(np.float32, (epochs, warmup_epochs, cycle_epochs)))


def test_warmup_is_a_ramp_from_zero_to_one():
    np.testing.assert_allclose(weights_at([0, 2.5, 5, 10, 20], 10), [0, 0.25, 0.5, 1, 1])


def test_without_warmup_the_weight_is_one_and_its_gradient_finite():
    none = jnp.float32(0)
    weight, gradient = jax.jit(jax.value_and_grad(lambda w: warmup(none, w, none)))(none)
    assert weight == 1
    assert np.isfinite(gradient)


def test_a_cyclic_warmup_begins_anew_and_has_ended_after_all_epochs():
    weights = weights_at([0, 2, 4, 7, 8, 10, 23, np.inf], 4, 8)
    np.testing.assert_allclose(weights, [0, 0.5, 1, 1, 0, 0.5, 1, 1])


def linear(*args, **options):
    case = LinearGaussian(*args, **options)
    return case, nnx.split(case.model)[1]


GRAPHDEF = nnx.split(LinearGaussian().model)[0]


@jax.jit
def drawn_elbos(params, images):
    """Return 4,000 draws of the ELBO of each image."""

    def elbo(key):
        return elbo_terms(nnx.merge(GRAPHDEF, params), images, images, key).elbo

    return jax.vmap(elbo)(jax.random.split(jax.random.key(0), 4000))


@pytest.mark.parametrize(("shift", "log_stretch"), [(0, 0), (0.5, 0), (0, 0.4), (-1, -0.3)])
def test_the_elbo_of_a_linear_vae_is_log_p_less_the_gap_to_the_exact_posterior(shift, log_stretch):
    case, params = linear(shift=shift, log_stretch=log_stretch)
    images = case.draw_images(1, 5)
    samples = np.asarray(drawn_elbos(params, images), np.float64)
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert (error < 0.05).all()
    exact = case.log_likelihood(images)
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - (exact - case.gap)), 5 * error)
    if shift or log_stretch:
        assert case.gap > 0.1
        assert (samples.mean(axis=0) < exact).all()


def test_at_the_exact_posterior_the_elbo_has_no_gradient_in_the_posterior():
    case, exact = linear()
    _, shifted = linear(shift=0.5)
    images = jnp.asarray(case.draw_images(2, 400))

    @jax.jit
    @jax.grad
    def gradient_at(params):
        def elbo(key):
            return elbo_terms(nnx.merge(GRAPHDEF, params), images, images, key).elbo

        return jax.vmap(elbo)(jax.random.split(jax.random.key(0), 200)).mean()

    at_exact, at_shifted = (
        np.asarray(gradient_at(params)["posterior"]["linear"]["bias"][...])
        for params in (exact, shifted)
    )
    np.testing.assert_allclose(at_exact, np.zeros(4), atol=0.03)
    assert np.abs(at_shifted).max() > 0.3


def test_the_encoder_sees_the_input_and_the_likelihood_the_target():
    case = LinearGaussian()
    clean, corrupted = (jnp.asarray(case.draw_images(seed, 4)) for seed in (3, 4))
    key = jax.random.key(0)

    @jax.jit
    def terms_and_expected():
        posterior = case.model.encode(corrupted)
        likelihood = case.model.decode(posterior.sample(key))
        expected = likelihood.log_prob(clean), kl_divergence(posterior, case.model.prior)
        terms = elbo_terms(case.model, corrupted, clean, key)
        return terms, expected, elbo_terms(case.model, clean, clean, key)

    terms, (log_likelihood, rate), plain = terms_and_expected()
    np.testing.assert_allclose(terms.log_likelihood, log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(np.sum(terms.kl, axis=-1), rate, rtol=1e-5)
    assert (np.abs(np.asarray(plain.kl) - np.asarray(terms.kl)) > 1e-3).any()


IMAGES = jnp.asarray(np.random.default_rng(1).random((6, 3, 4, 1), np.float32))


def test_a_denoising_loss_encodes_the_corrupted_and_scores_the_clean_image():
    game = Game({"corruption": "masking"})
    model = game.model
    images = IMAGES
    # A decoder that ignores its latents: the distortion is a function of the target alone.
    kernel = model.decoder.output.kernel
    kernel[...] = np.zeros_like(kernel[...])

    @jax.jit
    def expected(seen):
        likelihood = Bernoulli(model.decoder.output.bias[...])
        rate = kl_divergence(model.encode(seen), model.prior).mean()
        return -likelihood.log_prob(images.reshape(6, -1)).mean(), rate

    rates = {}
    for level, seen in [(0, images), (1, np.zeros_like(images))]:
        _, metrics = game(images, level=level)
        distortion, rates[level] = map(float, expected(seen))
        assert metrics["distortion"] == pytest.approx(distortion, rel=1e-5)
        assert metrics["rate"] == pytest.approx(rates[level], rel=1e-4)
    assert abs(rates[0] - rates[1]) > 1e-3


def test_the_loss_weighs_its_terms_as_the_settings_say():
    game = Game()
    images = IMAGES
    cases = [
        ({}, 0.0, 1.0, 1.0),
        ({"beta": 3.0}, 0.0, 1.0, 3.0),
        ({"beta": 3.0, "warmup_epochs": 10.0}, 2.5, 1.0, 0.75),
        ({"beta": 3.0, "warmup_epochs": 10.0}, np.inf, 1.0, 3.0),
        ({"warmup_epochs": 10.0}, 0.0, 1.0, 0.0),
        ({"warmup_epochs": 4.0, "warmup_cycle_epochs": 5.0}, 6.0, 1.0, 0.25),
        ({"distortion_weight": 0.0}, 0.0, 0.0, 1.0),
    ]
    for values, epoch, distortion_weight, kl_weight in cases:
        loss, metrics = game(images, epoch=epoch, **values)
        distortion, rate = float(metrics["distortion"]), float(metrics["rate"])
        expected = distortion_weight * distortion + kl_weight * rate
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        assert float(metrics["elbo"]) == pytest.approx(-distortion - rate, rel=1e-5)


def test_every_step_of_a_dynamically_binarised_loss_draws_targets_anew():
    game = Game({"data.binarization": "dynamic"})
    output = game.model.decoder.output
    output.kernel[...] = np.zeros_like(output.kernel[...])
    images = np.full((500, 3, 4, 1), 51, np.uint8)
    distortions = [
        float(game(images, key=jax.random.key(seed))[1]["distortion"]) for seed in (0, 1)
    ]
    assert distortions[0] != distortions[1]
    logits = np.asarray(output.bias[...])
    np.testing.assert_allclose(
        distortions, np.sum(np.logaddexp(0, logits) - 0.2 * logits), rtol=0.02
    )


def test_an_autoencoders_loss_is_the_distortion_of_its_own_code():
    game = Game({"model": "autoencoder"})
    model = game.model
    assert isinstance(model, Autoencoder)
    images = IMAGES

    @jax.jit
    def expected():
        logits = model.decoder(model.bottleneck(model.encoder(images)))
        other, _ = autoencoder_loss(model, images[::-1], images)
        return -Bernoulli(logits, event_ndim=3).log_prob(images).mean(), other

    distortion, other = map(float, expected())
    loss, metrics = game(images)
    assert float(loss) == float(metrics["distortion"]) == pytest.approx(distortion, rel=1e-5)
    assert abs(other - float(loss)) > 1e-3


@pytest.fixture(scope="module")
def log_weights():
    """Log weights of four draws from the posterior of a model, of which a loss makes a bound."""
    game = Game()
    sample_key = jax.random.split(jax.random.key(0), 3)[2]
    terms = jax.jit(lambda: log_weight_terms(game.model, IMAGES, IMAGES, sample_key, num_samples=4))
    return np.asarray(terms().log_weights)


def log_mean_exp(values):
    return special.logsumexp(values, axis=0) - np.log(len(values))


def grouped(w):
    """Return the mean of the bounds of two groups of two draws."""
    return (log_mean_exp(w[:2]) + log_mean_exp(w[2:])) / 2


@pytest.mark.parametrize(
    ("section", "bound"),
    [
        ({"name": "iwae", "num_samples": 4}, log_mean_exp),
        ({"name": "iwae", "num_samples": 4, "gradient": "dreg"}, log_mean_exp),
        ({"name": "stl", "num_samples": 4}, lambda w: w.mean(axis=0)),
        (
            {"name": "ciwae", "num_samples": 4, "elbo_weight": 0.25},
            lambda w: 0.25 * w.mean(axis=0) + 0.75 * log_mean_exp(w),
        ),
        ({"name": "miwae", "num_samples": 2, "num_groups": 2}, grouped),
        ({"name": "piwae", "num_samples": 2, "num_groups": 2}, log_mean_exp),
    ],
)
def test_the_objective_of_the_config_is_what_is_minimised(log_weights, section, bound):
    loss, metrics = Game({"objective": section})(IMAGES)
    found = {name: float(value) for name, value in metrics.items()}
    assert float(loss) == pytest.approx(-bound(log_weights).mean(), abs=1e-4)
    assert found["bound"] == -float(loss)
    assert found["elbo"] == pytest.approx(log_weights.mean(), abs=1e-4)
    assert found["elbo"] == pytest.approx(-found["rate"] - found["distortion"], abs=1e-4)


@pytest.mark.parametrize("name", ["elbo", "capacity"])
@pytest.mark.parametrize("settings", [{"num_samples": 3, "sampled_kl": True}, {"num_samples": 2}])
def test_samples_and_a_sampled_kl_are_those_of_the_settings(name, settings):
    game = Game({"objective": {"name": name, **settings}})
    _, metrics = game(IMAGES)
    sample_key = jax.random.split(jax.random.key(0), 3)[2]
    terms = jax.jit(lambda: elbo_terms(game.model, IMAGES, IMAGES, sample_key, **settings).means())
    expected = terms()
    for term in ("elbo", "rate", "distortion"):
        assert float(metrics[term]) == pytest.approx(float(expected[term]), rel=1e-4)


def test_the_score_of_an_epoch_is_chosen_by_the_objective():
    # The negative loss, which is not always the ELBO.
    metrics = {"loss": 4.0, "elbo": -3.0, "distortion": 1.0}
    assert OBJECTIVES["elbo"](beta=2.0).score(metrics) == -4.0
    assert OBJECTIVES["iwae"]().score(metrics) == -4.0
    # An opponent moves the loss of a FactorVAE.
    assert OBJECTIVES["factor"]().score(metrics) == -3.0
