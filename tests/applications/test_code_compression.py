"""Lossy compression by codes: exact codes, at the rate of the prior over them."""

import dataclasses
import hashlib

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from small_codes import IMAGE_SHAPE, coded_experiment
from small_models import randomized
from small_runs import save

from experiments import compress, decompress
from vae_jax import config as factory
from vae_jax.applications.compression import (
    CodeCompressor,
    Compressor,
    compressor_of,
    pack,
    unpack,
)
from vae_jax.config.experiment import resolve
from vae_jax.errors import UserError
from vae_jax.models.code_prior import CodePriorSettings, FirstStage
from vae_jax.networks.causal_transformer import TransformerSettings
from vae_jax.trained import TrainedModel

pytestmark = pytest.mark.usefixtures("parsed_flags")


def make_model(seed=0, **changes):
    model = CodePriorSettings(
        FirstStage(
            workdir="somewhere",
            data_name="mnist",
            binarization="none",
            image_shape=IMAGE_SHAPE,
            model=coded_experiment("fsq").model,
        ),
        TransformerSettings(width=8, layers=1, heads=2),
    )
    config = resolve({"model": model, "data": {"binarization": "none"}, **changes})
    built = randomized(
        lambda: factory.build_model(config, IMAGE_SHAPE, jax.random.key(0)), seed, 0.5
    )
    return TrainedModel(config, IMAGE_SHAPE, *factory.split_model(built)[1:])


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def compressor(model):
    compressor = CodeCompressor(model)
    compressor.batch_size = 64
    return compressor


def random_images(num):
    rng = np.random.default_rng(0)
    brightness = rng.integers(0, 256, (num, 1, 1, 1))
    return (brightness * rng.random((num, *IMAGE_SHAPE))).astype(np.uint8)


def test_codes_come_back_exactly_and_images_as_their_means(model, compressor):
    images = random_images(150)
    content = pack(compressor.compress(images))
    compressed = unpack(content, "the file")
    assert compressed.lossy
    codes = compressor.codes(compressed)
    np.testing.assert_array_equal(codes, model.encode(images))
    assert len(np.unique(codes)) > 1
    restored = compressor.decompress(compressed)
    assert (restored.dtype, restored.shape) == (np.uint8, images.shape)
    assert np.abs(restored / 255 - model.reconstruct(images)).max() <= 0.5001 / 255
    # Without the channel they come back without it, too.
    np.testing.assert_array_equal(
        compressor.decompress(compressor.compress(images[..., 0])), restored[..., 0]
    )


def test_the_words_take_the_bits_of_the_prior(model, compressor):
    images = random_images(600)

    rate = -model._run(
        "log p(c)", lambda model, codes: model.prior.log_prob_of_codes(codes), model.encode(images)
    ).sum()
    bits = 32 * compressor.compress(images).words.size
    assert bits == pytest.approx(rate / np.log(2), rel=0.01)


def test_another_model_and_other_bits_are_refused(compressor):
    compressed = compressor.compress(random_images(5))
    with pytest.raises(UserError, match="were compressed with the model"):
        CodeCompressor(make_model(seed=1)).decompress(compressed)
    words = compressed.words.copy()
    words[0] ^= 1 << 31
    with pytest.raises(UserError, match="do not come back as they were"):
        compressor.decompress(dataclasses.replace(compressed, words=words))


@pytest.mark.parametrize("images", [random_images(2)[:, :5], random_images(2) > 100])
def test_images_that_the_model_does_not_take_are_refused(compressor, images):
    with pytest.raises(UserError) as refused:
        compressor.compress(images)
    assert "\n" not in str(refused.value)


def test_a_file_without_loss_says_nothing_of_loss(compressor):
    compressed = compressor.compress(random_images(2))
    assert b'"lossy":true' in pack(compressed)
    assert b"lossy" not in pack(dataclasses.replace(compressed, lossy=False))
    wrong = pack(compressed)[:-32].replace(b'"lossy":true', b'"lossy":"no"')
    with pytest.raises(UserError, match="lossy no"):
        unpack(wrong + hashlib.sha256(wrong).digest(), "the file")


def test_codes_take_no_condition(model):
    images = np.zeros((2, *IMAGE_SHAPE), np.float32)
    codes = model.encode(images)
    for call in (lambda: model.encode(images, 3), lambda: model.decode(codes, 3)):
        with pytest.raises(UserError, match="condition"):
            call()


def test_codes_without_a_prior_and_lossless_use_are_refused_in_a_line(model):
    experiment = coded_experiment("fsq")
    built = randomized(lambda: factory.build_model(experiment, IMAGE_SHAPE, jax.random.key(0)))
    bare = TrainedModel(experiment, IMAGE_SHAPE, *factory.split_model(built)[1:])
    with pytest.raises(UserError, match="train model='code_prior' with this workdir"):
        compressor_of(bare)
    with pytest.raises(UserError, match="compresses with loss alone"):
        Compressor(model)


def test_the_commands_compress_and_decompress_by_codes(model, tmp_path, capsys):
    save(tmp_path / "run", model)
    np.save(tmp_path / "images.npy", random_images(4))
    files = {"workdir": str(tmp_path / "run"), "input": str(tmp_path / "images.npy")}
    with flagsaver.flagsaver(**files, output=str(tmp_path / "images.vae")):
        compress.main()
    files["input"] = str(tmp_path / "images.vae")
    with flagsaver.flagsaver(**files, output=str(tmp_path / "restored.npy")):
        decompress.main()
    assert capsys.readouterr().out.count(", lossy\n") == 2
    restored = np.load(tmp_path / "restored.npy")
    np.testing.assert_allclose(restored / 255, model.reconstruct(random_images(4)), atol=0.003)
