"""Coherence: do the modalities that a joint model generates show the same class?

Conditional coherence is the share of generated examples of a modality that show the class of the
modalities they were generated from. Joint coherence is the share of draws from the prior whose
modalities all show one class (Shi et al. 2019, arXiv 1911.03393, section 4.1; Sutter et al. 2021,
arXiv 2105.02470, section 4). A reader, which makes errors, reads the class of an example:
`accuracies` measures it on real examples.
"""

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from vae_jax.data.captions import grammar as captions
from vae_jax.data.captions.grammar import Grammar
from vae_jax.errors import UserError
from vae_jax.evaluation.classifier import Classifier
from vae_jax.evaluation.progress import progress_bar
from vae_jax.models.modalities import Forms
from vae_jax.trained import TrainedMultimodal

# From examples of a modality, as `TrainedMultimodal` takes and returns them, to their classes, -1
# where there is none.
Reader = Callable[[Any], Int[np.ndarray, " num"]]
Readers = Mapping[str, Reader]
Labels = Int[np.ndarray, " num"]
Shares = dict[str, float]


def readers(
    forms: Forms, classifiers: Mapping[str, Classifier], grammar: Grammar | None = None
) -> dict[str, Reader]:
    """Return the reader of each modality: a classifier for images, a grammar for texts.

    Args:
      forms: of the modalities, by name.
      classifiers: of the modalities that are images, by name.
      grammar: of the captions.

    Raises:
      UserError: an image has no classifier, or one for other images; a text has no grammar.
    """
    found: dict[str, Reader] = {}
    for name, form in forms.items():
        if form.kind == "class":
            found[name] = lambda labels: np.asarray(labels, np.int32)
        elif form.kind == "text":
            if grammar is None:
                raise UserError(
                    f"the modality {name!r} is a text without a grammar, so that its class cannot "
                    "be read; measure runs whose captions are not your own"
                )
            found[name] = _text_reader(grammar)
        elif name not in classifiers:
            raise UserError(
                f"the modality {name!r} is an image and has no classifier; "
                f"there are those of {', '.join(classifiers) or 'none'}"
            )
        elif classifiers[name].image_shape != form.shape:
            raise UserError(
                f"the classifier of {name!r} takes images of {list(classifiers[name].image_shape)} "
                f"and the model has {list(form.shape)}; train it on such images"
            )
        else:
            found[name] = image_reader(classifiers[name])
    return found


def image_reader(judge: Classifier) -> Reader:
    """Return a reader of images by a classifier."""

    def read(images: np.ndarray) -> Labels:
        # The mean of a normal or a Laplace distribution may lie outside the grey values.
        grey = images if images.dtype == np.uint8 else np.clip(images, 0, 1)
        return judge.predict(grey)

    return read


def _text_reader(grammar: Grammar) -> Reader:
    return lambda texts: captions.read_all(grammar, texts).labels


def accuracies(readers: Readers, values: Mapping[str, Any], labels: Labels) -> Shares:
    """Return the share of real examples whose class is read correctly, from 0 to 1, by modality.

    It is an upper bound on the coherence to expect.
    """
    return {name: _share(read(values[name]) == labels) for name, read in readers.items()}


def conditional(
    model: TrainedMultimodal,
    values: Mapping[str, Any],
    labels: Labels,
    readers: Readers,
    key: Key[Array, ""],
) -> dict[tuple[str, ...], Shares]:
    """Return the coherence of every modality generated from each subset of the others.

    Args:
      model: the trained model.
      values: real examples of every modality, as `model.generate` takes them.
      labels: their classes.
      readers: of the class of every modality.
      key: of the latents.

    Returns:
      Shares from 0 to 1, by subset (neither empty nor all modalities) and by modality.
    """
    found: dict[tuple[str, ...], Shares] = {}
    subsets = proper_subsets(model.names)
    with progress_bar(len(subsets), "subset", "generating") as bar:
        for index, subset in enumerate(subsets):
            given = {name: values[name] for name in subset}
            generated = model.generate(given, jax.random.fold_in(key, index))
            others = [name for name in model.names if name not in subset]
            found[subset] = {
                name: _share(readers[name](generated[name]) == labels) for name in others
            }
            bar.update()
    return found


def proper_subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the subsets that are neither empty nor everything, the smallest first."""
    sizes = range(1, len(names))
    return [subset for size in sizes for subset in itertools.combinations(names, size)]


def by_num_inputs(shares: Mapping[tuple[str, ...], Shares]) -> dict[int, float]:
    """Return the conditional coherence by the number of modalities given.

    It is the mean over subsets of the mean over the modalities generated.
    """
    by_size: dict[int, list[float]] = {}
    for subset, by_modality in shares.items():
        by_size.setdefault(len(subset), []).append(statistics.fmean(by_modality.values()))
    return {size: statistics.fmean(found) for size, found in sorted(by_size.items())}


def joint(model: TrainedMultimodal, readers: Readers, key: Key[Array, ""], num: int) -> float:
    """Return the share of draws from the prior whose modalities all show one class, from 0 to 1.

    Args:
      model: the trained model.
      readers: of the class of every modality.
      key: of the draws.
      num: number of draws.
    """
    sampled = model.sample(key, num)
    read = np.stack([readers[name](sampled[name]) for name in model.names])
    return _share((read == read[0]).all(axis=0) & (read[0] >= 0))


def _share(right: np.ndarray) -> float:
    return float(np.mean(right, dtype=np.float64))
