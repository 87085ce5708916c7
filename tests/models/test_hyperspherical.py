import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_configs import small_experiment
from small_games import KEY, Game
from small_models import normal
from small_runs import make_model

from configs import hyperspherical
from vae_jax import config
from vae_jax.applications.generation import samplers
from vae_jax.distributions import UniformSphere
from vae_jax.errors import UserError
from vae_jax.evaluation import drawing, metrics
from vae_jax.evaluation.likelihood import estimate_batch
from vae_jax.objectives.bounds import elbo_terms

PARTS = {"model.posterior": "von_mises_fisher", "model.prior": "uniform_sphere"}
IMAGES = jnp.asarray(np.abs(np.sin(np.asarray(normal(3, 12, 3, 4, 1)))))


def circle_terms(model, images, num=500):
    """Return log p(x), E[log p(x|z)] and the KL of each image, by sums over the circle."""
    angles = 2 * jnp.pi * jnp.arange(num) / num
    points = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)[:, None]
    points = jnp.broadcast_to(points, (num, len(images), 2))
    log_likelihood = model.decode(points).log_prob(images)
    log_area = jnp.log(2 * jnp.pi / num)
    log_q = model.encode(images).log_prob(points) + log_area
    log_p = model.prior.log_prob(points) + log_area
    evidence = jax.nn.logsumexp(log_likelihood + log_p, axis=0)
    q = jnp.exp(log_q)
    return evidence, (q * log_likelihood).sum(axis=0), (q * (log_q - log_p)).sum(axis=0)


def test_bounds_and_gradients_are_those_of_sums_over_the_circle():
    model = Game({**PARTS, "model.latent_size": 2}).model
    graphdef, params = nnx.split(model)

    def exact(params):
        evidence, log_likelihood, kl = circle_terms(nnx.merge(graphdef, params), IMAGES)
        return (log_likelihood - kl).mean(), (evidence, log_likelihood, kl)

    def sampled(params, key, sampled_kl=False):
        terms = elbo_terms(nnx.merge(graphdef, params), IMAGES, IMAGES, key, sampled_kl=sampled_kl)
        return terms.elbo.mean(), terms.kl.sum(axis=-1)

    value = jax.jit(jax.value_and_grad(exact, has_aux=True))
    (elbo, (evidence, log_likelihood, kl)), gradient = value(params)
    keys = jax.random.split(KEY, 1500)
    by_key = jax.jit(jax.vmap(jax.value_and_grad(sampled, has_aux=True), in_axes=(None, 0)))
    (elbos, kls), gradients = by_key(params, keys)
    np.testing.assert_allclose(kls[0], kl, rtol=1e-4)
    assert float(elbos.mean()) == pytest.approx(float(elbo), abs=0.02)
    for each, expected in zip(jax.tree.leaves(gradients), jax.tree.leaves(gradient), strict=True):
        error = np.asarray(each).std(axis=0) / len(keys) ** 0.5
        difference = np.abs(np.asarray(each).mean(axis=0) - expected)
        np.testing.assert_array_less(difference, 5 * error + 1e-5)

    image_keys = jax.random.split(KEY, len(IMAGES))
    found = jax.jit(lambda m, x, k: estimate_batch(m, x, k, num_samples=20_000))(
        model, IMAGES, image_keys
    )
    np.testing.assert_allclose(found.iwae_bound, evidence, atol=0.04)
    np.testing.assert_allclose(-found.distortion, log_likelihood, atol=0.1)
    np.testing.assert_allclose(found.kl[:, 0], kl, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.posterior": "von_mises_fisher"}, r"model\.prior='standard' has no density on the"),
        ({"model.prior": "uniform_sphere"}, r"model\.prior='uniform_sphere' is on the sphere"),
        ({"model.posterior": "von_mises_fisher", "model.prior": "vamp"}, "use prior='uniform_s"),
        ({**PARTS, "model.latent_size": 1}, r"model\.latent_size=1 must be at least 2"),
        ({**PARTS, "objective": "tc"}, "objective='tc' needs independent normals"),
        ({**PARTS, "objective": "factor"}, "objective='factor' needs independent normals"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes, message):
    with pytest.raises(UserError, match=message) as refused:
        small_experiment(changes)
    assert "\n" not in str(refused.value)


def test_a_model_and_its_settings_agree_on_their_latents():
    for changes, is_spherical in (({}, False), (PARTS, True)):
        experiment = small_experiment(changes)
        model = nnx.eval_shape(lambda e=experiment: config.build_model(e, (4, 3, 1), KEY))
        for described in (model, experiment.model):
            assert described.has_spherical_latents == is_spherical
            assert not (is_spherical and described.has_normal_posterior)
            assert described.has_posterior_density
        assert (model.noise_size > model.latent_size) == is_spherical


@pytest.mark.parametrize("objective", ["stl", "iwae", "info", "wae", "adversarial"])
def test_other_objectives_train_it(objective):
    assert small_experiment({**PARTS, "objective": objective})


def test_a_blank_image_has_a_direction():
    model = Game({**PARTS, "model.encoder.activation": "relu"}).model

    @jax.jit
    def mean(model):
        model.encoder = jax.tree.map(jnp.zeros_like, model.encoder)
        model.posterior.linear.bias[...] = jnp.zeros(model.posterior.linear.bias.shape)
        return model.encode(jnp.zeros((1, 3, 4, 1))).mean

    np.testing.assert_array_equal(mean(model), [[1, 0, 0]])


@pytest.fixture(scope="module")
def model():
    return make_model((3, 4, 1), **PARTS)


def test_latents_are_decoded_and_interpolated_on_the_sphere(model):
    images = np.asarray(IMAGES)
    latents = model.latents(images)
    np.testing.assert_allclose(np.linalg.norm(latents, axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.decode(3 * latents), model.decode(latents), atol=1e-5)
    between = model.interpolate(images[:2], images[2:4], [0.3])
    arc = model.interpolate(images[:2], images[2:4], [0.3], path="spherical")
    np.testing.assert_array_equal(between, arc)
    # The chord, taken to the sphere, is the same path at another speed.
    middle = model.interpolate(images[:2], images[2:4], [0.5])
    chord = model.interpolate(images[:2], images[2:4], [0.5], path="linear")
    np.testing.assert_allclose(chord, middle, atol=1e-5)


def test_samplers_draw_on_the_sphere_and_the_prior_has_no_temperature(model):
    prior = samplers.build("prior", model, np.asarray(IMAGES), KEY)
    assert prior == UniformSphere(3)
    drawn = samplers.sample_latents(prior, KEY, 500)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=-1), 1, rtol=1e-5)
    with pytest.raises(UserError, match=r"temperature=0\.5 has no meaning for a UniformSphere"):
        samplers.sample_latents(prior, KEY, 5, temperature=0.5)
    assert samplers.available(model) == samplers.SAMPLERS
    mixture = samplers.build("mixture", model, np.asarray(IMAGES), KEY)
    images = model.decode(samplers.sample_latents(mixture, KEY, 5, temperature=0.5))
    assert np.isfinite(images).all()


def test_metrics_without_a_meaning_on_the_sphere_are_null(model):
    images = np.asarray(IMAGES > 0.5, np.float32)
    measured = metrics.vae_metrics(model, images, KEY, num_samples=50, batch_size=12)
    for name in ("active_units", "kl_by_dimension", "total_correlation", "dimensionwise_kl"):
        assert measured[name] is None
    assert 0 <= measured["mutual_information"] <= np.log(12) + 0.1
    assert measured["rate"] > 0
    assert measured["iwae_bound"] >= measured["elbo"]


@pytest.mark.plots
def test_plots_follow_the_sphere(model, tmp_path):
    images = np.asarray(IMAGES)
    drawing.draw_run(tmp_path, model, images, None, {"kl_by_dimension": None}, np.array([0.0, 1]))
    found = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert found == {"reconstructions", "latents", "interpolation_spherical", "samples"}


def test_the_shipped_config_is_one():
    experiment = config.resolve(hyperspherical.get_config())
    assert experiment.model.has_spherical_latents
    assert experiment.model.latent_size == 11
