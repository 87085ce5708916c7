"""The data sets of several modalities that a config names, and either kind by one call."""

import logging
from typing import NamedTuple

import numpy as np

from vae_jax import data
from vae_jax.config.datasets import (
    TEST,
    TRAIN,
    VALIDATION,
    Splits,
    StreamedSplits,
    check_image_shape,
    form_of,
    load_splits,
    load_test,
    open_split,
    open_splits,
    refuse_large_batch,
    split_names,
)
from vae_jax.config.experiment import AnyExperiment
from vae_jax.config.forms import DataForm, forms_of, mean_images, refuse_other_form
from vae_jax.data import Dataset, multimodal
from vae_jax.data.captions import grammar
from vae_jax.data.captions.vocabulary import Vocabulary, split_words
from vae_jax.data.dataset import read_all
from vae_jax.data.multimodal import MultimodalDataset
from vae_jax.models.modalities import Forms
from vae_jax.models.rows import takes_rows


class JointSplits(NamedTuple):
    """The three parts of a data set of several modalities, in memory."""

    train: MultimodalDataset
    validation: MultimodalDataset | None
    test: MultimodalDataset

    @property
    def train_examples(self) -> dict[str, np.ndarray]:
        """The training examples by modality; with `PRESENT` where some are missing."""
        if self.train.present is None:
            return self.train.modalities
        return {**self.train.modalities, multimodal.PRESENT: self.train.present}

    @property
    def validation_examples(self) -> dict[str, np.ndarray] | None:
        """The validation examples by modality."""
        return None if self.validation is None else self.validation.modalities

    @property
    def num_examples(self) -> int:
        """The number of training examples."""
        return self.train.num_examples

    @property
    def form(self) -> Forms:
        """The form of every modality."""
        return forms_of(self.train)

    @property
    def mean_image(self) -> dict[str, np.ndarray]:
        """The mean of each modality of images, where its decoder starts."""
        return mean_images(self.train)


def _own_texts(config: AnyExperiment, split: str) -> multimodal.Texts:
    """Return a user's own captions of a split, in the vocabulary of the training captions."""
    section = config.data
    sizes = data.split_sizes(section.name, section.dir)
    known = grammar.read_file(section.captions.file, section.train_split, sizes)
    vocabulary = Vocabulary.of(known)
    length = section.captions.length or 1 + max(len(split_words(text)) for text in known)
    texts = grammar.read_file(section.captions.file, split, sizes)
    encoded = vocabulary.encode(texts, length, section.unknown_words)
    if encoded.unknown:
        common = ", ".join(f"{word} ({num})" for word, num in encoded.unknown.most_common(5))
        logging.warning("%s: words that the training captions do not have: %s", split, common)
    return multimodal.Texts(encoded.ids, vocabulary)


def _load_joint(config: AnyExperiment, field: str, name: str) -> MultimodalDataset:
    """Return all modalities of a split, in the order of the config."""
    section, part = config.data, field.removeprefix("data.").removesuffix("_split")
    dataset = read_all(open_split(config, field, name))
    texts = None
    if "text" in section.modalities and section.captions.name == "own":
        texts = _own_texts(config, name)
    elif "text" in section.modalities:
        texts = multimodal.write_texts(dataset, section.name, part=part, seed=section.modality_seed)
    return multimodal.build(
        dataset, section.modalities, part=part, seed=section.modality_seed, texts=texts
    )


def _open_joint_splits(config: AnyExperiment) -> JointSplits:
    names = split_names(config)
    sets = {field: _load_joint(config, field, name) for field, name in names.items()}
    train = sets[TRAIN]
    forms = forms_of(train)
    for form in forms.values():
        if form.kind == "image":
            height, width, channels = form.shape
            check_image_shape(config, (height, width, channels))
    refuse_large_batch(config, train.num_examples)
    for field, dataset in sets.items():
        refuse_other_form(forms, dataset, field)
    if config.data.modality_shares:
        shares, seed = config.data.modality_shares, config.data.modality_seed
        train = train._replace(present=multimodal.draw_present(train.num_examples, shares, seed))
    return JointSplits(train, sets.get(VALIDATION), sets[TEST])


def open_examples(config: AnyExperiment) -> Splits | StreamedSplits | JointSplits:
    """Read what a config's model is trained on, validated and tested with.

    Raises:
      UserError: as `open_splits`; modalities that the data do not have.
    """
    return _open_joint_splits(config) if config.model.takes == "modalities" else open_splits(config)


def form_of_first(config: AnyExperiment) -> DataForm:
    """Return the form of a config's examples by the first one alone, which may lack classes.

    Raises:
      UserError: the data are not there.
    """
    section = config.data
    if takes_rows(getattr(config.model, "likelihood", None)):
        # The statistics of columns are of all rows.
        return form_of(open_split(config, TRAIN, split_names(config)[TRAIN]))
    split = f"{next(iter(data.split_sizes(section.name, section.dir)))}[:1]"
    if config.model.takes == "modalities":
        return forms_of(_load_joint(config, TRAIN, split))
    height, width, channels = data.open_lazily(
        section.name, split, section.dir, section.image_size
    ).shape[1:]
    return height, width, channels


def load_examples(config: AnyExperiment) -> Splits | JointSplits:
    """Read what a config's model is trained on, validated and tested with, into memory.

    Raises:
      UserError: as `load_splits`; modalities that the data do not have.
    """
    return _open_joint_splits(config) if config.model.takes == "modalities" else load_splits(config)


def load_test_examples(config: AnyExperiment) -> Dataset | MultimodalDataset:
    """Read the test set alone, as `open_examples` does.

    Raises:
      UserError: as `open_examples`.
    """
    if config.model.takes == "modalities":
        return _load_joint(config, TEST, split_names(config)[TEST])
    return load_test(config)
