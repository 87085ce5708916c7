import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_models import randomized
from vae_jax.trained_multimodal import TrainedMultimodal

from configs import multimodal
from vae_jax import config as factory
from vae_jax.errors import UserError
from vae_jax.models.modalities import Form

FORMS = {
    "image": Form("image", (4, 3, 1)),
    "label": Form("class", (4,)),
    "text": Form("text", (5,), ("a", "thin", "four", "three")),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 3, 1), np.uint8)
KEY = jax.random.key(1)


def make_model(**changes):
    config = multimodal.get_config()
    config.data.modalities = tuple(FORMS)
    config.model.joint_posterior, config.hparams.unimodal_kl_weight = "product", 0.0
    config.model.widths, config.model.latent_size = (5,), 3
    config.model.embedding_size, config.model.text_width = 4, 5
    config.objective.modality_weights = ()
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    factory.validate(config)
    model = randomized(lambda: factory.build_model(config, FORMS, jax.random.key(0)), 0, 0.7)
    return TrainedMultimodal(config, FORMS, nnx.split(model)[1])


@pytest.fixture(scope="module")
def model():
    return make_model()


def test_any_subset_is_encoded_as_the_mean_of_its_posterior(model):
    network = nnx.merge(model.graphdef, model.params)
    values = {
        "image": jnp.asarray(IMAGES / np.float32(255)),
        "label": jnp.asarray([0, 3, 1]),
        "text": jnp.asarray([[4, 5, 6, 2, 0]] * 3),
    }
    given = {"image": IMAGES, "label": [0, 3, 1], "text": ["a thin four"] * 3}
    for present in np.ndindex(2, 2, 2):
        names = [name for name, there in zip(FORMS, present, strict=True) if there]
        if not names:
            continue
        found = model.encode({name: given[name] for name in reversed(names)})
        expected = network.encode(values, jnp.asarray(present, bool)).mean
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_caption_makes_all_modalities_again_by_its_key(model):
    made = model.generate({"text": "A thin four"}, KEY)
    assert made["image"].shape == (1, 4, 3, 1)
    assert made["label"].shape == (1,)
    assert isinstance(made["text"][0], str)
    again, other = (
        model.generate({"text": "a thin four"}, key) for key in (KEY, jax.random.key(2))
    )
    np.testing.assert_array_equal(again["image"], made["image"])
    assert np.abs(other["image"] - made["image"]).max() > 1e-3
    assert set(made["text"][0].split()) <= set(FORMS["text"].words) | {"<unknown>"}


def test_what_is_generated_is_decoded_from_draws_of_the_posterior(model):
    num = 800
    latents = model.encode({"label": [2]})
    made = model.generate({"label": np.full(num, 2)}, KEY)["image"]
    network = nnx.merge(model.graphdef, model.params)
    values = {
        "image": jnp.zeros((1, 4, 3, 1)),
        "label": jnp.asarray([2]),
        "text": jnp.zeros((1, 5), jnp.int32),
    }
    posterior = network.encode(values, jnp.asarray([False, True, False])).components
    np.testing.assert_allclose(posterior.mean[0], latents, rtol=1e-5)
    noise = np.random.default_rng(3).normal(size=(4000, 3)).astype(np.float32)
    draws = latents + np.exp(posterior.log_scale[0]) * noise
    expected = model.decode(np.asarray(draws))["image"].mean(axis=0)
    np.testing.assert_allclose(made.mean(axis=0), expected, atol=0.06)


def test_samples_are_decoded_draws_of_the_prior(model):
    samples = model.sample(KEY, 501)
    decoded = model.decode(jax.random.normal(KEY, (501, 3)))
    np.testing.assert_array_equal(samples["image"], decoded["image"])
    assert samples["text"] == decoded["text"]
    assert len(samples["text"]) == 501
    assert set(np.unique(samples["label"])) <= set(range(4))


def test_a_reconstruction_is_the_decoded_mean(model):
    given = {"image": IMAGES}
    found, expected = model.reconstruct(given), model.decode(model.encode(given))
    np.testing.assert_array_equal(found["image"], expected["image"])
    np.testing.assert_allclose(
        model.encode({"image": IMAGES[0]}), model.encode(given)[:1], rtol=1e-5
    )


def test_one_program_serves_all_subsets(model):
    model.encode({"image": IMAGES})
    before = model._compiled["encode"]._cache_size()
    model.encode({"text": ["a"] * 3})
    model.encode({"label": [0, 1, 2], "text": ["four"] * 3})
    assert model._compiled["encode"]._cache_size() == before


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "nothing is given; give any of the modalities image, label, text"),
        ({"sound": IMAGES}, "the modality 'sound' is not known; this model has image, label, text"),
        ({"text": "a purple four"}, "caption 0 .*unknown word 'purple'"),
        ({"text": ""}, "caption 0 .* is empty"),
        ({"text": "a thin thin thin four"}, "caption 0 .* has 5 words and signs; give at most 4"),
        ({"text": [3]}, "text must be a text or a list of texts, not"),
        ({"image": IMAGES[:, :3]}, r"image has shape \(3, 3, 3, 1\); this model takes \(num, 4, 3"),
        ({"image": IMAGES.astype(np.int64)}, "image is int64; use uint8, bool or floats"),
        ({"image": np.full((1, 4, 3, 1), np.nan)}, "image holds values that are not finite"),
        ({"label": [4]}, "label must be whole numbers from 0 to 3"),
        ({"label": [-1]}, "label must be whole numbers from 0 to 3"),
        ({"label": [0.5]}, "label must be whole numbers from 0 to 3"),
        ({"label": [[1]]}, "label must be whole numbers from 0 to 3"),
        ({"image": IMAGES, "label": [1]}, "examples must be equally many.*image 3, label 1"),
        ({"image": IMAGES[:0]}, "examples must be equally many and at least one"),
    ],
)
def test_what_cannot_be_given_is_refused_in_one_line(model, given, told):
    for ask in (model.encode, lambda given: model.generate(given, KEY)):
        with pytest.raises(UserError, match=told) as error:
            ask(given)
        assert "\n" not in str(error.value)


def test_unknown_words_are_replaced_and_reported_where_the_config_says_so(caplog):
    model = make_model(**{"data.unknown_words": "replace"})
    with caplog.at_level(logging.WARNING):
        codes = model.encode({"text": ["a purple four"]})
    assert "purple" in caplog.text
    assert np.abs(codes - model.encode({"text": ["a four"]})).max() > 1e-4


@pytest.mark.parametrize("shape", [(3,), (2, 4), (0, 3)])
def test_latents_of_another_shape_are_refused(model, shape):
    with pytest.raises(UserError, match=r"this model takes \(num, 3\)"):
        model.decode(np.zeros(shape))
    with pytest.raises(UserError, match="num=0 must be at least 1"):
        model.sample(KEY, 0)
