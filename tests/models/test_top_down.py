import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats
from small_models import initialized, normal, randomized

from vae_jax import config as factory
from vae_jax.errors import UserError
from vae_jax.evaluation import likelihood
from vae_jax.models.hierarchies import NormalChain
from vae_jax.models.interfaces import LayeredPrior, TopDown
from vae_jax.models.top_down import layers_by_level
from vae_jax.objectives import bounds
from vae_jax.training.optimizers import is_kernel

IMAGE_SHAPE = (8, 4, 1)
# Two levels, of 4x2 and 2x1 pixels: layers of 8, 2 and 2 latents.
SIZES = (8, 2, 2)
LATENTS = sum(SIZES)
IMAGES = jax.random.uniform(jax.random.key(0), (3, *IMAGE_SHAPE))


def experiment(layers=3, **changes):
    """Return an experiment with a tiny ladder; `changes` by dotted name."""
    model = {"name": "top_down", "layers": layers, "channels": (3, 4), "width": 2}
    return factory.resolve(factory.with_values({"model": {**model, "latent_channels": 1}}, changes))


def build(layers=3, **changes):
    return factory.build_model(experiment(layers, **changes), IMAGE_SHAPE, jax.random.key(0))


@pytest.fixture(scope="module")
def model():
    return randomized(build, scale=0.5)


@pytest.fixture(scope="module")
def passed(model):
    """The pass of the posterior of three images, with 4,000 samples of each."""
    noise = normal(1, 4000, 3, LATENTS)
    return jax.jit(lambda x, noise: model.encode(x).descend(noise))(IMAGES, noise)


@pytest.mark.parametrize(
    ("layers", "levels", "expected"),
    [(1, 2, (0, 1)), (2, 2, (1, 1)), (3, 2, (1, 2)), (12, 2, (6, 6)), (5, 3, (1, 2, 2))],
)
def test_layers_are_shared_out_among_the_levels_the_smallest_first(layers, levels, expected):
    assert layers_by_level(layers, levels) == expected


@pytest.mark.parametrize("layers", range(1, 13))
def test_one_path_builds_every_number_of_layers(layers):
    model = nnx.eval_shape(lambda: build(layers))
    large, small = layers_by_level(layers, 2)
    assert model.layer_sizes == (8,) * large + (2,) * small
    assert model.latent_size == sum(model.layer_sizes)


@pytest.mark.parametrize("layers", [1, 3, 12])
def test_a_new_ladder_has_no_rate_and_starts_at_the_mean_pixel(layers):
    mean_image = jnp.full(IMAGE_SHAPE, 0.2)

    def new():
        return factory.build_model(
            experiment(layers), IMAGE_SHAPE, jax.random.key(1), mean_image=mean_image
        )

    model = initialized(new)

    @jax.jit
    def start(x, noise):
        found = model.encode(x).descend(noise)
        return found.kl, found.likelihood.mean

    kl, mean = start(IMAGES, normal(0, 3, model.latent_size))
    np.testing.assert_allclose(kl, np.zeros((3, model.latent_size)), atol=1e-6)
    assert 0.1 < mean.mean() < 0.35


def test_one_pass_is_the_three_of_posterior_prior_and_likelihood(model, passed):
    @jax.jit
    def separately(latents):
        return model.prior.log_prob(latents), model.decode(latents).log_prob(IMAGES)

    log_prior, log_likelihood = separately(passed.latents[:20])
    np.testing.assert_allclose(passed.log_prior[:20], log_prior, rtol=1e-4, atol=1e-4)
    expected = passed.likelihood.log_prob(IMAGES)[:20]
    np.testing.assert_allclose(log_likelihood, expected, rtol=1e-4)
    assert passed.likelihood.mean.shape == (4000, 3, *IMAGE_SHAPE)


def test_the_kl_given_the_layers_above_has_the_mean_of_the_log_ratio(passed):
    rate = passed.kl.sum(axis=-1)
    difference = np.asarray(passed.log_posterior - passed.log_prior - rate, np.float64)
    error = difference.std(axis=0) / np.sqrt(len(difference))
    np.testing.assert_array_less(np.abs(difference.mean(axis=0)), 5 * error)
    # It differs per draw, in all layers but the top one, and is far from 0.
    assert (rate.mean(axis=0) > 10 * error).all()
    assert (np.asarray(rate).std(axis=0) > 0.01).all()
    assert (passed.kl >= -1e-5).all()


def test_a_draw_knows_its_density_by_the_jacobian_of_its_noise(model):
    """The change of variables: log q(z) = log N(noise) - log |dz / dnoise|."""
    noise = normal(2, LATENTS)

    @jax.jit
    def draw(noise):
        found = model.encode(IMAGES[0]).draw(noise)
        return found.latents, found.log_prob

    jacobian = jax.jit(jax.jacrev(lambda noise: draw(noise)[0]))(noise)
    sign, log_determinant = np.linalg.slogdet(np.asarray(jacobian, np.float64))
    expected = stats.norm.logpdf(noise).sum() - log_determinant
    assert sign == 1
    assert float(draw(noise)[1]) == pytest.approx(expected, abs=1e-3)
    # Latents of lower layers, the first ones, depend on the noise of those above, and on no other.
    assert np.abs(jacobian[:8, 10:]).max() > 1e-4
    assert np.abs(jacobian[8:, :8]).max() == 0


def conditionals(model, latents):
    """Return means and log-scales of p(z_l|z_>l) at given latents, `[num, latents]`."""
    parts, found = model.by_layer(latents), [None] * len(model.layer_sizes)

    def choose(index, layer, state, prior):
        shape = parts[index].shape
        found[index] = jnp.broadcast_to(prior.mean, shape), jnp.broadcast_to(prior.log_scale, shape)
        return parts[index]

    model.descend(choose)
    means, log_scales = zip(*found, strict=True)
    return jnp.concatenate(means, axis=-1), jnp.concatenate(log_scales, axis=-1)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_of_the_prior_go_from_the_top_layer_down(model, temperature):
    keys = jax.random.split(jax.random.key(0), 10_000)

    @jax.jit
    def draw(keys):
        prior = model.prior.tempered(temperature)
        latents = jax.vmap(prior.sample)(keys)
        return latents, *conditionals(model, latents), prior.log_prob(latents)

    latents, means, log_scales, log_prob = draw(keys)
    scales = temperature * np.exp(log_scales)
    noise = (latents - means) / scales
    np.testing.assert_allclose(np.cov(noise.T), np.eye(LATENTS), atol=0.08)
    np.testing.assert_allclose(noise.mean(axis=0), np.zeros(LATENTS), atol=0.06)
    expected = stats.norm.logpdf(latents, means, scales).sum(axis=-1)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-3, atol=1e-3)
    # Lower layers have another mean in each sample.
    assert (np.asarray(means)[:, :8].std(axis=0) > 0.01).all()


def test_at_temperature_0_a_sample_is_the_mean_of_each_layer(model):
    @jax.jit
    def both(key):
        return model.prior.tempered(0.0).sample(key), model.prior.mean

    np.testing.assert_allclose(*both(jax.random.key(0)), rtol=1e-5)


def small_chain():
    two_layers = {"name": "ladder", "latent_size": 4, "top_latent_size": 3, "top.widths": (5,)}
    changes = {f"model.{name}": value for name, value in two_layers.items() if name != "name"}
    base = {"model": {"name": "ladder", "encoder": {"widths": (5,)}}}
    config = factory.resolve(factory.with_values(base, changes))
    return randomized(lambda: factory.build_model(config, IMAGE_SHAPE, jax.random.key(0)))


@pytest.mark.parametrize("kind", ["top_down", "ladder"])
def test_layers_drawn_anew_leave_those_above_as_they_are(model, kind):
    model = model if kind == "top_down" else small_chain()
    prior, sizes = model.prior, model.layer_sizes
    assert isinstance(prior, LayeredPrior)
    assert isinstance(prior, NormalChain) == (kind == "ladder")
    assert prior.layer_sizes == sizes
    given = normal(0, sum(sizes))
    for num_drawn in range(len(sizes) + 1):
        found = jax.jit(prior.sample_below, static_argnums=1)(given, num_drawn, jax.random.key(1))
        drawn = sum(sizes[:num_drawn])
        np.testing.assert_array_equal(found[drawn:], given[drawn:])
        assert (found[:drawn] != given[:drawn]).all()
    shrunk = jax.jit(lambda key: prior.tempered(1e-6).sample(key))
    np.testing.assert_allclose(shrunk(jax.random.key(1)), shrunk(jax.random.key(2)), atol=1e-3)


def test_one_latent_vector_stands_for_an_image(model):
    assert isinstance(jax.eval_shape(lambda: model.encode(IMAGES).mean), jax.ShapeDtypeStruct)

    @jax.jit
    def codes(images):
        posterior = model.encode(images)
        return model.latents(images), posterior.draw(jnp.zeros((3, LATENTS))).latents

    np.testing.assert_allclose(*codes(IMAGES), rtol=1e-5)
    assert isinstance(model.encode(IMAGES), TopDown)


def test_every_parameter_of_a_ladder_gets_a_gradient():
    graphdef, params = nnx.split(randomized(build))

    @jax.jit
    @jax.grad
    def gradient(params):
        model = nnx.merge(graphdef, params)
        return bounds.elbo_terms(model, IMAGES, IMAGES, jax.random.key(1)).elbo.mean()

    gradients = jax.tree_util.tree_leaves_with_path(gradient(params))
    assert len(gradients) > 80
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


def elbo_of(model, **settings):
    objective = experiment(objective={"name": "elbo", **settings}).objective
    batch = bounds.Batch(IMAGES, IMAGES)

    @jax.jit
    def loss(x):
        return objective.loss(model, batch, jax.random.key(3), epoch=jnp.inf, num_examples=len(x))

    return loss(IMAGES)


def test_the_rates_of_the_layers_are_metrics_that_add_up_to_the_rate(model):
    loss, metrics = elbo_of(model, num_samples=3)
    rates = [metrics[f"rate_layer_{index}"] for index in (1, 2, 3)]
    assert sum(rates) == pytest.approx(float(metrics["rate"]), rel=1e-5)
    assert float(loss) == pytest.approx(-float(metrics["elbo"]), rel=1e-6)
    assert all(rate > 0.01 for rate in rates)


def test_a_layer_uses_its_free_nats_at_no_cost(model):
    _, metrics = elbo_of(model)
    rates = np.array([metrics[f"rate_layer_{index}"] for index in (1, 2, 3)])
    free = float(np.sort(rates)[1])
    loss, _ = elbo_of(model, free_nats=free, free_nats_per="layer")
    expected = metrics["distortion"] + np.maximum(rates, free).sum()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_the_sampled_kl_has_the_mean_of_the_closed_one(model):
    keys = jax.random.split(jax.random.key(5), 600)

    @jax.jit
    def rates(keys):
        def rate(key, sampled_kl):
            terms = bounds.elbo_terms(model, IMAGES, IMAGES, key, sampled_kl=sampled_kl)
            return terms.kl.sum(axis=-1)

        return [jax.vmap(lambda key, s=s: rate(key, s))(keys) for s in (False, True)]

    closed, sampled = (np.asarray(values, np.float64) for values in rates(keys))
    error = (closed - sampled).std(axis=0) / np.sqrt(len(keys))
    np.testing.assert_array_less(np.abs((closed - sampled).mean(axis=0)), 5 * error)
    assert (closed.std(axis=0) < sampled.std(axis=0)).all()


def test_importance_weights_of_one_pass_are_those_of_three(model):
    @jax.jit
    def terms(key):
        noise = bounds.draw_noise(model, 4, 3, key)
        latents, log_posterior = model.encode(IMAGES).draw(noise)
        log_likelihood = model.decode(latents).log_prob(IMAGES)
        by_three = log_likelihood + model.prior.log_prob(latents) - log_posterior
        found = bounds.log_weight_terms(model, IMAGES, IMAGES, key, num_samples=4)
        return found.log_weights, by_three

    np.testing.assert_allclose(*terms(jax.random.key(0)), rtol=1e-4)


def test_the_evaluations_terms_add_up_whatever_the_chunks(model, monkeypatch):
    keys = jax.random.split(jax.random.key(0), 3)
    found = []
    for values in (2**21, 200):
        monkeypatch.setattr(likelihood, "_VALUES_PER_CHUNK", values)
        estimate = jax.jit(
            lambda keys: likelihood.estimate_batch(model, IMAGES, keys, num_samples=7)
        )
        found.append(estimate(keys))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *found)
    assert found[0].kl.shape == (3, LATENTS)
    assert (found[0].iwae_bound > found[0].elbo).all()


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
        factory.check_image_shape(config, image_shape)


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
