import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_modalities import draw_texts
from small_models import normal, randomized

from vae_jax.data.captions.vocabulary import BEGIN, END, PAD, SPECIAL, UNKNOWN
from vae_jax.models.texts import Texts
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.text import TextDecoder, TextEncoder, drop_words

WORDS, LENGTH, LATENTS = len(SPECIAL) + 2, 4, 3
# The words that are possible at a position: known words, the unknown one, the end.
POSSIBLE = (END, UNKNOWN, *range(len(SPECIAL), WORDS))


def make_decoder(seed=0, words=WORDS, length=LENGTH):
    build = lambda: TextDecoder(LATENTS, words, length, 4, 6, rngs=nnx.Rngs(0))  # noqa: E731
    return randomized(build, seed)


def every_text():
    texts = []
    for num in range(LENGTH):
        for words in itertools.product([w for w in POSSIBLE if w != END], repeat=num):
            texts.append([*words, END] + [PAD] * (LENGTH - num - 1))
    return jnp.asarray(texts, jnp.int32)


def test_the_probabilities_of_all_texts_sum_to_one():
    decoder, texts = make_decoder(), every_text()
    assert len(texts) == 1 + 3 + 9 + 27
    for latents in normal(1, 3, LATENTS):
        log_probs = Texts(decoder, jnp.tile(latents, (len(texts), 1))).log_prob(texts)
        assert float(jnp.exp(log_probs).sum()) == pytest.approx(1, abs=1e-5)
        assert float(log_probs.min()) > -100


def test_teacher_forcing_is_the_decoder_word_by_word():
    decoder, latents = make_decoder(words=7, length=5), normal(2, 6, LATENTS)
    texts = draw_texts(np.random.default_rng(3), 6)
    expected = np.zeros((6, 5))
    state, before = decoder.begin(latents), jnp.full(6, BEGIN)
    for position in range(5):
        state, logits = decoder.next_word(state, before, jnp.asarray(position))
        before = jnp.asarray(texts[:, position])
        expected[:, position] = jax.nn.log_softmax(logits)[np.arange(6), before]
    expected[texts == PAD] = 0
    found = Texts(decoder, latents).log_prob_by_word(jnp.asarray(texts))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    total = Texts(decoder, latents).log_prob(jnp.asarray(texts))
    np.testing.assert_allclose(total, expected.sum(axis=1), rtol=1e-4)


def test_several_latents_per_text_are_those_latents_one_by_one():
    decoder, latents = make_decoder(), normal(4, 3, 2, LATENTS)
    texts = jnp.asarray([[4, 5, END, PAD], [5, END, PAD, PAD]])
    together = Texts(decoder, latents).log_prob(texts)
    apart = jnp.stack([Texts(decoder, one).log_prob(texts) for one in latents])
    np.testing.assert_allclose(together, apart, rtol=1e-5)


def test_the_probability_of_a_word_does_not_depend_on_words_after_it():
    decoder, latents = make_decoder(), normal(5, 1, LATENTS)
    one, other = jnp.asarray([[4, 5, 4, END]]), jnp.asarray([[4, 4, END, PAD]])
    one, other = (Texts(decoder, latents).log_prob_by_word(text) for text in (one, other))
    assert float(one[0, 0]) == float(other[0, 0])


def test_samples_have_the_probabilities_of_the_texts():
    decoder, texts, latents = make_decoder(), np.asarray(every_text()), normal(6, LATENTS)
    num = 20_000
    samples = Texts(decoder, jnp.tile(latents, (num, 1))).sample(jax.random.key(0))
    index = {tuple(text): i for i, text in enumerate(texts.tolist())}
    counts = np.bincount([index[tuple(text)] for text in samples.tolist()], minlength=len(texts))
    log_prob = Texts(decoder, jnp.tile(latents, (len(texts), 1))).log_prob(jnp.asarray(texts))
    expected = np.exp(log_prob)
    deviation = np.sqrt(num * expected * (1 - expected))
    assert (np.abs(counts - num * expected) < 4.5 * deviation + 1).all()


def test_greedy_decoding_takes_the_likeliest_word_at_every_position_and_ends():
    decoder, latents = make_decoder(), normal(7, 20, LATENTS)
    words = Texts(decoder, latents).greedy()
    logits = decoder.word_logits(latents, words)
    is_word = np.asarray(words) != PAD
    np.testing.assert_array_equal(np.asarray(logits.argmax(-1))[is_word], words[is_word])
    ends = (np.asarray(words) == END).sum(axis=1)
    np.testing.assert_array_equal(ends, 1)
    np.testing.assert_array_equal(Texts(decoder, latents).mean, words)


def test_features_of_a_text_do_not_depend_on_the_length_of_its_row():
    def build():
        return TextEncoder(WORDS, 4, 6, activation=ACTIVATIONS["relu"], rngs=nnx.Rngs(0))

    encoder = randomized(build)
    short = jnp.asarray([[4, 5, END]])
    long = jnp.asarray([[4, 5, END, PAD, PAD, PAD]])
    np.testing.assert_allclose(encoder(short), encoder(long), rtol=1e-5)
    assert float(jnp.abs(encoder(short) - encoder(jnp.asarray([[5, 4, END]]))).max()) > 1e-3
    assert bool(jnp.isfinite(encoder(jnp.zeros((1, 3), jnp.int32))).all())


def test_dropped_words_are_unknown_and_padding_is_kept():
    texts = jnp.tile(jnp.asarray([[4, 5, END, PAD]]), (4000, 1))
    dropped = drop_words(jax.random.key(1), texts, jnp.float32(0.3))
    share = np.asarray(dropped == UNKNOWN).mean(axis=0)
    np.testing.assert_allclose(share, [0.3, 0.3, 0.3, 0], atol=0.03)
    kept = np.asarray(dropped != UNKNOWN)
    np.testing.assert_array_equal(np.asarray(dropped)[kept], np.asarray(texts)[kept])
    np.testing.assert_array_equal(drop_words(jax.random.key(1), texts, jnp.float32(0)), texts)


def test_the_decoder_is_given_the_context():
    decoder, latents = make_decoder(), normal(8, 1, LATENTS)
    text, context = jnp.asarray([[4, 5, END, PAD]]), jnp.asarray([[UNKNOWN, 5, END, PAD]])
    plain = Texts(decoder, latents).log_prob_by_word(text)
    dropped = Texts(decoder, latents, context).log_prob_by_word(text)
    assert float(plain[0, 0]) == float(dropped[0, 0])
    assert abs(float(plain[0, 1] - dropped[0, 1])) > 1e-4
