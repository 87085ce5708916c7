import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats
from small_configs import small_experiment
from small_models import LinearGaussian, initialized, normal, randomized

from configs import vanilla
from vae_jax import config as factory
from vae_jax.distributions import Normal
from vae_jax.models import VAE, AutoregressiveFlow, DiagonalNormal, StandardNormalPrior
from vae_jax.models.interfaces import Factorized, TractablePosterior
from vae_jax.networks import MLPDecoder, MLPEncoder
from vae_jax.networks.masked import MaskedMLP

SIZE, NUM_FEATURES = 4, 5


def make_flow(num_layers=3, width=7, size=SIZE):
    def build():
        return AutoregressiveFlow(
            NUM_FEATURES,
            size,
            num_layers=num_layers,
            width=width,
            activation=jnp.tanh,
            rngs=nnx.Rngs(0),
        )

    return randomized(build, scale=0.7)


@pytest.mark.parametrize(("event_ndim", "log_scale_shape"), [(1, (5, 3)), (1, ()), (2, (3,))])
def test_a_draw_of_a_normal_knows_its_own_density(event_ndim, log_scale_shape):
    posterior = Normal(normal(0, 5, 3), 0.5 * normal(1, *log_scale_shape), event_ndim)

    @jax.jit
    def draw(noise):
        latents, log_prob = posterior.draw(noise)
        both = posterior.log_prob(latents), posterior.log_prob_by_dimension(latents)
        return latents, log_prob, *both

    latents, log_prob, again, by_dimension = draw(normal(2, 7, 5, 3))
    densities = stats.norm.logpdf(latents, posterior.mean, np.exp(posterior.log_scale))
    expected = densities.sum(axis=tuple(range(-event_ndim, 0)))
    assert log_prob.shape == expected.shape
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_prob, again, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_dimension, densities, rtol=1e-4, atol=1e-4)


def test_a_normal_sample_is_the_draw_of_its_keys_noise():
    posterior = Normal(normal(0, 5, 3), 0.5 * normal(1, 5, 3))
    key = jax.random.key(0)
    latents, _ = posterior.draw(jax.random.normal(key, (5, 3)))
    np.testing.assert_array_equal(posterior.sample(key), latents)


def test_the_density_of_a_narrow_draw_comes_from_its_noise_without_rounding():
    # Rounding moves the latents themselves by about their standard deviation.
    noise = normal(0, 100, 1)
    posterior = Normal(jnp.full(1, 1000.0), jnp.full(1, math.log(1e-4)))
    expected = stats.norm.logpdf(noise).sum(axis=-1) - math.log(1e-4)
    np.testing.assert_allclose(jax.jit(posterior.draw)(noise).log_prob, expected, rtol=1e-5)


def test_features_are_split_into_mean_and_bounded_log_scale():
    head = randomized(lambda: DiagonalNormal(NUM_FEATURES, 3, rngs=nnx.Rngs(0)))
    features = normal(0, 6, NUM_FEATURES)
    graphdef, params = nnx.split(head)

    @jax.jit
    def run(params, features):
        head = nnx.merge(graphdef, params)
        posterior = head(features)
        return head.linear(features), posterior.mean, posterior.log_scale

    raw, mean, log_scale = map(np.asarray, run(params, features))
    np.testing.assert_array_equal(mean, raw[:, :3])
    np.testing.assert_allclose(log_scale, raw[:, 3:], atol=0.02)
    params["linear"]["bias"][...] = jnp.asarray([0.0, 0, 0, 1e6, -1e6, 0])
    log_scale = np.asarray(run(params, features)[2])
    np.testing.assert_allclose(log_scale[:, :2], [[8, -8]] * 6)


def test_the_default_model_starts_from_flaxs_initial_values_in_a_fixed_order():
    config = factory.resolve(vanilla.get_config())
    key, image_shape = jax.random.key(7), (4, 3, 1)
    model = factory.build_model(config, image_shape, key)
    rngs = nnx.Rngs(key)
    body = {"activation": jax.nn.silu, "rngs": rngs}
    expected = [
        MLPEncoder(image_shape, [400], **body),
        MLPDecoder(32, image_shape, [400], **body),
        nnx.Linear(400, 64, rngs=rngs),
    ]
    actual = [model.encoder, model.decoder, model.posterior.linear]
    for one, other in zip(actual, expected, strict=True):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)
    assert sum(a.size for a in jax.tree.leaves(actual)) == sum(
        a.size for a in jax.tree.leaves(nnx.split(model)[1])
    )


# A narrow layer drops some dimensions but keeps their order.
@pytest.mark.parametrize("widths", [(9,), (3,), (5, 2), (4, 8, 6)])
@pytest.mark.parametrize("from_last", [False, True])
def test_outputs_of_a_masked_network_see_only_the_dimensions_before_them(widths, from_last):
    def build():
        return MaskedMLP(
            SIZE,
            NUM_FEATURES,
            widths,
            from_last=from_last,
            activation=jnp.tanh,
            rngs=nnx.Rngs(0),
        )

    network = randomized(build)
    x, context = normal(0, SIZE), normal(1, NUM_FEATURES)
    jacobians = jax.jit(jax.jacfwd(lambda *inputs: network(*inputs), argnums=(0, 1)))
    for by_x, by_context in zip(*jacobians(x, context), strict=True):
        ordered = np.asarray(by_x)
        ordered = ordered[::-1, ::-1] if from_last else ordered
        np.testing.assert_array_equal(np.triu(ordered), np.zeros((SIZE, SIZE)))
        if min(widths) >= SIZE:
            assert (ordered[np.tril_indices(SIZE, -1)] != 0).all()
        assert (np.asarray(by_context) != 0).all()


@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_flows_log_density_is_the_bases_less_the_log_determinant(num_layers):
    flow = make_flow(num_layers)

    @jax.jit
    def draw(noise):
        posterior = flow(normal(0, NUM_FEATURES))
        jacobian = jax.jacfwd(lambda noise: posterior.draw(noise).latents)(noise)
        return jacobian, posterior.draw(noise).log_prob

    for seed in range(3):
        noise = normal(seed + 1, SIZE)
        jacobian, log_prob = draw(noise)
        sign, log_determinant = np.linalg.slogdet(np.asarray(jacobian, np.float64))
        assert sign == 1
        expected = stats.norm.logpdf(noise).sum() - log_determinant
        assert float(log_prob) == pytest.approx(expected, abs=1e-4)
    if num_layers == 1:
        np.testing.assert_array_equal(np.triu(jacobian, 1), np.zeros((SIZE, SIZE)))
    else:
        assert (np.abs(np.asarray(jacobian)) > 1e-6).all()


def test_every_sample_of_every_image_goes_through_the_flow_of_its_own_image():
    flow = make_flow()
    features, noise = np.asarray(normal(0, 5, NUM_FEATURES)), np.asarray(normal(1, 7, 5, SIZE))
    draw = jax.jit(lambda features, noise: flow(features).draw(noise))
    latents, log_prob = map(np.asarray, draw(features, noise))
    assert latents.shape == (7, 5, SIZE)
    assert log_prob.shape == (7, 5)
    for image in range(5):
        alone = draw(features[image], noise[3, image])
        np.testing.assert_allclose(latents[3, image], alone.latents, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(log_prob[3, image], alone.log_prob, rtol=1e-4)


def test_the_mean_of_a_flow_is_its_draw_at_zero_noise():
    flow = make_flow()

    @jax.jit
    def mean_and_draw(noise):
        posterior = flow(normal(0, 5, NUM_FEATURES))
        return posterior.mean, posterior.draw(noise).latents

    np.testing.assert_allclose(*mean_and_draw(jnp.zeros((5, SIZE))), rtol=1e-5, atol=1e-6)


def test_a_fresh_flow_shrinks_its_base_by_the_gates_alone():
    options = {"num_layers": 2, "width": 6, "activation": jnp.tanh}
    flow = initialized(lambda: AutoregressiveFlow(NUM_FEATURES, SIZE, **options, rngs=nnx.Rngs(0)))
    features, noise = normal(0, 5, NUM_FEATURES), normal(1, 5, SIZE)
    gates = (1 / (1 + math.exp(-2))) ** 2

    @jax.jit
    def draws(features, noise):
        return flow.base(features).draw(noise).latents, flow(features).draw(noise).latents

    base, latents = draws(features, noise)
    np.testing.assert_allclose(latents, gates * base, rtol=1e-5)


def test_gates_of_a_runaway_network_stay_open_and_their_densities_finite():
    flow = make_flow(num_layers=2)
    for step in flow.steps:
        step.output.bias[...] = jnp.asarray([0.0] * SIZE + [1e6, -1e6, 0, 0], jnp.float32)

    @jax.jit
    def draw(noise):
        posterior = flow(normal(0, NUM_FEATURES))
        jacobian = jax.jacfwd(lambda noise: posterior.draw(noise).latents)(noise)
        return jacobian, posterior.draw(noise).log_prob

    jacobian, log_prob = draw(normal(1, SIZE))
    assert np.isfinite(log_prob)
    assert (np.abs(np.diag(jacobian)) > 0).all()


def test_importance_weights_under_a_flow_posterior_average_to_the_exact_likelihood():
    case = LinearGaussian(log_stretch=0.5)
    exact = case.model
    flow = AutoregressiveFlow(
        exact.encoder.num_features, 2, num_layers=2, width=6, activation=jnp.tanh, rngs=nnx.Rngs(0)
    )
    flow = randomized(lambda: flow, scale=0.1)
    flow.base = exact.posterior
    for step in flow.steps:
        step.output.bias[...] += 2
    model = VAE(exact.encoder, exact.decoder, exact.likelihood, flow, StandardNormalPrior(2))
    images, noise = case.draw_images(0, 3), normal(0, 40_000, 3, 2)

    @jax.jit
    def log_weights_of(images):
        latents, log_posterior = model.encode(images).draw(noise)
        log_likelihood = model.decode(latents).log_prob(images)
        return log_likelihood + model.prior.log_prob(latents) - log_posterior

    log_weights = log_weights_of(images)
    weights = np.exp(np.asarray(log_weights, np.float64) - case.log_likelihood(images))
    error = weights.std(axis=0) / np.sqrt(len(weights))
    assert (error < 0.02).all()
    assert (weights.std(axis=0) > 0.1).all()
    np.testing.assert_array_less(np.abs(weights.mean(axis=0) - 1), 5 * error)


def test_a_normal_has_a_density_anywhere_and_a_flow_only_at_its_draws():
    diagonal, network = Normal(normal(0, 3), normal(1, 3)), make_flow()
    assert isinstance(diagonal, TractablePosterior)
    assert isinstance(diagonal, Factorized)

    def kinds(features):
        flow = network(features)
        assert not isinstance(flow, TractablePosterior)
        assert not isinstance(flow, Factorized)
        return features

    jax.eval_shape(kinds, normal(2, NUM_FEATURES))


@pytest.mark.parametrize("name", ["diagonal", "iaf"])
@pytest.mark.parametrize("prior", ["standard", "mixture"])
def test_a_model_and_its_settings_agree_on_posterior_and_prior(name, prior):
    config = small_experiment({"model.posterior": name, "model.prior": prior})
    model = nnx.eval_shape(lambda: factory.build_model(config, (4, 3, 1), jax.random.key(0)))
    for described in (model, config.model):
        is_diagonal = name == "diagonal"
        assert described.has_normal_posterior == described.has_posterior_density == is_diagonal
        assert described.has_standard_prior == (prior == "standard")
        assert described.has_density
    assert model.code_shape == (3,)


def test_a_flow_is_built_with_its_settings():
    settings = {"name": "iaf", "layers": 3, "width": 7, "activation": "tanh"}
    config = small_experiment({"model.posterior": settings})
    model = nnx.eval_shape(lambda: factory.build_model(config, (4, 3, 1), jax.random.key(0)))
    assert len(model.posterior.steps) == 3
    shapes = {leaf.shape for leaf in jax.tree.leaves(model.posterior.steps)}
    assert (7, 7) in shapes
    assert small_experiment({"model.posterior": "iaf", "model.latent_size": 2})
