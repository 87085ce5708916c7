import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vae_jax import config as factory
from vae_jax.models.modalities import Form
from vae_jax.networks.masked import MaskedLinear

MODELS = {
    "mlp": {"encoder": {"widths": (60, 50)}},
    "gated": {"encoder": {"name": "gated_mlp", "widths": (60,)}},
    "conv": {"encoder": {"name": "conv", "channels": (4,), "widths": (60,)}},
    "flows": {"posterior": "iaf", "prior": "flow"},
    "markov": {"name": "markov", "top_latent_size": 20, "top": {"widths": (40,)}},
    "ladder": {"name": "ladder", "top_latent_size": 20, "top": {"widths": (40,)}},
    "autoencoder": {"name": "autoencoder"},
}


def started_by(initializer, content):
    """Return nested settings with every `initializer` replaced."""
    if not isinstance(content, dict):
        return content
    return {
        name: initializer if name == "initializer" else started_by(initializer, value)
        for name, value in content.items()
    }


def dense_kernels(initializer, model):
    content = factory.resolve({"model": model}).to_dict()
    config = factory.resolve(started_by(initializer, content))
    model = factory.build_model(config, (8, 8, 1), jax.random.key(0))
    kernels = [
        np.asarray(module.kernel[...])
        for _, module in nnx.iter_modules(model)
        if isinstance(module, nnx.Linear | MaskedLinear)
    ]
    # The last layers of a flow start at 0, whatever the config says.
    started = [kernel for kernel in kernels if kernel.any()]
    num_zero = 2 + 4 if content["model"].get("posterior", {}).get("name") == "iaf" else 0
    assert len(kernels) - len(started) == num_zero
    assert len(started) >= 4
    return started


@pytest.mark.parametrize("name", MODELS)
def test_glorot_starts_every_dense_layer_uniform_by_its_inputs_and_outputs(name):
    for kernel in dense_kernels("glorot", MODELS[name]):
        bound = np.sqrt(6 / sum(kernel.shape))
        assert np.abs(kernel).max() == pytest.approx(bound, rel=0.03)
        assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)


# Each kind of layer; that every network passes the setting on is proven above.
@pytest.mark.parametrize("name", ["mlp", "gated", "flows"])
def test_lecun_starts_every_dense_layer_truncated_normal_by_its_inputs(name):
    for kernel in dense_kernels("lecun", MODELS[name]):
        scale = 1 / np.sqrt(kernel.shape[0])
        assert kernel.std() == pytest.approx(scale, rel=0.1)
        assert 2 * scale < np.abs(kernel).max() < 2.3 * scale


def params_of(mean, start, model, form=(8, 8, 1)):
    data = {"binarization": "none"}
    config = factory.resolve({"data": data, "model": {**model, "decoder_start": start}})
    return nnx.split(factory.build_model(config, form, jax.random.key(0), mean))[1]


def differing_parameters(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return sum(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "model",
    [
        *(MODELS[name] for name in ("mlp", "conv", "markov", "autoencoder")),
        {"likelihood": {"name": "normal", "scale_kind": "per_pixel", "scale": 0.3}},
    ],
)
def test_a_decoder_starts_at_the_mean_image_or_at_half_of_full_brightness(model):
    mean, half = jnp.full((8, 8, 1), 0.2), jnp.full((8, 8, 1), 0.5)
    grey = params_of(mean, "grey", model)
    assert differing_parameters(grey, params_of(half, "mean_image", model)) == 0
    assert differing_parameters(grey, params_of(mean, "mean_image", model)) == 1


def test_the_decoders_of_several_modalities_start_grey_too():
    model = {"name": "multimodal"}
    forms = {"image": Form("image", (8, 8, 1)), "label": Form("class", (3,))}
    mean, half = ({"image": jnp.full((8, 8, 1), brightness)} for brightness in (0.2, 0.5))
    grey = params_of(mean, "grey", model, forms)
    assert differing_parameters(grey, params_of(half, "mean_image", model, forms)) == 0
    assert differing_parameters(grey, params_of(mean, "mean_image", model, forms)) == 1
