import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend import core
from scipy import special, stats
from small_configs import small_experiment
from small_models import normal, randomized

from vae_jax import config as factory
from vae_jax.distributions import Normal, NormalMixture
from vae_jax.errors import UserError
from vae_jax.models import (
    AutoregressivePrior,
    FlowPrior,
    MixturePrior,
    StandardNormalPrior,
    VampPrior,
)
from vae_jax.objectives import bounds

IMAGE_SHAPE = (4, 3, 1)
PRIORS = ["standard", "mixture", "vamp", "flow", "autoregressive"]


def unused_encoder(images):
    raise AssertionError("only a VampPrior uses the encoder")


SETTINGS = {
    "mixture": {"name": "mixture", "components": 3},
    "vamp": {"name": "vamp", "components": 3},
    "flow": {"name": "flow", "width": 6},
    "autoregressive": {"name": "autoregressive", "components": 3, "width": 6},
    "iaf": {"name": "iaf", "width": 6},
}


def config_of(prior="standard", posterior="diagonal", **settings):
    chosen = SETTINGS.get(prior, {"name": prior}) | settings
    changes = {"model.prior": chosen, "model.posterior": SETTINGS.get(posterior, posterior)}
    return small_experiment(changes, latent_size=2)


def build(*args, **options):
    return factory.build_model(config_of(*args, **options), IMAGE_SHAPE, jax.random.key(0))


@pytest.fixture(scope="module", params=PRIORS)
def prior(request):
    return randomized(lambda: build(request.param), scale=0.5).prior


def log_mixture(mixture, value):
    """Return the log density of a mixture in double precision, component by component."""
    value = np.asarray(value, np.float64)[..., None, :]
    means, scales = np.asarray(mixture.means, np.float64), np.exp(mixture.log_scales)
    densities = stats.norm.logpdf(value, means, scales).sum(axis=-1)
    return special.logsumexp(densities + np.asarray(mixture.log_weights), axis=-1)


@jax.jit
def log_density(mixture, value):
    return mixture.log_prob(value)


def random_mixture(num_components=6, size=3, spread=1.0):
    return NormalMixture(
        jnp.asarray(spread * np.asarray(normal(0, num_components, size))),
        jnp.asarray(0.5 * np.asarray(normal(1, num_components, size))),
        jnp.asarray(special.log_softmax(np.asarray(normal(2, num_components)))),
    )


def test_a_mixture_is_the_weighted_sum_of_its_components():
    mixture, value = random_mixture(), 2 * np.asarray(normal(3, 5, 4, 3))
    expected = log_mixture(mixture, value)
    assert expected.shape == (5, 4)
    np.testing.assert_allclose(jax.jit(mixture.log_prob)(value), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("log_scale", "atol"), [(-3, 1e-3), (-6, 1e-2), (-8, 1e-2)])
def test_narrow_components_keep_their_digits(log_scale, atol):
    means = np.asarray(normal(0, 500, 40))
    log_scales, log_weights = np.full_like(means, log_scale), np.full(500, -np.log(500), np.float32)
    mixture = NormalMixture(*map(jnp.asarray, (means, log_scales, log_weights)))
    noise = np.asarray(normal(1, 100, 40))
    value = means[:100] + np.float32(np.exp(log_scale)) * noise
    # The mixture is an argument: all scales share a program.
    log_prob = log_density(mixture, value)
    np.testing.assert_allclose(log_prob, log_mixture(mixture, value), atol=atol)


def test_the_gradient_of_a_mixture_is_that_of_its_density():
    mixture, value = random_mixture(), 2 * np.asarray(normal(3, 4, 3))

    def by_components(mixture, value):
        densities = Normal(mixture.means, mixture.log_scales).log_prob(value[:, None])
        return jax.nn.logsumexp(densities + mixture.log_weights, axis=-1).sum()

    ours = jax.grad(lambda *arguments: NormalMixture.log_prob(*arguments).sum(), argnums=(0, 1))
    expected = jax.grad(by_components, argnums=(0, 1))
    gradients = (jax.jit(gradient)(mixture, value) for gradient in (ours, expected))
    leaves = zip(*map(jax.tree.leaves, gradients), strict=True)
    for actual, wanted in leaves:
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)


def test_values_far_from_every_component_have_a_finite_density_and_gradient():
    mixture = random_mixture()
    value, gradient = jax.jit(jax.value_and_grad(mixture.log_prob))(np.full(3, 1e4, np.float32))
    np.testing.assert_allclose(value, log_mixture(mixture, np.full(3, 1e4)), rtol=1e-5)
    assert (np.asarray(gradient) < 0).all()


def test_no_array_of_a_mixture_has_axes_of_samples_components_and_latents():
    samples, components, size = 11, 7, 5
    value = jnp.zeros((samples, 2, size))
    gradient = jax.make_jaxpr(jax.grad(lambda m, v: m.log_prob(v).sum(), argnums=(0, 1)))(
        random_mixture(components, size), value
    )

    def sizes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (variable.aval.size for variable in equation.outvars)
            for inner in core.jaxprs_in_params(equation.params):
                yield from sizes(inner)

    assert max(sizes(gradient.jaxpr)) < samples * 2 * components * size


def test_a_mixtures_samples_come_from_its_components_as_often_as_their_weights_say():
    means = np.float32([[-10, 0], [0, 5], [10, 0]])
    log_weights = np.log(np.float32([0.7, 0.2, 0.1]))
    mixture = NormalMixture(*map(jnp.asarray, (means, np.full_like(means, -1), log_weights)))
    keys = jax.random.split(jax.random.key(0), 20_000)
    samples = np.asarray(jax.jit(jax.vmap(mixture.sample))(keys))
    component = np.abs(samples[:, :1] - means[:, 0]).argmin(axis=1)
    for k, weight in enumerate([0.7, 0.2, 0.1]):
        own = samples[component == k]
        assert len(own) / len(samples) == pytest.approx(weight, abs=0.02)
        np.testing.assert_allclose(own.mean(axis=0), means[k], atol=0.05)
        np.testing.assert_allclose(own.std(axis=0), np.exp(-1), rtol=0.1)
    np.testing.assert_allclose(samples.mean(axis=0), mixture.mean, atol=0.3)


def test_every_prior_integrates_to_one_and_its_samples_have_its_moments(prior):
    axis = np.linspace(-15, 15, 601, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    density = np.exp(np.asarray(jax.jit(prior.log_prob)(jnp.asarray(grid)), np.float64))
    density *= (axis[1] - axis[0]) ** 2
    assert density.sum() == pytest.approx(1, abs=2e-3)
    keys = jax.random.split(jax.random.key(0), 20_000)
    samples = np.asarray(jax.jit(jax.vmap(prior.sample))(keys), np.float64)
    assert samples.shape == (20_000, 2)
    # Bounded functions, so that tails beyond the grid do not matter.
    for function in (np.tanh, np.cos, lambda z: np.tanh(z[..., :1] * z[..., 1:])):
        expected = (density[..., None] * function(grid)).sum(axis=(0, 1))
        error = function(samples).std(axis=0) / np.sqrt(len(samples))
        assert (np.abs(function(samples).mean(axis=0) - expected) < 5 * error + 2e-3).all()


def test_every_prior_takes_axes_of_samples_and_batch(prior):
    latents = normal(0, 3, 4, 2)
    both = jax.jit(lambda latents: (prior.log_prob(latents), prior.log_prob(latents[1, 2])))
    log_prob, single = map(np.asarray, both(latents))
    assert log_prob.shape == (3, 4)
    np.testing.assert_allclose(log_prob[1, 2], single, rtol=1e-4)
    assert prior.mean.shape == (2,)


def make_flow(size, num_layers=2):
    def build_flow():
        options = {"width": 6, "activation": jnp.tanh, "rngs": nnx.Rngs(0)}
        return FlowPrior(size, num_layers=num_layers, **options)

    return randomized(build_flow, scale=0.7)(unused_encoder)


@pytest.mark.parametrize("size", [2, 5])
def test_a_flow_priors_map_is_inverted_and_its_density_is_that_of_the_noise(size):
    flow, noise = make_flow(size), normal(0, 6, size)

    @jax.jit
    def there_and_back(noise):
        latents = flow.forward(noise)
        jacobians = jax.vmap(jax.jacfwd(flow.forward))(noise)
        return flow.inverse(latents), jacobians, flow.log_prob(latents)

    (back, log_determinant), jacobians, log_prob = there_and_back(noise)
    np.testing.assert_allclose(back, noise, rtol=1e-3, atol=1e-4)
    jacobians = np.asarray(jacobians, np.float64)
    assert (np.abs(jacobians) > 1e-6).all()
    expected = np.linalg.slogdet(jacobians)[1]
    np.testing.assert_allclose(log_determinant, -expected, rtol=1e-3, atol=1e-4)
    base = stats.norm.logpdf(noise).sum(axis=-1)
    np.testing.assert_allclose(log_prob, base - expected, rtol=1e-3, atol=1e-3)


def test_a_flow_prior_starts_as_the_standard_normal():
    @jax.jit
    def log_probs_and_samples(latents):
        options = {"num_layers": 2, "width": 6, "activation": jnp.tanh, "rngs": nnx.Rngs(0)}
        networks = FlowPrior(3, **options), StandardNormalPrior(3)
        priors = [network(unused_encoder) for network in networks]
        log_probs = [prior.log_prob(latents) for prior in priors]
        return log_probs, [prior.sample(jax.random.key(0)) for prior in priors]

    log_probs, samples = log_probs_and_samples(normal(0, 4, 3))
    np.testing.assert_allclose(*log_probs, rtol=1e-5)
    np.testing.assert_allclose(*samples, rtol=1e-6)


@pytest.mark.parametrize("num_components", [1, 2, 7])
def test_a_fresh_autoregressive_prior_has_independent_dimensions_of_mean_0_and_variance_1(
    num_components,
):
    options = {"num_layers": 2, "width": 6, "activation": jnp.tanh}

    @jax.jit
    def components(latents):
        network = AutoregressivePrior(3, num_components=num_components, **options, rngs=nnx.Rngs(0))
        return network(unused_encoder).components(latents)

    means, log_scales, log_weights = map(np.asarray, components(normal(0, 5, 3)))
    np.testing.assert_allclose(means, np.broadcast_to(means[0, :, :1], means.shape))
    weights = np.exp(log_weights)
    np.testing.assert_allclose(weights.sum(axis=-2), 1, rtol=1e-5)
    np.testing.assert_allclose((weights * means).sum(axis=-2), 0, atol=1e-5)
    second_moment = weights * (np.square(means) + np.exp(2 * log_scales))
    np.testing.assert_allclose(second_moment.sum(axis=-2), 1, rtol=1e-3)


def test_each_dimension_of_an_autoregressive_prior_is_a_mixture_given_those_before_it():
    prior = randomized(lambda: build("autoregressive", components=3), scale=0.7).prior
    latents = np.asarray(normal(0, 6, 2))

    @jax.jit
    def apply(latents):
        densities = prior.log_prob_by_dimension(latents), prior.log_prob(latents)
        return *densities, prior.components(latents)

    by_dimension, log_prob, parts = jax.device_get(apply(latents))
    means, log_scales, log_weights = parts
    components = stats.norm.logpdf(latents[:, None], means, np.exp(log_scales))
    expected = special.logsumexp(components + log_weights, axis=1)
    np.testing.assert_allclose(by_dimension, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_prob, expected.sum(axis=-1), rtol=1e-4)
    last, first = (
        jax.device_get(apply(latents + np.float32(move)))[0] for move in ([0, 1], [1, 0])
    )
    np.testing.assert_array_equal(last[:, 0], by_dimension[:, 0])
    assert (first[:, 1] != by_dimension[:, 1]).all()


def test_a_fresh_mixture_has_the_moments_of_the_standard_normal():
    @jax.jit
    def start():
        mixture = MixturePrior(2, 5000, rngs=nnx.Rngs(0))(unused_encoder)
        return mixture, mixture.mean

    mixture, mean = start()
    np.testing.assert_allclose(mean, [0, 0], atol=0.05)
    variance = np.asarray(mixture.means).var(axis=0) + np.exp(2 * mixture.log_scales).mean(axis=0)
    np.testing.assert_allclose(variance, [1, 1], rtol=0.05)
    assert np.exp(mixture.log_weights).sum() == pytest.approx(1, rel=1e-4)


def test_a_vampprior_is_the_equal_mixture_of_the_posteriors_of_its_pseudo_inputs():
    model = randomized(lambda: build("vamp", components=4), scale=0.6)
    latents = normal(0, 5, 6, 2)

    @jax.jit
    def log_probs(latents):
        pseudo_inputs = jnp.asarray(model.prior_network.pseudo_inputs[...])
        densities = jax.vmap(lambda image: model.encode(image).log_prob(latents))(pseudo_inputs)
        return densities, model.prior.log_prob(latents)

    densities, mixture = map(np.asarray, log_probs(latents))
    expected = special.logsumexp(densities.astype(np.float64), axis=0) - np.log(4)
    assert np.ptp(densities, axis=0).min() > 1e-3
    np.testing.assert_allclose(mixture, expected, rtol=1e-4, atol=1e-4)


def test_pseudo_inputs_start_near_the_mean_image_with_noise():
    mean_image = jnp.asarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(IMAGE_SHAPE))
    config = config_of("vamp", components=50)

    @jax.jit
    def start(key):
        model = factory.build_model(config, IMAGE_SHAPE, key, mean_image)
        return model.prior_network.pseudo_inputs[...]

    pseudo_inputs = np.asarray(start(jax.random.key(0)))
    assert pseudo_inputs.shape == (50, *IMAGE_SHAPE)
    expected = np.clip(mean_image, 0.05, 0.95)
    np.testing.assert_allclose(pseudo_inputs.mean(axis=0), expected, atol=0.03)
    deviations = pseudo_inputs.std(axis=0)
    assert (deviations > 0.005).all()
    assert (deviations < 0.1).all()


def test_pseudo_inputs_stay_images_wherever_their_parameters_go():
    model = randomized(lambda: build("vamp"), scale=1000.0)
    pseudo_inputs = np.asarray(model.prior_network.pseudo_inputs)
    assert pseudo_inputs.min() >= 0
    assert pseudo_inputs.max() <= 1
    assert np.ptp(pseudo_inputs) > 0.5


def test_a_vampprior_of_a_posterior_that_is_no_normal_is_refused():
    def of_a_flow():
        network = VampPrior(jnp.zeros(IMAGE_SHAPE), 3, rngs=nnx.Rngs(0))
        return network(build(posterior="iaf").encode)

    with pytest.raises(TypeError, match="TransformedNormal is none"):
        jax.eval_shape(of_a_flow)


@pytest.mark.parametrize(
    ("posterior", "name"),
    [*(("diagonal", name) for name in PRIORS), ("iaf", "standard")],
)
def test_every_parameter_of_every_prior_and_posterior_gets_a_gradient(posterior, name):
    graphdef, params = nnx.split(randomized(lambda: build(name, posterior)))
    images = jnp.asarray(np.random.default_rng(0).random((6, *IMAGE_SHAPE), np.float32))

    @jax.jit
    @jax.grad
    def gradient(params):
        model = nnx.merge(graphdef, params)
        return bounds.elbo_terms(model, images, images, jax.random.key(1)).elbo.mean()

    gradients = jax.tree_util.tree_leaves_with_path(gradient(params))
    assert len(gradients) == len(jax.tree.leaves(params)) >= 8
    for path, leaf in gradients:
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-6, path


def test_the_standard_prior_is_a_normal_without_parameters():
    prior = randomized(build).prior
    assert isinstance(prior, Normal)
    np.testing.assert_array_equal(prior.mean, np.zeros(2))
    np.testing.assert_array_equal(prior.log_scale, np.zeros(2))
    assert not jax.tree.leaves(StandardNormalPrior(2))


def test_a_flow_is_built_with_its_settings():
    model = nnx.eval_shape(lambda: build("flow", layers=3, activation="tanh"))
    flow = model.prior_network
    assert len(flow.first) == len(flow.second) == 3
    assert (6, 6) in {leaf.shape for leaf in jax.tree.leaves(nnx.split(flow)[1])}


def test_a_vampprior_is_refused_for_data_outside_the_unit_interval(tmp_path):
    images = np.linspace(-1, 1, 20 * 64, dtype=np.float32).reshape(20, 8, 8)
    np.savez(tmp_path / "data.npz", train_images=images, test_images=images)
    changes = {
        "data": {"name": str(tmp_path / "data.npz"), "binarization": "none"},
        "model.likelihood": "normal",
        "batch_size": 5,
    }
    with pytest.raises(
        UserError, match=r"data\.train_split: .* lie in \[-1, 1\], outside \[0, 1\]"
    ):
        factory.load_splits(small_experiment({**changes, "model.prior": "vamp"}))
    factory.load_splits(small_experiment(changes))
