import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_games import Game
from small_models import LinearGaussian

from vae_jax.distributions import Bernoulli, kl_divergence
from vae_jax.models import Autoencoder
from vae_jax.objectives import OBJECTIVES
from vae_jax.objectives.bounds import (
    ElboTerms,
    ciwae_bound,
    elbo_terms,
    iwae_bound,
    log_weight_terms,
    miwae_bound,
)
from vae_jax.objectives.elbo import negative_elbo, warmup
from vae_jax.objectives.reconstruction import autoencoder_loss

TERMS = ElboTerms(
    log_likelihood=jnp.array([-3.0, -5.0, -10.0]),
    kl=jnp.array([[0.1, 2.0, 0.0], [0.3, 1.0, 0.2], [0.2, 6.0, 0.1]]),
)
UNIT = {"distortion_weight": 1.0, "kl_weight": 1.0, "free_nats": 0.0}


def loss_of(terms, **weights):
    return negative_elbo(terms, **{k: jnp.float32(v) for k, v in (UNIT | weights).items()})


def test_the_elbo_is_the_log_likelihood_less_the_summed_kl():
    np.testing.assert_allclose(TERMS.elbo, [-5.1, -6.5, -16.3], rtol=1e-6)
    means = TERMS.means()
    assert means["distortion"] == pytest.approx(6)
    assert means["rate"] == pytest.approx(3.3)
    assert means["elbo"] == pytest.approx(-9.3)


def test_with_unit_weights_the_loss_is_the_mean_negative_elbo():
    assert loss_of(TERMS) == pytest.approx(-float(TERMS.elbo.mean()))


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
    gradient = jax.grad(lambda terms: loss_of(terms, free_nats=0.15))(TERMS)
    np.testing.assert_allclose(gradient.kl, [[1 / 3, 1 / 3, 0]] * 3)
    np.testing.assert_allclose(gradient.log_likelihood, [-1 / 3] * 3)


def weights_at(epochs, warmup_epochs, cycle_epochs=0.0):
    options = (jnp.float32(warmup_epochs), jnp.float32(cycle_epochs))
    return jax.vmap(lambda epoch: warmup(epoch, *options))(jnp.asarray(epochs, jnp.float32))


def test_warmup_is_a_ramp_from_zero_to_one():
    np.testing.assert_allclose(weights_at([0, 2.5, 5, 10, 20], 10), [0, 0.25, 0.5, 1, 1])


def test_without_warmup_the_weight_is_one_and_its_gradient_finite():
    assert weights_at([0.0], 0) == 1
    none = jnp.float32(0)
    assert np.isfinite(jax.grad(lambda w: warmup(none, w, none))(none))


def test_a_cyclic_warmup_begins_anew_and_has_ended_after_all_epochs():
    weights = weights_at([0, 2, 4, 7, 8, 10, 23, np.inf], 4, 8)
    np.testing.assert_allclose(weights, [0, 0.5, 1, 1, 0, 0.5, 1, 1])


@pytest.mark.parametrize(("shift", "log_stretch"), [(0, 0), (0.5, 0), (0, 0.4), (-1, -0.3)])
def test_the_elbo_of_a_linear_vae_is_log_p_less_the_gap_to_the_exact_posterior(shift, log_stretch):
    case = LinearGaussian(shift=shift, log_stretch=log_stretch)
    images = case.draw_images(1, 5)
    num = 4000

    @jax.jit
    @jax.vmap
    def elbo(key):
        return elbo_terms(case.model, jnp.asarray(images), jnp.asarray(images), key).elbo

    samples = np.asarray(elbo(jax.random.split(jax.random.key(0), num)), np.float64)
    error = samples.std(axis=0) / np.sqrt(num)
    assert (error < 0.05).all()
    exact = case.log_likelihood(images)
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - (exact - case.gap)), 5 * error)
    if shift or log_stretch:
        assert case.gap > 0.1
        assert (samples.mean(axis=0) < exact).all()


def test_at_the_exact_posterior_the_elbo_has_no_gradient_in_the_posterior():
    case = LinearGaussian()
    images = jnp.asarray(case.draw_images(2, 400))
    graphdef, params = nnx.split(case.model)
    keys = jax.random.split(jax.random.key(0), 200)

    def gradient_at(params):
        def mean_elbo(params):
            model = nnx.merge(graphdef, params)
            elbo = jax.vmap(lambda key: elbo_terms(model, images, images, key).elbo)(keys)
            return elbo.mean()

        return jax.jit(jax.grad(mean_elbo))(params)["posterior"]["linear"]["bias"][...]

    shifted = nnx.split(LinearGaussian(shift=0.5).model)[1]
    np.testing.assert_allclose(gradient_at(params), np.zeros(4), atol=0.03)
    assert np.abs(gradient_at(shifted)).max() > 0.3


def test_the_encoder_sees_the_input_and_the_likelihood_the_target():
    case = LinearGaussian()
    clean, corrupted = (jnp.asarray(case.draw_images(seed, 4)) for seed in (3, 4))
    key = jax.random.key(0)
    terms = elbo_terms(case.model, corrupted, clean, key)
    posterior = case.model.encode(corrupted)
    likelihood = case.model.decode(posterior.sample(key))
    np.testing.assert_allclose(terms.log_likelihood, likelihood.log_prob(clean), rtol=1e-5)
    rate = kl_divergence(posterior, case.model.prior)
    np.testing.assert_allclose(terms.kl.sum(axis=-1), rate, rtol=1e-5)
    plain = elbo_terms(case.model, clean, clean, key)
    assert (np.abs(plain.kl - terms.kl) > 1e-3).any()


def test_a_denoising_loss_encodes_the_corrupted_and_scores_the_clean_image():
    game = Game({"corruption": "masking"})
    model = game.model
    # A decoder that ignores its latents: the distortion is a function of the target alone.
    model.decoder.output.kernel[...] = jnp.zeros_like(model.decoder.output.kernel[...])
    images = jax.random.uniform(jax.random.key(1), (6, 3, 4, 1))
    logits = model.decoder.output.bias[...]
    distortion = -Bernoulli(logits).log_prob(images.reshape(6, -1)).mean()
    rates = {}
    for level, seen in [(0, images), (1, jnp.zeros_like(images))]:
        _, metrics = game(images, level=level)
        assert metrics["distortion"] == pytest.approx(float(distortion), rel=1e-5)
        rates[level] = kl_divergence(model.encode(seen), model.prior).mean()
        assert metrics["rate"] == pytest.approx(float(rates[level]), rel=1e-4)
    assert abs(rates[0] - rates[1]) > 1e-3


def test_the_loss_weighs_its_terms_as_the_settings_say():
    game = Game()
    images = jax.random.uniform(jax.random.key(1), (6, 3, 4, 1))
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
        expected = distortion_weight * metrics["distortion"] + kl_weight * metrics["rate"]
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)
        assert float(metrics["elbo"]) == pytest.approx(
            -float(metrics["distortion"] + metrics["rate"]), rel=1e-5
        )


def test_every_step_of_a_dynamically_binarised_loss_draws_targets_anew():
    game = Game({"data.binarization": "dynamic"})
    model = game.model
    model.decoder.output.kernel[...] = jnp.zeros_like(model.decoder.output.kernel[...])
    images = jnp.full((500, 3, 4, 1), 51, jnp.uint8)
    distortions = [
        game(images, key=key)[1]["distortion"] for key in jax.random.split(jax.random.key(0), 2)
    ]
    assert distortions[0] != distortions[1]
    logits = model.decoder.output.bias[...]
    expected = -Bernoulli(logits).log_prob(jnp.full(12, 0.2))
    np.testing.assert_allclose(distortions, expected, rtol=0.02)


def test_an_autoencoders_loss_is_the_distortion_of_its_own_code():
    game = Game({"model": "autoencoder"})
    model = game.model
    assert isinstance(model, Autoencoder)
    images = jax.random.uniform(jax.random.key(1), (6, 3, 4, 1))
    logits = model.decoder(model.bottleneck(model.encoder(images)))
    expected = -Bernoulli(logits, event_ndim=3).log_prob(images).mean()
    loss, metrics = game(images)
    assert float(loss) == float(metrics["distortion"]) == pytest.approx(float(expected), rel=1e-5)
    other, _ = autoencoder_loss(model, images[::-1], images)
    assert abs(float(other) - float(loss)) > 1e-3


@pytest.mark.parametrize(
    ("section", "estimator"),
    [
        ({"name": "iwae", "num_samples": 4}, iwae_bound),
        ({"name": "iwae", "num_samples": 4, "gradient": "dreg"}, iwae_bound),
        ({"name": "stl", "num_samples": 4}, lambda w: w.mean(axis=0)),
        ({"name": "ciwae", "num_samples": 4}, lambda w: ciwae_bound(w, jnp.float32(0.25))),
        ({"name": "miwae", "num_samples": 2, "num_groups": 2}, lambda w: miwae_bound(w, 2)),
        ({"name": "piwae", "num_samples": 2, "num_groups": 2}, iwae_bound),
    ],
)
def test_the_objective_of_the_config_is_what_is_minimised(section, estimator):
    game = Game({"objective": section})
    images = jax.random.uniform(jax.random.key(1), (6, 3, 4, 1))
    key = jax.random.key(0)
    weight = {"elbo_weight": 0.25} if section["name"] == "ciwae" else {}
    loss, metrics = game(images, key=key, **weight)
    sample_key = jax.random.split(key, 3)[2]
    terms = log_weight_terms(game.model, images, images, sample_key, num_samples=4)
    assert float(loss) == pytest.approx(-float(estimator(terms.log_weights).mean()), abs=1e-4)
    assert float(metrics["bound"]) == -float(loss)
    assert float(metrics["elbo"]) == pytest.approx(float(terms.log_weights.mean()), abs=1e-4)
    assert float(metrics["elbo"]) == pytest.approx(
        -float(metrics["rate"] + metrics["distortion"]), abs=1e-4
    )


@pytest.mark.parametrize("name", ["elbo", "capacity"])
def test_samples_and_a_sampled_kl_are_those_of_the_settings(name):
    images = jax.random.uniform(jax.random.key(1), (6, 3, 4, 1))
    key = jax.random.key(0)
    for settings in ({"num_samples": 3}, {"sampled_kl": True}, {"num_samples": 2}):
        game = Game({"objective": {"name": name, **settings}})
        _, metrics = game(images, key=key)
        sample_key = jax.random.split(key, 3)[2]
        expected = elbo_terms(game.model, images, images, sample_key, **settings).means()
        for term in ("elbo", "rate", "distortion"):
            assert float(metrics[term]) == pytest.approx(float(expected[term]), rel=1e-4)


def test_the_score_of_an_epoch_is_chosen_by_the_objective():
    # The negative loss, which is not always the ELBO.
    metrics = {"loss": 4.0, "elbo": -3.0, "distortion": 1.0}
    assert OBJECTIVES["elbo"](beta=2.0).score(metrics) == -4.0
    assert OBJECTIVES["iwae"]().score(metrics) == -4.0
    # An opponent moves the loss of a FactorVAE.
    assert OBJECTIVES["factor"]().score(metrics) == -3.0
