"""Agreement of captions and images, whichever of them a joint model made from the other."""

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
from vae_jax.data.captions.attributes import measure_values
from vae_jax.data.captions.grammar import Grammar
from vae_jax.data.captions.vocabulary import PAD, Vocabulary
from vae_jax.errors import UserError
from vae_jax.models.modalities import TextModality
from vae_jax.trained import TrainedMultimodal

Labels = Int[np.ndarray, " num"]
Values = Int[np.ndarray, "num attributes"]


class Agreement(NamedTuple):
    """Agreement between captions and as many images.

    Attributes:
      label: share of all captions that name the class of their image.
      attributes: share of the captions that say an attribute which say what is measured; None
        where no caption says it.
      said: share of all captions that say an attribute.
      all_attributes: share of what is said of any attribute that is as measured; None of nothing.
    """

    label: float
    attributes: dict[str, float | None]
    said: dict[str, float]
    all_attributes: float | None


def agreement(grammar: Grammar, texts: Sequence[str], labels: Labels, values: Values) -> Agreement:
    """Return the agreement of what captions say and what images show.

    Args:
      grammar: by which the captions are read; a text that names no class, or two, is wrong.
      texts: the captions.
      labels: the classes of the images.
      values: of their attributes, as `attributes.measure_values` gives them; -1, of an empty
        image, is wrong whatever is said.

    Raises:
      UserError: there are no captions, or not as many as images.
    """
    if not len(texts) == len(labels) == len(values) > 0:
        raise UserError(
            f"{len(texts)} captions do not fit {len(labels)} images; one is needed for each, and "
            "at least one"
        )
    read = captions.read_all(grammar, texts)
    says = read.values >= 0
    right = says & (read.values == values)
    names = [attribute.name for attribute in grammar.subject.attributes]
    return Agreement(
        label=float((read.labels == labels).mean()),
        attributes=dict(zip(names, map(_ratio, right.sum(0), says.sum(0)), strict=True)),
        said=dict(zip(names, map(float, says.mean(0)), strict=True)),
        all_attributes=_ratio(right.sum(), says.sum()),
    )


def _ratio(right: Any, of: Any) -> float | None:
    return float(right / of) if of else None


def agreement_of_images(
    grammar: Grammar, texts: Sequence[str], images: np.ndarray, read: Reader
) -> Agreement:
    """Return the agreement of generated images with the captions they were generated from.

    Their attributes are judged by the classes that the captions name, their classes by `read`.

    Args:
      grammar: of the captions.
      texts: which all name a class.
      images: as many, of 8 bits or from 0 to 1.
      read: tells the class of an image.

    Raises:
      UserError: a caption names no class; otherwise as `agreement`.
    """
    named = captions.read_all(grammar, texts).labels
    if (named < 0).any():
        text = texts[int(np.argmax(named < 0))]
        raise UserError(f"the caption {text!r} names no class, or two; give captions of one")
    return agreement(grammar, texts, read(images), measure_values(grammar.subject, images, named))


class WordAccuracy(NamedTuple):
    """The accuracy of predicted reference captions, word by word.

    Attributes:
      told: share of their words, END one of them, that are the likeliest given those before.
      nats: minus their mean log probability.
    """

    told: float
    nats: float


def word_accuracy(
    model: TrainedMultimodal,
    name: str,
    given: Mapping[str, Any],
    ids: Int[np.ndarray, "num length"],
) -> WordAccuracy:
    """Word by word: each reference word given those before it and the other modalities.

    A caption of one image may be worded in many ways, of which the reference is one: even who knows
    the image foretells no more of the wording than its frequencies.

    Args:
      model: the trained model.
      name: of the modality of texts.
      given: the other modalities, by name; latents are posterior means.
      ids: the reference captions as rows of word numbers.
    """
    latents = jnp.asarray(model.encode(given))
    told, log_prob = _foretell(model.state, latents, jnp.asarray(ids), model.graphdef, name)
    words = ids != PAD
    return WordAccuracy(
        float(np.asarray(told)[words].mean()),
        -float(np.asarray(log_prob)[words].mean(dtype=np.float64)),
    )


def sampled_captions(
    model: TrainedMultimodal, name: str, given: Mapping[str, Any], key: Key[Array, ""]
) -> list[str]:
    """Captions whose words are drawn, of p(text | z) at the posterior means of what is given.

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
def _foretell(
    params: nnx.State,
    latents: Float[Array, "num latents"],
    ids: Int[Array, "num length"],
    graphdef: nnx.GraphDef,
    name: str,
) -> tuple[Array, Array]:
    """Return whether each word is likeliest, and its log probability in nats, `[num, length]`."""
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
