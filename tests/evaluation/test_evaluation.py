import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special, stats
from small_models import LinearGaussian
from small_runs import make_model

from vae_jax.data.corruptions import CORRUPTIONS, at_any_level, gaussian, levels_around
from vae_jax.data.pixels import binarize
from vae_jax.distributions import Normal
from vae_jax.evaluation import collapse, denoising, likelihood, metrics

MARKOV = {"model": "markov", "model.top_latent_size": 2, "model.top.widths": (4,)}
IAF = {"model.posterior": "iaf"}
NOISY = [name for name in CORRUPTIONS if name != "none"]


def estimate_linear(case, images, num_samples, **options):
    graphdef, params = nnx.split(case.model)
    options = {"batch_size": 100} | options
    key = options.pop("key", jax.random.key(0))
    return likelihood.estimate(graphdef, params, images, key, num_samples=num_samples, **options)


def small_model(image_shape=(3, 3, 1), scale=0.4, **changes):
    return make_model(image_shape, scale, **changes)


def grey_bytes(seed, num, image_shape=(3, 3, 1)):
    return np.random.default_rng(seed).integers(0, 256, (num, *image_shape), np.uint8)


@pytest.mark.parametrize("num_samples", [1, 7, 100])
def test_with_the_exact_posterior_the_iwae_bound_is_log_p_for_any_number_of_samples(num_samples):
    case = LinearGaussian()
    images = case.draw_images(0, 20)
    estimates = estimate_linear(case, images, num_samples)
    np.testing.assert_allclose(estimates.iwae_bound, case.log_likelihood(images), atol=1e-4)


def test_the_bounds_rise_with_the_number_of_samples_towards_log_p():
    case = LinearGaussian(shift=1.0, log_stretch=0.3)
    images = case.draw_images(1, 400)
    exact = case.log_likelihood(images).mean()
    estimates = [estimate_linear(case, images, num_samples) for num_samples in (1, 10, 500)]
    elbo = estimates[-1].elbo.mean()
    gaps = np.array([exact - bound.iwae_bound.mean() for bound in estimates])
    assert elbo == pytest.approx(exact - case.gap, abs=0.02)
    assert gaps[0] == pytest.approx(case.gap, abs=0.3)
    assert (gaps[:-1] > 2 * gaps[1:]).all()
    assert abs(gaps[-1]) < 0.02


def test_estimates_have_the_terms_of_the_posterior():
    case = LinearGaussian(shift=0.5, log_stretch=0.2)
    images = case.draw_images(2, 10)
    estimates = estimate_linear(case, images, 3)
    posterior = jax.jit(case.model.encode)(images)
    np.testing.assert_allclose(estimates.posterior_mean, posterior.mean, rtol=1e-5, atol=1e-6)
    variance = np.exp(2 * np.asarray(posterior.log_scale, np.float64))
    kl = 0.5 * (variance + np.square(posterior.mean) - 1 - np.log(variance))
    np.testing.assert_allclose(estimates.kl, kl, rtol=1e-4, atol=1e-5)
    expected = -(estimates.distortion + estimates.kl.sum(axis=-1))
    np.testing.assert_allclose(estimates.elbo, expected, rtol=1e-6)


def test_metrics_depend_on_neither_batch_size_nor_chunks(monkeypatch):
    model = small_model()
    images = binary_images(0, 11)

    def estimate(batch_size, chunk):
        monkeypatch.setattr(likelihood, "_VALUES_PER_CHUNK", chunk * batch_size * images[0].size)
        done = []
        estimates = likelihood.estimate(
            model.graphdef,
            model.params,
            images,
            jax.random.key(3),
            num_samples=10,
            batch_size=batch_size,
            on_batch=done.append,
        )
        assert sum(done) == len(images)
        return estimates

    expected = estimate(11, 10)
    assert len(np.unique(expected.iwae_bound)) == 11
    # 3 does not divide 10 samples; 4 does not divide 11 images, and 20 exceeds them. The size of a
    # chunk is read where a batch size is compiled.
    for batch_size, chunk in [(4, 3), (20, 1)]:
        for actual, wanted in zip(estimate(batch_size, chunk), expected, strict=True):
            assert actual.shape == wanted.shape
            np.testing.assert_allclose(actual, wanted, atol=1e-4)


def test_every_image_and_every_sample_has_noise_of_its_own():
    case = LinearGaussian(shift=1.0)
    images = np.repeat(case.draw_images(3, 1), 200, axis=0)
    single = estimate_linear(case, images, 1).iwae_bound
    assert len(np.unique(single)) == 200
    averaged = estimate_linear(case, images, 25).distortion
    ratio = estimate_linear(case, images, 1).distortion.var() / averaged.var()
    assert 15 < ratio < 40
    other = estimate_linear(case, images, 1, key=jax.random.key(1)).iwae_bound
    assert (other != single).all()


def test_a_unit_is_active_where_its_mean_varies_by_more_than_a_hundredth():
    signs = np.array([1, -1] * 50, np.float32)
    deviations = np.array([0.0, 0.099, 0.101, 3.0], np.float32)
    offsets = np.array([5.0, 5.0, -5.0, 0.0], np.float32)
    exact = np.zeros((100, 4), np.float32)
    assert collapse.active_units(signs[:, None] * deviations + offsets, exact) == 2
    assert collapse.active_units(np.ones((100, 4), np.float32), exact) == 0


@pytest.mark.parametrize(("changes", "num_samples"), [(IAF, 1), (IAF, 20), (MARKOV, 20)])
def test_the_noise_of_estimated_posterior_means_is_no_activity(changes, num_samples):
    # All parameters are zero: nothing depends on the image.
    model = small_model(scale=0.0, **changes)
    found = likelihood.estimate(
        model.graphdef,
        model.params,
        binary_images(0, 400),
        jax.random.key(0),
        num_samples=num_samples,
        batch_size=400,
    )
    active = collapse.active_units(found.posterior_mean, found.posterior_mean_variance)
    assert active == (None if num_samples == 1 else 0)
    assert (found.posterior_mean.var(axis=0) > collapse.ACTIVITY_THRESHOLD).all()


def test_the_metrics_of_single_samples_as_posterior_means_have_no_active_units():
    found = vae_metrics(small_model(scale=0.0, **IAF), binary_images(0, 7), num_samples=1)
    assert found["active_units"] is None


def test_a_dimension_is_collapsed_below_a_hundredth_of_a_nat():
    assert collapse.collapsed_share(np.array([0.009, 0.0, 0.011, 3.0])) == 0.5


def aggregate_log_density(latents, mean, log_scale):
    """Log (1/N) sum_n N(z; mean_n, scale_n) of each z, in float64 by SciPy."""
    densities = stats.norm.logpdf(latents[:, None], mean, np.exp(log_scale)).sum(axis=-1)
    return special.logsumexp(densities, axis=1) - np.log(len(mean))


def test_mutual_information_compares_each_posterior_with_their_mixture(monkeypatch):
    monkeypatch.setattr(collapse, "_ROWS", 7)
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(30, 3)).astype(np.float32) + 5
    log_scale = rng.uniform(-3, 0.5, (30, 3)).astype(np.float32)
    posterior, key = Normal(jnp.asarray(mean), jnp.asarray(log_scale)), jax.random.key(1)
    latents = np.asarray(posterior.sample(key), np.float64)
    conditional = stats.norm.logpdf(latents, mean, np.exp(log_scale)).sum(axis=-1)
    expected = (conditional - aggregate_log_density(latents, mean, log_scale)).mean()
    assert collapse.aggregate_posterior(posterior, key).mutual_information == pytest.approx(
        expected, abs=1e-3
    )


@pytest.mark.parametrize(("hierarchy", "scale"), [("markov", 0.5), ("ladder", 1.0)])
def test_mutual_information_of_two_layers_compares_each_posterior_with_their_mixture(
    hierarchy, scale, monkeypatch
):
    # Batches, and blocks of draws, that divide neither the images nor each other.
    monkeypatch.setattr(collapse, "_BATCH_SIZE", 7)
    monkeypatch.setattr(collapse, "_ROWS", 4)
    monkeypatch.setattr(collapse, "_MOST_DRAWS", 13)
    model = small_model(scale=scale, **{**MARKOV, "model": hierarchy})
    images, key = binary_images(0, 25), jax.random.key(2)
    network = nnx.merge(model.graphdef, model.params)
    noise = jax.random.normal(key, (13, 5))
    latents = jax.jit(lambda images: network.encode(images).draw(noise).latents)(images[:13])

    @jax.jit
    def log_densities(images, latents):
        return jax.lax.map(lambda image: network.encode(image[None]).log_prob(latents), images)

    densities = np.asarray(log_densities(images, latents), np.float64)
    own = densities[np.arange(13), np.arange(13)]
    expected = (own - special.logsumexp(densities, axis=0) + np.log(25)).mean()
    found = collapse.mutual_information(model.graphdef, model.params, images, key)
    # The densities are rounded otherwise in another program than the metric's.
    assert found == pytest.approx(expected, abs=1e-4)
    assert 0.1 < found < np.log(25)


def test_of_two_markov_layers_the_lower_one_has_all_the_information():
    model = small_model(scale=0.7, **MARKOV)
    images, key = binary_images(0, 600), jax.random.key(2)
    network = nnx.merge(model.graphdef, model.params)
    first = jax.jit(lambda images: network.encode(images).first)(images)
    lower = collapse.aggregate_posterior(first, key)
    both = collapse.mutual_information(model.graphdef, model.params, images, key)
    assert both == pytest.approx(lower.mutual_information, abs=0.1)


def test_mutual_information_is_log_n_of_distinct_images_and_zero_of_a_collapsed_posterior():
    mean = 10 * np.arange(400, dtype=np.float32)[:, None]
    distinct, collapsed = (
        Normal(jnp.asarray(mean), jnp.asarray(np.zeros_like(mean)))
        for mean in (mean, np.ones_like(mean))
    )
    informations = [
        collapse.aggregate_posterior(posterior, jax.random.key(0)).mutual_information
        for posterior in (distinct, collapsed)
    ]
    np.testing.assert_allclose(informations, [np.log(400), 0], atol=1e-3)


@pytest.mark.parametrize(("scale", "at_cap"), [(0.5, False), (1e-4, True)])
def test_the_mutual_information_of_a_normal_lies_between_its_two_estimates(scale, at_cap):
    """Of z = x + noise, known in closed form; with narrow posteriors far above log N."""
    num, known = 400, 0.5 * np.log1p(1 / scale**2)
    mean = np.random.default_rng(0).normal(size=(num, 1)).astype(np.float32)
    log_scale = np.full_like(mean, np.log(scale))
    posterior = Normal(jnp.asarray(mean), jnp.asarray(log_scale))
    found = collapse.aggregate_posterior(posterior, jax.random.key(1))
    assert found.mutual_information <= np.log(num) + 1e-3
    assert found.mutual_information - 0.1 < known < found.leave_one_out + 0.1
    assert collapse.is_at_cap(found.mutual_information, num) == at_cap
    if not at_cap:
        assert found.leave_one_out - found.mutual_information < 0.05


def test_the_total_correlation_compares_the_mixture_with_the_product_of_its_marginals(monkeypatch):
    monkeypatch.setattr(collapse, "_ROWS", 7)
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(30, 3)).astype(np.float32) + 5
    log_scale = rng.uniform(-8, 8, (30, 3)).astype(np.float32)
    posterior, key = Normal(jnp.asarray(mean), jnp.asarray(log_scale)), jax.random.key(1)
    latents = np.asarray(posterior.sample(key), np.float64)
    product = sum(
        aggregate_log_density(latents[:, j : j + 1], mean[:, j : j + 1], log_scale[:, j : j + 1])
        for j in range(3)
    )
    expected = (aggregate_log_density(latents, mean, log_scale) - product).mean()
    total_correlation = collapse.aggregate_posterior(posterior, key).total_correlation
    assert total_correlation == pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_the_total_correlation_of_a_normal_is_that_of_its_correlations(correlation):
    noise, num = 0.4, 3000
    covariance = np.array([[1, correlation], [correlation, 1]]) - noise**2 * np.eye(2)
    mean = np.random.default_rng(0).multivariate_normal(np.zeros(2), covariance, num)
    log_scale = np.full((num, 2), np.log(noise), np.float32)
    posterior = Normal(jnp.asarray(mean, jnp.float32), jnp.asarray(log_scale))
    aggregate = collapse.aggregate_posterior(posterior, jax.random.key(0))
    expected = -0.5 * np.log(1 - correlation**2)
    assert aggregate.total_correlation == pytest.approx(expected, abs=0.03)


def test_the_rate_is_mutual_information_total_correlation_and_dimensionwise_kl():
    model, images = small_model(), binary_images(0, 300)
    found = vae_metrics(model, images, num_samples=1)
    parts = ("mutual_information", "total_correlation", "dimensionwise_kl")
    assert sum(found[part] for part in parts) == pytest.approx(found["rate"], rel=1e-6)
    assert found["aggregate_kl"] == pytest.approx(
        found["total_correlation"] + found["dimensionwise_kl"], rel=1e-6
    )
    # By its definition, from more draws.
    posterior = model.posterior(images)
    mean, log_scale = np.asarray(posterior.mean), np.asarray(posterior.log_scale)
    noise = np.random.default_rng(0).normal(size=(20, *mean.shape))
    draws = (mean + np.exp(log_scale) * noise).reshape(-1, 3)
    dimensionwise = 0.0
    for j in range(3):
        aggregate = aggregate_log_density(
            draws[:, j : j + 1], mean[:, j : j + 1], log_scale[:, j : j + 1]
        )
        dimensionwise += (aggregate - stats.norm.logpdf(draws[:, j])).mean()
    assert dimensionwise > 0.3
    assert found["dimensionwise_kl"] == pytest.approx(dimensionwise, abs=0.25)


def test_denoising_errors_are_mean_squares_against_the_clean_image():
    clean = np.random.default_rng(0).random((400, 5, 5, 1)).astype(np.float32)
    seen = []

    def halve(images):
        seen.append(images)
        return images / 2

    levels = [0.0, 0.1, 0.2]
    errors = denoising.denoising_errors(halve, clean, gaussian, levels, jax.random.key(0))
    assert errors.levels == levels
    assert errors.noisy[0] == 0
    assert errors.noisy[1] == pytest.approx(0.01, rel=0.1)
    assert errors.noisy[2] == pytest.approx(4 * errors.noisy[1], rel=1e-3)
    assert errors.denoised[0] == pytest.approx(np.square(clean / 2).mean(), rel=1e-5)
    assert errors.denoised[2] == pytest.approx(np.square(seen[2] / 2 - clean).mean(), rel=1e-5)


@pytest.mark.parametrize("name", NOISY)
def test_a_perfect_denoiser_has_no_error_and_an_idle_one_that_of_the_noise(name):
    clean = np.random.default_rng(0).random((20, 5, 5, 3)).astype(np.float32)
    level = 2.0 if name in ("blur", "downsampling") else 0.5
    corruption = at_any_level(CORRUPTIONS[name]())
    arguments = clean, corruption, [0.0, level], jax.random.key(0)
    perfect = denoising.denoising_errors(lambda images: clean, *arguments)
    idle = denoising.denoising_errors(lambda images: images, *arguments)
    assert perfect.denoised == [0, 0]
    assert perfect.noisy == idle.noisy == idle.denoised
    assert idle.noisy[0] == 0
    assert idle.noisy[1] > 0.01


def levels(name, trained_level, image_shape=(28, 28, 1), **options):
    return levels_around(CORRUPTIONS[name](trained_level), image_shape, **options)


@pytest.mark.parametrize("trained_level", [0.1, 0.3, 0.5, 0.8, 1.0])
def test_levels_go_from_none_past_the_trained_one_up_to_the_highest(trained_level):
    found = levels("masking", trained_level)
    assert found[0] == 0
    assert trained_level in found
    assert max(found) <= 1
    assert max(found) > min(2 * trained_level, 1) - trained_level / 4
    np.testing.assert_allclose(np.diff(found), trained_level / 4, atol=1e-6)
    assert levels("gaussian", trained_level)[-1] == 2 * trained_level


def test_levels_of_downsampling_are_the_factors_that_divide_the_image():
    assert levels("downsampling", 4.0) == [1, 2, 4, 7]
    assert levels("downsampling", 2.0, (28, 42, 1)) == [1, 2]
    assert levels("blur", 2.0, parts=2) == [0, 1, 2, 3, 4]


def binary_images(seed, num_images):
    return (grey_bytes(seed, num_images) > 127).astype(np.float32)


def vae_metrics(model, images, num_samples=3):
    return metrics.vae_metrics(
        model,
        images,
        jax.random.key(0),
        num_samples=num_samples,
        batch_size=7,
    )


def test_a_model_that_knows_nothing_needs_one_bit_per_pixel():
    found = vae_metrics(small_model(scale=0.0), binary_images(0, 10))
    assert found["elbo"] == pytest.approx(-9 * np.log(2), rel=1e-5)
    assert found["iwae_bound"] == pytest.approx(-9 * np.log(2), rel=1e-5)
    assert found["bits_per_dim"] == pytest.approx(1, rel=1e-5)
    assert found["rate"] == pytest.approx(0, abs=1e-6)
    assert found["active_units"] == 0


def test_metrics_are_the_means_of_the_estimates_over_all_images():
    model, images = small_model(), binary_images(0, 10)
    found = vae_metrics(model, images)
    estimates = likelihood.estimate(
        model.graphdef,
        model.params,
        images,
        jax.random.key(0),
        num_samples=3,
        batch_size=10,
    )
    assert found["elbo"] == pytest.approx(estimates.elbo.mean(), abs=1e-4)
    assert found["iwae_bound"] == pytest.approx(estimates.iwae_bound.mean(), abs=1e-4)
    assert found["elbo"] == pytest.approx(-found["rate"] - found["distortion"], abs=1e-4)
    assert sum(found["kl_by_dimension"]) == pytest.approx(found["rate"], rel=1e-5)
    assert found["bits_per_dim"] == pytest.approx(-found["elbo"] / np.log(2) / 9)
    standard_error = estimates.elbo.std(ddof=1) / np.sqrt(10)
    assert found["elbo_standard_error"] == pytest.approx(standard_error, rel=1e-3)
    assert (found["num_examples"], found["num_samples"]) == (10, 3)
    assert 0 < found["mutual_information"] < found["mutual_information_cap"] == np.log(10)
    assert not found["mutual_information_at_cap"]
    assert found["mutual_information"] < found["mutual_information_upper_bound"] <= found["rate"]
    assert found["aggregate_kl"] == pytest.approx(
        found["rate"] - found["mutual_information"], abs=1e-5
    )
    assert found["collapsed_share"] == 0


@pytest.mark.parametrize(
    ("changes", "divides"),
    [
        ({"model.prior": {"name": "vamp", "components": 4}}, False),
        ({"model.posterior": "iaf"}, False),
        (MARKOV, True),
    ],
)
def test_what_is_not_defined_for_a_model_is_none_and_the_rest_is_measured(changes, divides):
    model, images = small_model(**changes), binary_images(0, 10)
    found = vae_metrics(model, images)
    assert found["elbo"] == pytest.approx(-found["rate"] - found["distortion"], abs=1e-4)
    assert found["elbo"] < found["iwae_bound"] < 0
    assert (found["kl_by_dimension"] is not None) == divides
    if divides:
        assert len(found["kl_by_dimension"]) == 5
        assert sum(found["kl_by_dimension"]) == pytest.approx(found["rate"], rel=1e-4)
    assert (found["mutual_information"] is not None) == model.has_posterior_density
    assert (found["total_correlation"] is not None) == model.has_normal_posterior
    # None of these has a diagonal posterior and the standard prior.
    assert found["dimensionwise_kl"] is None


def test_grey_data_has_no_bits_and_one_image_no_standard_error():
    found = vae_metrics(small_model(), grey_bytes(0, 1) / np.float32(255))
    assert "bits_per_dim" not in found
    assert found["elbo_standard_error"] is None
    assert found["iwae_bound_standard_error"] is None


def test_targets_are_drawn_by_the_index_of_an_image_not_by_its_batch(monkeypatch):
    images = grey_bytes(0, 11)
    whole = metrics.prepare_targets(binarize, images, jax.random.key(0))
    assert set(np.unique(whole)) == {0, 1}
    monkeypatch.setattr(metrics, "_BATCH_SIZE", 4)
    parts = metrics.prepare_targets(binarize, images, jax.random.key(0))
    np.testing.assert_array_equal(parts, whole)


def test_reconstruction_error_and_distortion_compare_the_decoded_mean_with_the_target():
    model = small_model()
    targets = grey_bytes(0, 6) / np.float32(255)
    reconstructed = model.decode(model.encode(targets))
    error = metrics.reconstruction_error(model, targets)
    assert error == pytest.approx(np.square(reconstructed - targets).mean(), rel=1e-5)
    nats = targets * np.log(reconstructed) + (1 - targets) * np.log1p(-reconstructed)
    expected = -nats.sum(axis=(1, 2, 3)).mean()
    assert metrics.distortion(model, targets) == pytest.approx(expected, rel=1e-4)
