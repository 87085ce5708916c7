import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_data
import small_runs
from absl.testing import flagsaver
from PIL import Image
from small_models import randomized

from experiments import sample
from vae_jax.applications.generation import report as generation_report
from vae_jax.applications.generation import samplers
from vae_jax.applications.generation.samplers import CorrelatedNormalMixture
from vae_jax.data import image_arrays
from vae_jax.distributions import Normal, NormalMixture
from vae_jax.errors import UserError
from vae_jax.evaluation.latent_draws import draw_latents
from vae_jax.models import AutoregressivePrior, FlowPrior

pytestmark = pytest.mark.usefixtures("parsed_flags")

IMAGE_SHAPE = (8, 8, 1)
MEANS = np.array([[-4.0, 0.0, 1.0], [4.0, 2.0, -1.0]])
FACTORS = np.array([[[0.5, 0, 0], [0.4, 0.3, 0], [0, 0.2, 0.6]], np.diag([0.3, 0.8, 0.4])])
WEIGHTS = np.array([0.3, 0.7])


def known_mixture():
    return CorrelatedNormalMixture(
        jnp.asarray(MEANS, jnp.float32),
        jnp.asarray(FACTORS, jnp.float32),
        jnp.log(jnp.asarray(WEIGHTS, jnp.float32)),
    )


@pytest.fixture(scope="module")
def latents():
    return samplers.sample_latents(known_mixture(), jax.random.key(0), 6000)


def assert_known(drawn, tolerance):
    """Draws of the known mixture: its weights, its means, its covariances."""
    component = (drawn[:, 0] > 0).astype(int)
    for k in range(2):
        own = drawn[component == k]
        assert len(own) / len(drawn) == pytest.approx(WEIGHTS[k], abs=tolerance / 3)
        np.testing.assert_allclose(own.mean(axis=0), MEANS[k], atol=tolerance)
        np.testing.assert_allclose(np.cov(own.T), FACTORS[k] @ FACTORS[k].T, atol=tolerance)


def test_draws_of_a_mixture_have_its_weights_means_and_covariances(latents):
    assert_known(latents, 0.05)


def test_a_fitted_mixture_is_the_one_that_the_latents_are_from(latents):
    fitted = samplers.fit_mixture(latents, jax.random.key(1), num_components=2)
    order = np.argsort(fitted.means[:, 0])
    np.testing.assert_allclose(fitted.means[order], MEANS, atol=0.05)
    np.testing.assert_allclose(np.exp(fitted.log_weights)[order], WEIGHTS, atol=0.02)
    covariances = np.asarray(fitted.factors @ fitted.factors.transpose(0, 2, 1))
    np.testing.assert_allclose(covariances[order], FACTORS @ FACTORS.transpose(0, 2, 1), atol=0.05)
    assert_known(samplers.sample_latents(fitted, jax.random.key(2), 6000), 0.1)


def test_a_fitted_flow_draws_what_it_was_fitted_to_and_knows_its_density(latents):
    fitted = samplers.fit_flow(latents, jax.random.key(1), num_steps=400)
    drawn = samplers.sample_latents(fitted, jax.random.key(2), 4000)
    right = drawn[:, 0] > 0
    assert right.mean() == pytest.approx(0.7, abs=0.06)
    np.testing.assert_allclose(drawn.mean(axis=0), latents.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(drawn.std(axis=0), latents.std(axis=0), rtol=0.15)
    # Minus the entropy of the known mixture, whose components do not overlap.
    determinants = np.log([np.prod(np.diag(factor)) for factor in FACTORS])
    entropy = 1.5 * math.log(2 * math.pi * math.e) + WEIGHTS @ (determinants - np.log(WEIGHTS))
    density = float(jax.jit(fitted.log_prob)(jnp.asarray(latents)).mean())
    assert -entropy - 0.35 < density < -entropy + 0.03


@functools.cache
def distributions():
    flow = randomized(
        lambda: FlowPrior(2, num_layers=2, width=6, activation=jnp.tanh, rngs=samplers.nnx.Rngs(0)),
        scale=0.5,
    )(samplers._unasked)
    autoregressive = randomized(
        lambda: AutoregressivePrior(
            2,
            num_components=1,
            num_layers=1,
            width=6,
            activation=jnp.tanh,
            rngs=samplers.nnx.Rngs(0),
        ),
        scale=0.5,
    )(samplers._unasked)
    means = jnp.array([[-3.0, 1.0], [5.0, 2.0]])
    factors = jnp.array([[[1.0, 0.0], [0.5, 0.2]], [[0.3, 0.0], [0.0, 0.4]]])
    log_weights = jnp.log(jnp.array([0.4, 0.6]))
    return {
        "normal": Normal(jnp.array([1.0, -2.0]), jnp.array([0.3, -1.0])),
        "mixture": NormalMixture(means, jnp.full((2, 2), -0.5), log_weights),
        "correlated": CorrelatedNormalMixture(means, factors, log_weights),
        "flow": flow,
        "autoregressive": autoregressive,
    }


@pytest.mark.parametrize("name", ["normal", "mixture", "correlated", "flow", "autoregressive"])
def test_temperature_0_gives_the_mean_and_1_changes_nothing(name):
    distribution, key = distributions()[name], jax.random.key(0)
    cold = samplers.sample_latents(distribution, key, 50, temperature=0.0)
    if "mixture" in name or name == "correlated":
        means = np.asarray(distribution.means)
        assert all((means == row).all(axis=1).any() for row in cold)
        assert len(np.unique(cold, axis=0)) == 2
    else:
        np.testing.assert_allclose(cold, np.tile(distribution.mean, (50, 1)), rtol=1e-5)
    plain = jax.jit(jax.vmap(distribution.sample))(jax.random.split(key, 50))
    np.testing.assert_allclose(
        samplers.sample_latents(distribution, key, 50), plain, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["normal", "correlated"])
def test_temperature_scales_the_deviation_from_the_mean(name):
    distribution, key = distributions()[name], jax.random.key(0)
    cold, half, full = (samplers.sample_latents(distribution, key, 50, t) for t in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(half, cold + 0.5 * (full - cold), rtol=1e-4, atol=1e-5)
    # The same components are drawn whatever the temperature.
    assert np.abs(full - cold).max() > 0.5


@pytest.mark.parametrize("name", ["flow", "autoregressive"])
def test_a_tempered_density_still_integrates_to_one(name):
    tempered = samplers.tempered(distributions()[name], 0.6)
    axis = jnp.linspace(-15, 15, 401)
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), axis=-1)
    density = jax.jit(lambda grid: jnp.exp(tempered.log_prob(grid)))(grid)
    mass = float(density.sum()) * (30 / 400) ** 2
    assert mass == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("temperature", [-0.1, math.nan, math.inf])
def test_a_temperature_at_which_nothing_can_be_drawn_is_refused(temperature):
    with pytest.raises(UserError, match=r"temperature=.* must be a finite number of at least 0"):
        samplers.sample_latents(known_mixture(), jax.random.key(0), 5, temperature)


def test_a_distribution_without_such_noise_keeps_temperature_1():
    class Other:
        def sample(self, key):
            return jax.random.normal(key, (2,))

    assert samplers.sample_latents(Other(), jax.random.key(0), 3).shape == (3, 2)
    with pytest.raises(UserError, match=r"temperature=0\.5 has no meaning for a Other"):
        samplers.sample_latents(Other(), jax.random.key(0), 3, 0.5)


def test_too_few_latents_or_dimensions_are_refused():
    few = np.zeros((9, 3), np.float32)
    with pytest.raises(UserError, match="fits 10 components, to 9 latents"):
        samplers.fit_mixture(few, jax.random.key(0))
    with pytest.raises(UserError, match="needs at least 2 latents"):
        samplers.fit_flow(few[:, :1], jax.random.key(0))


def test_the_prior_is_the_models_own_and_latents_are_draws_of_its_posteriors():
    model = small_runs.make_model(IMAGE_SHAPE, scale=0.2)
    images = np.random.default_rng(0).random((2000, *IMAGE_SHAPE), np.float32)
    prior = samplers.build("prior", model, images[:0], jax.random.key(0))
    np.testing.assert_array_equal(prior.mean, np.zeros(3))
    drawn = draw_latents(model, np.repeat(images[:1], 4000, axis=0), jax.random.key(0))
    posterior = model.posterior(images[:1])
    np.testing.assert_allclose(drawn.mean(axis=0), posterior.mean[0], atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), np.exp(posterior.log_scale[0]), rtol=0.1)


def test_an_autoencoder_has_no_prior_and_its_codes_are_fitted():
    model = small_runs.make_model(IMAGE_SHAPE, model="autoencoder")
    images = np.random.default_rng(0).random((40, *IMAGE_SHAPE), np.float32)
    with pytest.raises(UserError, match="needs a prior, which model='autoencoder' does not have"):
        samplers.build("prior", model, images, jax.random.key(0))
    np.testing.assert_array_equal(
        draw_latents(model, images, jax.random.key(0)), model.encode(images)
    )
    fitted = samplers.build("mixture", model, images, jax.random.key(0))
    assert fitted.means.shape == (10, 3)


# The command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    data = str(small_data.write_bars(folder / "bars.npz"))
    changes = {"data.name": data, "data.train_split": "train", "data.validation_split": ""}
    small_runs.save(folder / "run", small_runs.make_model(IMAGE_SHAPE, **changes, batch_size=64))
    return folder / "run"


def command(**given):
    with flagsaver.flagsaver(**given):
        sample.main()


@pytest.mark.parametrize("name", ["prior", "mixture"])
def test_the_command_writes_images_and_a_plot_of_them(run, tmp_path, capsys, monkeypatch, name):
    target = tmp_path / "samples.npz"
    given = {"workdir": str(run), "sampler": name, "num_images": 120, "output": str(target)}
    command(**given)
    images = image_arrays.read(target)
    assert images.shape == (120, *IMAGE_SHAPE)
    assert images.dtype == np.float32
    assert images.min() < images.max()
    assert "120 images" in capsys.readouterr().out
    with Image.open(tmp_path / "samples.png") as plot:
        assert plot.format == "PNG"
    (tmp_path / "samples.png").unlink()
    command(**given, format=["pdf", "svg"])
    assert "samples.pdf and " in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"samples.npz", "samples.pdf", "samples.svg"}
    np.testing.assert_array_equal(image_arrays.read(target), images)
    command(**given, temperature=0.0)
    assert len(np.unique(image_arrays.read(target), axis=0)) <= (1 if name == "prior" else 10)
    if name == "prior":
        # The rest does not depend on the sampler, and fitting a mixture takes long.
        monkeypatch.setattr(sample, "_PART", 50)
        command(**given)
        np.testing.assert_allclose(image_arrays.read(target), images, rtol=1e-6, atol=1e-6)
        command(**given, seed=1)
        assert not np.array_equal(image_arrays.read(target), images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sampler": "gan"},
            "sampler='gan' is not known; use one of prior, mixture, flow, diffusion",
        ),
        ({"temperature": -1.0}, "temperature=-1 must be a finite number"),
        ({"temperature": math.nan}, "temperature=nan must be a finite number"),
        ({"num_images": 0}, "--num_images=0 must be at least 1"),
        ({"format": ["png", "gif"]}, "--format=png,gif must be some of png,pdf,svg"),
        ({"format": []}, "--format= must be some of png,pdf,svg"),
        ({"output": ""}, "--output is missing"),
        ({"output": "samples.png"}, "must end in .npy or .npz"),
        ({"output": "nowhere/a.npy"}, "--output=nowhere/a.npy: there is no folder"),
        ({"workdir": ""}, "--workdir is missing"),
    ],
)
def test_a_mistake_on_the_command_line_is_refused(run, tmp_path, changes, message):
    given = {"workdir": str(run), "output": str(tmp_path / "samples.npz")}
    with pytest.raises(UserError) as error:
        command(**{**given, **changes})
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


# The report


def row(sampler, temperature, seed):
    names = ("classifier_frechet_distance", "precision", "recall", "density", "coverage")
    found = dict.fromkeys((*names, "class_distance", "copies"), 0.5 + 0.1 * seed)
    found |= {"nearest_distance": 3.0 + seed, "test_nearest_distance": 2.0}
    return {"sampler": sampler, "temperature": temperature, "seed": seed, **found}


def test_the_report_gives_mean_and_deviation_by_sampler_and_temperature(tmp_path):
    rows = [row("prior", t, seed) for seed in (0, 1) for t in (None, 0.8)]
    facts = {"test_accuracy": 0.9932, "data": "mnist"}
    content = {"classifier": facts, "num_images": 10_000, "num_nearest": 1000, "rows": rows}
    path = tmp_path / "generation.json"
    assert generation_report.section(path) == ""
    path.write_text(json.dumps(content))
    text = generation_report.section(path)
    assert "99.32%" in text
    cells = [line for line in text.splitlines() if line.startswith("| prior")]
    assert [line.split(" | ")[1] for line in cells] == ["", "0.8"]
    assert all("| 2 | 0.55 ± 0.07 | 0.550 ± 0.071 |" in line for line in cells)
    assert all("| 1.750 ± 0.354 |" in line for line in cells)
    path.write_text("{}")
    with pytest.raises(UserError, match=r"generation\.json cannot be read: KeyError"):
        generation_report.section(path)
