import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import randomized

from vae_jax.models import (
    VAE,
    BernoulliLikelihood,
    DiagonalNormal,
    NormalLikelihood,
    StandardNormalPrior,
)
from vae_jax.networks import (
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    ResidualDecoder,
    ResidualEncoder,
)
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.choices import ENCODERS
from vae_jax.networks.conv import max_pool, resize_nearest
from vae_jax.networks.convolution import (
    conv_as_matmul,
    conv_by_lax,
    conv_transpose_as_matmul,
    conv_transpose_by_lax,
    extract_patches,
    overlap_add,
    tall_matmul,
)
from vae_jax.networks.mlp import GatedDense

# Every example has its own shape and compiles anew.
few = settings(max_examples=6, deadline=None)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_same_function(first, second, stride, images, kernel):
    def value_and_gradients(function, images, kernel):
        out, backward = jax.vjp(lambda *args: function(*args, stride), images, kernel)
        return out, backward(jnp.asarray(normal(2, *out.shape)))

    @jax.jit
    def both(images, kernel):
        return [value_and_gradients(function, images, kernel) for function in (first, second)]

    actual, expected = both(images, kernel)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    return expected[0]


@few
@given(
    size=sizes,
    kernel_size=st.integers(1, 5),
    stride=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 5)),
)
def test_convolution_as_matrix_product_equals_xla(size, kernel_size, stride, channels):
    images = normal(0, 2, *size, channels[0])
    kernel = normal(1, kernel_size, kernel_size, *channels)
    out = assert_same_function(conv_as_matmul, conv_by_lax, stride, images, kernel)
    assert out.shape == (2, -(-size[0] // stride), -(-size[1] // stride), channels[1])


@few
@given(
    size=sizes,
    excess=st.integers(0, 3),
    stride=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 3)),
)
def test_transposed_convolution_as_matrix_product_equals_xla(size, excess, stride, channels):
    kernel_size = stride + excess
    images = normal(0, 2, *size, channels[0])
    kernel = normal(1, kernel_size, kernel_size, *channels)
    out = assert_same_function(
        conv_transpose_as_matmul, conv_transpose_by_lax, stride, images, kernel
    )
    assert out.shape == (2, size[0] * stride, size[1] * stride, channels[1])


@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (4, 2), (5, 2), (2, 2)])
def test_convolutions_agree_with_same_padding_of_xla(kernel_size, stride):
    images, kernel = normal(0, 2, 7, 8, 2), normal(1, kernel_size, kernel_size, 2, 3)

    @jax.jit
    def both(images, kernel):
        expected = jax.lax.conv_general_dilated(
            images, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return conv_as_matmul(images, kernel, stride), expected

    np.testing.assert_allclose(*both(images, kernel), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel_size", "stride"), [(4, 2), (2, 2), (3, 1)])
def test_transposed_convolution_is_the_adjoint_of_the_convolution(kernel_size, stride):
    small, large = normal(0, 1, 4, 5, 2), normal(1, 1, 4 * stride, 5 * stride, 3)
    kernel = normal(2, kernel_size, kernel_size, 2, 3)

    @jax.jit
    def both(small, large, kernel):
        up = conv_transpose_as_matmul(small, kernel, stride)
        down = conv_as_matmul(large, jnp.swapaxes(kernel, 2, 3), stride)
        return (up * large).sum(), (small * down).sum()

    np.testing.assert_allclose(*both(small, large, kernel), rtol=1e-4)


# (3, 2), (2, 3) and (5, 3) take the branch of overlap_add for windows that are not whole blocks.
@pytest.mark.parametrize(
    ("kernel_size", "stride"), [(1, 1), (4, 2), (3, 3), (6, 2), (3, 2), (2, 3), (5, 3)]
)
def test_patches_and_overlap_add_are_each_others_transpose(kernel_size, stride):
    rows, columns = 3, 2
    height, width = ((n - 1) * stride + kernel_size for n in (rows, columns))
    images = normal(0, 2, height, width, 3)
    patches = normal(1, 2, rows, columns, kernel_size**2 * 3)

    @jax.jit
    def both_ways(images, patches):
        extracted, extract_backward = jax.vjp(
            lambda x: extract_patches(x, kernel_size, stride), images
        )
        added, add_backward = jax.vjp(lambda x: overlap_add(x, kernel_size, stride), patches)
        return extracted, added, extract_backward(patches)[0], add_backward(images)[0]

    extracted, added, extract_gradient, add_gradient = map(np.asarray, both_ways(images, patches))
    assert extracted.shape == patches.shape
    assert added.shape == images.shape
    np.testing.assert_allclose(
        np.vdot(extracted, patches), np.vdot(images, added), rtol=1e-4, atol=1e-3
    )
    np.testing.assert_array_equal(
        extracted[1, 1, 1].reshape(kernel_size, kernel_size, 3),
        images[1, stride : stride + kernel_size, stride : stride + kernel_size],
    )
    np.testing.assert_allclose(extract_gradient, added, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(add_gradient, extracted)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 7), (7, 3), (4, 4)])
def test_tall_matmul_has_the_gradients_of_a_matrix_product(inputs, outputs):
    x, w, weight = normal(0, 50, inputs), normal(1, inputs, outputs), normal(2, 50, outputs)

    @jax.jit
    def both(x, w, weight):
        out, backward = jax.vjp(tall_matmul, x, w)
        return out, backward(weight)

    out, (d_x, d_w) = both(x, w, weight)
    np.testing.assert_allclose(out, x @ w, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(d_x, weight @ w.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(d_w, x.T @ weight, rtol=1e-4, atol=1e-4)


def test_max_pool_of_odd_images_pools_the_rest_with_itself():
    images = np.arange(15, dtype=np.float32).reshape(1, 3, 5, 1)
    largest, least = (np.asarray(jax.jit(max_pool)(x))[0, :, :, 0] for x in (images, -images))
    np.testing.assert_array_equal(largest, [[6, 8, 9], [11, 13, 14]])
    np.testing.assert_array_equal(least, [[0, -2, -4], [-10, -12, -14]])


def test_resize_repeats_every_pixel_to_a_square():
    images = normal(0, 2, 2, 3, 2)
    expected = np.kron(images, np.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(jax.jit(resize_nearest)(images), expected)


def test_a_gated_layer_is_its_value_times_the_sigmoid_of_its_gate():
    layer = randomized(lambda: GatedDense(3, 4, rngs=nnx.Rngs(0)))
    x = normal(0, 5, 3)
    value, gate = (
        x @ np.asarray(part.kernel[...]) + np.asarray(part.bias[...])
        for part in (layer.value, layer.gate)
    )
    actual = jax.jit(lambda x: layer(x))(x)
    np.testing.assert_allclose(actual, value / (1 + np.exp(-gate)), rtol=1e-5, atol=1e-6)


def make_mlp(image_shape, *, gated, activation=jnp.tanh):
    options = {"activation": activation, "gated": gated, "rngs": nnx.Rngs(0)}
    return MLPEncoder(image_shape, (6, 5), **options), MLPDecoder(3, image_shape, (5, 6), **options)


def make_conv(image_shape, downsampling, upsampling, *, kernel_size=3, widths=(5,)):
    options = {"kernel_size": kernel_size, "activation": jax.nn.elu, "rngs": nnx.Rngs(0)}
    channels = (4, 6)
    return (
        ConvEncoder(image_shape, channels, widths, downsampling=downsampling, **options),
        ConvDecoder(3, image_shape, channels, widths, upsampling=upsampling, **options),
    )


def make_residual(image_shape, downsampling, upsampling, *, remat, num_blocks=1, widths=(5,)):
    options = {
        "num_blocks": num_blocks,
        "kernel_size": 4,
        "activation": jax.nn.silu,
        "remat": remat,
        "rngs": nnx.Rngs(0),
    }
    channels = (4, 6)
    return (
        ResidualEncoder(image_shape, channels, widths, downsampling=downsampling, **options),
        ResidualDecoder(3, image_shape, channels, widths, upsampling=upsampling, **options),
    )


# Each encoder and each decoder occurs; they do not depend on each other.
BODIES = {
    "plain": partial(make_mlp, gated=False),
    "gated": partial(make_mlp, gated=True),
    "stride, transpose": partial(make_conv, downsampling="stride", upsampling="transpose"),
    "pool, resize": partial(make_conv, downsampling="pool", upsampling="resize"),
    "even kernel": partial(
        make_conv, downsampling="stride", upsampling="transpose", kernel_size=4, widths=()
    ),
    "residual": partial(
        make_residual,
        downsampling="stride",
        upsampling="transpose",
        remat=False,
        num_blocks=2,
        widths=(),
    ),
    "residual, remat": partial(make_residual, downsampling="pool", upsampling="resize", remat=True),
}


class Pair(nnx.Module):
    def __init__(self, bodies):
        self.encoder, self.decoder = bodies


def make_pair(body, image_shape):
    pair = randomized(lambda: Pair(BODIES[body](image_shape)))
    return pair.encoder, pair.decoder


@pytest.mark.parametrize("body", BODIES)
def test_bodies_keep_leading_axes_and_the_image_shape(body):
    # An odd and an even side.
    image_shape = (7, 8, 3)
    encoder, decoder = make_pair(body, image_shape)
    images, latents = normal(0, 2, 3, *image_shape), normal(1, 2, 3, 3)

    @jax.jit
    def run(images, latents):
        return encoder(images), encoder(images[1]), decoder(latents), decoder(latents[1])

    features, some_features, decoded, some_decoded = map(np.asarray, run(images, latents))
    assert features.shape == (2, 3, encoder.num_features)
    assert decoded.shape == (2, 3, *image_shape)
    np.testing.assert_allclose(some_features, features[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(some_decoded, decoded[1], rtol=1e-4, atol=1e-5)
    assert (np.ptp(features.reshape(6, -1), axis=0) > 0).any()
    assert (np.ptp(decoded.reshape(6, -1), axis=0) > 0).all()


def test_a_conv_encoder_without_hidden_layers_gives_its_last_feature_maps():
    assert make_pair("even kernel", (7, 9, 1))[0].num_features == 2 * 3 * 6


@pytest.mark.parametrize("name", ["mlp", "gated_mlp", "conv", "resnet"])
def test_an_encoder_with_a_symmetric_input_range_sees_values_around_zero(name):
    images = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    sizes = {"widths": (5,)} if "mlp" in name else {"channels": (4,), "widths": (5,)}

    def build(input_range):
        encoder = ENCODERS[name](input_range=input_range, **sizes)
        return randomized(lambda: encoder.build((8, 8, 3), rngs=nnx.Rngs(0)))

    of_unit, of_symmetric = build("unit"), build("symmetric")

    @jax.jit
    def features(images):
        return of_unit(2 * images - 1), of_symmetric(images), of_unit(images)

    moved, symmetric, unit = features(images)
    np.testing.assert_array_equal(symmetric, moved)
    assert not np.allclose(unit, symmetric)


@pytest.mark.parametrize("name", ["mlp", "gated_mlp", "conv", "resnet"])
def test_a_mirror_takes_all_but_the_input_range(name):
    encoder = ENCODERS[name](widths=(5,), initializer="glorot", input_range="symmetric")
    decoder = encoder.mirror()
    assert not hasattr(decoder, "input_range")
    shared = {f.name for f in dataclasses.fields(decoder)} & set(dataclasses.asdict(encoder))
    assert {"widths", "initializer", "compute_dtype"} <= shared
    assert all(getattr(decoder, field) == getattr(encoder, field) for field in shared)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hidden_layers_apply_their_activation(name):
    encoder = randomized(lambda: make_mlp((2, 2, 1), gated=False, activation=ACTIVATIONS[name])[0])
    images = normal(0, 3, 2, 2, 1)

    @jax.jit
    def both(images):
        x = images.reshape(3, 4)
        for layer in encoder.mlp.layers:
            x = ACTIVATIONS[name](x @ layer.kernel[...] + layer.bias[...])
        return encoder(images), x

    np.testing.assert_allclose(*both(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "body", ["plain", "gated", "stride, transpose", "pool, resize", "residual"]
)
def test_set_output_bias_starts_the_decoder_at_the_link_of_the_mean(body):
    image_shape = (6, 5, 3)
    _, decoder = make_pair(body, image_shape)
    image, latents = normal(0, *image_shape), jnp.asarray(normal(1, 4, 3))
    graphdef, params = nnx.split(decoder)

    @jax.jit
    def decode(image):
        decoder = nnx.merge(graphdef, params)
        # Not linear: a convolution must average over the pixels first and link afterwards.
        decoder.set_output_bias(image, jnp.exp)
        return decoder(latents)

    # exp(-inf) is 0: the bias stays 0.
    from_zero = np.asarray(decode(np.full(image_shape, -np.inf, np.float32)))
    mean = image if isinstance(decoder, MLPDecoder) else image.mean(axis=(0, 1))
    np.testing.assert_allclose(decode(image), from_zero + np.exp(mean), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("body", BODIES)
def test_every_parameter_gets_a_gradient(body):
    def build():
        likelihood = NormalLikelihood(0.5, "learned")
        encoder, decoder = BODIES[body]((7, 5, 3))
        posterior = DiagonalNormal(encoder.num_features, 3, rngs=nnx.Rngs(1))
        return VAE(encoder, decoder, likelihood, posterior, StandardNormalPrior(3))

    graphdef, params = nnx.split(randomized(build))
    images = jnp.asarray(normal(0, 4, 7, 5, 3))

    @jax.jit
    @jax.grad
    def gradient(params):
        model = nnx.merge(graphdef, params)
        posterior = model.encode(images)
        latents = posterior.sample(jax.random.key(0))
        log_likelihood = model.decode(latents).log_prob(images)
        return (log_likelihood - posterior.log_prob(latents)).mean()

    gradients = jax.tree_util.tree_leaves_with_path(gradient(params))
    assert len(gradients) == len(jax.tree.leaves(params)) > 8
    for path, leaf in gradients:
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-6, path


def test_a_likelihood_has_the_mean_that_its_output_was_made_for():
    mean = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 2, 3)

    @jax.jit
    def outputs_and_means(mean):
        likelihoods = BernoulliLikelihood(), NormalLikelihood(0.1)
        outputs = [likelihood.output_for_mean(mean) for likelihood in likelihoods]
        means = [own(output).mean for own, output in zip(likelihoods, outputs, strict=True)]
        return outputs[0], *means

    output, bernoulli_mean, normal_mean = outputs_and_means(mean)
    assert np.isfinite(output).all()
    np.testing.assert_allclose(bernoulli_mean, np.clip(mean, 1e-3, 1 - 1e-3), rtol=1e-4)
    np.testing.assert_array_equal(normal_mean, mean)


@pytest.mark.parametrize("kind", ["fixed", "learned", "optimal"])
def test_a_normal_likelihood_has_its_scale_for_every_pixel_and_sums_the_image(kind):
    scale = 0.3
    likelihood = NormalLikelihood(scale, kind)
    outputs, images = normal(0, 4, 2, 3, 1), normal(1, 4, 2, 3, 1)
    residual = (images - outputs).astype(np.float64) / scale
    expected = -0.5 * (residual**2 + math.log(2 * math.pi * scale**2)).sum(axis=(1, 2, 3))
    log_prob = jax.jit(lambda outputs, images: likelihood(outputs).log_prob(images))
    np.testing.assert_allclose(log_prob(outputs, images), expected, rtol=1e-4)
    assert len(jax.tree.leaves(nnx.split(likelihood)[1])) == (kind != "fixed")
