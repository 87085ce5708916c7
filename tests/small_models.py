"""Models small enough to check by hand, random parameters, and the comparison of estimators."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vae_jax.models import VAE, DiagonalNormal, NormalLikelihood, StandardNormalPrior


def randomized(build, seed=0, scale=0.4):
    """Return the module of `build()` with every parameter drawn by NumPy."""
    rng = np.random.default_rng(seed)
    graphdef, abstract = nnx.split(nnx.eval_shape(build))

    def draw(leaf):
        # Unlike `jnp.asarray`, which compiles a program per shape.
        return jax.device_put(rng.normal(scale=scale, size=leaf.shape).astype(np.float32))

    return nnx.merge(graphdef, jax.tree.map(draw, abstract))


def initialized(build):
    """Return the module of `build()`, whose initial parameters are one program."""
    graphdefs = []

    def initial_params():
        graphdef, params = nnx.split(build())
        graphdefs.append(graphdef)
        return params

    params = jax.jit(initial_params)()
    return nnx.merge(graphdefs[0], params)


def in_one_program(function, model, *arguments):
    """Return `function(model, *arguments)`, whose operations would else be a program each."""
    graphdef, params = nnx.split(model)
    compiled = jax.jit(lambda params, *rest: function(nnx.merge(graphdef, params), *rest))
    return compiled(params, *arguments)


def normal(seed, *shape):
    """Return standard normal values by NumPy."""
    return jax.device_put(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def assert_equal_means(first, second):
    """Assert that draws along the first axis have equal means, up to five standard errors."""
    error = np.sqrt((first.var(axis=0) + second.var(axis=0)) / len(first))
    assert (error > 0).any()
    difference = np.abs(first.mean(axis=0) - second.mean(axis=0))
    np.testing.assert_array_less(difference, 5 * error + 1e-6)


class FlatEncoder(nnx.Module):
    """The image itself as features."""

    def __init__(self, image_shape):
        self.num_features = math.prod(image_shape)

    def __call__(self, images):
        return images.reshape(*images.shape[:-3], -1)


class LinearDecoder(nnx.Module):
    """z W + b."""

    def __init__(self, latent_size, image_shape, *, rngs):
        self.linear = nnx.Linear(latent_size, math.prod(image_shape), rngs=rngs)
        self.image_shape = image_shape

    def set_output_bias(self, mean_image, link):
        self.linear.bias[...] = link(mean_image).reshape(-1)

    def __call__(self, latents):
        return self.linear(latents).reshape(*latents.shape[:-1], *self.image_shape)


class LinearGaussian:
    """x = W^T z + b + scale * noise, z ~ N(0, I): everything has a closed form.

    The rows of W are orthogonal, so that the exact posterior is a diagonal normal, with covariance
    scale^2 M^-1 and mean M^-1 W (x - b), where M = W W^T + scale^2 I (Tipping & Bishop 1999).
    `shift` and `log_stretch` put the VAE's posterior off: its mean by `shift` exact standard
    deviations in every dimension, its standard deviation by the factor exp(log_stretch).
    """

    image_shape = (2, 3, 1)
    latent_size = 2

    def __init__(self, *, shift=0.0, log_stretch=0.0, scale=0.5):
        rng = np.random.default_rng(0)
        rows = np.linalg.qr(rng.normal(size=(6, 6)))[0][: self.latent_size]
        self.weights = rows * np.array([[1.5], [0.7]])
        self.bias = rng.normal(size=6)
        self.scale = scale
        m = np.square(self.weights).sum(axis=1) + scale**2
        posterior_scale = scale / np.sqrt(m)
        kernel = self.weights.T / m
        self.gap = 0.5 * (shift**2 + math.expm1(2 * log_stretch) - 2 * log_stretch) * 2
        log_scale = np.log(posterior_scale) + log_stretch
        model = nnx.eval_shape(lambda: self._build(nnx.Rngs(0)))
        model.decoder.linear.kernel = _parameter(self.weights)
        model.decoder.linear.bias = _parameter(self.bias)
        model.posterior.linear.kernel = _parameter(
            np.concatenate([kernel, np.zeros_like(kernel)], axis=1)
        )
        # The VAE bounds its log-scale by 8 tanh(. / 8).
        raw = 8 * np.arctanh(log_scale / 8)
        mean_bias = shift * posterior_scale - self.bias @ kernel
        model.posterior.linear.bias = _parameter(np.concatenate([mean_bias, raw]))
        self.model = model

    def _build(self, rngs):
        return VAE(
            FlatEncoder(self.image_shape),
            LinearDecoder(self.latent_size, self.image_shape, rngs=rngs),
            NormalLikelihood(self.scale),
            DiagonalNormal(math.prod(self.image_shape), self.latent_size, rngs=rngs),
            StandardNormalPrior(self.latent_size),
        )

    def draw_images(self, seed, num):
        rng = np.random.default_rng(seed)
        flat = rng.normal(size=(num, 2)) @ self.weights + self.bias
        flat += self.scale * rng.normal(size=flat.shape)
        return flat.astype(np.float32).reshape(num, *self.image_shape)

    def log_likelihood(self, images):
        """Return log N(x; b, W^T W + scale^2 I) per image, in nats."""
        residual = images.reshape(len(images), -1).astype(np.float64) - self.bias
        covariance = self.weights.T @ self.weights + self.scale**2 * np.eye(6)
        _, log_determinant = np.linalg.slogdet(2 * np.pi * covariance)
        squares = np.einsum("ni,ij,nj->n", residual, np.linalg.inv(covariance), residual)
        return -0.5 * (squares + log_determinant)


def _parameter(values):
    return nnx.Param(jnp.asarray(values, jnp.float32))
