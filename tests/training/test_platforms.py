"""Programs depend on the platform that they are lowered for, not on that of this process."""

import functools
import re
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_runs
from flax import nnx
from jax import export

from configs import multimodal, vanilla
from vae_jax import config as factory
from vae_jax.applications.anomaly import likelihood_regret
from vae_jax.applications.compression import Compressor
from vae_jax.evaluation import collapse, joint_likelihood, likelihood
from vae_jax.models.modalities import Form
from vae_jax.networks.convolution import conv, conv_as_matmul, conv_by_lax
from vae_jax.trained import TrainedModel
from vae_jax.training.parallel import compile_program

PLATFORMS = ("cpu", "cuda", "tpu")
SHAPE = (8, 6, 1)
FORMS = {
    "image": Form("image", SHAPE),
    "label": Form("class", (3,)),
    "text": Form("text", (5,), ("a", "b", "c")),
}
CONV = {"name": "conv", "channels": (4, 6), "widths": (5,)}
SMALL_KERNEL = {"kernel_size": 3, "downsampling": "pool"}
RESNET = {"name": "resnet", "channels": (4, 6), "widths": (5,), "blocks": 1}
RESIZED = {"channels": (4, 6), "widths": (5,), "kernel_size": 3, "upsampling": "resize"}
MLP = {"name": "mlp", "widths": (5,)}
NETWORKS = {
    "mlp": {"model.encoder": MLP},
    "conv": {"model.encoder": CONV},
    "conv, resized": {
        "model.encoder": {**CONV, **SMALL_KERNEL},
        "model.decoder": {"name": "conv", **RESIZED},
    },
    # Windows that are not whole blocks.
    "conv of kernel 5": {"model.encoder": {**CONV, "kernel_size": 5}},
    "conv of bfloat16": {"model.encoder": {**CONV, "compute_dtype": "bfloat16"}},
    "resnet": {"model.encoder": RESNET},
    "resnet, remat": {
        "model.encoder": {**RESNET, **SMALL_KERNEL, "remat": True},
        "model.decoder": {"name": "resnet", **RESIZED, "blocks": 1, "remat": True},
    },
    # Images, classes and texts.
    "multimodal conv": {"model.encoder": CONV},
}
# The residual network is trained with its blocks rematerialised.
TRAINED = [network for network in NETWORKS if network != "resnet"]
ESTIMATED = ["mlp", "conv", "conv of bfloat16", "resnet", "multimodal conv"]
JOINT = {
    "data.modalities": tuple(FORMS),
    "model.joint_posterior": "product",
    "model.label.widths": (5,),
    "model.text.embedding_size": 4,
    "model.text.width": 5,
    "objective": {"name": "mvae"},
}


@functools.cache
def experiment(network):
    joint = network.startswith("multimodal")
    changes = {"batch_size": 4, "model.latent_size": 3, **(JOINT if joint else {})}
    base = (multimodal if joint else vanilla).get_config()
    return factory.resolve(factory.with_values(base, {**changes, **NETWORKS[network]}))


@functools.cache
def build(network):
    """Return the form of the examples, the graphdef, the program, and the shapes of its state."""
    config = experiment(network)
    form = FORMS if network.startswith("multimodal") else SHAPE
    program = factory.build_program(config, form, num_examples=8)
    graphdef = factory.build_graphdef(config, form)
    return form, graphdef, program, factory.run_state_template(config, form).train


def params_of(state):
    """Return the shapes of a loaded model's state."""
    return nnx.merge_state(state.params["model"], state.extra)


def shapes(tree):
    return jax.eval_shape(lambda: tree)


def traced_training(network):
    form, _, program, state = build(network)
    examples = shapes(factory.blank_examples(form, 8))
    return jax.jit(program.run_steps, static_argnums=2).trace(state, examples, 1)


def traced_estimate(network):
    form, graphdef, _, state = build(network)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    if form is SHAPE:
        images = jax.ShapeDtypeStruct((2, *SHAPE), jnp.float32)
        return likelihood._compiled_estimate.trace(
            graphdef, params_of(state), images, keys, num_samples=3
        )
    values = {
        name: jnp.zeros((2, *part.array_shape), jnp.float32 if part.kind == "image" else jnp.int32)
        for name, part in form.items()
    }
    return joint_likelihood._compiled_estimate.trace(
        graphdef,
        params_of(state),
        shapes(values),
        keys,
        asked=tuple(form),
        given=tuple(form),
        num_samples=3,
    )


def decoder(network):
    form, graphdef, _, state = build(network)

    def decode(params, latents):
        model = nnx.merge(graphdef, params)
        if form is SHAPE:
            return model.decode(latents).mean
        return {name: model.decode(name, latents).mean for name in form if name != "text"}

    return decode, (params_of(state), jax.ShapeDtypeStruct((2, 3), jnp.float32))


def lowered(traced):
    """Return the module of each platform."""
    return {name: traced.lower(lowering_platforms=(name,)).as_text() for name in PLATFORMS}


@functools.cache
def lowered_training(network):
    return lowered(traced_training(network))


@functools.cache
def lowered_estimate(network):
    return lowered(traced_estimate(network))


def number(operation, module):
    return len(re.findall(rf"stablehlo\.{operation}\b", module))


@pytest.mark.parametrize(
    ("of", "network"),
    [*product([lowered_training], TRAINED), *product([lowered_estimate], ESTIMATED)],
)
def test_every_platform_has_its_form_of_the_convolutions(of, network):
    modules = of(network)
    convolutions = {name: number("convolution", module) for name, module in modules.items()}
    products = {name: number("dot_general", module) for name, module in modules.items()}
    assert convolutions["cpu"] == 0
    assert convolutions["cuda"] == convolutions["tpu"]
    assert (convolutions["cuda"] > 0) == (network != "mlp")
    # Each operation of one form is one of the other, and no program has both.
    assert products["cpu"] == products["cuda"] + convolutions["cuda"]
    assert products["cuda"] == products["tpu"]


# A sweep's members side by side, with rematerialised blocks; several devices.
@pytest.mark.parametrize(
    ("network", "how"), [("resnet, remat", "vmap"), ("conv", "mesh"), ("conv", "pmap")]
)
def test_compiled_programs_have_no_choice_between_platforms(network, how):
    form, _, program, state = build(network)
    examples = shapes(factory.blank_examples(form, 8))
    if how == "vmap":
        run = jax.vmap(functools.partial(program.run_steps, num_steps=1), in_axes=(0, None))
        state = jax.tree.map(lambda x: jax.ShapeDtypeStruct((3, *x.shape), x.dtype), state)
        compiled = jax.jit(run).lower(state, examples).compile()
    else:
        parallel = compile_program(
            functools.partial(factory.build_program, experiment(network), form, 8),
            jax.devices()[:2],
            "jit" if how == "mesh" else "pmap",
        )
        run = parallel.run_steps
        if how == "pmap":
            run, state = run.func, (*run.args, state)
        arguments = (state, examples, 1) if how == "mesh" else (*state, examples, 1)
        compiled = run.lower(*arguments).compile()
    text = compiled.as_text()
    assert "dot(" in text
    assert "conditional(" not in text
    assert "convolution(" not in text


def test_the_device_decides_on_the_form_of_values_and_gradients():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(2, 6, 5, 3)).astype(np.float32))
    kernel = jnp.asarray(rng.normal(size=(3, 3, 3, 4)).astype(np.float32))

    def value_and_gradients(form):
        loss = lambda images, kernel: jnp.square(form(images, kernel, 2)).sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(images, kernel)

    found = value_and_gradients(conv)
    for actual, expected in zip(
        jax.tree.leaves(found), jax.tree.leaves(value_and_gradients(conv_as_matmul)), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)
    for actual, expected in zip(
        jax.tree.leaves(found), jax.tree.leaves(value_and_gradients(conv_by_lax)), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", ["conv", "multimodal conv"])
def test_an_exported_decoder_runs_on_every_platform(network):
    decode, arguments = decoder(network)
    exported = export.export(jax.jit(decode), platforms=PLATFORMS)(*arguments)
    assert exported.platforms == PLATFORMS
    module = exported.mlir_module()
    assert number("dot_general", module) > number("convolution", module) > 0
    rng = np.random.default_rng(0)
    params, latents = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape).astype(np.float32)), arguments
    )
    found, expected = exported.call(params, latents), jax.jit(decode)(params, latents)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def precisions(module):
    """Return the precisions of every float32 product and convolution, as two words each."""
    lines = [line for line in module.splitlines() if re.search(r"dot_general|\.convolution", line)]
    return [
        tuple(re.findall(r"\b(DEFAULT|HIGHEST)\b", line)) for line in lines if "xbf16>" not in line
    ]


FULL = ("HIGHEST", "HIGHEST")


@pytest.mark.parametrize("network", ESTIMATED)
def test_likelihoods_are_estimated_in_full_precision(network):
    for module in lowered_estimate(network).values():
        assert set(precisions(module)) == {FULL}


@pytest.mark.parametrize("network", TRAINED)
def test_training_is_not_in_full_precision(network):
    assert FULL not in precisions(lowered_training(network)["cuda"])


def test_other_measurements_have_full_precision():
    state = build("conv")[-1]
    model = TrainedModel(experiment("conv"), SHAPE, state.params["model"], state.extra)
    images, latents = jnp.zeros((2, *SHAPE)), jnp.zeros((2, 3))
    key = jax.random.key(0)
    of_model = model.graphdef, shapes(model.state), images
    compressor = Compressor(small_runs.make_model(SHAPE, **{"model.encoder": CONV}))
    for traced in (
        collapse._draw.trace(*of_model, key),
        collapse._log_densities.trace(*of_model, latents),
        likelihood_regret._regret.trace(*of_model, key, num_samples=1),
        compressor._posterior.trace(compressor._params, images),
        compressor._decode.trace(compressor._params, latents),
    ):
        assert set(precisions(lowered(traced)["cuda"])) == {FULL}


def test_compression_is_computed_on_the_cpu():
    compressor = Compressor(small_runs.make_model(SHAPE, **{"model.encoder": CONV}))
    cpu = jax.local_devices(backend="cpu")[0]
    likelihood_of_images = compressor._decode(compressor._params, jnp.zeros((2, 3)))
    assert {leaf.device for leaf in jax.tree.leaves(likelihood_of_images)} == {cpu}
    assert all(leaf.committed for leaf in jax.tree.leaves(compressor._params))
    text = compressor._decode.lower(compressor._params, jnp.zeros((2, 3))).as_text()
    assert number("convolution", text) == 0
