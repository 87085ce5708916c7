"""What runs of several modalities make of one modality from others.

A part of `benchmarks/multimodal.py`, which has the flags, and of the cards.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import config as factory
from vae_jax import trained, workdir
from vae_jax.applications.multimodal import caption_accuracy, coherence
from vae_jax.applications.multimodal import classifiers as modality_classifiers
from vae_jax.applications.multimodal.coherence import Reader
from vae_jax.applications.representation import probing
from vae_jax.config.experiment import AnyExperiment
from vae_jax.data.captions import grammar as captions
from vae_jax.data.captions.grammar import Grammar
from vae_jax.data.captions.vocabulary import Vocabulary
from vae_jax.data.multimodal import MultimodalDataset
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.classifier import Classifier
from vae_jax.trained import TrainedMultimodal

_NUM_PROBED = 10_000
_NUM_LABELS = 1000
_NUM_DRAWS = 10

# Of the test part of a summary.
_LIKELIHOOD = ("elbo", "log_likelihood", "conditional_log_likelihood", "num_samples")


class Examples(NamedTuple):
    """Real examples of every modality, and who reads the class of each.

    Attributes:
      seen: by name, as the model takes them: prepared images, classes, texts.
      stored: the same, images as stored.
      labels: their classes.
      dataset: they are read from.
      readers: by name.
      grammar: of the captions, if there are any.
      classifiers: of the images, by name.
    """

    seen: dict[str, Any]
    stored: dict[str, Any]
    labels: np.ndarray
    dataset: MultimodalDataset
    readers: dict[str, Reader]
    grammar: Grammar | None
    classifiers: dict[str, Classifier]


def load_model(folder: Path) -> TrainedMultimodal:
    """The model of a run.

    Raises:
      UserError: there is none, or it is of images alone.
    """
    model = trained.load(folder)
    if not isinstance(model, TrainedMultimodal):
        raise UserError(f"{folder} is a run of images alone; name runs of several modalities")
    return model


def load_examples(model: TrainedMultimodal, classifiers: Path, num: int) -> Examples:
    """Test examples of a run, evenly spaced: MNIST's first ones are neat.

    Args:
      model: of the run.
      classifiers: see `modality_classifiers.of_images`.
      num: how many at most.

    Raises:
      UserError: a modality whose class nothing reads; data without labels.
    """
    config = model.config
    test = modality_classifiers.load_splits(config).test
    if test.labels is None:
        raise UserError(f"data.name={config.data.name!r} has no labels, which coherence needs")
    num = min(num, test.num_examples)
    places = np.linspace(0, test.num_examples, num, endpoint=False, dtype=int)
    dataset = test.read(places)
    grammar = None
    if "text" in model.names and not config.data.captions:
        grammar = captions.find_grammar(config.data.name)
    judges = modality_classifiers.of_images(config, model.forms, classifiers)
    stored = _shown(model, dataset.modalities)
    return Examples(
        seen={**stored, **_images(measuring.prepare_examples(config, dataset))},
        stored=stored,
        labels=test.labels[places],
        dataset=dataset,
        readers=coherence.readers(model.forms, judges, grammar),
        grammar=grammar,
        classifiers=judges,
    )


def _shown(model: TrainedMultimodal, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Texts as texts, the rest as it is."""
    return {
        name: Vocabulary(form.words).decode(arrays[name]) if form.kind == "text" else arrays[name]
        for name, form in model.forms.items()
    }


def _images(arrays: measuring.Targets) -> dict[str, np.ndarray]:
    assert isinstance(arrays, dict)
    return {name: array for name, array in arrays.items() if array.ndim == 4}


def measure_coherence(model: TrainedMultimodal, examples: Examples) -> dict[str, Any]:
    """Coherence, conditional and joint, and how well the classes of real examples are read."""
    joint_key, conditional_key, _ = _keys(model.config)
    by_subset = coherence.conditional(
        model, examples.seen, examples.labels, examples.readers, conditional_key
    )
    return {
        "num_examples": len(examples.labels),
        "reader_accuracy": coherence.accuracies(examples.readers, examples.stored, examples.labels),
        "conditional_coherence": {
            str(size): share for size, share in coherence.by_num_inputs(by_subset).items()
        },
        "conditional_coherence_by_subset": {
            ", ".join(subset): shares for subset, shares in by_subset.items()
        },
        "joint_coherence": coherence.joint(
            model, examples.readers, joint_key, len(examples.labels)
        ),
    }


def _keys(config: AnyExperiment) -> jax.Array:
    """Of draws from the prior, of generated modalities, of words."""
    return jax.random.split(factory.build_evaluation_keys(config).prior, 3)


def measure_captions(model: TrainedMultimodal, examples: Examples) -> dict[str, Any] | None:
    """Captions of images and images of captions; None where a run has not both."""
    if not {"image", "text"} <= set(model.names) or examples.grammar is None:
        return None
    grammar, attributes = examples.grammar, examples.dataset.attributes
    assert attributes is not None, "captions of a grammar are written of measurements"
    _, generated_key, words_key = _keys(model.config)
    image, texts = {"image": examples.seen["image"]}, examples.stored["text"]
    written = {
        "greedy": model.reconstruct(image)["text"],
        "sampled": caption_accuracy.sampled_captions(model, "text", image, words_key),
    }
    drawn = model.generate({"text": texts}, jax.random.fold_in(generated_key, len(model.names)))
    words = caption_accuracy.word_accuracy(
        model, "text", image, examples.dataset.modalities["text"]
    )
    return {
        "image_to_text": {
            how: caption_accuracy.agreement(
                grammar, found, examples.labels, attributes.values
            )._asdict()
            for how, found in written.items()
        },
        "words": words._asdict(),
        "text_to_image": caption_accuracy.agreement_of_images(
            grammar, texts, drawn["image"], examples.readers["image"]
        )._asdict(),
        # What the same captions and the images that they were written of come to.
        "real": caption_accuracy.agreement_of_images(
            grammar, texts, examples.stored["image"], examples.readers["image"]
        )._asdict(),
    }


def probe(model: TrainedMultimodal, examples: Examples) -> dict[str, float]:
    """What a linear probe with 1,000 labels makes of the latents of all modalities, and of each."""
    train = modality_classifiers.load_splits(model.config).train
    assert train.labels is not None, "the test set has labels"
    known = train.read(np.arange(min(_NUM_PROBED, train.num_examples)))
    assert known.labels is not None
    prepared = measuring.prepare_train_examples(model.config, known)
    seen = {**_shown(model, known.modalities), **_images(prepared)}
    sets = {"all": model.names} | {name: (name,) for name in model.names}
    found = {}
    for label, names in sets.items():
        codes, test_codes = (
            model.encode({name: values[name] for name in names}) for values in (seen, examples.seen)
        )
        found[label] = probing.accuracies(
            codes,
            known.labels,
            test_codes,
            examples.labels,
            num_labels=min(_NUM_LABELS, len(codes)),
            num_draws=_NUM_DRAWS,
            seed=model.config.seed,
        ).linear
    return found


def measure_run(folder: Path, model: TrainedMultimodal, examples: Examples) -> dict[str, Any]:
    """Everything of a run.

    Args:
      folder: its workdir.
      model: its model.
      examples: of its test set.

    Raises:
      UserError: the run has not ended.
    """
    config, summary = model.config, workdir.read_summary(folder)
    if summary is None:
        raise UserError(f"{folder} has no summary.json yet; let the run end first")
    return {
        "name": folder.name,
        "data": config.data.name,
        "modalities": list(model.names),
        "joint_posterior": config.model.joint_posterior,
        "seed": config.seed,
        "config_digest": model.digest,
        "epochs": summary["epochs"],
        "classifiers": {name: judge.facts for name, judge in examples.classifiers.items()},
        **measure_coherence(model, examples),
        "captions": measure_captions(model, examples),
        "probe": probe(model, examples),
        "likelihood": {name: summary["test"][name] for name in _LIKELIHOOD},
    }
