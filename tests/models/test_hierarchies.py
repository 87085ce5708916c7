import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats
from small_configs import small_experiment
from small_models import (
    FlatEncoder,
    LinearDecoder,
    LinearGaussian,
    assert_equal_means,
    normal,
    randomized,
)

from vae_jax import config as factory
from vae_jax.distributions import Normal
from vae_jax.models import (
    ConditionalNormal,
    DiagonalNormal,
    LadderVAE,
    MarkovVAE,
    NormalLikelihood,
    StandardNormalPrior,
)
from vae_jax.models.hierarchies import precision_weighted
from vae_jax.models.interfaces import Factorized
from vae_jax.networks.mlp import MLP, GatedDense
from vae_jax.objectives import bounds

IMAGE_SHAPE = (4, 3, 1)
BOTTOM, TOP = 3, 2
KINDS = ["markov", "ladder"]


LEARNED_PRIORS = {
    "mixture": {"name": "mixture", "components": 3},
    "flow": {"name": "flow", "width": 6},
    "autoregressive": {"name": "autoregressive", "components": 3, "width": 6},
}


def build(kind="vae", prior="standard"):
    """Return a model with two layers, or with the lower one alone if `kind` is "vae"."""
    model = {"name": kind, "prior": LEARNED_PRIORS.get(prior, prior)}
    if kind != "vae":
        model |= {"top_latent_size": TOP, "top": {"widths": (6, 4)}}
    config = small_experiment({"model": model}, latent_size=BOTTOM)
    return factory.build_model(config, IMAGE_SHAPE, jax.random.key(0))


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return randomized(lambda: build(request.param), scale=0.5)


IMAGES = jnp.asarray(np.random.default_rng(0).random((4, *IMAGE_SHAPE), np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_default_sizes_starts_at_a_sane_rate(kind):
    config = small_experiment({"model": kind}, latent_size=32)
    assert config.model.top_latent_size == 50

    @jax.jit
    def rate(key):
        model = factory.build_model(config, (28, 28, 1), key)
        images = jax.random.bernoulli(key, 0.2, (4, 28, 28, 1)).astype(jnp.float32)
        return bounds.elbo_terms(model, images, images, key, sampled_kl=True).kl.mean()

    # A generator of few operations compiles faster.
    rates = [float(rate(jax.random.key(seed, impl="unsafe_rbg"))) for seed in range(5)]
    assert np.abs(rates).max() < 300


class TwoLayerLinearGaussian:
    """h2 ~ N(0, I), h1 = a h2 + c + s noise (a, c, s diagonal), x = W^T h1 + b + scale * noise.

    The rows of W are orthogonal, so that both hierarchies hold the exact posterior.
    """

    def __init__(self, kind):
        single = LinearGaussian()
        self.single = single
        weights, scale = single.weights, single.scale
        self.a, self.c, self.s = np.array([0.8, -1.3]), np.array([0.4, -0.2]), np.array([0.5, 0.9])
        squares = np.square(weights).sum(axis=1)
        # p(x|h1) as a normal in h1 has mean (x - b) W^T / squares, scale / sqrt(squares).
        kernel = weights.T / squares
        precision = squares / scale**2
        bias = -single.bias @ kernel
        marginal = self.a**2 + self.s**2
        if kind == "markov":
            # q(h1|x), from the marginal N(c, a^2 + s^2) of h1; and q(h2|h1).
            total = precision + 1 / marginal
            bottom = kernel * precision / total, (bias * precision + self.c / marginal) / total
            bottom_scale = 1 / np.sqrt(total)
            top = np.diag(self.a / marginal), -self.a / marginal * self.c
            top_scale = self.s / np.sqrt(marginal)
        else:
            # That normal itself; and q(h2|x), since its mean is N(a h2 + c, variance) given h2.
            bottom, bottom_scale = (kernel, bias), 1 / np.sqrt(precision)
            variance = self.s**2 + 1 / precision
            gain = self.a / (self.a**2 + variance)
            top = kernel * gain, (bias - self.c) * gain
            top_scale = np.sqrt(variance / (self.a**2 + variance))
        model = nnx.eval_shape(lambda: self._build(kind, nnx.Rngs(0)))
        exact = single.model
        model.decoder, model.likelihood = exact.decoder, exact.likelihood
        _set(model.posterior, *bottom, bottom_scale)
        _set(model.top.head, *top, top_scale)
        _set(model.generative.head, np.diag(self.a), self.c, self.s)
        self.model = model

    def _build(self, kind, rngs):
        pixels = math.prod(self.single.image_shape)

        def conditional(inputs):
            layers = MLP(inputs, (), activation=jnp.tanh, gated=False, rngs=rngs)
            return ConditionalNormal(layers, 2, rngs=rngs)

        parts = (
            FlatEncoder(self.single.image_shape),
            LinearDecoder(2, self.single.image_shape, rngs=rngs),
            NormalLikelihood(self.single.scale),
            DiagonalNormal(pixels, 2, rngs=rngs),
            conditional(2 if kind == "markov" else pixels),
            conditional(2),
            StandardNormalPrior(2),
        )
        return (MarkovVAE if kind == "markov" else LadderVAE)(*parts)

    def log_likelihood(self, images):
        """Return log N(x; W^T c + b, W^T diag(a^2 + s^2) W + scale^2 I) per image, in nats."""
        weights = self.single.weights
        covariance = weights.T @ np.diag(self.a**2 + self.s**2) @ weights
        covariance += self.single.scale**2 * np.eye(6)
        mean = self.c @ weights + self.single.bias
        flat = images.reshape(len(images), -1).astype(np.float64)
        return stats.multivariate_normal.logpdf(flat, mean, covariance)


def _set(head, kernel, bias, scale):
    # The head bounds its log-scale by 8 tanh(. / 8).
    raw = 8 * np.arctanh(np.log(scale) / 8)
    kernel = np.concatenate([kernel, np.zeros_like(kernel)], axis=1)
    head.linear.kernel = nnx.Param(jnp.asarray(kernel, jnp.float32))
    head.linear.bias = nnx.Param(jnp.asarray(np.concatenate([bias, raw]), jnp.float32))


def _move(linear, distance):
    linear.bias = nnx.Param(jnp.asarray(np.asarray(linear.bias[...]) + np.float32(distance)))


def log_weights_of(model, images, noise):
    latents, log_posterior = model.encode(images).draw(noise)
    log_likelihood = model.decode(latents).log_prob(images)
    return log_likelihood + model.prior.log_prob(latents) - log_posterior


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_exact_posterior_every_importance_weight_is_the_exact_likelihood(kind):
    case = TwoLayerLinearGaussian(kind)
    images = case.single.draw_images(0, 5)
    log_weights = jax.jit(lambda x, noise: log_weights_of(case.model, x, noise))(
        images, normal(1, 20, 5, 4)
    )
    expected = np.broadcast_to(case.log_likelihood(images), (20, 5))
    np.testing.assert_allclose(log_weights, expected, atol=2e-4)


def wrong_posterior(kind):
    """Return the solved model with a wider posterior, so that the weights have a variance."""
    case = TwoLayerLinearGaussian(kind)
    _move(case.model.posterior.linear, [0.1, -0.1, 0.3, 0.2])
    _move(case.model.top.head.linear, [-0.2, 0.2, 0.2, 0.3])
    return case


@pytest.mark.parametrize("kind", KINDS)
def test_at_a_wrong_posterior_the_importance_weights_average_to_the_exact_likelihood(kind):
    case = wrong_posterior(kind)
    images = case.single.draw_images(0, 5)
    log_weights = jax.jit(lambda x, noise: log_weights_of(case.model, x, noise))(
        images, normal(1, 20_000, 5, 4)
    )
    weights = np.exp(np.asarray(log_weights, np.float64) - case.log_likelihood(images))
    error = weights.std(axis=0) / np.sqrt(len(weights))
    assert (error < 0.02).all()
    assert (weights.std(axis=0) > 0.2).all()
    np.testing.assert_array_less(np.abs(weights.mean(axis=0) - 1), 5 * error)


def bound_of(name, model, images, key):
    """Return the importance-weighted bound of five samples, by the estimator of that name."""
    options = {"model": model, "inputs": images, "targets": images, "key": key, "num_samples": 5}
    if name == "dreg":
        return bounds.doubly_reparameterized(**options)[0].mean()
    return bounds.iwae_bound(bounds.log_weight_terms(**options).log_weights).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_bound_is_the_rate_at_which_it_changes(kind):
    case = wrong_posterior(kind)
    images = jnp.asarray(case.single.draw_images(0, 5))
    graphdef, params = nnx.split(case.model)

    @jax.jit
    def bound(params):
        return bound_of("plain", nnx.merge(graphdef, params), images, jax.random.key(0))

    gradient = jax.jit(jax.grad(bound))(params)
    leaves, treedef = jax.tree.flatten(jax.device_get(params))
    slopes = jax.tree.leaves(jax.device_get(gradient))
    step = np.float32(4e-3)
    for index, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
        direction = np.asarray(normal(index, *leaf.shape))

        def moved(distance, index=index, direction=direction):
            return treedef.unflatten(
                [x + distance * direction if i == index else x for i, x in enumerate(leaves)]
            )

        rate = (float(bound(moved(step))) - float(bound(moved(-step)))) / (2 * step)
        np.testing.assert_allclose(rate, (slope * direction).sum(), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_with_two_layers_the_doubly_reparameterised_gradient_has_the_bounds_expectation(kind):
    case = wrong_posterior(kind)
    images = jnp.asarray(case.single.draw_images(0, 5))
    graphdef, params = nnx.split(case.model)

    def gradients(name, seed):
        def gradient(key):
            grad = jax.grad(lambda p: bound_of(name, nnx.merge(graphdef, p), images, key))(params)
            return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grad)])

        keys = jax.random.split(jax.random.key(seed), 6000)
        return np.asarray(jax.jit(jax.vmap(gradient))(keys), np.float64)

    plain, doubly = gradients("plain", 0), gradients("dreg", 1)
    assert_equal_means(plain, doubly)
    # The gradients are far from zero, so that a missing term would show.
    error = np.sqrt((plain.var(axis=0) + doubly.var(axis=0)) / len(plain))
    assert (np.abs(plain.mean(axis=0)) > 10 * error).mean() > 0.3


def test_a_draw_knows_its_own_density_as_a_whole_and_by_dimension(model):
    @jax.jit
    def draw(noise):
        posterior = model.encode(IMAGES)
        latents, log_prob = posterior.draw(noise)
        both = posterior.log_prob(latents), posterior.log_prob_by_dimension(latents)
        return latents, log_prob, *both

    latents, log_prob, again, by_dimension = draw(normal(1, 7, 4, BOTTOM + TOP))
    assert latents.shape == (7, 4, BOTTOM + TOP)
    assert log_prob.shape == (7, 4)
    np.testing.assert_allclose(again, log_prob, rtol=1e-4, atol=1e-4)
    assert by_dimension.shape == latents.shape
    np.testing.assert_allclose(by_dimension.sum(axis=-1), log_prob, rtol=1e-4, atol=1e-4)


def test_the_prior_is_the_top_layers_and_the_bottom_layer_given_it(model):
    latents = np.asarray(normal(1, 7, 4, BOTTOM + TOP))
    bottom, top = latents[..., :BOTTOM], latents[..., BOTTOM:]
    given = jax.jit(lambda top: model.generative(top))(top)
    of_top = stats.norm.logpdf(top)
    of_bottom = stats.norm.logpdf(bottom, given.mean, np.exp(given.log_scale))
    expected = np.concatenate([of_bottom, of_top], axis=-1)

    @jax.jit
    def log_probs(latents):
        return model.prior.log_prob_by_dimension(latents), model.prior.log_prob(latents)

    by_dimension, log_prob = log_probs(latents)
    np.testing.assert_allclose(by_dimension, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_prob, expected.sum(axis=-1), rtol=1e-4)


def test_samples_of_the_prior_go_from_the_top_layer_down(model):
    keys = jax.random.split(jax.random.key(0), 20_000)
    samples = np.asarray(jax.jit(jax.vmap(model.prior.sample))(keys))
    assert samples.shape == (20_000, BOTTOM + TOP)
    top = samples[:, BOTTOM:]
    given = jax.jit(lambda top: model.generative(top))(top)
    noise = (samples[:, :BOTTOM] - given.mean) / np.exp(given.log_scale)
    together = np.concatenate([noise, top], axis=1)
    covariance = np.cov(together.T)
    np.testing.assert_allclose(covariance, np.eye(BOTTOM + TOP), atol=0.06)
    np.testing.assert_allclose(together.mean(axis=0), np.zeros(BOTTOM + TOP), atol=0.04)


def test_the_bottom_layer_of_a_markov_posterior_does_not_depend_on_the_top_one():
    model = randomized(lambda: build("markov"), scale=0.5)
    noise = np.asarray(normal(1, 4, BOTTOM + TOP))

    @jax.jit
    def draw(noise):
        latents, _ = model.encode(IMAGES).draw(noise)
        return latents, model.posterior(model.encoder(IMAGES)), model.top(latents[:, :BOTTOM])

    latents, bottom, top = draw(noise)
    latents = np.asarray(latents)
    expected = np.asarray(bottom.mean) + np.exp(bottom.log_scale) * noise[:, :BOTTOM]
    np.testing.assert_allclose(latents[:, :BOTTOM], expected, rtol=1e-5, atol=1e-6)
    expected = np.asarray(top.mean) + np.exp(top.log_scale) * noise[:, BOTTOM:]
    np.testing.assert_allclose(latents[:, BOTTOM:], expected, rtol=1e-5, atol=1e-6)


def test_the_bottom_layer_of_a_ladder_weighs_image_and_top_layer_by_their_precision():
    model = randomized(lambda: build("ladder"), scale=0.5)
    noise = np.asarray(normal(1, 4, BOTTOM + TOP))

    @jax.jit
    def draw(noise):
        latents, _ = model.encode(IMAGES).draw(noise)
        features = model.encoder(IMAGES)
        down = model.generative(latents[:, BOTTOM:])
        return latents, model.top(features), model.posterior(features), down

    latents, top, up, down = draw(noise)
    latents = np.asarray(latents)
    expected = np.asarray(top.mean) + np.exp(top.log_scale) * noise[:, BOTTOM:]
    np.testing.assert_allclose(latents[:, BOTTOM:], expected, rtol=1e-5, atol=1e-6)
    up_precision, down_precision = (np.exp(-2 * np.asarray(q.log_scale)) for q in (up, down))
    precision = up_precision + down_precision
    means = np.asarray(up.mean) * up_precision + np.asarray(down.mean) * down_precision
    mean = means / precision
    expected = mean + noise[:, :BOTTOM] / np.sqrt(precision)
    np.testing.assert_allclose(latents[:, :BOTTOM], expected, rtol=1e-4, atol=1e-5)


def test_a_precision_weighted_normal_is_the_product_of_two_up_to_a_constant():
    a, b = Normal(normal(0, 3), normal(1, 3)), Normal(normal(2, 3), normal(3, 3))
    value = normal(4, 50, 3)

    @jax.jit
    def ratio(a, b):
        product = a.log_prob_by_dimension(value) + b.log_prob_by_dimension(value)
        return product - precision_weighted(a, b).log_prob_by_dimension(value)

    constant = ratio(a, b)
    # The integral of the product: the density of one mean under the other, with both variances.
    variances = sum(np.exp(2 * np.asarray(each.log_scale)) for each in (a, b))
    expected = stats.norm.logpdf(a.mean, b.mean, np.sqrt(variances))
    np.testing.assert_allclose(constant, np.broadcast_to(expected, (50, 3)), rtol=1e-3, atol=1e-3)


def test_the_product_of_a_narrow_and_a_wide_normal_is_the_narrow_one():
    sure, unsure = (
        Normal(
            jnp.asarray(np.full(2, mean, np.float32)), jnp.asarray(np.full(2, scale, np.float32))
        )
        for mean, scale in ((1, -8), (-3, 8))
    )
    combine = jax.jit(precision_weighted)
    for pair in ((sure, unsure), (unsure, sure)):
        combined = combine(*pair)
        np.testing.assert_allclose(combined.mean, sure.mean, rtol=1e-6)
        np.testing.assert_allclose(combined.log_scale, sure.log_scale, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_with_an_uninformative_top_layer_the_model_is_the_single_layer_one(kind):
    model = randomized(lambda: build(kind), scale=0.5)
    single = randomized(build, scale=0.5)
    single.encoder, single.decoder = model.encoder, model.decoder
    single.posterior = model.posterior
    # p(h1|h2) = N(0, I), and q(h2|.) = p(h2).
    for head in (model.generative.head, model.top.head):
        for name in ("kernel", "bias"):
            zeros = np.zeros(getattr(head.linear, name).shape, np.float32)
            setattr(head.linear, name, nnx.Param(jnp.asarray(zeros)))
    noise = np.asarray(normal(1, 7, 4, BOTTOM + TOP))
    if kind == "ladder":
        standard = Normal(jnp.zeros(BOTTOM), jnp.zeros(BOTTOM))
        single.posterior = lambda features: precision_weighted(model.posterior(features), standard)
    one, two = (
        jax.jit(lambda x, noise, m=each: log_weights_of(m, x, noise)) for each in (single, model)
    )
    expected = one(IMAGES, noise[..., :BOTTOM])
    np.testing.assert_allclose(two(IMAGES, noise), expected, rtol=1e-4)


def test_the_image_depends_on_the_bottom_layer_alone(model):
    latents, in_bottom = np.asarray(normal(1, 4, BOTTOM + TOP)), np.arange(BOTTOM + TOP) < BOTTOM
    others = np.where(in_bottom, latents, np.float32(9))
    decode = jax.jit(lambda latents: model.decode(latents).mean)

    def mean(latents):
        return np.asarray(decode(latents))

    means = mean(latents)
    assert means.shape == (4, *IMAGE_SHAPE)
    np.testing.assert_array_equal(means, mean(others))
    assert (np.abs(means - mean(latents + np.eye(BOTTOM + TOP, dtype=np.float32)[0])) > 1e-4).any()


def test_one_latent_vector_holds_both_layers(model):
    assert model.latent_size == BOTTOM + TOP

    @jax.jit
    def codes_and_means(images):
        means = model.encode(images).draw(jnp.zeros((4, BOTTOM + TOP))).latents
        return model.latents(images), means

    codes, means = codes_and_means(IMAGES)
    assert codes.shape == (4, BOTTOM + TOP)
    np.testing.assert_allclose(codes, means, rtol=1e-5)
    assert model.prior.mean.shape == (BOTTOM + TOP,)


# The two kinds use a learned prior in the same way, so each prior is tried with one kind.
@pytest.mark.parametrize(
    ("kind", "prior"),
    [
        ("markov", "standard"),
        ("ladder", "standard"),
        ("markov", "mixture"),
        ("ladder", "flow"),
        ("markov", "autoregressive"),
    ],
)
def test_every_parameter_of_a_hierarchy_gets_a_gradient(kind, prior):
    graphdef, params = nnx.split(randomized(lambda: build(kind, prior)))

    @jax.jit
    @jax.grad
    def gradient(params):
        model = nnx.merge(graphdef, params)
        return bounds.elbo_terms(model, IMAGES, IMAGES, jax.random.key(1)).elbo.mean()

    gradients = jax.tree_util.tree_leaves_with_path(gradient(params))
    assert len(gradients) == len(jax.tree.leaves(params)) >= 20
    for path, leaf in gradients:
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-6, path


@pytest.mark.parametrize("prior", ["mixture", "flow"])
def test_a_learned_prior_stands_on_the_top_layer_and_ends_the_factorisation(prior):
    model = randomized(lambda: build("markov", prior), scale=0.5)
    latents = normal(1, 4, BOTTOM + TOP)

    @jax.jit
    def log_probs(latents):
        bottom, top = latents[:, :BOTTOM], latents[:, BOTTOM:]
        of_top = model.prior_network(model.encode).log_prob(top)
        return model.prior.log_prob(latents), of_top + model.generative(top).log_prob(bottom)

    np.testing.assert_allclose(*log_probs(latents), rtol=1e-5)
    assert not isinstance(model.prior, Factorized)
    assert isinstance(randomized(lambda: build("markov")).prior, Factorized)


def test_the_iwae_papers_hierarchy_has_its_layers():
    sizes = {"latent_size": 100, "top_latent_size": 50}
    widths = {"encoder": {"widths": (200, 200)}, "top": {"widths": (100, 100)}}
    config = factory.resolve({"model": {"name": "markov", **sizes, **widths}})
    model = nnx.eval_shape(lambda: factory.build_model(config, (28, 28, 1), jax.random.key(0)))

    def shapes(*layers):
        return [layer.kernel.shape for layer in layers]

    up = [*model.encoder.mlp.layers, model.posterior.linear, *model.top.mlp.layers]
    assert shapes(*up) == [(784, 200), (200, 200), (200, 200), (100, 100), (100, 100)]
    down = [*model.generative.mlp.layers, model.generative.head.linear, *model.decoder.mlp.layers]
    assert shapes(*down) == [(50, 100), (100, 100), (100, 200), (100, 200), (200, 200)]
    assert shapes(model.top.head.linear, model.decoder.output) == [(100, 100), (200, 784)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_gated_upper_layer_is_gated_in_both_directions(kind):
    model = {"name": kind, "top": {"name": "gated_mlp", "widths": (6, 4)}}
    config = small_experiment({"model": model})
    found = nnx.eval_shape(lambda: factory.build_model(config, IMAGE_SHAPE, jax.random.key(0)))
    for network in (found.top.mlp, found.generative.mlp):
        assert all(isinstance(layer, GatedDense) for layer in network.layers)
    assert [layer.value.kernel.shape[1] for layer in found.top.mlp.layers] == [6, 4]
    assert [layer.value.kernel.shape[1] for layer in found.generative.mlp.layers] == [4, 6]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hierarchy_and_its_settings_agree_on_its_properties(kind):
    config, found = small_experiment({"model": kind}), nnx.eval_shape(lambda: build(kind))
    assert (found.has_density, found.has_normal_posterior) == (True, False)
    assert (found.has_posterior_density, found.has_standard_prior) == (True, False)
    for name in ("has_density", "has_normal_posterior", "has_posterior_density"):
        assert getattr(config.model, name) == getattr(found, name)
    assert config.model.has_standard_prior == found.has_standard_prior
    assert found.code_shape == (BOTTOM + TOP,)
