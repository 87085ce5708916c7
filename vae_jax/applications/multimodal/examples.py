"""Test examples of several modalities, with readers of their classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax import trained
from vae_jax.applications.multimodal import classifiers as modality_classifiers
from vae_jax.applications.multimodal import coherence
from vae_jax.applications.multimodal.coherence import Reader
from vae_jax.data.captions.grammar import Grammar
from vae_jax.data.captions.grammars import find_grammar
from vae_jax.data.multimodal import MultimodalDataset
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.classifier import Classifier, require_same_data
from vae_jax.trained import TrainedMultimodal


class Examples(NamedTuple):
    """Real examples of every modality, and a reader per modality.

    Attributes:
      seen: by name, as the model takes them: prepared images, classes, texts.
      stored: the same with images as stored.
      labels: their classes.
      dataset: the data set that they were read from.
      readers: by name.
      grammar: of the captions, if there are any.
      classifiers: of the images, by name.
      factor_readers: of the images, by the factor of their captions that each reads.
    """

    seen: dict[str, Any]
    stored: dict[str, Any]
    labels: np.ndarray
    dataset: MultimodalDataset
    readers: dict[str, Reader]
    grammar: Grammar | None
    classifiers: dict[str, Classifier]
    factor_readers: dict[str, Reader]


def load_model(folder: Path) -> TrainedMultimodal:
    """Return the model of a run.

    Raises:
      UserError: there is no run, or it has images alone.
    """
    model = trained.load(folder)
    if not isinstance(model, TrainedMultimodal):
        raise UserError(f"{folder} is a run of images alone; name runs of several modalities")
    return model


def load_examples(
    model: TrainedMultimodal, classifiers: Path, num: int, of_factors: Mapping[str, Classifier]
) -> Examples:
    """Return evenly spaced test examples of a run; MNIST's first ones are easier than others.

    Args:
      model: of the run.
      classifiers: see `modality_classifiers.of_images`.
      num: number of examples, at most.
      of_factors: classifiers of the factors that captions mention, by factor.

    Raises:
      UserError: a modality has no reader; the data have no labels; a classifier of a factor reads
        nothing that captions mention, or was trained on other images.
    """
    test = modality_classifiers.load_splits(model).test
    if test.labels is None:
        raise UserError(f"data.name={model.data.name!r} has no labels, which coherence needs")
    num = min(num, test.num_examples)
    indices = np.linspace(0, test.num_examples, num, endpoint=False, dtype=int)
    dataset = test.read(indices)
    grammar = None
    if "text" in model.names and model.data.captions.name == "written":
        grammar = find_grammar(model.data.name)
    factor_readers = _factor_readers(model, grammar, of_factors)
    judges = modality_classifiers.of_images(model, classifiers)
    return Examples(
        seen=measuring.readable(model, measuring.prepare_modalities(model, dataset)),
        stored=measuring.readable(model, dataset.modalities),
        labels=test.labels[indices],
        dataset=dataset,
        readers=coherence.readers(model.forms, judges, grammar),
        grammar=grammar,
        classifiers=judges,
        factor_readers=factor_readers,
    )


def _factor_readers(
    model: TrainedMultimodal, grammar: Grammar | None, classifiers: Mapping[str, Classifier]
) -> dict[str, Reader]:
    """Return readers of the factors that captions mention."""
    known: list[str] = []
    if grammar is not None and grammar.subject.measure is None:
        known = [attribute.name for attribute in grammar.subject.attributes]
    for name, judge in classifiers.items():
        if name not in known:
            raise UserError(
                f"--classifiers has one of the factor {name!r}, and the captions of the run on "
                f"data.name={model.data.name!r} mention "
                f"{', '.join(known) or 'no factors'}; leave it out"
            )
        require_same_data(judge, f"the classifier of {name!r}", model.data.name)
        shape = model.forms["image"].shape
        if judge.image_shape != shape:
            raise UserError(
                f"the classifier of {name!r} was trained on images of {list(judge.image_shape)}, "
                f"and those of the run are {list(shape)}; use one of the same size"
            )
    return {name: coherence.image_reader(judge) for name, judge in classifiers.items()}
