import jax
import numpy as np
import pytest
from flax import nnx
from small_joint_runs import IMAGES, make_model
from small_models import in_one_program

from vae_jax import data
from vae_jax.applications.multimodal import caption_accuracy
from vae_jax.applications.multimodal.caption_accuracy import agreement, agreement_of_images
from vae_jax.data import multimodal
from vae_jax.data.captions.attributes import DIGITS, measure_values
from vae_jax.data.captions.grammars import GRAMMARS
from vae_jax.data.captions.vocabulary import END, PAD, Vocabulary
from vae_jax.errors import UserError

MNIST = GRAMMARS["mnist"]
LOW, MIDDLE, HIGH = 0, 1, 2


def test_agreement_by_hand():
    texts = ["a thin four", "a bold upright four", "four or five", "an upright nine, thick strokes"]
    labels = np.array([4, 5, 4, 9])
    # Size, thickness, slant.
    values = np.array([[LOW, LOW, LOW], [LOW, LOW, MIDDLE], [LOW, LOW, LOW], [LOW, HIGH, HIGH]])
    found = agreement(MNIST, texts, labels, values)
    # The third names two classes: that is none.
    assert found.label == 2 / 4
    assert found.attributes == {"size": None, "thickness": 2 / 3, "slant": 1 / 2}
    assert found.said == {"size": 0.0, "thickness": 3 / 4, "slant": 2 / 4}
    assert found.all_attributes == 3 / 5


def test_nothing_said_has_no_share_and_an_empty_image_agrees_with_nothing():
    found = agreement(MNIST, ["one"], np.array([1]), np.array([[0, 0, 0]]))
    assert found.attributes == dict.fromkeys(("size", "thickness", "slant"))
    assert found.all_attributes is None
    empty = np.zeros((1, 28, 28, 1), np.float32)
    shown = agreement_of_images(MNIST, ["a thin one"], empty, lambda images: np.array([1]))
    assert shown.label == 1
    assert shown.attributes["thickness"] == 0


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_captions_agree_with_the_images_that_they_were_written_of(name):
    grammar = GRAMMARS[name]
    test = data.load("mnist", "test[:300]", "")
    # Captions of clothes for images of digits: the measurement does not depend on the subject.
    texts = multimodal.write_texts(test, name, part="test", seed=0)
    written = texts.vocabulary.decode(texts.ids)
    real = agreement(grammar, written, test.labels, texts.attributes.values)
    assert real.label == 1
    assert real.all_attributes == 1
    read = lambda images: test.labels  # noqa: E731
    assert agreement_of_images(grammar, written, test.images, read) == real
    # Turned upside down a drawing leans to the other side; its thickness stays.
    if name == "mnist":
        turned = agreement_of_images(grammar, written, test.images[:, ::-1], read)
        assert turned.attributes["thickness"] == 1
        assert turned.attributes["slant"] < 0.6


def test_factors_are_judged_by_their_readers_and_left_out_without_one():
    faces = GRAMMARS["avatars"]
    texts = ["a smiling person in glasses", "a smiling person with a bob, mint background"]
    images = np.zeros((2, 64, 64, 3), np.uint8)
    names = [attribute.name for attribute in faces.subject.attributes]
    found = agreement_of_images(
        faces,
        texts,
        images,
        lambda images: np.array([1, 1]),
        {"mouth": lambda images: np.array([7, 5]), "top": lambda images: np.array([2, 1])},
    )
    assert found.label == 1 / 2
    assert found.attributes == {**dict.fromkeys(names), "mouth": 1 / 2, "top": 1.0}
    assert found.said["background"] == 1 / 2
    assert found.all_attributes == 2 / 3


def test_the_class_that_is_named_judges_the_size():
    # As large as it is, it is small for a zero and large for a one.
    test = data.load("mnist", "test[:300]", "")
    chosen = np.flatnonzero((test.labels == 3) & (measure(test) == MIDDLE))[:1]
    image = test.images[chosen]
    read = lambda images: np.array([3])  # noqa: E731
    for text, right in (("a small zero", 1.0), ("a large one", 1.0), ("a small three", 0.0)):
        found = agreement_of_images(MNIST, [text], image, read)
        assert found.attributes["size"] == right


def measure(test):
    return measure_values(DIGITS, test.images, test.labels)[:, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: agreement(MNIST, ["one"], np.array([1, 2]), np.zeros((2, 3), int)),
            "1 captions do not fit 2 images",
        ),
        (
            lambda: agreement(MNIST, [], np.zeros(0, int), np.zeros((0, 3), int)),
            "0 captions do not fit 0 images; one is needed for each, and at least one",
        ),
        (
            lambda: agreement_of_images(
                MNIST, ["one", "a picture"], np.ones((2, 28, 28, 1)), np.array
            ),
            "the caption 'a picture' names no class, or two",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.fixture(scope="module")
def model():
    return make_model()


def encoded(model, texts):
    vocabulary = Vocabulary(model.forms["text"].words)
    return vocabulary.encode(texts, model.forms["text"].shape[0]).ids


def test_greedy_words_are_all_the_likeliest(model):
    given = {"image": IMAGES}
    latents = model.encode(given)
    # Other captions have fewer likeliest words.
    unlike = encoded(model, ["a a a", "four four", "thin"])

    def greedy_and_log_prob(network, latents, unlike):
        decoded = network.decode("text", latents)
        logits = network.modalities["text"].decoder.word_logits(latents, unlike)
        return decoded.greedy(), decoded.log_prob(unlike), logits.argmax(-1)

    network = nnx.merge(model.graphdef, model.params)
    likeliest, log_prob, of_unlike = map(
        np.asarray, in_one_program(greedy_and_log_prob, network, latents, unlike)
    )
    assert caption_accuracy.word_accuracy(model, "text", given, likeliest).likeliest == 1
    found = caption_accuracy.word_accuracy(model, "text", given, unlike)
    num_words = (unlike != PAD).sum()
    assert num_words == (4 + 3 + 2)
    assert (unlike == END).sum() == 3
    assert found.nats == pytest.approx(float(-log_prob.sum() / num_words), rel=1e-5)
    right = (of_unlike == unlike)[unlike != PAD].mean()
    assert found.likeliest == pytest.approx(float(right))


def test_words_are_drawn_by_key_with_the_probabilities_of_the_decoder(model):
    given = {"label": np.repeat(2, 4000)}
    drawn = caption_accuracy.sampled_captions(model, "text", given, jax.random.key(0))
    again, other = (
        caption_accuracy.sampled_captions(model, "text", given, jax.random.key(seed))
        for seed in (0, 1)
    )
    assert drawn == again != other
    network = nnx.merge(model.graphdef, model.params)

    def log_prob_of(network, latents, ids):
        return network.decode("text", latents).log_prob(ids)

    latents, ids = model.encode({"label": [2]}), encoded(model, ["thin"])
    log_prob = in_one_program(log_prob_of, network, latents, ids)
    share = np.mean([text == "thin" for text in drawn])
    expected = float(np.exp(log_prob[0]))
    assert share == pytest.approx(expected, abs=4 * np.sqrt(expected / 4000) + 1e-3)
