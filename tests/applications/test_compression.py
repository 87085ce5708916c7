import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import math
import platform
import re
import struct

import constriction
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_runs
from absl.testing import flagsaver
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import compress, decompress
from vae_jax.applications.compression import Compressor, bits_back, pack, unpack
from vae_jax.applications.compression import report as compression_report
from vae_jax.data import image_arrays
from vae_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("parsed_flags")

GREY = {"data.binarization": "none"}
IMAGE_SHAPE = (4, 3, 2)
GREY_SHAPE = (4, 3, 1)
LIKELIHOODS = [
    "bernoulli",
    "categorical",
    "discretized_logistic",
    "discretized_logistic learned",
    "discretized_logistic_mixture",
]
RNG = np.random.default_rng(0)

few = settings(max_examples=25, deadline=None)


def make_model(likelihood, image_shape=IMAGE_SHAPE, *, scale=0.4, seed=0):
    name, *scale_kind = likelihood.split()
    changes = {"model.likelihood": name, "data.binarization": "none"}
    if scale_kind:
        changes["model.likelihood.scale_kind"] = scale_kind[0]
    if likelihood == "discretized_logistic_mixture":
        changes["model.likelihood.components"] = 2
    return small_runs.make_model(image_shape, scale, seed, **changes)


def make_compressor(likelihood, image_shape=IMAGE_SHAPE, *, batch_size=8, **options):
    compressor = Compressor(make_model(likelihood, image_shape, **options))
    # Several batches of few images.
    compressor.batch_size = batch_size
    return compressor


@functools.cache
def shared_compressor(likelihood, scale=0.4):
    return make_compressor(likelihood, scale=scale)


def random_images(likelihood, num, shape=IMAGE_SHAPE, seed=0):
    most = 1 if likelihood == "bernoulli" else 255
    return np.random.default_rng(seed).integers(0, most + 1, (num, *shape)).astype(np.uint8)


def assert_comes_back(compressor, images):
    content = pack(compressor.compress(images))
    back = compressor.decompress(unpack(content, "file"))
    assert back.dtype == images.dtype
    np.testing.assert_array_equal(back, images)
    assert back.shape == images.shape
    return content


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("num", [1, 8, 61])
def test_images_come_back_exactly(likelihood, num):
    assert_comes_back(shared_compressor(likelihood), random_images(likelihood, num))


@settings(max_examples=12, deadline=None)
@given(num=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), white=st.sampled_from([1, 255]))
def test_black_and_white_images_come_back_whatever_they_are(num, seed, white):
    images = random_images("bernoulli", num, seed=seed) * np.uint8(white)
    assert_comes_back(shared_compressor("bernoulli"), images)
    assert_comes_back(shared_compressor("bernoulli"), images > 0)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("scale", [0.0, 100.0])
def test_images_come_back_from_a_model_that_knows_nothing_or_is_sure_and_wrong(likelihood, scale):
    images = random_images(likelihood, 20)
    images[5:10], images[10:15] = 0, images.max()
    content = assert_comes_back(shared_compressor(likelihood, scale), images)
    # At most 24 bits per bit of a level and per latent.
    bits_per_level = 1 if likelihood == "bernoulli" else 8
    most = 24 * (len(images) * (images[0].size * bits_per_level + 3) + 3)
    assert 8 * len(content) < most + 8 * 600


@pytest.mark.parametrize("shape", [GREY_SHAPE, GREY_SHAPE[:2]])
def test_a_channel_axis_may_be_left_out(shape):
    compressor = make_compressor("bernoulli", GREY_SHAPE)
    assert_comes_back(compressor, random_images("bernoulli", 3, shape))


def test_the_same_images_give_the_same_file_in_another_compressor():
    images = random_images("bernoulli", 30)
    first = pack(shared_compressor("bernoulli").compress(images))
    other = make_compressor("bernoulli")
    assert pack(other.compress(images)) == first
    np.testing.assert_array_equal(other.decompress(unpack(first, "file")), images)


@pytest.mark.parametrize(("likelihood", "num"), [("bernoulli", 1500), ("categorical", 300)])
def test_the_rate_is_the_elbo(likelihood, num):
    model = make_model(likelihood, scale=0.3)
    vae = nnx.merge(model.graphdef, model.params)
    # From the model itself: else the stack holds bits that are not random, and so are the latents.
    latents = np.random.default_rng(1).normal(size=(num, 3)).astype(np.float32)
    draw = jax.jit(lambda latents, key: vae.decode(latents).sample(key))
    targets = np.asarray(draw(latents, jax.random.key(2)))
    elbo = np.mean([model.elbo(targets, jax.random.key(i)).mean() for i in range(4)])
    images = np.round(targets * (1 if likelihood == "bernoulli" else 255)).astype(np.uint8)
    words = make_compressor(likelihood, scale=0.3, batch_size=256).compress(images).words
    assert 32 * len(words) / len(images) == pytest.approx(-elbo / math.log(2), rel=0.02)


def test_the_probability_of_a_bit_is_that_of_its_levels_given_those_above():
    model = make_model("discretized_logistic", GREY_SHAPE)
    next_bit = make_compressor("discretized_logistic", GREY_SHAPE).next_bit(np.zeros((2, 3), "f"))
    decode = nnx.merge(model.graphdef, model.params).decode
    known = np.full((2, *GREY_SHAPE), 0b10100000, np.int32)

    @jax.jit
    def log_prob(values):
        single = dataclasses.replace(decode(jnp.zeros((2, 3))), event_ndim=0)
        return jax.vmap(single.log_prob)(values)

    def mass(levels):
        levels = np.asarray(levels, np.float32)[:, None, None, None, None] / 255
        return np.exp(log_prob(np.broadcast_to(levels, (len(levels), *known.shape)))).sum(axis=0)

    expected = mass(range(176, 192)) / mass(range(160, 192))
    np.testing.assert_allclose(next_bit(known, 4), expected, rtol=1e-4)


class KnownModel:
    """A model of fair pixels whatever the latents, each of which depends on half of the image.

    The posterior of a latent is N(0.8 m, 0.6^2), m its half's number of ones, of 12, standardised:
    all images together have about the prior. Minus the ELBO of an image is 24 bits and, for each
    latent, the KL, 0.5 (0.64 m^2 + 0.36 - 1) - log 0.6 nats.
    """

    image_shape = (2, 12, 1)
    latent_size = 2
    num_level_bits = 1
    batch_size = 64

    def standardised(self, images):
        return (images.sum(axis=(2, 3)) - 6) / math.sqrt(3)

    def posterior(self, images):
        mean = 0.8 * self.standardised(images)
        return mean, np.full_like(mean, 0.6)

    def next_bit(self, latents):
        return lambda known, position: np.full(known.shape, 0.5)

    def bits(self, images):
        kl = 0.5 * (0.64 * self.standardised(images) ** 2 + 0.36 - 1) - math.log(0.6)
        return 24 + kl.sum(axis=1) / math.log(2)


def test_the_rate_of_known_distributions_is_the_one_in_closed_form():
    images = RNG.integers(0, 2, (6000, 2, 12, 1)).astype(np.int32)
    initial = RNG.integers(1, 2**32, 3, dtype=np.uint32)
    words = bits_back.encode(KnownModel(), images, initial)
    back, rest = bits_back.decode(KnownModel(), words, len(images))
    np.testing.assert_array_equal(back, images)
    np.testing.assert_array_equal(rest, initial)
    coded = 32 * (len(words) - len(initial)) / len(images)
    assert coded == pytest.approx(KnownModel().bits(images).mean(), rel=0.02)


@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.3, 1.0, 40.0])
def test_latents_are_drawn_near_their_posterior_and_their_bits_come_back(scale):
    """Over the whole grid 6e-5 of all draws come from anywhere, 12 of these."""
    num = 200_000
    mean = np.random.default_rng(0).uniform(-9, 9, num)
    posterior = bits_back._on_grid(mean[:, None], np.full((num, 1), scale))
    words = np.random.default_rng(1).integers(1, 2**32, num, dtype=np.uint32)
    stack = constriction.stream.stack.AnsCoder(words)
    indices = bits_back._draw(stack, posterior, 2)
    far = np.abs(indices * bits_back._STEP - np.clip(mean, -8, 8))
    inner = np.abs(mean) < 3
    assert far[inner].max() <= max(17 * scale, 5 * bits_back._STEP)
    # At the ends of the grid a window reaches twice as far to one side.
    assert far.max() <= max(33 * scale, 10 * bits_back._STEP)
    assert np.abs(indices).max() <= bits_back._LAST
    if 0.02 <= scale <= 0.3:
        assert np.sqrt(np.square(far[inner]).mean()) == pytest.approx(scale, rel=0.03)
    bits_back._give_back(stack, indices, posterior, 2)
    np.testing.assert_array_equal(stack.get_compressed(), words)
    if scale == 0.02:
        everywhere = bits_back._draw(constriction.stream.stack.AnsCoder(words), posterior, 1)
        assert np.abs(everywhere * bits_back._STEP - np.clip(mean, -8, 8)).max() > 20 * scale


def test_one_image_costs_the_latents_that_it_cannot_get_back():
    image = np.zeros((1, 2, 12, 1), np.int32)
    initial = np.arange(1, 4, dtype=np.uint32)
    words = bits_back.encode(KnownModel(), image, initial)
    assert len(words) <= 3 + math.ceil(KnownModel().bits(image)[0] / 32) + 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((5, 4, 4, 1), np.uint8),
            r"shape \[5, 4, 4, 1\]; this model takes \[num, 4, 3, 1",
        ),
        (np.zeros((4, 3), np.uint8), r"shape \[4, 3\]"),
        (np.zeros((), np.uint8), r"shape \[\]"),
        (np.zeros((0, 4, 3, 1), np.uint8), "with num at least 1"),
        (np.full((5, 4, 3, 1), np.nan), "are float64; this model takes uint8 or bool"),
        (np.zeros((5, 4, 3, 1), np.int64), "are int64"),
        (np.full((5, 4, 3, 1), 7, np.uint8), "hold 7; this model is of black and white"),
        (np.arange(12, dtype=np.uint8).reshape(1, 4, 3) % 2 * 254 + 1, "hold 1; "),
    ],
)
def test_arrays_that_are_no_images_of_the_model_are_refused(images, message):
    with pytest.raises(UserError, match=message):
        make_compressor("bernoulli", GREY_SHAPE).compress(images)


def test_black_and_white_is_refused_by_a_model_of_levels():
    with pytest.raises(UserError, match="are bool; this model takes uint8"):
        shared_compressor("categorical").compress(np.zeros((2, *IMAGE_SHAPE), bool))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "autoencoder"}, "model='autoencoder' with these parts cannot compress"),
        ({"model.prior": "mixture"}, "and prior='standard'"),
        ({"model.posterior": "iaf"}, "with posterior='diagonal'"),
        (
            {"model": "markov", "model.top_latent_size": 2},
            "model='markov' with .* takes .* model='vae'",
        ),
        ({**GREY, "model.likelihood": "normal"}, "model.likelihood='normal' cannot compress"),
        ({**GREY, "model.likelihood": "continuous_bernoulli"}, "it is a density; use bernoulli"),
    ],
)
def test_models_that_cannot_be_coded_with_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        Compressor(small_runs.make_model(GREY_SHAPE, **changes))


@pytest.mark.parametrize("part", ["posterior", "decoder"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "discretized_logistic"])
def test_a_model_that_is_not_finite_is_refused(part, likelihood):
    model = make_model(likelihood)
    vae = nnx.merge(model.graphdef, model.params)
    nan = jax.tree.map(lambda leaf: leaf * np.nan, nnx.state(getattr(vae, part)))
    nnx.update(getattr(vae, part), nan)
    compressor = Compressor(model.with_params(model.config, nnx.state(vae)))
    with pytest.raises(UserError, match="not finite"):
        compressor.compress(random_images(likelihood, 2))


def test_another_model_is_refused():
    compressed = shared_compressor("bernoulli").compress(random_images("bernoulli", 5))
    others = [make_compressor("bernoulli", seed=1), make_compressor("bernoulli", (3, 4, 2))]
    for other in [*others, shared_compressor("categorical")]:
        with pytest.raises(UserError, match=f"with the model {compressed.model}, and this is"):
            other.decompress(compressed)


RESNET = {
    "model.encoder": {"name": "resnet", "widths": (5,), "channels": (2,), "blocks": 1},
    **GREY,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"model.decoder_start": "grey"},
        {"model.encoder.initializer": "glorot"},
        {"model.posterior.initializer": "glorot"},
        {"model.encoder.remat": True},
        {"objective.beta": 4.0},
        {"optimizer.learning_rate": 1e-5},
        {"epochs": 3, "batch_size": 64},
    ],
)
def test_a_file_is_read_by_a_model_that_started_or_was_trained_otherwise(changes):
    first, other = (
        Compressor(small_runs.make_model((8, 8, 1), **{**RESNET, **more})) for more in ({}, changes)
    )
    assert other.digest == first.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"model.encoder.activation": "tanh"},
        {"model.encoder.compute_dtype": "bfloat16"},
        {"model.encoder.kernel_size": 5},
        {"model.likelihood": "categorical"},
    ],
)
def test_a_model_that_computes_something_else_has_another_digest(changes):
    first, other = (
        Compressor(small_runs.make_model((8, 8, 1), **{**RESNET, **more})) for more in ({}, changes)
    )
    assert other.digest != first.digest


FILE = pack(shared_compressor("bernoulli").compress(random_images("bernoulli", 25)))


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, len(FILE) - 1), flipped=st.integers(1, 255))
def test_an_altered_byte_is_noticed(position, flipped):
    altered = bytearray(FILE)
    altered[position] ^= flipped
    with pytest.raises(UserError, match=r"f\.vae is (cut short or altered|no file that)"):
        unpack(bytes(altered), "f.vae")


@settings(max_examples=200, deadline=None)
@given(size=st.integers(0, len(FILE) - 1))
def test_a_file_cut_short_is_noticed(size):
    with pytest.raises(UserError, match=r"f\.vae is (cut short or altered|no file that)"):
        unpack(FILE[:size], "f.vae")


def test_a_shape_that_the_file_is_too_short_for_is_refused_before_anything_is_allocated():
    whole = unpack(FILE, "f.vae")
    large = pack(dataclasses.replace(whole, shape=(10**9, *whole.shape[1:])))
    with pytest.raises(UserError, match=r"f\.vae holds what .* shape \(1000000000"):
        unpack(large, "f.vae")


def test_a_header_nested_too_deep_is_refused():
    header = 100_000 * b"["
    content = b"VAEC" + (1).to_bytes(2, "little") + len(header).to_bytes(4, "little") + header
    with pytest.raises(UserError, match=r"f\.vae holds what experiments\.compress does not write"):
        unpack(content + hashlib.sha256(content).digest(), "f.vae")


def test_a_file_with_more_at_its_end_is_noticed():
    with pytest.raises(UserError, match="altered"):
        unpack(FILE + b"\n", "f.vae")


@few
@given(data=st.data())
def test_other_words_under_a_right_checksum_never_give_other_images(data):
    compressed = unpack(FILE, "file")
    words = compressed.words.copy()
    words[data.draw(st.integers(0, len(words) - 1))] ^= np.uint32(
        data.draw(st.integers(1, 2**32 - 1))
    )
    forged = dataclasses.replace(compressed, words=words[: data.draw(st.integers(0, len(words)))])
    with pytest.raises(UserError, match="do not come back as they were"):
        shared_compressor("bernoulli").decompress(unpack(pack(forged), "file"))


@few
@given(word=st.integers(0, len(unpack(FILE, "file").words) - 1), bit=st.integers(0, 31))
def test_a_bit_of_a_word_under_a_right_checksum_never_gives_other_images(word, bit):
    compressed = unpack(FILE, "file")
    words = compressed.words.copy()
    words[word] ^= np.uint32(1 << bit)
    with pytest.raises(UserError, match="do not come back as they were"):
        shared_compressor("bernoulli").decompress(dataclasses.replace(compressed, words=words))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (24, *IMAGE_SHAPE)}, "do not come back"),
        ({"shape": (26, *IMAGE_SHAPE)}, "do not come back"),
        ({"shape": (25, 5)}, "do not come back"),
        ({"brightest": 255}, "do not come back"),
        ({"images": "0"}, "do not come back"),
        ({"platform": "jax 0.1"}, None),
    ],
)
def test_other_headers_under_a_right_checksum_never_give_other_images(changes, message):
    forged = pack(dataclasses.replace(unpack(FILE, "file"), **changes))
    if message is None:
        shared_compressor("bernoulli").decompress(unpack(forged, "file"))
        return
    with pytest.raises(UserError, match=message):
        shared_compressor("bernoulli").decompress(unpack(forged, "file"))


def sealed(header, words):
    content = struct.pack("<4sHI", b"VAEC", 1, len(header)) + header + words
    return content + hashlib.sha256(content).digest()


HEADER = {
    **dict.fromkeys(("model", "images", "platform"), ""),
    "shape": [2, 3],
    "dtype": "bool",
    "brightest": 1,
}


@pytest.mark.parametrize(
    "changes",
    [{"shape": [0, 3]}, {"shape": ["4"]}, {"shape": 4}, {"dtype": "object"}, {"brightest": 3}],
)
def test_what_is_never_written_is_refused_under_a_right_checksum(changes):
    unpack(sealed(json.dumps(HEADER).encode(), b"word"), "f.vae")
    for header, words in (
        (json.dumps({**HEADER, **changes}).encode(), b"word"),
        (json.dumps({**HEADER, "more": 1}).encode(), b"word"),
        (b"[]", b"word"),
        (b"{}", b"word"),
        (b"\xff", b"word"),
        (json.dumps(HEADER).encode(), b"part of a word"),
    ):
        with pytest.raises(UserError, match=r"f\.vae holds what experiments\.compress does not"):
            unpack(sealed(header, words), "f.vae")


def test_where_networks_have_other_bits_both_machines_are_named():
    compressed = unpack(FILE, "file")
    elsewhere = dataclasses.replace(compressed, platform="jax 0.1", words=compressed.words[:-1])
    with pytest.raises(UserError, match=r"under jax 0\.1, and this is jax "):
        shared_compressor("bernoulli").decompress(elsewhere)


def test_a_later_version_of_the_format_is_refused_and_an_earlier_one_is_read():
    compressed = unpack(FILE, "file")
    newer = pack(dataclasses.replace(compressed, version=3))
    with pytest.raises(UserError, match=r"f\.vae has format 3; this program reads formats 1 to 2"):
        unpack(newer, "f.vae")
    compressor, images = shared_compressor("bernoulli"), random_images("bernoulli", 25)
    words = bits_back.encode(compressor, images.astype(np.int32), compressor._initial_words(), 1)
    assert not np.array_equal(words, compressed.words)
    older = pack(dataclasses.replace(compressed, words=words, version=1))
    np.testing.assert_array_equal(compressor.decompress(unpack(older, "file")), images)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    small_runs.save(folder, make_model("bernoulli", GREY_SHAPE))
    return folder


def command(main, **given):
    with flagsaver.flagsaver(**{name: str(value) for name, value in given.items()}):
        main()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_the_commands_bring_a_file_back(run, tmp_path, capsys, suffix):
    images = random_images("bernoulli", 40, GREY_SHAPE[:2]) > 0
    source, back = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    image_arrays.write(source, images)
    packed = tmp_path / "a.vae"
    command(compress.main, workdir=run, input=source, output=packed)
    said = capsys.readouterr().out
    assert f"40 images in {packed.stat().st_size:,} bytes" in said
    content = unpack(packed.read_bytes(), "file")
    header = packed.stat().st_size - 4 * len(content.words)
    assert f"; header {header:,} bytes, initial bits 16 bytes\n" in said
    command(decompress.main, workdir=run, input=packed, output=back)
    assert back.read_bytes() == source.read_bytes()
    np.testing.assert_array_equal(image_arrays.read(back), images)
    assert not list(tmp_path.glob("*.partial"))


def objects(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def header(text):
    """Write a .npy file that has a header and nothing else."""
    content = text.ljust(117).encode() + b"\n"
    return lambda path: path.write_bytes(b"\x93NUMPY\1\0\x76\0" + content)


OF_SHAPE = "{{'descr': '|u1', 'fortran_order': False, 'shape': ({}, 28, 28)}}"


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.npy", lambda path: None, "a.npy does not exist"),
        ("a.npy", header(OF_SHAPE.format(10**15)), "a.npy is not a whole .npy file: Unable to"),
        ("a.npy", header(OF_SHAPE.format(10**30)), "a.npy is not a whole .npy file: Python int"),
        ("a.npy", header("{'descr': ("), "a.npy is not a whole .npy file"),
        ("a.npy", lambda path: path.write_bytes(b""), "a.npy is not a whole .npy file"),
        ("a.npz", lambda path: path.write_bytes(b""), "a.npz is not a whole .npz file"),
        ("a.npz", lambda path: path.write_bytes(b"PK\3\4 nothing"), "not a whole .npz file"),
        ("a.npy", lambda path: path.write_bytes(b"\x80\4K\1."), "not a whole .npy file"),
        ("a.npy", objects, "not a whole .npy file: Object arrays cannot be loaded"),
        ("a.npz", lambda path: np.savez(path, labels=np.zeros(3)), "must hold 'images' only"),
        ("a.npy", lambda path: path.mkdir(), "cannot be read"),
        ("a.png", lambda path: path.write_bytes(b"png"), "must end in .npy or .npz"),
        ("a.npy", lambda path: np.save(path, np.full((3, 4, 3), np.nan)), "are float64"),
        ("a.npy", lambda path: np.save(path, np.zeros((3, 5, 3), np.uint8)), "shape [3, 5, 3]"),
    ],
)
def test_files_that_hold_no_images_are_refused_and_nothing_is_written(
    run, tmp_path, name, write, message
):
    write(tmp_path / name)
    target = tmp_path / "target.vae"
    target.write_text("mine")
    with pytest.raises(UserError) as error:
        command(compress.main, workdir=run, input=tmp_path / name, output=target)
    assert message in str(error.value)
    assert target.read_text() == "mine"


def test_a_file_is_not_written_over_the_one_it_is_made_of(run, tmp_path):
    source = tmp_path / "a.npy"
    np.save(source, np.zeros((1, *GREY_SHAPE), bool))
    with pytest.raises(UserError, match="would overwrite --input"):
        command(compress.main, workdir=run, input=source, output=tmp_path / "." / "a.npy")
    assert image_arrays.read(source).shape == (1, *GREY_SHAPE)


def test_damaged_and_missing_compressed_files_leave_what_is_there(run, tmp_path):
    source, target = tmp_path / "a.vae", tmp_path / "a.npy"
    target.write_text("mine")
    for content, message in (
        (b"", "no file that"),
        (FILE[:-9], "cut short"),
        (FILE, "another|model"),
    ):
        source.write_bytes(content)
        with pytest.raises(UserError, match=message):
            command(decompress.main, workdir=run, input=source, output=target)
    source.unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        command(decompress.main, workdir=run, input=source, output=target)
    with pytest.raises(UserError, match=r"a\.txt must end in \.npy or \.npz"):
        command(decompress.main, workdir=run, input=source, output=tmp_path / "a.txt")
    assert target.read_text() == "mine"


def test_a_flag_that_is_missing_is_named(run):
    for main, others, missing in (
        (compress.main, {}, "output"),
        (decompress.main, {"output": "a.npy"}, "input"),
        (decompress.main, {"input": "a.vae"}, "output"),
    ):
        with pytest.raises(UserError, match=f"--{missing} is missing"):
            command(main, workdir=run, **others)


def test_the_report_shows_the_mean_over_seeds_and_nothing_before_a_measurement(tmp_path):
    path = tmp_path / "compression.json"
    assert compression_report.section(path) == ""
    row = {
        "images": "binarised",
        "data": "mnist",
        "elbo_bits_per_dim": 0.2,
        "compressed_images_per_second": 20123.4,
        "decompressed_images_per_second": 999.9,
        **dict.fromkeys(("gzip", "bz2", "lzma"), 0.25),
    }
    rows = [{**row, "seed": seed, "bits_per_dim": 0.201 + 0.002 * seed} for seed in (0, 1)]
    path.write_text(json.dumps({"num_cores": 2, "rows": rows}))
    expected = "0.2000 | 0.2020 ± 0.0014 | 1.00% | 0.2500 | 0.2500 | 0.2500 | 20,123 | 1,000 |"
    assert f"| mnist, binarised | 2 | {expected}" in compression_report.section(path)
    path.write_text('{"torn')
    with pytest.raises(UserError, match=r"compression\.json cannot be read"):
        compression_report.section(path)


def test_a_file_names_what_the_last_bits_depend_on():
    record = unpack(FILE, "file").platform
    for name in ("jax", "jaxlib", "constriction"):
        assert f"{name} {importlib.metadata.version(name)}" in record
    assert platform.machine() in record
    assert re.search(r", \d+ cores$", record)


def test_a_process_without_the_cpu_backend_is_refused(monkeypatch):
    def no_cpu(backend):
        raise RuntimeError(f"Unknown backend {backend}")

    model = make_model("bernoulli")
    monkeypatch.setattr(jax, "local_devices", no_cpu)
    with pytest.raises(UserError, match="JAX_PLATFORMS leaves out"):
        Compressor(model)
