import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_runs
from flax import nnx
from vae_jax.trained_model import TrainedModel

from vae_jax import trained_model, workdir
from vae_jax.errors import UserError
from vae_jax.objectives.bounds import elbo_terms

IMAGE_SHAPE = (4, 3, 1)
BYTES = np.random.default_rng(0).integers(0, 256, (7, *IMAGE_SHAPE), np.uint8)
FLOATS = BYTES / np.float32(255)


def make_model(scale=0.4, **changes):
    return small_runs.make_model(IMAGE_SHAPE, scale, **changes)


@pytest.fixture(scope="module")
def vae():
    return make_model()


@pytest.fixture(scope="module")
def autoencoder():
    return make_model(**{"model.name": "autoencoder"})


@pytest.mark.parametrize("name", ["vae", "autoencoder"])
def test_codes_and_reconstructions_are_numpy_arrays_of_the_documented_shapes(name, request):
    model = request.getfixturevalue(name)
    codes, images = model.encode(BYTES), model.reconstruct(BYTES)
    assert isinstance(codes, np.ndarray)
    assert isinstance(images, np.ndarray)
    assert codes.shape == (7, 3)
    assert images.shape == (7, *IMAGE_SHAPE)
    assert model.reconstruction_log_likelihood(BYTES).shape == (7,)
    assert (images > 0).all()
    assert (images < 1).all()
    np.testing.assert_allclose(model.decode(codes), images, rtol=1e-5)
    assert (np.ptp(codes, axis=0) > 1e-3).all()


def test_the_code_of_a_vae_is_the_mean_of_its_posterior(vae):
    posterior = vae.posterior(BYTES)
    np.testing.assert_allclose(vae.encode(BYTES), posterior.mean, rtol=1e-5)
    assert posterior.log_scale.shape == (7, 3)


@pytest.mark.parametrize(
    "images",
    [FLOATS, jnp.asarray(BYTES), jnp.asarray(FLOATS), FLOATS.tolist(), FLOATS.astype(np.float64)],
    ids=["float32", "JAX bytes", "JAX floats", "list", "float64"],
)
def test_every_kind_of_array_gives_the_same_result(vae, images):
    np.testing.assert_allclose(vae.encode(images), vae.encode(BYTES), rtol=1e-5, atol=1e-6)
    codes = vae.encode(BYTES)
    np.testing.assert_array_equal(vae.decode(jnp.asarray(codes)), vae.decode(codes))


def test_a_single_image_is_a_batch_of_one(vae):
    np.testing.assert_allclose(vae.reconstruct(BYTES[3]), vae.reconstruct(BYTES)[3:4], rtol=1e-5)


@pytest.mark.parametrize("shape", [(7, 4, 4, 1), (4, 3), (7, 12), (0, 4, 3, 1), (2, 7, 4, 3, 1)])
def test_images_of_another_shape_are_refused_with_both_shapes(vae, shape):
    with pytest.raises(ValueError, match=r"\(num, 4, 3, 1\)") as error:
        vae.encode(np.zeros(shape, np.float32))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("dtype", [np.int64, np.complex64])
def test_images_of_another_type_are_refused(vae, dtype):
    with pytest.raises(ValueError, match=np.dtype(dtype).name):
        vae.encode(np.zeros((2, *IMAGE_SHAPE), dtype))


@pytest.mark.parametrize("shape", [(3,), (2, 4), (0, 3), (1, 2, 3)])
def test_latents_of_another_shape_are_refused_with_both_shapes(vae, shape):
    with pytest.raises(ValueError, match=r"\(num, 3\)") as error:
        vae.decode(np.zeros(shape, np.float32))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("path", ["linear", "spherical"])
@pytest.mark.parametrize("name", ["vae", "autoencoder"])
def test_interpolations_begin_and_end_at_the_reconstructions(name, path, request):
    model = request.getfixturevalue(name)
    images = model.interpolate(BYTES[:3], BYTES[3:6], [0, 0.3, 1], path=path)
    assert images.shape == (3, 3, *IMAGE_SHAPE)
    np.testing.assert_allclose(images[:, 0], model.reconstruct(BYTES[:3]), rtol=1e-5)
    np.testing.assert_allclose(images[:, 2], model.reconstruct(BYTES[3:6]), rtol=1e-5)
    assert (np.abs(images[:, 1] - images[:, 0]).max(axis=(1, 2, 3)) > 1e-4).all()


def test_the_middle_of_a_line_is_decoded_from_the_mean_of_the_codes(vae):
    codes = vae.encode(BYTES[:2])
    middle = vae.interpolate(BYTES[0], BYTES[1], [0.5])
    np.testing.assert_allclose(middle[0], vae.decode(codes.mean(axis=0)[None]), rtol=1e-5)


def test_unknown_paths_and_unequal_numbers_are_refused(vae):
    unchecked = inspect.unwrap(TrainedModel.interpolate)
    with pytest.raises(ValueError, match="linear, spherical"):
        unchecked(vae, BYTES[0], BYTES[1], path="straight")
    with pytest.raises(ValueError, match="2 images cannot be interpolated to 3"):
        vae.interpolate(BYTES[:2], BYTES[:3])


def test_samples_are_decoded_draws_of_the_prior_and_a_function_of_the_key(vae):
    key = jax.random.key(4)
    samples = vae.sample(key, 5)
    assert samples.shape == (5, *IMAGE_SHAPE)
    np.testing.assert_array_equal(vae.sample(key, 5), samples)
    assert (vae.sample(jax.random.key(5), 5) != samples).any()
    latents = jax.random.normal(jax.random.key(6), (4000, 3))
    expected, actual = vae.decode(latents), vae.sample(key, 4000)
    error = expected.std(axis=0) / np.sqrt(4000)
    assert (np.abs(actual.mean(axis=0) - expected.mean(axis=0)) < 5 * np.sqrt(2) * error).all()
    np.testing.assert_allclose(actual.std(axis=0), expected.std(axis=0), rtol=0.1)


def test_the_elbo_is_reproducible_by_its_key_and_has_a_draw_an_image(vae):
    key = jax.random.key(0)
    elbo = vae.elbo(BYTES, key)
    assert elbo.shape == (7,)
    np.testing.assert_array_equal(vae.elbo(BYTES, key), elbo)
    assert (vae.elbo(BYTES, jax.random.key(1)) != elbo).all()
    assert len(np.unique(vae.elbo(np.repeat(BYTES[:1], 7, axis=0), key))) == 7


def test_the_elbo_agrees_with_the_objective_on_average(vae):
    images = np.repeat(FLOATS[:1], 3000, axis=0)
    model = nnx.merge(vae.graphdef, vae.params)
    terms = elbo_terms(model, jnp.asarray(images), jnp.asarray(images), jax.random.key(9))
    actual = vae.elbo(images, jax.random.key(0))
    error = np.asarray(terms.elbo).std() * np.sqrt(2 / 3000)
    assert abs(actual.mean() - float(terms.elbo.mean())) < 5 * error


def test_the_elbo_of_a_model_that_knows_nothing_is_one_bit_a_pixel():
    elbo = make_model(scale=0.0).elbo(BYTES, jax.random.key(0))
    np.testing.assert_allclose(elbo, -12 * np.log(2), rtol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.sample(jax.random.key(0), 2),
        lambda model: model.posterior(BYTES),
        lambda model: model.elbo(BYTES, jax.random.key(0)),
    ],
    ids=["sample", "posterior", "elbo"],
)
def test_an_autoencoder_refuses_what_needs_a_distribution(autoencoder, call):
    with pytest.raises(ValueError, match="needs a VAE"):
        call(autoencoder)


def test_more_images_than_a_batch_give_what_each_alone_does(vae):
    images = np.random.default_rng(1).random((2005, *IMAGE_SHAPE)).astype(np.float32)
    assert images.shape[0] > 2 * trained_model._BATCH_SIZE
    reconstructed, key = vae.reconstruct(images), jax.random.key(0)
    assert reconstructed.shape == images.shape
    for at in (0, 999, 1000, 2004):
        np.testing.assert_allclose(
            reconstructed[at : at + 1], vae.reconstruct(images[at]), rtol=1e-5
        )
    posterior = vae.posterior(images)
    np.testing.assert_allclose(posterior.mean, vae.encode(images), rtol=1e-5, atol=1e-6)
    assert vae.elbo(images, key).shape == (2005,)


def test_other_parameters_serve_the_same_compiled_functions():
    first, second = make_model(), make_model(scale=0.7, **{"hparams.beta": 4.0})
    codes = first.encode(BYTES)
    shared = first.with_params(second.config, second.params)
    (compiled,) = first._compiled.values()
    assert compiled._cache_size() == 1
    np.testing.assert_array_equal(shared.encode(BYTES), second.encode(BYTES))
    np.testing.assert_array_equal(first.encode(BYTES), codes)
    assert (codes != second.encode(BYTES)).any()
    assert compiled._cache_size() == 1
    assert (shared.config, first.config) == (second.config, first.config)
    assert (shared.config.hparams.beta, first.config.hparams.beta) == (4.0, 1.0)
    # What is compiled later, by either, serves both.
    shared.reconstruct(BYTES)
    assert set(first._compiled) == {"encode", "reconstruct"}


def test_a_member_of_a_sweep_is_loaded_by_its_number(tmp_path):
    members = {2: make_model(), 11: make_model(scale=0.7, **{"model.latent_size": 4})}
    with workdir.hold(tmp_path, sweep={}):
        for number, model in members.items():
            small_runs.save(workdir.member_folder(tmp_path, number), model)
    for number, model in members.items():
        loaded = trained_model.load(tmp_path, member=number)
        assert loaded.config.to_dict() == json.loads(json.dumps(model.config.to_dict()))
        leaves = zip(jax.tree.leaves(loaded.params), jax.tree.leaves(model.params), strict=True)
        for own, expected in leaves:
            np.testing.assert_array_equal(own, expected)
    np.testing.assert_array_equal(loaded.encode(BYTES), model.encode(BYTES))
    (tmp_path / "members" / "notes").mkdir()
    with pytest.raises(UserError, match="holds a sweep; name a member: trained so far are 2, 11"):
        trained_model.load(tmp_path)
    with pytest.raises(UserError, match="has no member 3"):
        trained_model.load(tmp_path, member=3)


def test_a_run_whose_config_lacks_a_newer_field_says_so(tmp_path):
    config = make_model().config.to_dict()
    del config["data"]["modality_shares"]
    workdir.write_json(tmp_path / "config.json", config)
    with pytest.raises(UserError, match=r"lacks data\.modality_shares: an earlier version"):
        trained_model.load(tmp_path)
