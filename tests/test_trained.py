import inspect
import json
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_joint_runs
import small_runs
from flax import nnx
from small_configs import small_experiment
from small_models import randomized

import vae_jax
from configs import multimodal_label
from vae_jax import arguments, trained, workdir
from vae_jax import config as factory
from vae_jax.errors import UserError
from vae_jax.models.modalities import Form
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.trained import TrainedMultimodal

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
    return make_model(model="autoencoder")


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


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (BYTES.astype(np.float32), r"lie in \[\d+, 2\d\d\], outside \[0, 1\]; use uint8 for 8-bit"),
        (FLOATS - 0.5, r"lie in \[-0\.\d+, 0\.\d+\], outside \[0, 1\]$"),
        (BYTES // 200, "are uint8 and hold only 0 and 1, where white is 255; store them as bool"),
    ],
)
def test_images_on_another_scale_are_refused_by_every_function_of_images(vae, images, message):
    functions = {
        "encode": vae.encode,
        "latents": vae.latents,
        "posterior": vae.posterior,
        "reconstruct": vae.reconstruct,
        "reconstruction_log_likelihood": vae.reconstruction_log_likelihood,
        "interpolate": lambda images: vae.interpolate(images, images),
        "elbo": lambda images: vae.elbo(images, jax.random.key(0)),
    }
    for function in functions.values():
        with pytest.raises(UserError, match=f"^images: values {message}") as error:
            function(images)
        assert "\n" not in str(error.value)


def test_a_denoising_model_takes_noise_beyond_the_unit_interval():
    model = make_model(corruption="gaussian")
    assert model.reconstruct(2 * FLOATS - 0.5).shape == (7, *IMAGE_SHAPE)


def test_an_image_that_is_black_and_one_of_zeros_and_ones_as_bool_are_taken(vae):
    assert vae.encode(np.zeros((1, *IMAGE_SHAPE), np.uint8)).shape == (1, 3)
    white = np.ones((1, *IMAGE_SHAPE), bool)
    np.testing.assert_array_equal(vae.encode(white), vae.encode(255 * white.astype(np.uint8)))


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
    with pytest.raises(UserError, match=r"\(num, 4, 3, 1\)") as error:
        vae.encode(np.zeros(shape, np.float32))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("dtype", [np.int64, np.complex64])
def test_images_of_another_type_are_refused(vae, dtype):
    with pytest.raises(UserError, match=np.dtype(dtype).name):
        vae.encode(np.zeros((2, *IMAGE_SHAPE), dtype))


@pytest.mark.parametrize("shape", [(3,), (2, 4), (0, 3), (1, 2, 3)])
def test_latents_of_another_shape_are_refused_with_both_shapes(vae, shape):
    with pytest.raises(UserError, match=r"\(num, 3\)") as error:
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
    unchecked = inspect.unwrap(trained.TrainedModel.interpolate)
    with pytest.raises(UserError, match="linear, spherical"):
        unchecked(vae, BYTES[0], BYTES[1], path="straight")
    with pytest.raises(UserError, match="2 images cannot be interpolated to 3"):
        vae.interpolate(BYTES[:2], BYTES[:3])


def test_samples_are_decoded_draws_of_the_prior_and_a_function_of_the_key(vae):
    key = jax.random.key(4)
    samples = vae.sample(key, 5)
    assert samples.shape == (5, *IMAGE_SHAPE)
    np.testing.assert_array_equal(vae.sample(key, 5), samples)
    assert (vae.sample(jax.random.key(5), 5) != samples).any()
    latents = np.random.default_rng(6).normal(size=(4000, 3)).astype(np.float32)
    expected, actual = vae.decode(latents), vae.sample(key, 4000)
    error = expected.std(axis=0) / np.sqrt(4000)
    assert (np.abs(actual.mean(axis=0) - expected.mean(axis=0)) < 5 * np.sqrt(2) * error).all()
    np.testing.assert_allclose(actual.std(axis=0), expected.std(axis=0), rtol=0.1)


def test_the_elbo_is_reproducible_by_its_key_and_has_one_draw_per_image(vae):
    key = jax.random.key(0)
    elbo = vae.elbo(BYTES, key)
    assert elbo.shape == (7,)
    np.testing.assert_array_equal(vae.elbo(BYTES, key), elbo)
    assert (vae.elbo(BYTES, jax.random.key(1)) != elbo).all()
    assert len(np.unique(vae.elbo(np.repeat(BYTES[:1], 7, axis=0), key))) == 7


def test_the_elbo_agrees_with_the_objective_on_average(vae):
    images = np.repeat(FLOATS[:1], 3000, axis=0)
    model = nnx.merge(vae.graphdef, vae.state)
    draw = jax.jit(lambda images, key: elbo_terms(model, images, images, key).elbo)
    expected = np.asarray(draw(images, jax.random.key(9)))
    actual = vae.elbo(images, jax.random.key(0))
    error = expected.std() * np.sqrt(2 / 3000)
    assert abs(actual.mean() - expected.mean()) < 5 * error


def test_the_elbo_of_a_uniform_model_is_one_bit_per_pixel():
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
def test_an_autoencoder_refuses_methods_that_need_a_distribution(autoencoder, call):
    with pytest.raises(
        UserError, match="needs a model with a posterior and a prior, which model='autoencoder'"
    ):
        call(autoencoder)


def test_several_batches_give_the_same_as_single_images(vae):
    images = np.random.default_rng(1).random((2005, *IMAGE_SHAPE)).astype(np.float32)
    assert images.shape[0] > 2 * trained.images._BATCH_SIZE
    reconstructed, key = vae.reconstruct(images), jax.random.key(0)
    assert reconstructed.shape == images.shape
    for at in (0, 999, 1000, 2004):
        np.testing.assert_allclose(
            reconstructed[at : at + 1], vae.reconstruct(images[at]), rtol=1e-5
        )
    posterior = vae.posterior(images)
    np.testing.assert_allclose(posterior.mean, vae.encode(images), rtol=1e-5, atol=1e-6)
    assert vae.elbo(images, key).shape == (2005,)


def test_a_model_describes_itself(vae, autoencoder):
    assert (vae.name, autoencoder.name) == ("vae", "autoencoder")
    assert (vae.has_density, autoencoder.has_density) == (True, False)
    assert vae.has_normal_posterior
    assert vae.has_posterior_density
    assert vae.has_standard_prior
    assert not autoencoder.has_normal_posterior
    assert vae.code_shape == autoencoder.code_shape == (3,)
    assert vae.likelihood_name == "bernoulli"
    flow = make_model(**{"model.posterior": "iaf", "model.prior": "mixture"})
    assert not flow.has_normal_posterior
    assert not flow.has_posterior_density
    assert not flow.has_standard_prior
    with pytest.raises(UserError, match="the posterior of this run is not a diagonal normal"):
        flow.posterior(BYTES)
    assert flow.sample(jax.random.key(0), 2).shape == (2, *IMAGE_SHAPE)


def test_the_network_has_the_settings_of_the_function_and_not_of_its_start():
    plain = make_model().network
    for changes in (
        {"model.decoder_start": "grey"},
        {"model.encoder.initializer": "glorot"},
        {"objective.beta": 4.0},
    ):
        assert make_model(**changes).network == plain
    for changes in ({"model.encoder.activation": "tanh"}, {"model.latent_size": 4}):
        assert make_model(**changes).network != plain
    network = {"name": "resnet", "channels": (2,)}
    residual = make_model(**{"model.encoder": network})
    remat = make_model(**{"model.encoder": {**network, "remat": True}})
    assert residual.network == remat.network != plain
    assert residual.digest != remat.digest


def test_other_parameters_serve_the_same_compiled_functions():
    first, second = make_model(), make_model(scale=0.7, **{"objective.beta": 4.0})
    codes = first.encode(BYTES)
    shared = first.with_params(second.config, second.params)
    (compiled,) = first._compiled.values()
    assert compiled._cache_size() == 1
    np.testing.assert_array_equal(shared.encode(BYTES), second.encode(BYTES))
    np.testing.assert_array_equal(first.encode(BYTES), codes)
    assert (codes != second.encode(BYTES)).any()
    assert compiled._cache_size() == 1
    assert (shared.config, first.config) == (second.config, first.config)
    assert (shared.config.objective.beta, first.config.objective.beta) == (4.0, 1.0)
    # A function that is compiled later, by either, serves both.
    shared.reconstruct(BYTES)
    assert set(first._compiled) == {"encode", "reconstruct"}


def test_a_second_model_of_a_network_is_not_traced_again(vae, monkeypatch):
    monkeypatch.setattr(nnx, "eval_shape", None)
    again = trained.TrainedModel(vae.config, IMAGE_SHAPE, vae.params)
    assert again.graphdef == vae.graphdef
    assert again.code_shape == vae.code_shape == (3,)


def test_extra_state_is_part_of_the_model():
    model = make_model(model="own_parts:Centred")
    codes = model.encode(BYTES)
    still = trained.TrainedModel(
        model.config, IMAGE_SHAPE, model.params, jax.tree.map(jnp.zeros_like, model.extra)
    )
    centre = model.extra["centre"][...]
    assert (np.abs(centre) > 0).all()
    np.testing.assert_allclose(still.encode(BYTES) - codes, np.tile(centre, (7, 1)), rtol=1e-4)
    network = nnx.merge(model.graphdef, model.state)
    np.testing.assert_allclose(jax.jit(network.latents)(FLOATS), codes, rtol=1e-5, atol=1e-6)


def test_a_member_of_a_sweep_is_loaded_by_its_number(tmp_path):
    members = {2: make_model(), 11: make_model(scale=0.7, **{"model.latent_size": 4})}
    with workdir.hold(tmp_path, sweep={}):
        for number, model in members.items():
            small_runs.save(workdir.member_folder(tmp_path, number), model)
    for number, model in members.items():
        loaded = trained.load(tmp_path, member=number)
        assert loaded.config == model.config
        leaves = zip(jax.tree.leaves(loaded.params), jax.tree.leaves(model.params), strict=True)
        for own, expected in leaves:
            np.testing.assert_array_equal(own, expected)
    np.testing.assert_array_equal(loaded.encode(BYTES), model.encode(BYTES))
    (tmp_path / "members" / "notes").mkdir()
    with pytest.raises(UserError, match="holds a sweep; name a member: trained so far are 2, 11"):
        trained.load(tmp_path)
    with pytest.raises(UserError, match="has no member 3"):
        trained.load(tmp_path, member=3)


@pytest.fixture(scope="module")
def saved(vae, tmp_path_factory):
    """Return the workdir of a run, to be copied."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    small_runs.save(folder, vae)
    return folder


def test_a_moved_run_is_loaded_from_a_read_only_folder(vae, saved, tmp_path):
    folder = tmp_path / "elsewhere"
    shutil.copytree(saved, folder)
    (folder / ".lock").unlink(missing_ok=True)
    before = sorted(path for path in folder.rglob("*"))
    for path in (folder, *before):
        path.chmod(path.stat().st_mode & ~0o222)
    loaded = vae_jax.load(folder)
    assert isinstance(loaded, trained.TrainedModel)
    assert (loaded.config, loaded.digest) == (vae.config, vae.digest)
    assert loaded.written_config == json.loads(json.dumps(vae.config.to_dict()))
    np.testing.assert_array_equal(loaded.encode(BYTES), vae.encode(BYTES))
    assert sorted(path for path in folder.rglob("*")) == before


def rewritten(saved, folder, change):
    """Return a copy of a run with a changed config."""
    shutil.copytree(saved, folder)
    config = workdir.read_config(folder)
    change(config)
    workdir.write_json(folder / "config.json", config)
    return folder


def test_a_setting_missing_from_a_run_has_its_default(vae, saved, tmp_path):
    def forget(config):
        del config["objective"]["free_nats"], config["model"]["encoder"]["compute_dtype"]
        del config["tensorboard"]

    loaded = vae_jax.load(rewritten(saved, tmp_path / "run", forget))
    assert loaded.config == vae.config
    np.testing.assert_array_equal(loaded.encode(BYTES), vae.encode(BYTES))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema=99), "the config has schema=99, which a later version of"),
        (lambda c: c.update(nonsense=1), "nonsense is not a setting"),
        (lambda c: c["model"].update(name="gan"), "model.name='gan' must be one of"),
        (lambda c: c.update(epochs=0), "epochs=0 must be an integer of at least 1"),
    ],
)
def test_an_invalid_config_is_refused_with_its_run(saved, tmp_path, change, message):
    folder = rewritten(saved, tmp_path / "run", change)
    with pytest.raises(UserError) as error:
        vae_jax.load(folder)
    assert str(error.value).startswith(f"the config of workdir={str(folder)!r}: {message}")


def test_a_run_without_a_whole_checkpoint_is_refused(saved, tmp_path):
    empty, torn = tmp_path / "empty", tmp_path / "torn"
    for folder in (empty, torn):
        shutil.copytree(saved, folder)
    shutil.rmtree(empty / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoint yet; train it first"):
        vae_jax.load(empty)
    (torn / "checkpoints" / "0" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"no checkpoint in .* is whole; train the run again"):
        vae_jax.load(torn)
    with pytest.raises(UserError, match="holds no run"):
        vae_jax.load(tmp_path / "nothing")


FORMS = {
    "image": Form("image", (4, 3, 1)),
    "label": Form("class", (4,)),
    "text": Form("text", (5,), ("a", "thin", "four", "three")),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 3, 1), np.uint8)
KEY = jax.random.key(1)


def make_joint(**changes):
    model = {
        "name": "multimodal",
        "label": {"widths": (5,)},
        "text": {"embedding_size": 4, "width": 5},
    }
    config = small_experiment({"model": model, "data.modalities": tuple(FORMS), **changes})
    network = randomized(lambda: factory.build_model(config, FORMS, jax.random.key(0)), 0, 0.7)
    return TrainedMultimodal(config, FORMS, nnx.split(network)[1])


@pytest.fixture(scope="module")
def joint():
    return make_joint()


def test_any_subset_is_encoded_as_the_mean_of_its_posterior(joint):
    network = nnx.merge(joint.graphdef, joint.params)
    encode = jax.jit(lambda values, present: network.encode(values, present).mean)
    values = {
        "image": IMAGES / np.float32(255),
        "label": np.array([0, 3, 1], np.int32),
        "text": np.array([[4, 5, 6, 2, 0]] * 3, np.int32),
    }
    given = {"image": IMAGES, "label": [0, 3, 1], "text": ["a thin four"] * 3}
    for present in np.ndindex(2, 2, 2):
        names = [name for name, is_present in zip(FORMS, present, strict=True) if is_present]
        if not names:
            continue
        found = joint.encode({name: given[name] for name in reversed(names)})
        expected = encode(values, np.array(present, bool))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_all_modalities_of_a_caption_are_generated_by_the_key(joint):
    made = joint.generate({"text": "A thin four"}, KEY)
    assert made["image"].shape == (1, 4, 3, 1)
    assert made["label"].shape == (1,)
    assert isinstance(made["text"][0], str)
    again, other = (
        joint.generate({"text": "a thin four"}, key) for key in (KEY, jax.random.key(2))
    )
    np.testing.assert_array_equal(again["image"], made["image"])
    assert np.abs(other["image"] - made["image"]).max() > 1e-3
    assert set(made["text"][0].split()) <= set(FORMS["text"].words) | {"<unknown>"}


def test_generated_images_are_decoded_from_draws_of_the_posterior(joint):
    num = 800
    latents = joint.encode({"label": [2]})
    made = joint.generate({"label": np.full(num, 2)}, KEY)["image"]
    network = nnx.merge(joint.graphdef, joint.params)
    values = {
        "image": np.zeros((1, 4, 3, 1), np.float32),
        "label": np.array([2], np.int32),
        "text": np.zeros((1, 5), np.int32),
    }
    encode = jax.jit(lambda values, present: network.encode(values, present).components)
    posterior = encode(values, np.array([False, True, False]))
    np.testing.assert_allclose(np.asarray(posterior.mean)[0], latents, rtol=1e-5)
    noise = np.random.default_rng(3).normal(size=(4000, 3)).astype(np.float32)
    draws = latents + np.exp(np.asarray(posterior.log_scale)[0]) * noise
    expected = joint.decode(np.asarray(draws))["image"].mean(axis=0)
    np.testing.assert_allclose(made.mean(axis=0), expected, atol=0.06)


def test_samples_are_decoded_draws_of_the_prior(joint):
    samples = joint.sample(KEY, 501)
    decoded = joint.decode(jax.random.normal(KEY, (501, 3)))
    np.testing.assert_array_equal(samples["image"], decoded["image"])
    assert samples["text"] == decoded["text"]
    assert len(samples["text"]) == 501
    assert set(np.unique(samples["label"])) <= set(range(4))


def test_a_reconstruction_is_the_decoded_mean(joint):
    given = {"image": IMAGES}
    found, expected = joint.reconstruct(given), joint.decode(joint.encode(given))
    np.testing.assert_array_equal(found["image"], expected["image"])
    np.testing.assert_allclose(
        joint.encode({"image": IMAGES[0]}), joint.encode(given)[:1], rtol=1e-5
    )


def test_one_program_serves_all_subsets(joint):
    joint.encode({"image": IMAGES})
    before = joint._compiled["encode"]._cache_size()
    joint.encode({"text": ["a"] * 3})
    joint.encode({"label": [0, 1, 2], "text": ["four"] * 3})
    assert joint._compiled["encode"]._cache_size() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing is given; give any of the modalities image, label, text"),
        ({"sound": IMAGES}, "the modality 'sound' is not known; this model has image, label, text"),
        ({"text": "a purple four"}, "caption 0 .*unknown word 'purple'"),
        ({"text": ""}, "caption 0 .* is empty"),
        ({"text": "a thin thin thin four"}, "caption 0 .* has 5 words and signs; give at most 4"),
        ({"text": [3]}, "text must be a text or a list of texts, not"),
        ({"image": IMAGES[:, :3]}, r"image has shape \(3, 3, 3, 1\); this model takes \(num, 4, 3"),
        ({"image": IMAGES.astype(np.int64)}, "image: type int64; use uint8, bool or floats"),
        ({"image": np.full((1, 4, 3, 1), np.nan)}, "image: values that are not finite"),
        (
            {"image": IMAGES.astype(np.float64)},
            r"image: values lie in \[\d+, \d+\], outside \[0, 1\]",
        ),
        ({"image": IMAGES // 200}, "image: values are uint8 and hold only 0 and 1"),
        ({"label": [4]}, "label must be whole numbers from 0 to 3"),
        ({"label": [-1]}, "label must be whole numbers from 0 to 3"),
        ({"label": [0.5]}, "label must be whole numbers from 0 to 3"),
        ({"label": [[1]]}, "label must be whole numbers from 0 to 3"),
        ({"image": IMAGES, "label": [1]}, "examples must be equally many.*image 3, label 1"),
        ({"image": IMAGES[:0]}, "examples must be equally many and at least one"),
    ],
)
def test_invalid_examples_are_refused_in_one_line(joint, given, message):
    for method in (joint.encode, lambda given: joint.generate(given, KEY)):
        with pytest.raises(UserError, match=message) as error:
            method(given)
        assert "\n" not in str(error.value)


def test_unknown_words_are_replaced_and_reported_if_the_config_says_so(caplog):
    joint = make_joint(**{"data.unknown_words": "replace"})
    with caplog.at_level(logging.WARNING):
        codes = joint.encode({"text": ["a purple four"]})
    assert "purple" in caplog.text
    assert np.abs(codes - joint.encode({"text": ["a four"]})).max() > 1e-4


@pytest.mark.parametrize("shape", [(3,), (2, 4), (0, 3)])
def test_latents_of_another_shape_are_refused(joint, shape):
    with pytest.raises(UserError, match=r"this model takes \(num, 3\)"):
        joint.decode(np.zeros(shape))
    with pytest.raises(UserError, match="num=0 must be at least 1"):
        joint.sample(KEY, 0)


def test_grey_images_may_lack_the_axis_of_their_channels():
    model = small_runs.make_model((4, 3, 1))
    images = np.random.default_rng(0).random((2, 4, 3, 1), np.float32)
    np.testing.assert_array_equal(model.encode(images[..., 0]), model.encode(images))


def test_floats_that_look_like_8_bit_values_are_warned_of(caplog):
    normal = {"model.likelihood": "normal", "data.binarization": "none"}
    model = small_runs.make_model((4, 3, 1), **normal)
    images = np.full((2, 4, 3, 1), 7.0, np.float32)
    with caplog.at_level(logging.WARNING):
        model.encode(images)
        assert not caplog.text
        images[0, 0] = 255
        model.encode(images)
    assert "give 8-bit values as uint8, or divided by 255" in caplog.text


@pytest.mark.parametrize("key", [0, "0", None, np.zeros(2, np.uint32)])
def test_what_is_no_key_is_refused(key):
    # By the check itself: before it, tests check annotations.
    with pytest.raises(UserError, match=r"is no key; give one, such as jax.random.key\(0\)"):
        arguments.require_key(key)
    arguments.require_key(KEY)


def test_a_run_of_several_modalities_is_loaded(tmp_path):
    folder = tmp_path / "run"
    small_joint_runs.save(folder, multimodal_label.get_config())
    loaded = vae_jax.load(folder)
    assert isinstance(loaded, TrainedMultimodal)
    assert loaded.names == ("image", "label")
    assert (loaded.name, loaded.latent_size) == ("multimodal", 3)
    assert loaded.encode({"label": [0, 9]}).shape == (2, 3)
    with pytest.raises(UserError, match=r"holds a run of model='multimodal', which has no images"):
        trained.load_images(folder)


def test_a_run_of_images_is_loaded(saved):
    assert isinstance(trained.load_images(saved), trained.TrainedModel)
    with pytest.raises(UserError, match="holds no sweep, so it has no member 0"):
        trained.load_images(saved, member=0)
