"""Agreement of captions and images where a joint model generated one from the other."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vae_jax.applications.multimodal.coherence import Reader
from vae_jax.data.captions import grammar as captions
from vae_jax.data.captions.attributes import Subject, measure_values
from vae_jax.data.captions.grammar import Grammar
from vae_jax.data.captions.vocabulary import PAD, Vocabulary
from vae_jax.errors import UserError
from vae_jax.models.modalities import TextModality
from vae_jax.trained import TrainedMultimodal

Labels = Int[np.ndarray, " num"]
Values = Int[np.ndarray, "num attributes"]

# The value of an attribute that nothing reads.
NOT_READ = -2


class Agreement(NamedTuple):
    """Agreement between captions and images.

    Attributes:
      label: share of the captions that name the class of their image.
      attributes: by attribute, share of right captions among those that mention it; None where no
        caption does, or nothing reads the attribute.
      said: by attribute, share of the captions that mention it.
      all_attributes: share of right ones among all mentions of attributes; None without any.
    """

    label: float
    attributes: dict[str, float | None]
    said: dict[str, float]
    all_attributes: float | None


def agreement(grammar: Grammar, texts: Sequence[str], labels: Labels, values: Values) -> Agreement:
    """Return the agreement of captions with the measured classes and attributes of images.

    Args:
      grammar: parses the captions; one that names no class, or two, is wrong.
      texts: the captions.
      labels: the classes of the images.
      values: of their attributes, as `attributes.values_of` gives them; -1, where there is none to
        see, is always wrong, and `NOT_READ` is neither right nor wrong.

    Raises:
      UserError: there are no captions, or their number is not that of the images.
    """
    if not len(texts) == len(labels) == len(values) > 0:
        raise UserError(
            f"{len(texts)} captions do not fit {len(labels)} images; one is needed for each, and "
            "at least one"
        )
    read = captions.read_all(grammar, texts)
    says = read.values >= 0
    judged = says & (values != NOT_READ)
    right = judged & (read.values == values)
    names = [attribute.name for attribute in grammar.subject.attributes]
    return Agreement(
        label=float((read.labels == labels).mean()),
        attributes=dict(zip(names, map(_ratio, right.sum(0), judged.sum(0)), strict=True)),
        said=dict(zip(names, map(float, says.mean(0)), strict=True)),
        all_attributes=_ratio(right.sum(), judged.sum()),
    )


def _ratio(right: Any, of: Any) -> float | None:
    return float(right / of) if of else None


def agreement_of_images(
    grammar: Grammar,
    texts: Sequence[str],
    images: np.ndarray,
    read: Reader,
    factor_readers: Mapping[str, Reader] | None = None,
) -> Agreement:
    """Return the agreement of generated images with the captions they were generated from.

    `read` gives the classes of the images; attributes are measured for the classes that the
    captions name, or read if they are factors.

    Args:
      grammar: of the captions.
      texts: captions, which all name a class.
      images: one per caption, of 8 bits or from 0 to 1.
      read: returns the classes of images.
      factor_readers: return the values of factors, by attribute; those without are not judged.

    Raises:
      UserError: a caption names no class; otherwise as `agreement`.
    """
    named = captions.read_all(grammar, texts).labels
    if (named < 0).any():
        text = texts[int(np.argmax(named < 0))]
        raise UserError(f"the caption {text!r} names no class, or two; give captions of one")
    values = _read_values(grammar.subject, images, named, factor_readers or {})
    return agreement(grammar, texts, read(images), values)


def _read_values(
    subject: Subject, images: np.ndarray, labels: Labels, readers: Mapping[str, Reader]
) -> Values:
    if subject.measure is not None:
        return measure_values(subject, images, labels)
    columns = [
        readers[attribute.name](images)
        if attribute.name in readers
        else np.full(len(images), NOT_READ)
        for attribute in subject.attributes
    ]
    return np.stack(columns, axis=1).astype(np.int32)


class WordAccuracy(NamedTuple):
    """The prediction of reference captions, word by word.

    Attributes:
      likeliest: share of the words, END included, that are the likeliest given those before.
      nats: minus the mean log probability of a word.
    """

    likeliest: float
    nats: float


def word_accuracy(
    model: TrainedMultimodal,
    name: str,
    given: Mapping[str, Any],
    ids: Int[np.ndarray, "num length"],
) -> WordAccuracy:
    """Return how well each reference word is predicted from those before and other modalities.

    An image may be captioned in many ways, and the reference is one of them: even with the image
    known, the wording can be predicted by its frequencies only.

    Args:
      model: the trained model.
      name: of the modality of texts.
      given: the other modalities, by name; latents are posterior means.
      ids: the reference captions as rows of word indices.
    """
    latents = jnp.asarray(model.encode(given))
    likeliest, log_prob = _predict(model.state, latents, jnp.asarray(ids), model.graphdef, name)
    words = ids != PAD
    return WordAccuracy(
        float(np.asarray(likeliest)[words].mean()),
        -float(np.asarray(log_prob)[words].mean(dtype=np.float64)),
    )


def sampled_captions(
    model: TrainedMultimodal, name: str, given: Mapping[str, Any], key: Key[Array, ""]
) -> list[str]:
    """Draw captions from p(text | z) at the posterior means of the other modalities.

    Args:
      model: the trained model.
      name: of the modality of texts.
      given: other modalities, by name.
      key: of the words.
    """
    latents = jnp.asarray(model.encode(given))
    ids = _draw_words(model.state, latents, key, model.graphdef, name)
    return Vocabulary(model.forms[name].words).decode(np.asarray(ids))


@functools.partial(jax.jit, static_argnames=("graphdef", "name"))
def _predict(
    params: nnx.State,
    latents: Float[Array, "num latents"],
    ids: Int[Array, "num length"],
    graphdef: nnx.GraphDef,
    name: str,
) -> tuple[Array, Array]:
    """Return if each word is the likeliest, and its log probability in nats, `[num, length]`."""
    modality = nnx.merge(graphdef, params).modalities[name]
    assert isinstance(modality, TextModality)
    likeliest = modality.decoder.word_logits(latents, ids).argmax(axis=-1)
    return likeliest == ids, modality.decode(latents).log_prob_by_word(ids)


@functools.partial(jax.jit, static_argnames=("graphdef", "name"))
def _draw_words(
    params: nnx.State,
    latents: Float[Array, "num latents"],
    key: Key[Array, ""],
    graphdef: nnx.GraphDef,
    name: str,
) -> Int[Array, "num length"]:
    modality = nnx.merge(graphdef, params).modalities[name]
    assert isinstance(modality, TextModality)
    return modality.decode(latents).sample(key)
