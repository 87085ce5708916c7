import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import vanilla
from vae_jax import config as factory
from vae_jax.models.modalities import Form
from vae_jax.networks.masked import MaskedLinear

MODELS = {
    "mlp": {"model.widths": (60, 50)},
    "gated": {"model.gated": True, "model.widths": (60,)},
    "conv": {"model.network": "conv", "model.channels": (4,), "model.widths": (60,)},
    "flows": {"model.posterior": "iaf", "model.prior": "flow"},
    "markov": {"model.hierarchy": "markov", "model.top_latent_size": 20, "model.top_widths": (40,)},
    "ladder": {"model.hierarchy": "ladder", "model.top_latent_size": 20, "model.top_widths": (40,)},
    "autoencoder": {"model.name": "autoencoder"},
}


def dense_kernels(initializer, changes):
    config = vanilla.get_config()
    config.model.initializer = initializer
    config.update_from_flattened_dict(changes)
    factory.validate(config)
    model = factory.build_model(config, (8, 8, 1), jax.random.key(0))
    kernels = [
        np.asarray(module.kernel[...])
        for _, module in nnx.iter_modules(model)
        if isinstance(module, nnx.Linear | MaskedLinear)
    ]
    # The last layers of a flow start at 0, whatever the config says.
    started = [kernel for kernel in kernels if kernel.any()]
    num_zero = 2 + 4 if changes.get("model.posterior") == "iaf" else 0
    assert len(kernels) - len(started) == num_zero
    assert len(started) >= 4
    return started


@pytest.mark.parametrize("name", MODELS)
def test_glorot_starts_every_dense_layer_uniform_by_its_inputs_and_outputs(name):
    for kernel in dense_kernels("glorot", MODELS[name]):
        bound = np.sqrt(6 / sum(kernel.shape))
        assert np.abs(kernel).max() == pytest.approx(bound, rel=0.03)
        assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)


@pytest.mark.parametrize("name", MODELS)
def test_lecun_starts_every_dense_layer_truncated_normal_by_its_inputs(name):
    for kernel in dense_kernels("lecun", MODELS[name]):
        scale = 1 / np.sqrt(kernel.shape[0])
        assert kernel.std() == pytest.approx(scale, rel=0.1)
        assert 2 * scale < np.abs(kernel).max() < 2.3 * scale


def params_of(mean, start, changes, form=(8, 8, 1)):
    config = vanilla.get_config()
    config.update_from_flattened_dict({**changes, "model.decoder_start": start})
    factory.validate(config)
    return nnx.split(factory.build_model(config, form, jax.random.key(0), mean))[1]


def differing_parameters(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return sum(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "changes",
    [
        *(MODELS[name] for name in ("mlp", "conv", "markov", "autoencoder")),
        {
            "data.binarization": "none",
            "model.likelihood": "normal",
            "model.normal_scale": "per_pixel",
            "model.likelihood_scale": 0.3,
        },
    ],
)
def test_a_decoder_starts_at_the_mean_image_or_at_half_of_full_brightness(changes):
    mean, half = jnp.full((8, 8, 1), 0.2), jnp.full((8, 8, 1), 0.5)
    grey = params_of(mean, "grey", changes)
    assert differing_parameters(grey, params_of(half, "mean_image", changes)) == 0
    assert differing_parameters(grey, params_of(mean, "mean_image", changes)) == 1


def test_the_decoders_of_several_modalities_start_grey_too():
    changes = {
        "model.name": "multimodal",
        "data.modalities": ("image", "label"),
        "tensorboard.images_every_epochs": 0,
    }
    forms = {"image": Form("image", (8, 8, 1)), "label": Form("class", (3,))}
    mean, half = ({"image": jnp.full((8, 8, 1), brightness)} for brightness in (0.2, 0.5))
    grey = params_of(mean, "grey", changes, forms)
    assert differing_parameters(grey, params_of(half, "mean_image", changes, forms)) == 0
    assert differing_parameters(grey, params_of(mean, "mean_image", changes, forms)) == 1
