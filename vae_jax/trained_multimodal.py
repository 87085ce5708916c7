"""A trained joint model for notebooks and other programs: any modalities in, all of them out."""

import copy
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.data.captions.vocabulary import Vocabulary
from vae_jax.errors import UserError
from vae_jax.models.modalities import Form, Forms, nothing
from vae_jax.models.multimodal import MultimodalVAE
from vae_jax.networks.precision import full_precision
from vae_jax.trained_model import TrainedModel, best_params, read_config

_BATCH_SIZE = 500

# Images `[num, height, width, channels]`, classes `[num]` or texts, or a single one of them.
Given = ArrayLike | str | list[str]


class TrainedMultimodal:
    """A model of several modalities and its parameters.

    What is given is a dict by the name of the modality, of any of them: images, 8-bit or floating
    point in the unit interval; classes, whole numbers; texts. Images come back as their means,
    classes as the likeliest, texts as the words that are likeliest one after another.

    Attributes:
      config: the run's config.
      forms: of the modalities, by name.
      names: of the modalities.
      latent_size: number of latent dimensions.
    """

    def __init__(self, config: ConfigDict, forms: Forms, params: nnx.State) -> None:
        self.config = config
        self.forms = forms
        self.names = tuple(forms)
        self.latent_size = factory.latent_size(config)
        self.params = params
        self.graphdef = factory.build_graphdef(config, forms)
        self._compiled: dict[str, Callable[..., Any]] = {}

    def with_params(self, config: ConfigDict, params: nnx.State) -> "TrainedMultimodal":
        """The same network with other parameters, those of `config`: nothing is compiled anew."""
        other = copy.copy(self)
        other.config, other.params = config, params
        return other

    def encode(self, given: Mapping[str, Given]) -> Float[np.ndarray, "num latents"]:
        """The mean of q(z|what is given), of each example.

        Raises:
          UserError: a modality or a word that the model does not know; examples of another shape,
            or unequal in number.
        """
        values, present = self._values(given)
        mean = lambda model, values, present: model.encode(values, present).mean  # noqa: E731
        return self._run("encode", mean, values, present)

    def generate(self, given: Mapping[str, Given], key: Key[Array, ""]) -> dict[str, Any]:
        """All modalities of a draw from q(z|what is given), of each example.

        Raises:
          UserError: as `encode`.
        """
        values, present = self._values(given)
        keys = jax.random.split(key, len(present))

        def draw(model: MultimodalVAE, values: Any, present: Array, keys: Array) -> Array:
            posterior = model.encode(values, present)
            pairs = jax.vmap(jax.random.split)(keys)
            noise = jax.vmap(lambda key: jax.random.normal(key, (self.latent_size,)))(pairs[:, 0])
            chosen = posterior.at(jax.vmap(jax.random.uniform)(pairs[:, 1]))
            return posterior.of(chosen).draw(noise).latents

        return self.decode(self._run("generate", draw, values, present, keys))

    def reconstruct(self, given: Mapping[str, Given]) -> dict[str, Any]:
        """All modalities at the mean of q(z|what is given), of each example.

        Raises:
          UserError: as `encode`.
        """
        return self.decode(self.encode(given))

    def sample(self, key: Key[Array, ""], num: int) -> dict[str, Any]:
        """All modalities of `num` draws from the prior."""
        if num < 1:
            raise UserError(f"num={num} must be at least 1")
        return self.decode(np.asarray(jax.random.normal(key, (num, self.latent_size))))

    def decode(self, latents: ArrayLike) -> dict[str, Any]:
        """All modalities of each latent vector: images, classes, texts, by name.

        Raises:
          UserError: latents of another shape.
        """
        array = np.asarray(latents, np.float32)
        if array.ndim != 2 or array.shape[1] != self.latent_size or len(array) == 0:
            raise UserError(
                f"latents have shape {array.shape}; this model takes (num, {self.latent_size})"
            )

        def means(model: MultimodalVAE, latents: Array) -> dict[str, Array]:
            return {name: model.decode(name, latents).mean for name in self.names}

        return {
            name: self._shown(self.forms[name], mean)
            for name, mean in self._run("decode", means, array).items()
        }

    def _shown(self, form: Form, mean: np.ndarray) -> Any:
        if form.kind == "text":
            return Vocabulary(form.words).decode(mean)
        return mean.argmax(axis=-1).astype(np.int32) if form.kind == "class" else mean

    def _run(self, name: str, function: Callable[..., Any], *batched: Any) -> Any:
        """`function(model, *trees)`, compiled, over batches that are put together again."""
        if name not in self._compiled:

            @full_precision
            def apply(params: nnx.State, *trees: Any) -> Any:
                return function(nnx.merge(self.graphdef, params), *trees)

            self._compiled[name] = jax.jit(apply)
        num = len(jax.tree.leaves(batched)[0])
        parts = []
        for first in range(0, num, _BATCH_SIZE):
            rows = slice(first, first + _BATCH_SIZE)
            part = jax.tree.map(lambda array, rows=rows: array[rows], batched)
            parts.append(self._compiled[name](self.params, *part))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def _values(self, given: Mapping[str, Given]) -> tuple[dict[str, Any], np.ndarray]:
        """Values of every modality, those that are not given blank, and which are there."""
        if not given:
            raise UserError(f"nothing is given; give any of the modalities {', '.join(self.names)}")
        for name in given:
            if name not in self.forms:
                raise UserError(
                    f"the modality {name!r} is not known; this model has {', '.join(self.names)}"
                )
        unknown_words = self.config.data.unknown_words
        arrays = {
            name: _texts(name, self.forms[name], value, unknown_words)
            if self.forms[name].kind == "text"
            else _array(name, self.forms[name], value)
            for name, value in given.items()
        }
        numbers = {name: len(array) for name, array in arrays.items()}
        num = next(iter(numbers.values()))
        if len(set(numbers.values())) > 1 or num == 0:
            described = ", ".join(f"{name} {number}" for name, number in numbers.items())
            raise UserError(f"examples must be equally many and at least one, not {described}")
        values = {
            name: arrays.get(name, np.asarray(nothing(form, num)))
            for name, form in self.forms.items()
        }
        present = np.array([name in given for name in self.names])
        return values, np.tile(present, (num, 1))


def _texts(name: str, form: Form, value: Given, unknown_words: str) -> np.ndarray:
    """Texts as rows of word numbers."""
    texts = [value] if isinstance(value, str) else list(np.asarray(value).ravel())
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{name} must be a text or a list of texts, not {value!r}")
    encoded = Vocabulary(form.words).encode(texts, form.shape[0], unknown_words)
    if encoded.unknown:
        logging.warning("unknown words, taken for any: %s", ", ".join(encoded.unknown))
    return encoded.ids


def _array(name: str, form: Form, value: Given) -> np.ndarray:
    """Classes or images as the model takes them."""
    array = np.asarray(value)
    if form.kind == "class":
        array, num_classes = np.atleast_1d(array), form.shape[0]
        whole = np.issubdtype(array.dtype, np.integer)
        if not whole or array.ndim != 1 or (array.size and not _within(array, num_classes)):
            raise UserError(
                f"{name} must be whole numbers from 0 to {num_classes - 1}, not {value!r}"
            )
        return array.astype(np.int32)
    array = array[None] if array.shape == form.shape else array
    if array.shape[1:] != form.shape:
        shape = ", ".join(map(str, form.shape))
        raise UserError(f"{name} has shape {array.shape}; this model takes (num, {shape})")
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if array.dtype != bool and not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{name} is {array.dtype}; use uint8, bool or floats in [0, 1]")
    if not np.isfinite(array).all():
        raise UserError(f"{name} holds values that are not finite")
    return array.astype(np.float32)


def _within(array: np.ndarray, num_classes: int) -> bool:
    return bool(array.min() >= 0 and array.max() < num_classes)


def load(path: str | Path, member: int | None = None) -> TrainedModel | TrainedMultimodal:
    """The best model of a finished or unfinished run, of images or of several modalities.

    Args:
      path: its workdir, or that of a sweep.
      member: which of the sweep's members.

    Raises:
      UserError: there is no run or no such member, or it has no checkpoint yet.
    """
    folder = workdir.run_folder(Path(path), member)
    config = read_config(folder)
    return from_form(config, *best_params(folder, config))


def from_form(
    config: ConfigDict, form: factory.DataForm, params: nnx.State
) -> TrainedModel | TrainedMultimodal:
    """The model of images, or of several modalities, with these parameters."""
    if isinstance(form, dict):
        return TrainedMultimodal(config, form, params)
    return TrainedModel(config, form, params)
