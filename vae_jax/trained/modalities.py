"""A trained model of several modalities: NumPy in, NumPy out, explicit keys."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key
from numpy.typing import ArrayLike

from vae_jax import arguments
from vae_jax.arguments import Given
from vae_jax.config.experiment import JointExperiment
from vae_jax.data.captions.vocabulary import Vocabulary
from vae_jax.errors import UserError
from vae_jax.models.modalities import Form, Forms, placeholder
from vae_jax.models.multimodal import MultimodalVAE
from vae_jax.trained.compiled import Compiled

_BATCH_SIZE = 500


class TrainedMultimodal(Compiled):
    """A model of several modalities and its parameters.

    Examples are given as a dict with any of the modalities by name: images, 8-bit or floating point
    in the unit interval; classes, whole numbers; texts. Decoded images are means, decoded classes
    the likeliest ones, and decoded texts the likeliest words one after another.

    Attributes:
      forms: forms of the modalities by name.
      names: names of the modalities.
    """

    _batch_size = _BATCH_SIZE

    def __init__(
        self,
        config: JointExperiment,
        forms: Forms,
        params: nnx.State,
        extra: nnx.State | None = None,
    ) -> None:
        super().__init__(config, forms, params, extra)
        self.forms = forms
        self.names = tuple(forms)

    @property
    def joint_posterior(self) -> str:
        """The name of the way in which posteriors of single modalities become one."""
        return str(self.config.model.joint_posterior)

    def encode(self, given: Mapping[str, Given]) -> Float[np.ndarray, "num latents"]:
        """Return the mean of q(z|given modalities) of each example.

        Raises:
          UserError: a modality or a word is unknown, or examples have a wrong shape or different
            numbers.
        """
        values, present = self._values(given)
        mean = lambda model, values, present: model.encode(values, present).mean  # noqa: E731
        return self._run("encode", mean, values, present)

    def generate(self, given: Mapping[str, Given], key: Key[Array, ""]) -> dict[str, Any]:
        """Return all modalities of a draw from q(z|given modalities) of each example.

        Raises:
          UserError: as `encode`.
        """
        arguments.require_key(key)
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
        """Return all modalities at the mean of q(z|given modalities) of each example.

        Raises:
          UserError: as `encode`.
        """
        return self.decode(self.encode(given))

    def sample(self, key: Key[Array, ""], num: int) -> dict[str, Any]:
        """Return all modalities of `num` draws from the prior."""
        if num < 1:
            raise UserError(f"num={num} must be at least 1")
        arguments.require_key(key)
        return self.decode(np.asarray(jax.random.normal(key, (num, self.latent_size))))

    def decode(self, latents: ArrayLike) -> dict[str, Any]:
        """Return all modalities of each latent vector: images, classes, texts, by name.

        Raises:
          UserError: the latents have a wrong shape.
        """
        array = self._latents(latents)

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

    def _values(self, given: Mapping[str, Given]) -> tuple[dict[str, Any], np.ndarray]:
        """Return values of every modality, blank if it is not given, and the mask of given ones."""
        if not given:
            raise UserError(f"nothing is given; give any of the modalities {', '.join(self.names)}")
        for name in given:
            if name not in self.forms:
                raise UserError(
                    f"the modality {name!r} is not known; this model has {', '.join(self.names)}"
                )
        unknown_words = self.config.data.unknown_words
        arrays = {
            name: arguments.encoded_texts(name, self.forms[name], value, unknown_words)
            if self.forms[name].kind == "text"
            else arguments.stored_array(name, self.forms[name], value)
            for name, value in given.items()
        }
        numbers = {name: len(array) for name, array in arrays.items()}
        num = next(iter(numbers.values()))
        if len(set(numbers.values())) > 1 or num == 0:
            described = ", ".join(f"{name} {number}" for name, number in numbers.items())
            raise UserError(f"examples must be equally many and at least one, not {described}")
        values = {
            name: arrays.get(name, placeholder(form, num)) for name, form in self.forms.items()
        }
        present = np.array([name in given for name in self.names])
        return values, np.tile(present, (num, 1))
