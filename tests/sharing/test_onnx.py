"""ONNX files in ONNX Runtime, beside the library."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_codes
import small_joint_runs
import small_runs

import vae_jax
from vae_jax.errors import UserError
from vae_jax.sharing import functions, onnx

needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))),
    reason="the extra onnx is not installed",
)
CONV = {"name": "conv", "channels": (3, 4)}
MODELS = {
    "mlp": {},
    "conv": {"model.encoder": CONV},
    "odd kernel": {"model.encoder": {**CONV, "kernel_size": 3, "activation": "gelu"}},
    "pool and resize": {
        "model.encoder": {**CONV, "downsampling": "pool"},
        "model.decoder": {**CONV, "upsampling": "resize"},
        "data.binarization": "none",
        "model.likelihood": "continuous_bernoulli",
    },
}


def session(content):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options)


def run(content, *inputs):
    """Return the outputs of a file by name."""
    opened = session(content)
    given = dict(zip([given.name for given in opened.get_inputs()], inputs, strict=True))
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(None, given), strict=True))


@needs_onnx
@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_posteriors_and_means_are_those_of_the_library(changes):
    model = small_runs.make_model((10, 7, 1), **changes)
    files = onnx.to_bytes(model)
    images = np.random.default_rng(0).random((3, 10, 7, 1), np.float32)
    posterior = model.posterior(images)
    expected = {name: np.asarray(getattr(posterior, name)) for name in ("mean", "log_scale")}
    latents = expected["mean"]
    images_of_latents = model.decode(latents)
    for num in (1, 3):
        found = run(files["encode"], images[:num])
        assert list(found) == list(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values[:num], rtol=1e-5, atol=1e-5)
        decoded = run(files["decode"], latents[:num])["mean"]
        np.testing.assert_allclose(decoded, images_of_latents[:num], rtol=1e-5, atol=1e-5)


@needs_onnx
def test_a_trained_model_is_written_with_the_names_of_its_parameters():
    from onnx import load_from_string

    model = vae_jax.load("vanilla")
    files = onnx.to_bytes(model)
    images = vae_jax.data.load("mnist", "test[:8]", "").images / np.float32(255)
    posterior, found = model.posterior(images), run(files["encode"], images)
    np.testing.assert_allclose(found["mean"], posterior.mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["log_scale"], posterior.log_scale, rtol=1e-5, atol=1e-5)
    decoded = run(files["decode"], found["mean"])["mean"]
    np.testing.assert_allclose(decoded, model.decode(found["mean"]), rtol=1e-5, atol=1e-5)
    names = {array.name for array in load_from_string(files["encode"]).graph.initializer}
    kernels = {name for name in model.named_arrays if name.endswith("kernel")}
    assert {name for name in kernels if "decoder" not in name} <= names
    assert not [name for name in names if "decoder" in name]


@needs_onnx
def test_codes_are_written():
    model = small_codes.make_model()
    files = onnx.to_bytes(model)
    images = np.random.default_rng(1).random((2, *small_codes.IMAGE_SHAPE), np.float32)
    codes = run(files["encode"], images)["codes"]
    np.testing.assert_array_equal(codes, model.encode(images))
    decoded = run(files["decode"], codes)["mean"]
    np.testing.assert_allclose(decoded, model.decode(codes), rtol=1e-5, atol=1e-5)


def _of(x, call):
    """Return the results in ONNX Runtime and in JAX of a function of one array."""
    model = small_runs.make_model((2, 2, 1))
    given = {"x": functions.Argument(x.shape[1:], x.dtype.name, "")}
    function = functions.Function(given, {"y": ""}, lambda params, extra, x: {"y": call(x)})
    content = onnx._Graph(onnx.require_package()).write("f", function, model)
    return run(content, x)["y"], jax.jit(call)(x)


@needs_onnx
@pytest.mark.parametrize(
    "call",
    [
        lambda x: (
            jax.nn.softplus(x) + jax.nn.log_softmax(x, axis=1).sum(axis=(1, 2))[:, None, None]
        ),
        lambda x: jnp.einsum("bij,bkj->bik", x, x * jnp.expm1(x)),
        lambda x: jnp.concatenate([x, jnp.ones((x.shape[0], 1, 4))], axis=1)[:, 1:3],
        lambda x: jnp.where(jnp.isfinite(x) & (x != 0), jnp.clip(x, -0.5, 0.5) ** 3, -x),
        lambda x: jnp.pad(jnp.round(x * 3), ((0, 0), (1, 0), (0, 2)), constant_values=2.0),
        lambda x: jax.lax.rsqrt(jnp.square(x).sum(1)) * x.argmax(1).astype(jnp.float32),
        lambda x: jnp.stack(jnp.split(x, 2, axis=2)).transpose(1, 0, 3, 2).max(axis=3),
        lambda x: jax.lax.slice_in_dim(x, 0, 4, 2, axis=2).repeat(2, axis=1),
        lambda x: x.reshape(-1, 4) @ jnp.arange(8.0).reshape(4, 2),
    ],
)
def test_every_operation_gives_the_numbers_of_jax(call):
    x = np.random.default_rng(0).normal(size=(3, 3, 4)).astype(np.float32)
    found, expected = _of(x, call)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@needs_onnx
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small_joint_runs.make_model(), r"^decode of this model .* has the operation \w+$"),
        (
            lambda: small_runs.make_model((4, 3, 1), **{"model.encoder.compute_dtype": "bfloat16"}),
            "^encode of this model cannot be written as ONNX: it computes in bfloat16$",
        ),
    ],
    ids=["texts", "bfloat16"],
)
def test_a_model_that_onnx_has_no_form_for_is_refused_by_its_part(make, message):
    with pytest.raises(UserError, match=message):
        onnx.to_bytes(make())


def test_the_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[onnx\]'"):
        onnx.require_package()
