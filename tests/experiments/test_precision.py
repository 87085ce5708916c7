import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend import core

from configs import vanilla
from vae_jax import config as factory
from vae_jax.networks.convolution import overlap_add
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.training.step import init_state, train_step

IMAGE_SHAPE = (8, 6, 3)
KEY = jax.random.key(0)
NETWORKS = {
    "mlp": {"name": "mlp", "widths": (12, 8)},
    "gated mlp": {"name": "gated_mlp", "widths": (12, 8)},
    "conv": {"name": "conv", "channels": (4, 6), "widths": (8,)},
    "conv, resized": {
        "name": "conv",
        "channels": (4, 6),
        "widths": (),
        "kernel_size": 3,
        "downsampling": "pool",
    },
    "resnet": {"name": "resnet", "channels": (4, 6), "widths": ()},
    "resnet, anew": {"name": "resnet", "channels": (4, 6), "widths": (8,), "remat": True},
    "resnet, one level": {"name": "resnet", "channels": (4,), "widths": (), "blocks": 1},
}
# Products of the posterior, which stays float32: one, and its two gradients.
NUM_FLOAT32_PRODUCTS = 3


def config_of(network, compute_dtype="bfloat16"):
    encoder = {**NETWORKS[network], "compute_dtype": compute_dtype}
    decoder = {"name": "mirror"}
    if "downsampling" in encoder:
        decoder = {**encoder, "upsampling": "resize"}
        del decoder["downsampling"]
    changes = {
        "data.binarization": "none",
        "optimizer.schedule": "constant",
        "model": {
            "latent_size": 4,
            "likelihood": "discretized_logistic",
            "encoder": encoder,
            "decoder": decoder,
        },
    }
    return factory.resolve(factory.with_values(vanilla.get_config(), changes))


def striped(num):
    """8-bit images of three stripes whose colours vary."""
    colours = np.random.default_rng(0).integers(40, 216, (num, 1, 3, 3), dtype=np.uint8)
    return jax.device_put(np.tile(np.repeat(colours, 2, axis=2), (1, IMAGE_SHAPE[0], 1, 1)))


@functools.cache
def build_problem(network, compute_dtype="bfloat16"):
    """Graph, initial state, training step and loss."""
    config = config_of(network, compute_dtype)

    graphdef = factory.build_graphdef(config, IMAGE_SHAPE)
    players = factory.build_players(config, IMAGE_SHAPE, 100)
    step = functools.partial(train_step, players=players)

    def init(key):
        model = factory.build_model(config, IMAGE_SHAPE, key, np.full(IMAGE_SHAPE, 0.5, np.float32))
        _, params, extra = factory.split_model(model)
        hparams = factory.build_hparams(config)
        return init_state({"model": params}, extra, hparams, players, key)

    return graphdef, init, step, players[0].loss


def equations(jaxpr):
    """Yield the equations of a jaxpr and of all jaxprs inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in core.jaxprs_in_params(equation.params):
            yield from equations(inner)


@functools.cache
def initial_state(network, compute_dtype="bfloat16"):
    """Return the shapes and dtypes of the initial state."""
    return jax.eval_shape(build_problem(network, compute_dtype)[1], KEY)


def trace(function, state):
    arguments = state.params, state.extra, (striped(4),), state.hparams, np.float32(0), KEY
    return jax.make_jaxpr(function)(*arguments)


@functools.cache
def traced_gradient(network):
    """Return the jaxpr of the gradients of the loss and of its metrics."""
    loss_fn = build_problem(network)[3]
    return trace(jax.grad(loss_fn, has_aux=True), initial_state(network))


def operand_dtypes(jaxpr):
    """Return the dtypes of the operands of each primitive's calls, by name."""
    found = collections.defaultdict(list)
    for equation in equations(jaxpr.jaxpr):
        dtypes = tuple(str(operand.aval.dtype) for operand in equation.invars)
        found[equation.primitive.name].append(dtypes)
    return found


@pytest.mark.parametrize("network", NETWORKS)
def test_products_run_in_bfloat16_and_sums_in_float32(network):
    dtypes = operand_dtypes(traced_gradient(network))
    products = dtypes["dot_general"]
    assert products.count(("float32", "float32")) == NUM_FLOAT32_PRODUCTS
    assert products.count(("bfloat16", "bfloat16")) == len(products) - NUM_FLOAT32_PRODUCTS > 6
    for primitive in ("reduce_sum", "exp"):
        assert dtypes[primitive]
        assert ("bfloat16",) not in dtypes[primitive]


@pytest.mark.parametrize("network", ["conv", "resnet"])
def test_convolutions_of_accelerators_run_in_bfloat16(network):
    found = operand_dtypes(traced_gradient(network))["conv_general_dilated"]
    assert len(found) > 10
    assert set(found) == {("bfloat16", "bfloat16")}


@pytest.mark.parametrize("network", NETWORKS)
def test_nothing_runs_in_bfloat16_unless_asked_for(network):
    loss_fn = build_problem(network, "float32")[3]
    assert "bf16" not in str(trace(loss_fn, initial_state(network, "float32")))


def assert_float32(tree):
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(tree)}
    floats = {dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)}
    assert floats == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_kept_is_float32(network):
    graphdef, state = build_problem(network)[0], initial_state(network)

    def parts(params):
        model = nnx.merge(graphdef, params["model"], state.extra)
        posterior = model.encode(striped(4) / 255)
        likelihood = model.decode(posterior.mean)
        return posterior.mean, posterior.log_scale, likelihood.location, likelihood.log_scale

    assert_float32((state.params, state.opt_state))
    assert_float32(traced_gradient(network).out_avals)
    assert_float32(jax.eval_shape(parts, state.params))


def test_overlapping_patches_are_added_in_float32():
    # 256 and eight ones, each of which bfloat16 would lose.
    patches = np.ones((1, 3, 3, 9), jnp.bfloat16)
    patches[0, 0, 0, 8] = 256
    added = jax.jit(overlap_add, static_argnums=(1, 2))(patches, 3, 1)
    assert added.dtype == jnp.bfloat16
    assert np.asarray(added)[0, 2, 2, 0] == 264


@pytest.mark.parametrize("network", ["mlp", "resnet, one level"])
def test_a_model_trained_in_bfloat16_has_the_terms_of_the_bound_that_float32_gives_it(network):
    graphdef, init, step, _ = build_problem(network)
    images = striped(16)
    step = jax.jit(step)
    state, losses = jax.jit(init)(KEY), []
    for _ in range(40):
        state, metrics = step(state, (images,), np.float32(0))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.99 * losses[0]
    assert_float32((state.params, state.opt_state, metrics))
    float32 = factory.build_graphdef(config_of(network, "float32"), IMAGE_SHAPE)
    targets = np.asarray(images) / np.float32(255)

    def terms(graphdef):
        def apply(params, extra):
            return elbo_terms(nnx.merge(graphdef, params, extra), targets, targets, KEY)

        return jax.jit(apply)(state.params["model"], state.extra)

    rounded, exact = jax.device_get((terms(graphdef), terms(float32)))
    # A number is rounded by up to 2^-9 of itself; over the values of an image that averages out.
    np.testing.assert_allclose(rounded.elbo, exact.elbo, rtol=2e-2)
    np.testing.assert_allclose(rounded.elbo.mean(), exact.elbo.mean(), rtol=2e-3)
    np.testing.assert_allclose(rounded.kl.sum(), exact.kl.sum(), rtol=1e-2)
    assert np.abs(rounded.elbo - exact.elbo).max() > 0
