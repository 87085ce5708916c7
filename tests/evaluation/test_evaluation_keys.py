import jax
import numpy as np
import small_runs

from configs import vanilla
from vae_jax import config as factory
from vae_jax.applications.anomaly import data as anomaly_data
from vae_jax.applications.editing import directions
from vae_jax.data import Dataset
from vae_jax.data.multimodal import MultimodalDataset
from vae_jax.evaluation import likelihood, metrics, summary

IMAGES = Dataset(np.zeros((5, 2, 2, 1), np.uint8), None)
NUM_CHILDREN = 20


def bits(keys):
    return np.asarray(jax.random.key_data(keys)).reshape(-1, 2)


def key_of(monkeypatch, module, name, call, shape=(5, 2, 2, 1)):
    """The key that `call` hands to a function of a module, which is not run."""
    found = []
    with monkeypatch.context() as patch:
        patch.setattr(module, name, lambda *args: found.append(args[2]) or np.zeros(shape))
        call()
    return found


def test_no_two_things_that_are_measured_of_a_run_share_a_key(monkeypatch):
    model = small_runs.make_model((2, 2, 1))

    def key_of_images(call):
        return key_of(monkeypatch, metrics, "prepare_targets", call)

    keys = model.keys
    parents = [
        *key_of_images(lambda: summary.prepare_test(model, IMAGES)),
        *key_of_images(lambda: summary.prepare_train(model, IMAGES)),
        *(key for each in anomaly_data.build_keys(model) for key in each),
        *key_of(
            monkeypatch,
            directions,
            "draw_latents",
            lambda: directions.load_known(model, IMAGES),
            (5, 4),
        ),
        keys.samples,
        keys.prior,
        keys.validation,
    ]
    # Batches, images, samples and what else is drawn by a number.
    children = [likelihood.image_keys(key, 0, NUM_CHILDREN) for key in parents]
    used = np.concatenate([bits(key) for key in [*parents, *children]])
    assert len(used) == len(parents) * (NUM_CHILDREN + 1) == 14 * (NUM_CHILDREN + 1)
    assert len(np.unique(used, axis=0)) == len(used)


def test_training_and_test_examples_of_several_modalities_share_no_key(monkeypatch):
    model = small_runs.make_model((2, 2, 1))
    images = np.zeros((5, 2, 2, 1), np.uint8)
    dataset = MultimodalDataset({"first": images, "second": images}, None)
    found = [
        *key_of(
            monkeypatch,
            metrics,
            "prepare_targets",
            lambda: summary.prepare_examples(model, dataset),
        ),
        *key_of(
            monkeypatch,
            metrics,
            "prepare_targets",
            lambda: summary.prepare_train_examples(model, dataset),
        ),
    ]
    children = [likelihood.image_keys(key, 0, NUM_CHILDREN) for key in found]
    used = np.concatenate([bits(key) for key in [*found, *children]])
    assert len(np.unique(used, axis=0)) == len(used) == 4 * (NUM_CHILDREN + 1)


def test_the_keys_of_what_was_measured_first_stay_what_they_were():
    # The keys of seed 0 before others were added.
    expected = jax.random.split(factory.make_key(0), 6)
    keys = factory.build_evaluation_keys(factory.resolve(vanilla.get_config()))
    for name, key in zip(
        ("validation", "targets", "samples", "corruption", "prior", "factors"),
        expected,
        strict=True,
    ):
        np.testing.assert_array_equal(bits(getattr(keys, name)), bits(key))
    np.testing.assert_array_equal(bits(keys.targets)[0], [928981903, 3453687069])
