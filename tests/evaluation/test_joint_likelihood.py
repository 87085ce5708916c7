import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_modalities import LENGTH, build_joint, draw_values
from small_models import FlatEncoder, LinearDecoder

from vae_jax.evaluation.joint_likelihood import estimate
from vae_jax.models import NormalLikelihood
from vae_jax.models.modalities import ImageModality
from vae_jax.models.multimodal import MultimodalVAE

LATENTS = 2
SHAPES, SCALES = {"x": (2, 3, 1), "y": (1, 4, 1)}, {"x": 0.5, "y": 0.8}
NAMES = tuple(SHAPES)
KEY = jax.random.key(3)


def parameter(values):
    return nnx.Param(jnp.asarray(values, jnp.float32))


class LinearGaussians:
    """x_i = W_i^T z + b_i + scale_i * noise, z ~ N(0, I): log p of any subset has a closed form.

    The rows of each W_i are orthogonal, so that p(x_i|z) is in z a diagonal normal, with precision
    W_i W_i^T / scale_i^2: with these for factors, a product of experts is the exact posterior.
    """

    def __init__(self):
        rng = np.random.default_rng(0)
        self.weights, self.biases = {}, {}
        model = nnx.eval_shape(lambda: self._build(nnx.Rngs(0)))
        for name, shape in SHAPES.items():
            size = math.prod(shape)
            rows = np.linalg.qr(rng.normal(size=(size, size)))[0][:LATENTS]
            self.weights[name] = weights = rows * rng.uniform(0.5, 1.5, (LATENTS, 1))
            self.biases[name] = bias = rng.normal(size=size)
            model.modalities[name].decoder.linear.kernel = parameter(weights)
            model.modalities[name].decoder.linear.bias = parameter(bias)
            squares = np.square(weights).sum(axis=1)
            kernel = weights.T / squares
            # The head bounds its log-scale by 8 tanh(. / 8).
            log_scale = np.log(SCALES[name] / np.sqrt(squares))
            raw = 8 * np.arctanh(log_scale / 8)
            head = model.heads[name].linear
            head.kernel = parameter(np.concatenate([kernel, np.zeros_like(kernel)], axis=1))
            head.bias = parameter(np.concatenate([-bias @ kernel, raw]))
        self.model = model

    def _build(self, rngs):
        parts = {
            name: ImageModality(
                FlatEncoder(shape),
                LinearDecoder(LATENTS, shape, rngs=rngs),
                NormalLikelihood(SCALES[name]),
            )
            for name, shape in SHAPES.items()
        }
        return MultimodalVAE(parts, LATENTS, "product", rngs=rngs)

    def draw(self, num):
        rng = np.random.default_rng(1)
        z = rng.normal(size=(num, LATENTS))
        values = {}
        for name, shape in SHAPES.items():
            mean = z @ self.weights[name] + self.biases[name]
            noisy = mean + SCALES[name] * rng.normal(size=mean.shape)
            values[name] = noisy.astype(np.float32).reshape(num, *shape)
        return values

    def log_probability(self, values, names):
        weights = np.concatenate([self.weights[name] for name in names], axis=1)
        noise = np.concatenate([np.full(math.prod(SHAPES[n]), SCALES[n] ** 2) for n in names])
        covariance = weights.T @ weights + np.diag(noise)
        residual = np.concatenate(
            [values[n].reshape(len(values[n]), -1) - self.biases[n] for n in names], axis=1
        )
        _, log_determinant = np.linalg.slogdet(2 * np.pi * covariance)
        squares = np.einsum("ni,ij,nj->n", residual, np.linalg.inv(covariance), residual)
        return -0.5 * (squares + log_determinant)


@pytest.fixture(scope="module")
def linear():
    return LinearGaussians()


def estimated(model, values, **options):
    options = {"num_samples": 3, "batch_size": 4, **options}
    arrays = {name: np.asarray(array) for name, array in values.items()}
    return estimate(*nnx.split(model), arrays, KEY, **options)


@pytest.mark.parametrize("asked", [("x",), ("y",), ("x", "y")])
def test_with_exact_posteriors_any_number_of_samples_gives_the_exact_log_probability(linear, asked):
    values = linear.draw(6)
    found = estimated(linear.model, values, asked=asked)
    expected = linear.log_probability(values, asked)
    np.testing.assert_allclose(found.log_probability, expected, rtol=1e-4, atol=1e-4)
    assert found.distortions.shape == (len(asked), 6)


def test_a_conditional_is_the_quotient_of_two_probabilities(linear):
    values = linear.draw(6)
    joint, given = (estimated(linear.model, values, asked=asked) for asked in (NAMES, ("y",)))
    expected = linear.log_probability(values, NAMES) - linear.log_probability(values, ("y",))
    np.testing.assert_allclose(
        joint.log_probability - given.log_probability, expected, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("given", [("x",), ("y",), ()])
def test_samples_of_another_posterior_are_weighed_by_their_own_density(linear, given):
    # Wider than the posterior of what is asked: a narrower one has weights without a variance.
    values = linear.draw(3)
    found = estimated(linear.model, values, asked=NAMES, given=given, num_samples=20_000)
    np.testing.assert_allclose(
        found.log_probability, linear.log_probability(values, NAMES), atol=0.1
    )


def test_the_elbo_of_an_exact_posterior_is_the_log_probability(linear):
    values = linear.draw(3)
    found = estimated(linear.model, values, asked=NAMES, num_samples=20_000)
    np.testing.assert_allclose(found.elbo, linear.log_probability(values, NAMES), atol=0.1)


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("mixture", ("label",)),
        ("mixture", ("label", "text")),
        ("mixture_of_products", ("label", "text")),
    ],
)
def test_mixtures_and_other_kinds_of_data_are_estimated_without_bias(kind, asked):
    names = ("label", "text")
    model, values = build_joint(names, kind), draw_values(names, 3)
    for head in model.heads.values():
        # Weights have a finite variance where the posteriors are hardly narrower than the prior.
        head.linear.bias = parameter(head.linear.bias[...].at[LATENTS:].add(2.0))
    prior = estimated(model, values, asked=asked, given=(), num_samples=40_000)
    found = estimated(model, values, asked=asked, given=names, num_samples=10_000)
    np.testing.assert_allclose(found.log_probability, prior.log_probability, atol=0.05)


def test_an_estimate_does_not_depend_on_the_batches():
    names = ("label", "text")
    model, values = build_joint(names, "mixture"), draw_values(names, 5)
    one, other = (
        estimated(model, values, asked=names, num_samples=7, batch_size=size) for size in (5, 2)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert values["text"].shape == (5, LENGTH)
