import numpy as np
import pytest
from small_configs import small_experiment

from vae_jax import config as factory
from vae_jax.config.data_digests import other_data
from vae_jax.data import Dataset
from vae_jax.data.multimodal import MultimodalDataset
from vae_jax.errors import UserError
from vae_jax.sweeps import chunks

CONFIG = small_experiment({"data.name": "images.npz"})
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 4, 3, 1), np.uint8)
LABELS = np.arange(40, dtype=np.int32) % 4


def digest(images, labels=LABELS):
    return factory.digest_of_split(CONFIG, Dataset(images, labels))


class Lazy:
    """Images that are read on demand; it keeps the indices that were read."""

    def __init__(self, images):
        self._dataset, self.shape, self.dtype = Dataset(images, None), images.shape, images.dtype
        self.indices = np.array([], int)

    def read(self, indices):
        self.indices = indices
        return self._dataset.read(indices)


def test_any_image_changes_the_digest_and_no_label_does():
    other = IMAGES.copy()
    other[17, 2, 1] ^= 1
    changed = [other, IMAGES[:20], np.concatenate([IMAGES, IMAGES]), IMAGES[::-1], IMAGES / 255]
    assert len({digest(IMAGES), *map(digest, changed)}) == 1 + len(changed)
    assert digest(IMAGES.copy(order="F"), LABELS[::-1]) == digest(IMAGES)


def test_a_set_that_is_not_in_memory_is_not_read_whole():
    images = np.tile(IMAGES, (60, 1, 1, 1))
    lazy = Lazy(images)
    found = factory.digest_of_split(CONFIG, lazy)
    assert (len(lazy.indices), lazy.indices.max()) == (1000, 2397)
    assert found == factory.digest_of_split(CONFIG, Lazy(images.copy()))
    assert found != factory.digest_of_split(CONFIG, Lazy(images[:-40]))


def test_every_modality_counts():
    dataset = MultimodalDataset({"image": IMAGES, "label": LABELS}, LABELS)
    present = np.ones((40, 2), bool)
    others = [
        dataset._replace(modalities={"image": IMAGES, "label": LABELS[::-1]}),
        dataset._replace(modalities={"image": IMAGES, "text": LABELS}),
        dataset._replace(present=present),
    ]
    digests = {factory.digest_of_split(CONFIG, each) for each in [dataset, *others]}
    assert len(digests) == 4


def test_rendered_images_count_by_their_factors():
    config = small_experiment({"data.name": "sprites", "data.image_size": 16})
    splits = {"train_split": "train[:6]", "test_split": "train[6:9]", "validation_split": ""}
    opened = {}
    for mode in ("memory", "render"):
        changes = {**{f"data.{name}": split for name, split in splits.items()}, "data.mode": mode}
        changed = factory.resolve(factory.with_values(config, {**changes, "batch_size": 2}))
        opened[mode] = factory.data_digests(changed, factory.open_examples(changed))
    assert opened["memory"] == opened["render"]
    assert len(set(opened["memory"].values())) == 2


def test_splits_that_a_run_did_not_write_down_are_not_compared():
    assert other_data({}, {"data.test_split": "1"}) is None
    line = other_data({"data.test_split": "0", "a": "1"}, {"data.test_split": "1", "a": "2"})
    assert line == ("the examples of data.test_split and a are not those that the run began with")


def test_all_members_of_a_sweep_are_trained_on_the_same_examples(tmp_path):
    def claim(found, **changes):
        experiment = factory.resolve(factory.with_values(CONFIG, changes))
        chunks._claim_data(tmp_path, experiment, {"data.train_split": found})

    claim("1")
    # An axis over the data has examples of its own.
    claim("2", **{"data.train_split": "train[:100]"})
    claim("1", epochs=3)
    with pytest.raises(UserError, match=r"data\.train_split are not those .* --accept_data$"):
        claim("2")
