"""What a trained model computes, as functions of its state and of named arrays.

`encode` gives the parameters of q(z|x), `decode` the mean of p(x|z), and `sample` draws z from the
prior and decodes it. The first axis of every array is the batch, of any size.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array

from vae_jax.data.captions.vocabulary import SPECIAL
from vae_jax.errors import UserError
from vae_jax.models.modalities import placeholder
from vae_jax.networks.precision import full_precision
from vae_jax.trained import TrainedModel, TrainedMultimodal

Trained = TrainedModel | TrainedMultimodal

# The implementation of the keys that `sample` takes.
KEYS = "threefry2x32"


class Argument(NamedTuple):
    """An input of a function.

    Attributes:
      shape: of one example, without the batch.
      dtype: the name of its type.
      meaning: what it holds, with its unit.
    """

    shape: tuple[int, ...]
    dtype: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of a trained model.

    Attributes:
      inputs: its inputs by name, in the order of the call.
      meanings: what its outputs hold, by name.
      call: `call(params, extra, *inputs)`, which returns a dict of arrays.
    """

    inputs: dict[str, Argument]
    meanings: dict[str, str]
    call: Callable[..., dict[str, Array]]

    def specs(self, batch: Any) -> list[jax.ShapeDtypeStruct]:
        """Return shapes and types of the inputs; `batch` may be symbolic."""
        return [
            jax.ShapeDtypeStruct((batch, *given.shape), given.dtype)
            for given in self.inputs.values()
        ]


def functions_of(model: Trained) -> dict[str, Function]:
    """Return the functions that the model has: encode and decode, and sample if it has a prior."""
    if isinstance(model, TrainedMultimodal):
        return _of_modalities(model)
    return _of_images(model)


def _function(
    model: Trained,
    inputs: dict[str, Argument],
    meanings: dict[str, str],
    call: Callable[..., dict[str, Array]],
) -> Function:
    @full_precision
    def with_state(params: nnx.State, extra: nnx.State, *arrays: Array) -> dict[str, Array]:
        return call(nnx.merge(model.graphdef, params, extra), *arrays)

    return Function(inputs, meanings, with_state)


def _of_images(model: TrainedModel) -> dict[str, Function]:
    size = model.latent_size
    images = {"images": Argument(model.image_shape, "float32", _meaning_of_images(model))}
    latents = {"latents": Argument((size,), "float32", "one latent vector per image")}
    found = {}
    if model.has_codes:
        codes = {"codes": Argument(model.code_shape, "int32", f"0 to {(model.num_codes or 1) - 1}")}
        found["encode"] = _function(
            model, images, {"codes": "discrete codes"}, lambda net, x: {"codes": net.codes(x)}
        )
        found["decode"] = _function(
            model, codes, _MEAN, lambda net, c: {"mean": net.decode(net.embed(c)).mean}
        )
    else:
        found["encode"] = _function(model, images, *_encoding(model))
        found["decode"] = _function(
            model, latents, _MEAN, lambda net, z: {"mean": net.decode(net.project(z)).mean}
        )
    if model.has_samples:

        def sample(net: Any, keys: Array) -> dict[str, Array]:
            prior = net.prior if model.has_density else model.prior
            z = jax.vmap(prior.sample)(jax.random.wrap_key_data(keys, impl=KEYS))
            return {"mean": net.decode(net.project(z)).mean}

        found["sample"] = _function(model, _KEY_DATA, _MEAN, sample)
    return found


_MEAN = {"mean": "mean of p(x|z), in the unit of the images"}
_KEY_DATA = {"keys": Argument((2,), "uint32", f"key data ({KEYS}), a key per sample")}
_NORMAL = {
    "mean": "mean of q(z|x)",
    "log_scale": "logarithm of the standard deviation of q(z|x)",
}


def _meaning_of_images(model: TrainedModel) -> str:
    text = "pixels in the unit interval: 8-bit values divided by 255"
    return f"{text}, or zeros and ones, on which it was trained" if model.binarizes else text


def _encoding(model: TrainedModel) -> tuple[dict[str, str], Callable[..., dict[str, Array]]]:
    """Return what an encoder without codes gives, and the function."""
    if model.has_density and model.has_normal_posterior:

        def parameters(net: Any, x: Array) -> dict[str, Array]:
            posterior = net.encode(x)
            return {"mean": posterior.mean, "log_scale": posterior.log_scale}

        return _NORMAL, parameters
    meaning = "the latent vector that stands for each image"
    return {"latents": meaning}, lambda net, x: {"latents": net.latents(x)}


def _of_modalities(model: TrainedMultimodal) -> dict[str, Function]:
    names, size = model.names, model.latent_size
    kinds = {
        "image": "pixels in the unit interval",
        "class": "classes, whole numbers from 0",
        "text": "indices of words",
    }
    decoded = {
        "image": "mean image",
        "class": "probabilities of the classes",
        "text": "indices of the likeliest words",
    }
    inputs = {}
    for name, form in model.forms.items():
        blank = placeholder(form, 1)
        inputs[name] = Argument(blank.shape[1:], blank.dtype.name, kinds[form.kind])
    order = ", ".join(names)
    inputs["present"] = Argument((len(names),), "bool", f"which of {order} are given")
    means = {name: decoded[form.kind] for name, form in model.forms.items()}

    def encode(net: Any, *arrays: Array) -> dict[str, Array]:
        *values, present = arrays
        return {"mean": net.encode(dict(zip(names, values, strict=True)), present).mean}

    def decode(net: Any, z: Array) -> dict[str, Array]:
        return {name: net.decode(name, z).mean for name in names}

    def sample(net: Any, keys: Array) -> dict[str, Array]:
        def normal(key: Array) -> Array:
            return jax.random.normal(jax.random.wrap_key_data(key, impl=KEYS), (size,))

        return decode(net, jax.vmap(normal)(keys))

    latents = {"latents": Argument((size,), "float32", "one latent vector per example")}
    return {
        "encode": _function(model, inputs, {"mean": "mean of q(z|given modalities)"}, encode),
        "decode": _function(model, latents, means, decode),
        "sample": _function(model, _KEY_DATA, means, sample),
    }


def refused(name: str, form: str, why: str) -> UserError:
    """Return the error of a function that a format cannot hold."""
    return UserError(f"{name} of this model cannot be written as {form}: {why}")


def words_of(model: Trained) -> dict[str, list[str]]:
    """Return the words of each modality of texts, by the index in its rows."""
    if isinstance(model, TrainedModel):
        return {}
    return {
        name: [*SPECIAL, *form.words] for name, form in model.forms.items() if form.kind == "text"
    }
