import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats
from small_models import normal, randomized

from vae_jax import config as factory
from vae_jax.config.datasets import check_image_shape
from vae_jax.data import random_bits
from vae_jax.distributions import Normal, kl_by_dimension
from vae_jax.errors import UserError
from vae_jax.evaluation import likelihood
from vae_jax.models.interfaces import LayeredPrior
from vae_jax.models.top_down import layers_by_level
from vae_jax.objectives import bounds
from vae_jax.training.optimizers import is_kernel

IMAGE_SHAPE = (8, 4, 1)
# Two levels, of 4x2 and 2x1 pixels.
SIZES = (8, 2)
LATENTS = sum(SIZES)
IMAGES = jnp.asarray(np.random.default_rng(0).random((3, *IMAGE_SHAPE), np.float32))
NOISE = np.asarray(normal(1, 2000, 3, LATENTS))


def experiment(layers=2, **changes):
    """Return an experiment with a tiny ladder; `changes` by dotted name."""
    model = {"name": "top_down", "layers": layers, "channels": (3, 4), "width": 2}
    return factory.resolve(factory.with_values({"model": {**model, "latent_channels": 1}}, changes))


def build(layers=2, **changes):
    return factory.build_model(experiment(layers, **changes), IMAGE_SHAPE, jax.random.key(0))


@pytest.fixture(scope="module")
def model():
    return randomized(build, scale=0.5)


def conditionals(model, latents, contexts=None):
    """Return p(z_l|z_>l) and q(z_l|x, z_>l) at given latents, as normals over all layers.

    Without contexts both are of the prior.
    """
    parts = model.by_layer(latents)
    found = [[None] * len(parts) for _ in range(2)]

    def choose(index, layer, state, prior):
        posterior = prior if contexts is None else layer.posterior(state, contexts[index])
        for each, normals in zip((prior, posterior), found, strict=True):
            mean, log_scale = (
                jnp.broadcast_to(x, parts[index].shape) for x in (each.mean, each.log_scale)
            )
            normals[index] = Normal(mean, log_scale)
        return parts[index]

    model.descend(choose)
    return [
        Normal(
            jnp.concatenate([normals.mean for normals in each], axis=-1),
            jnp.concatenate([normals.log_scale for normals in each], axis=-1),
        )
        for each in found
    ]


@pytest.fixture(scope="module")
def descend(model):
    """Return a function of noise `[2000, 3, latents]`: the pass, and what it should agree with."""

    @jax.jit
    def apply(noise):
        posterior = model.encode(IMAGES)
        passed = posterior.descend(noise)
        few = passed.latents[:1]
        of_prior, of_posterior = conditionals(model, few[0], posterior.contexts)
        separate = {
            "log_prior": model.prior.log_prob(few),
            "log_likelihood": model.decode(few).log_prob(IMAGES),
            "mean": of_posterior.mean,
            "scale": jnp.exp(of_posterior.log_scale),
            "kl": kl_by_dimension(of_posterior, of_prior),
        }
        likelihood = passed.likelihood
        return passed._replace(likelihood=likelihood.mean), likelihood.log_prob(IMAGES), separate

    return lambda noise: jax.device_get(apply(noise))


@pytest.fixture(scope="module")
def passed(descend):
    return descend(NOISE)


@pytest.mark.parametrize(
    ("layers", "levels", "expected"),
    [(1, 2, (0, 1)), (2, 2, (1, 1)), (3, 2, (1, 2)), (12, 2, (6, 6)), (5, 3, (1, 2, 2))],
)
def test_layers_are_shared_out_among_the_levels_the_smallest_first(layers, levels, expected):
    assert layers_by_level(layers, levels) == expected


@pytest.mark.parametrize("layers", [3, 12])
def test_one_path_builds_every_number_of_layers(layers):
    model = nnx.eval_shape(lambda: build(layers))
    large, small = layers_by_level(layers, 2)
    assert model.layer_sizes == (8,) * large + (2,) * small
    assert model.latent_size == sum(model.layer_sizes)


def test_a_new_ladder_has_no_rate_and_starts_at_the_mean_pixel():
    mean_image = jnp.asarray(np.full(IMAGE_SHAPE, 0.2, np.float32))

    @jax.jit
    def start(key):
        model = factory.build_model(experiment(2), IMAGE_SHAPE, key, mean_image)
        found = model.encode(IMAGES[:1]).descend(jax.random.normal(key, (1, LATENTS)))
        return found.kl, found.likelihood.mean

    # A generator of few operations compiles faster.
    kl, mean = map(np.asarray, start(jax.random.key(1, impl="unsafe_rbg")))
    np.testing.assert_allclose(kl, np.zeros((1, LATENTS)), atol=1e-6)
    assert 0.1 < mean.mean() < 0.35


def test_one_pass_is_the_three_of_posterior_prior_and_likelihood(passed):
    found, log_likelihood, separate = passed
    np.testing.assert_allclose(found.log_prior[:1], separate["log_prior"], rtol=1e-4)
    np.testing.assert_allclose(log_likelihood[:1], separate["log_likelihood"], rtol=1e-4)
    assert found.likelihood.shape == (2000, 3, *IMAGE_SHAPE)


def test_a_draw_has_the_density_and_the_kl_of_each_layer_given_those_above(passed):
    found, _, separate = passed
    mean, scale = separate["mean"], separate["scale"]
    latents, noise = np.asarray(found.latents[0], np.float64), NOISE[0]
    np.testing.assert_allclose((latents - mean) / scale, noise, rtol=1e-3, atol=1e-4)
    expected = stats.norm.logpdf(latents, mean, scale).sum(axis=-1)
    np.testing.assert_allclose(found.log_posterior[0], expected, rtol=1e-4)
    np.testing.assert_allclose(found.kl[0], separate["kl"], rtol=1e-3, atol=1e-5)


def test_the_kl_given_the_layers_above_has_the_mean_of_the_log_ratio(passed):
    found = passed[0]
    rate = found.kl.sum(axis=-1)
    difference = np.asarray(found.log_posterior - found.log_prior - rate, np.float64)
    error = difference.std(axis=0) / np.sqrt(len(difference))
    np.testing.assert_array_less(np.abs(difference.mean(axis=0)), 5 * error)
    # It differs per draw, since the upper layer does, and is far from 0.
    assert (rate.mean(axis=0) > 10 * error).all()
    assert (np.asarray(rate).std(axis=0) > 0.01).all()


def test_no_layer_depends_on_the_noise_of_those_below(descend, passed):
    is_below = np.arange(LATENTS) < SIZES[0]
    below, above = (descend(NOISE + chosen)[0].latents for chosen in (is_below, ~is_below))
    latents = passed[0].latents
    np.testing.assert_array_equal(below[..., SIZES[0] :], latents[..., SIZES[0] :])
    assert (np.abs(above - latents).max(axis=(0, 1)) > 1e-3).all()


@pytest.fixture(scope="module")
def prior(model):
    """Return a function of a temperature.

    It returns samples, the mean and log scale of the normals that they are from, their log density,
    and the prior's mean.
    """
    keys = jax.random.split(jax.random.key(0), 5000)

    @jax.jit
    def apply(temperature):
        prior = model.prior.tempered(temperature)
        latents = jax.vmap(prior.sample)(keys)
        conditional, _ = conditionals(model, latents)
        given = conditional.mean, conditional.log_scale
        return latents, *given, prior.log_prob(latents), prior.mean

    return lambda temperature: jax.device_get(apply(np.float32(temperature)))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_of_the_prior_go_from_the_top_layer_down(prior, temperature):
    latents, means, log_scales, log_prob, _ = prior(temperature)
    scales = temperature * np.exp(log_scales)
    noise = (latents - means) / scales
    np.testing.assert_allclose(np.cov(noise.T), np.eye(LATENTS), atol=0.1)
    np.testing.assert_allclose(noise.mean(axis=0), np.zeros(LATENTS), atol=0.08)
    expected = stats.norm.logpdf(latents, means, scales).sum(axis=-1)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-3, atol=1e-3)
    # The lower layer has another mean in each sample.
    assert (means[:, : SIZES[0]].std(axis=0) > 0.01).all()


def test_at_temperature_0_a_sample_is_the_mean_of_each_layer(prior):
    latents, _, _, _, mean = prior(0.0)
    np.testing.assert_allclose(latents, np.broadcast_to(mean, latents.shape), rtol=1e-4, atol=1e-6)


def small_chain():
    model = {"name": "ladder", "latent_size": 8, "top_latent_size": 2, "encoder": {"widths": (5,)}}
    config = factory.resolve({"model": model})
    return randomized(lambda: factory.build_model(config, IMAGE_SHAPE, jax.random.key(0)))


@pytest.mark.parametrize("kind", ["top_down", "ladder"])
def test_layers_drawn_anew_leave_those_above_as_they_are(model, kind):
    model = model if kind == "top_down" else small_chain()
    assert isinstance(model.prior, LayeredPrior)
    assert model.prior.layer_sizes == model.layer_sizes == SIZES

    @jax.jit
    def draw(given, number, key):
        prior = model.prior
        tempered = prior.tempered(1e-6)
        return prior.sample_below(given, number, key), tempered.sample_below(given, number, key)

    given = np.asarray(normal(0, LATENTS))
    for number, drawn in enumerate([0, SIZES[0], LATENTS]):
        (one, cold), (other, same) = (
            jax.device_get(draw(given, np.int32(number), jax.random.key(seed))) for seed in (1, 2)
        )
        np.testing.assert_array_equal(one[drawn:], given[drawn:])
        assert (one[:drawn] != other[:drawn]).all()
        np.testing.assert_allclose(cold, same, atol=1e-3)


def test_every_parameter_of_a_ladder_gets_a_gradient():
    graphdef, params = nnx.split(randomized(build))

    @jax.jit
    @jax.grad
    def gradient(params):
        model = nnx.merge(graphdef, params)
        return bounds.elbo_terms(model, IMAGES, IMAGES, jax.random.key(1)).elbo.mean()

    gradients = jax.tree_util.tree_leaves_with_path(gradient(params))
    assert len(gradients) > 60
    for path, leaf in gradients:
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-7, path


def test_only_the_kernels_of_a_ladder_decay():
    kept = set()
    params = nnx.split(nnx.eval_shape(build), nnx.Param, ...)[1]
    for path, decays in jax.tree_util.tree_leaves_with_path(is_kernel(params)):
        name = [str(step.key) for step in path if hasattr(step, "key")][-1]
        assert decays == (name == "kernel"), path
        kept |= set() if decays else {name}
    assert kept == {"bias", "start"}


def test_rates_of_layers_add_up_and_each_layer_has_its_free_nats(model):
    def objective(**settings):
        return experiment(objective={"name": "elbo", "num_samples": 3, **settings}).objective

    @jax.jit
    def losses(key, free):
        per_layer = dataclasses.replace(objective(free_nats_per="layer"), free_nats=free)
        options = {"epoch": jnp.float32(jnp.inf), "num_examples": 3}
        batch = bounds.Batch(IMAGES, IMAGES)
        loss, metrics = objective().loss(model, batch, key, **options)
        return loss, metrics, per_layer.loss(model, batch, key, **options)[0]

    loss, metrics, without = losses(jax.random.key(3), np.float32(0))
    rates = np.array([metrics["rate_layer_1"], metrics["rate_layer_2"]])
    assert rates.sum() == pytest.approx(float(metrics["rate"]), rel=1e-5)
    assert float(loss) == pytest.approx(-float(metrics["elbo"]), rel=1e-6)
    assert float(loss) == pytest.approx(float(without), rel=1e-6)
    free = float(rates.mean())
    assert rates.min() < free < rates.max()
    expected = metrics["distortion"] + rates.max() + free
    found = losses(jax.random.key(3), np.float32(free))[2]
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_the_objectives_take_the_terms_of_one_pass(model):
    @jax.jit
    def terms(key):
        noise = bounds.draw_noise(model, 4, 3, key)
        found = model.encode(IMAGES).descend(noise)
        options = {"model": model, "inputs": IMAGES, "targets": IMAGES, "key": key}
        sampled = bounds.elbo_terms(**options, num_samples=4, sampled_kl=True)
        weights = bounds.log_weight_terms(**options, num_samples=4)
        log_ratio = found.log_posterior - found.log_prior
        log_likelihood = found.likelihood.log_prob(IMAGES)
        return log_ratio, log_likelihood, sampled.kl, weights.log_weights

    log_ratio, log_likelihood, sampled_kl, log_weights = map(np.asarray, terms(jax.random.key(0)))
    np.testing.assert_allclose(sampled_kl[:, 0], log_ratio.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(log_weights, log_likelihood - log_ratio, rtol=1e-4)


def test_the_evaluations_terms_are_means_over_chunks_of_samples(model, monkeypatch):
    # Two samples of three images at a time.
    monkeypatch.setattr(likelihood, "_VALUES_PER_CHUNK", 2 * IMAGES.size)
    keys = jax.random.split(jax.random.key(0), 3)

    @jax.jit
    def estimate(keys):
        noise = jax.vmap(lambda key: random_bits.normal(key, jnp.int32(0), 7, LATENTS), out_axes=1)(
            keys
        )
        passed = model.encode(IMAGES).descend(noise)
        return (
            likelihood.estimate_batch(model, IMAGES, keys, num_samples=7),
            passed._replace(likelihood=passed.likelihood.log_prob(IMAGES)),
        )

    found, passed = jax.device_get(estimate(keys))
    np.testing.assert_allclose(found.kl, passed.kl.mean(axis=0), rtol=1e-3, atol=1e-5)
    expected = passed.latents.mean(axis=0)
    np.testing.assert_allclose(found.posterior_mean, expected, rtol=1e-3, atol=1e-4)
    distortion = -passed.likelihood.mean(axis=0)
    np.testing.assert_allclose(found.distortion, distortion, rtol=1e-4)
    assert (found.iwae_bound > found.elbo).all()


def test_a_ladder_and_its_settings_agree_on_its_properties():
    config, found = experiment(), nnx.eval_shape(build)
    for name in (
        "has_density",
        "has_normal_posterior",
        "has_posterior_density",
        "has_standard_prior",
    ):
        assert getattr(config.model, name) == getattr(found, name)
    assert config.model.num_layers == len(found.layer_sizes)
    assert found.code_shape == (LATENTS,)


@pytest.mark.parametrize(
    ("image_shape", "message"),
    [
        ((28, 28, 1), None),
        ((64, 32, 3), None),
        ((30, 28, 1), r"channels=\(3, 4\) has 2 levels, .* 30x28 pixels cannot be halved so often"),
        ((2, 2, 1), "multiples of 4"),
        ((4096, 4096, 1), r"make \d+ latents of an image .*; 131070 is the most"),
    ],
)
def test_a_ladder_says_which_images_it_cannot_halve(image_shape, message):
    config = experiment()
    if message is None:
        assert config.model.unfit(image_shape) is None
        return
    with pytest.raises(UserError, match=f"^model.*{message}"):
        check_image_shape(config, image_shape)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.channels": ()}, r"model\.channels=\(\) must be a tuple of one or more"),
        ({"model.layers": 0}, r"model\.layers=0 must be an integer of at least 1"),
        ({"model.width": 0}, r"model\.width=0 must be an integer of at least 1"),
        ({"objective": "stl"}, r"density at given latents, which model='top_down' does not have"),
        (
            {"model": "vae", "objective.free_nats_per": "layer"},
            r"free_nats_per='layer' needs a KL .* which model='vae' does not have",
        ),
        (
            {"objective": {"free_nats_per": "layer", "sampled_kl": True}},
            "does not tell layers apart",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_a_line(changes, message):
    base = {"model": {"name": "top_down", "channels": (3, 4)}}
    content = factory.with_values(base, changes)
    with pytest.raises(UserError, match=message) as error:
        factory.resolve(content)
    assert "\n" not in str(error.value)
