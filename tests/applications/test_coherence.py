import jax
import numpy as np
import pytest
from flax import nnx

from vae_jax.applications.multimodal import coherence
from vae_jax.data.captions.grammars import GRAMMARS
from vae_jax.errors import UserError
from vae_jax.evaluation.classifier import Classifier, ClassifierNetwork
from vae_jax.models.modalities import Form
from vae_jax.trained import TrainedMultimodal

KEY = jax.random.key(0)
NAMES = ("a", "b", "c")
LABELS = np.array([0, 1, 2, 0])
READERS = dict.fromkeys(NAMES, np.asarray)


class Rules(TrainedMultimodal):
    """A joint model of classes: `rule(name, subset, given)` makes one modality of others."""

    def __init__(self, rule, samples=None):
        self.names, self.rule, self.samples = NAMES, rule, samples

    def generate(self, given, key):
        del key
        values = next(iter(given.values()))
        return {name: self.rule(name, tuple(given), values) for name in self.names}

    def sample(self, key, num):
        del key
        assert num == len(self.samples["a"])
        return self.samples


def conditional(rule):
    values = dict.fromkeys(NAMES, LABELS)
    return coherence.conditional(Rules(rule), values, LABELS, READERS, KEY)


def test_what_is_given_is_every_subset_but_none_and_all():
    expected = [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")]
    assert coherence.proper_subsets(NAMES) == expected
    assert len(coherence.proper_subsets("abcde")) == 30


def test_a_model_that_keeps_the_class_is_coherent_however_much_is_given():
    shares = conditional(lambda name, subset, values: values)
    for subset, by_modality in shares.items():
        assert by_modality == {name: 1.0 for name in NAMES if name not in subset}
    assert coherence.by_num_inputs(shares) == {1: 1.0, 2: 1.0}


def test_coherence_by_hand():
    # "c" shows class 0 whatever is given, and two inputs are worse than one: all is off by one.
    def rule(name, subset, values):
        if name == "c":
            return np.zeros_like(values)
        return values if len(subset) == 1 else values + 1

    shares = conditional(rule)
    assert shares["a",] == {"b": 1.0, "c": 0.5}
    assert shares["c",] == {"a": 1.0, "b": 1.0}
    assert shares["a", "b"] == {"c": 0.5}
    assert shares["b", "c"] == {"a": 0.0}
    by_size = coherence.by_num_inputs(shares)
    assert by_size == pytest.approx({1: (0.75 + 0.75 + 1) / 3, 2: (0.5 + 0 + 0) / 3})


def test_every_subset_has_a_key_of_its_own():
    keys = []

    class Listens(Rules):
        def generate(self, given, key):
            keys.append(jax.random.key_data(key).tolist())
            return super().generate(given, key)

    model = Listens(lambda name, subset, values: values)
    coherence.conditional(model, dict.fromkeys(NAMES, LABELS), LABELS, READERS, KEY)
    assert len(set(map(tuple, keys))) == len(keys) == 6


def test_joint_coherence_wants_one_class_and_not_a_certain_one():
    samples = {
        "a": np.array([3, 3, 3, -1, 0]),
        "b": np.array([3, 3, 2, -1, 0]),
        "c": np.array([3, 2, 2, -1, 0]),
    }
    # The fourth shows no class at all, in all modalities alike.
    assert coherence.joint(Rules(None, samples), READERS, KEY, 5) == pytest.approx(2 / 5)


def classifier_of(image_shape):
    network = ClassifierNetwork(image_shape, 10, rngs=nnx.Rngs(0))
    return Classifier(image_shape, 10, nnx.split(network)[1], {})


FORMS = {
    "image": Form("image", (8, 8, 1)),
    "label": Form("class", (10,)),
    "text": Form("text", (5,), ("a", "four")),
}


def test_classes_are_read_by_classifier_grammar_and_from_labels_and_real_ones_are_counted():
    judge = classifier_of((8, 8, 1))
    readers = coherence.readers(FORMS, {"image": judge}, GRAMMARS["mnist"])
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    values = {
        "image": images,
        "label": np.array([4, 4, 1, 0]),
        "text": ["a thin four", "four or five", "", "a four"],
    }
    np.testing.assert_array_equal(readers["image"](images), judge.predict(images))
    wide = 3 * np.random.default_rng(1).standard_normal((4, 8, 8, 1), np.float32)
    clipped = judge.predict(np.clip(wide, 0, 1))
    np.testing.assert_array_equal(readers["image"](wide), clipped)
    np.testing.assert_array_equal(readers["text"](values["text"]), [4, -1, -1, 4])
    found = coherence.accuracies(readers, values, np.array([4, 4, 4, 4]))
    assert found["label"] == found["text"] == 0.5
    assert found["image"] == np.mean(judge.predict(images) == 4)


@pytest.mark.parametrize(
    ("classifiers", "grammar", "message"),
    [
        ({}, "mnist", "modality 'image' is an image and has no classifier; there are those of no"),
        ({"image": (8, 8, 3)}, "mnist", r"'image' takes images of \[8, 8, 3\] and the model has"),
        ({"image": (8, 8, 1)}, None, "'text' is a text without a grammar"),
    ],
)
def test_a_modality_that_nothing_reads_is_refused(classifiers, grammar, message):
    judges = {name: classifier_of(shape) for name, shape in classifiers.items()}
    with pytest.raises(UserError, match=message):
        coherence.readers(FORMS, judges, grammar and GRAMMARS[grammar])
