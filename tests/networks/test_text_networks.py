import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from small_modalities import draw_texts
from small_models import in_one_program, normal, randomized

from vae_jax.data.captions.vocabulary import BEGIN, END, PAD, SPECIAL, UNKNOWN
from vae_jax.models.texts import Texts
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.text import TextDecoder, TextEncoder, drop_words

WORDS, LENGTH, LATENTS = len(SPECIAL) + 2, 4, 3
# The words that are possible at a position: known words, the unknown one, the end.
POSSIBLE = (END, UNKNOWN, *range(len(SPECIAL), WORDS))


@functools.cache
def make_decoder(seed=0, words=WORDS, length=LENGTH):
    build = lambda: TextDecoder(LATENTS, words, length, 4, 6, rngs=nnx.Rngs(0))  # noqa: E731
    return randomized(build, seed)


def every_text():
    texts = []
    for num in range(LENGTH):
        for words in itertools.product([w for w in POSSIBLE if w != END], repeat=num):
            texts.append([*words, END] + [PAD] * (LENGTH - num - 1))
    return np.array(texts, np.int32)


def log_prob_by_word(decoder, latents, texts):
    return Texts(decoder, latents).log_prob_by_word(texts)


def log_prob(decoder, latents, texts):
    return Texts(decoder, latents).log_prob(texts)


def test_the_probabilities_of_all_texts_sum_to_one():
    decoder, texts = make_decoder(), every_text()
    assert len(texts) == 1 + 3 + 9 + 27
    latents = np.repeat(np.asarray(normal(1, 3, 1, LATENTS)), len(texts), axis=1)
    log_probs = np.asarray(in_one_program(log_prob, decoder, latents, texts))
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-5)
    assert log_probs.min() > -100


def test_teacher_forcing_is_the_decoder_word_by_word():
    texts = draw_texts(np.random.default_rng(3), 6)

    def word_by_word(decoder, latents, texts):
        state, before, found = decoder.begin(latents), jnp.full(6, BEGIN), []
        for position in range(5):
            state, logits = decoder.next_word(state, before, jnp.asarray(position))
            before = texts[:, position]
            found.append(jax.nn.log_softmax(logits)[jnp.arange(6), before])
        return jnp.stack(found, axis=1)

    def at_once(decoder, latents, texts):
        return log_prob_by_word(decoder, latents, texts), log_prob(decoder, latents, texts)

    arguments = make_decoder(words=7, length=5), normal(2, 6, LATENTS), texts
    expected = np.array(in_one_program(word_by_word, *arguments))
    expected[texts == PAD] = 0
    found, total = in_one_program(at_once, *arguments)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(total, expected.sum(axis=1), rtol=1e-4)


def test_several_latents_per_text_are_those_latents_one_by_one():
    texts = np.array([[4, 5, END, PAD], [5, END, PAD, PAD]], np.int32)

    def both(decoder, latents, texts):
        together = log_prob(decoder, latents, texts)
        return together, jax.lax.map(lambda one: log_prob(decoder, one, texts), latents)

    together, apart = in_one_program(both, make_decoder(), normal(4, 3, 2, LATENTS), texts)
    np.testing.assert_allclose(together, apart, rtol=1e-5)


def test_the_probability_of_a_word_does_not_depend_on_words_after_it():
    texts = np.array([[4, 5, 4, END], [4, 4, END, PAD]], np.int32)
    latents = np.tile(normal(5, 1, LATENTS), (2, 1))
    found = in_one_program(log_prob_by_word, make_decoder(), latents, texts)
    one, other = np.asarray(found)
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_samples_have_the_probabilities_of_the_texts():
    decoder, texts, latents = make_decoder(), np.asarray(every_text()), normal(6, LATENTS)
    num = 20_000

    def drawn_and_log_prob(decoder, latents, texts, key):
        samples = Texts(decoder, jnp.tile(latents, (num, 1))).sample(key)
        return samples, log_prob(decoder, jnp.tile(latents, (len(texts), 1)), texts)

    samples, log_probs = in_one_program(
        drawn_and_log_prob, decoder, latents, texts, jax.random.key(0)
    )
    index = {tuple(text): i for i, text in enumerate(texts.tolist())}
    counts = np.bincount([index[tuple(text)] for text in samples.tolist()], minlength=len(texts))
    expected = np.exp(log_probs)
    deviation = np.sqrt(num * expected * (1 - expected))
    assert (np.abs(counts - num * expected) < 4.5 * deviation + 1).all()


def test_greedy_decoding_takes_the_likeliest_word_at_every_position_and_ends():
    def greedy(decoder, latents):
        words = Texts(decoder, latents).greedy()
        return words, Texts(decoder, latents).mean, decoder.word_logits(latents, words).argmax(-1)

    words, mean, likeliest = map(
        np.asarray, in_one_program(greedy, make_decoder(), normal(7, 20, LATENTS))
    )
    is_word = words != PAD
    np.testing.assert_array_equal(likeliest[is_word], words[is_word])
    np.testing.assert_array_equal((words == END).sum(axis=1), 1)
    np.testing.assert_array_equal(mean, words)


def test_features_of_a_text_do_not_depend_on_the_length_of_its_row():
    def build():
        return TextEncoder(WORDS, 4, 6, activation=ACTIVATIONS["relu"], rngs=nnx.Rngs(0))

    def features(encoder):
        texts = [[4, 5, END]], [[4, 5, END, PAD, PAD, PAD]], [[5, 4, END]], [[0, 0, 0]]
        return [encoder(jnp.asarray(text)) for text in texts]

    short, long, other, empty = map(np.asarray, in_one_program(features, randomized(build)))
    np.testing.assert_allclose(short, long, rtol=1e-5)
    assert np.abs(short - other).max() > 1e-3
    assert np.isfinite(empty).all()


def test_dropped_words_are_unknown_and_padding_is_kept():
    texts = np.tile(np.array([[4, 5, END, PAD]], np.int32), (4000, 1))
    drop = jax.jit(drop_words)
    dropped = np.asarray(drop(jax.random.key(1), texts, np.float32(0.3)))
    share = (dropped == UNKNOWN).mean(axis=0)
    np.testing.assert_allclose(share, [0.3, 0.3, 0.3, 0], atol=0.03)
    kept = dropped != UNKNOWN
    np.testing.assert_array_equal(dropped[kept], texts[kept])
    np.testing.assert_array_equal(drop(jax.random.key(1), texts, np.float32(0)), texts)


def test_the_decoder_is_given_the_context():
    text = np.array([[4, 5, END, PAD]], np.int32)
    context = np.array([[UNKNOWN, 5, END, PAD]], np.int32)

    def plain_and_dropped(decoder, latents, text, context):
        given = Texts(decoder, latents, context)
        return log_prob_by_word(decoder, latents, text), given.log_prob_by_word(text)

    plain, dropped = in_one_program(
        plain_and_dropped, make_decoder(), normal(8, 1, LATENTS), text, context
    )
    assert float(plain[0, 0]) == float(dropped[0, 0])
    assert abs(float(plain[0, 1]) - float(dropped[0, 1])) > 1e-4
