import json
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_models import (
    FlatEncoder,
    LinearDecoder,
    in_one_program,
    initialized,
    normal,
    randomized,
)

from vae_jax.config.forms import from_metadata, to_metadata
from vae_jax.data import condition_arrays
from vae_jax.errors import UserError
from vae_jax.evaluation.likelihood import estimate
from vae_jax.models import BernoulliLikelihood, DiagonalNormal, NormalLikelihood
from vae_jax.models.conditions import (
    ArraySettings,
    Blocks,
    ConditionalPrior,
    LabelCondition,
    LabelSettings,
    QuadrantCondition,
    QuadrantSettings,
    joined,
)
from vae_jax.models.priors import StandardNormalPrior
from vae_jax.models.vae import ConditionalVAE
from vae_jax.networks.mlp import MLPSettings
from vae_jax.objectives.bounds import elbo_terms, frozen

SHAPE, LATENTS, CLASSES, SCALE = (2, 3, 1), 2, 3, 0.5


def label_model(rngs, *, conditional_prior=False):
    """Return a linear model of p(x|class)."""
    size = math.prod(SHAPE) + CLASSES
    layers = MLPSettings()
    return ConditionalVAE(
        FlatEncoder(SHAPE),
        LinearDecoder(LATENTS + CLASSES, SHAPE, rngs=rngs),
        NormalLikelihood(SCALE),
        DiagonalNormal(size, LATENTS, rngs=rngs),
        StandardNormalPrior(LATENTS),
        condition=LabelCondition(CLASSES),
        joint=layers.build(size, rngs=rngs),
        conditional_prior=ConditionalPrior(CLASSES, layers, LATENTS, rngs=rngs)
        if conditional_prior
        else None,
    )


def log_density(model, images, labels):
    """Return log N(x; W_z m_c + W_c + b, W_z^T S_c W_z + scale^2 I), in float64."""
    kernel = np.asarray(model.decoder.linear.kernel, np.float64)
    mean, variance = np.zeros((CLASSES, LATENTS)), np.ones((CLASSES, LATENTS))
    if model.conditional_prior is not None:
        prior = model.conditional_prior(jnp.eye(CLASSES))
        mean = np.asarray(prior.mean, np.float64)
        variance = np.exp(2 * np.asarray(prior.log_scale, np.float64))
    of_z, of_class = kernel[:LATENTS], kernel[LATENTS:]
    found = []
    for image, label in zip(np.asarray(images, np.float64), labels, strict=True):
        centre = mean[label] @ of_z + of_class[label] + np.asarray(model.decoder.linear.bias)
        covariance = of_z.T @ np.diag(variance[label]) @ of_z + SCALE**2 * np.eye(6)
        residual = image.reshape(-1) - centre
        square = residual @ np.linalg.solve(covariance, residual)
        found.append(-0.5 * (square + np.linalg.slogdet(2 * np.pi * covariance)[1]))
    return np.asarray(found)


@pytest.mark.parametrize("conditional_prior", [False, True])
def test_the_bound_with_many_samples_is_the_conditional_density(conditional_prior):
    model = randomized(
        lambda: label_model(nnx.Rngs(0), conditional_prior=conditional_prior), scale=0.3
    )
    # q(z|x, c) as wide as N(0, I), from which importance sampling is steady.
    linear = model.posterior.linear
    for part in (linear.kernel, linear.bias):
        part[...] = jax.device_put(0.1 * np.asarray(part[...]))
    images, labels = np.asarray(normal(1, 4, *SHAPE)), np.array([0, 2, 1, 2], np.int32)
    graphdef, state = nnx.split(model)
    options = {"num_samples": 20_000, "batch_size": 4, "condition": labels}
    found = estimate(graphdef, state, images, jax.random.key(0), **options)
    exact = log_density(model, images, labels)
    np.testing.assert_allclose(found.iwae_bound, exact, atol=0.05)
    assert (found.elbo < exact + 0.05).all()
    other = estimate(
        graphdef, state, images, jax.random.key(0), **options | {"condition": labels * 0}
    )
    assert (other.iwae_bound != found.iwae_bound)[1:].all()


def test_conditions_are_broadcast_to_images():
    model = randomized(lambda: label_model(nnx.Rngs(0)))
    images, key = normal(1, 4, *SHAPE), jax.random.key(3)

    def each(model, images):
        of_classes = model.given(jnp.arange(CLASSES)[:, None])
        terms = elbo_terms(of_classes, images, images, key)
        posterior = model.given(jnp.full(4, 2)).encode(images)
        return terms, of_classes.encode(images).mean, posterior.mean

    terms, of_classes, of_last = in_one_program(each, model, images)
    assert terms.elbo.shape == (CLASSES, 4)
    np.testing.assert_allclose(of_classes[2], of_last, rtol=1e-5)
    assert terms.kl.shape == (CLASSES, 4, LATENTS)
    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((3, 1, 2), (4, 5))]
    assert jax.eval_shape(joined, shapes).shape == (3, 4, 7)


def test_a_conditional_model_stops_its_gradient_and_refuses_to_be_unconditional():
    model = randomized(lambda: label_model(nnx.Rngs(0), conditional_prior=True))
    images = normal(0, 2, *SHAPE)

    def means(model, images):
        given = model.given(jnp.array([1, 2]))
        return frozen(given).encode(images).mean, given.encode(images).mean

    np.testing.assert_array_equal(*in_one_program(means, model, images))
    decode, prior = (lambda: model.decode(normal(0, 2, 2))), (lambda: model.prior)
    for use in (lambda: model.encode(images), decode, prior):
        with pytest.raises(UserError, match="without a condition"):
            use()


@pytest.mark.parametrize("seen", [1, 2, 3])
def test_the_unseen_pixels_are_taken_and_filled_again(seen):
    images, blocks = np.asarray(normal(0, 2, 5, 4, 3)), Blocks(seen, (5, 4, 3))

    @jax.jit
    def taken_and_filled(images):
        pixels, none = blocks.take(images), jnp.zeros((1, blocks.num_pixels, 3))
        return pixels, blocks.fill(images, pixels), blocks.fill(images, none)

    pixels, filled, blank = map(np.asarray, taken_and_filled(images))
    assert pixels.shape == (2, 1, blocks.num_pixels, 3)
    np.testing.assert_array_equal(filled, images)
    assert (blank == 0).all(axis=-1).sum() == 2 * blocks.num_pixels
    # The lower left quadrant is always seen, the lower right one never.
    np.testing.assert_array_equal(blank[:, 2:, :2], images[:, 2:, :2])
    assert (blank[:, 2:, 2:] == 0).all()
    assert {1: 14, 2: 10, 3: 6}[seen] == blocks.num_pixels


def test_only_unseen_pixels_have_a_likelihood_and_only_seen_ones_are_a_condition():
    shape = (4, 4, 1)
    network = initialized(
        lambda: QuadrantCondition(1, shape, 1, [6], [5], activation=jax.nn.silu, rngs=nnx.Rngs(0))
    )
    blocks, likelihood = network.blocks, BernoulliLikelihood()
    images = (np.asarray(normal(0, 3, *shape)) > 0).astype(np.float32)
    take, fill = jax.jit(blocks.take), jax.jit(blocks.fill)
    unseen = np.asarray(take(images))
    other_unseen, other_seen = fill(images, 1 - unseen), fill(1 - images, unseen)

    @jax.jit
    def features_and_guess(condition, value):
        guess = network.guess(condition, likelihood)
        features, drawn = network(condition, likelihood), guess.sample(jax.random.key(0))
        return features, guess.log_prob(value), guess.mean, drawn

    features, log_prob, mean, drawn = map(np.asarray, features_and_guess(images, images))
    same, changed, *_ = features_and_guess(other_unseen, other_unseen)
    np.testing.assert_array_equal(features, same)
    assert (log_prob != np.asarray(changed)).any()
    np.testing.assert_array_equal(features_and_guess(images, other_seen)[1], log_prob)
    assert (np.asarray(features_and_guess(other_seen, images)[0]) != features).any()
    for made in (mean, drawn):
        np.testing.assert_array_equal(fill(made, unseen), images)
    pixels, wanted = np.asarray(take(mean)).reshape(3, -1), unseen.reshape(3, -1)
    exact = np.log(np.where(wanted == 1, pixels, 1 - pixels)).sum(axis=1)
    np.testing.assert_allclose(log_prob, exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (3, "condition=3 is not a class of this model; the classes are 0 to 2"),
        (-1, "condition=-1 is not a class"),
        ([0, 1], "condition has 2 classes for 5 images"),
        (0.5, "must be a class, or one per image"),
        ([], "must be a class, or one per image"),
        ([[1]] * 5, "must be a class, or one per image"),
        ("seven", "must be a class, or one per image"),
    ],
)
def test_wrong_classes_are_refused(condition, message):
    with pytest.raises(UserError, match=message):
        LabelSettings(classes=3).checked(condition, 5, SHAPE)


def test_one_condition_stands_for_all():
    np.testing.assert_array_equal(LabelSettings(classes=3).checked(2, 4, SHAPE), [2, 2, 2, 2])
    images = np.ones((1, *SHAPE), np.float32)
    assert QuadrantSettings().checked(images, 4, SHAPE).shape == (4, *SHAPE)
    with pytest.raises(UserError, match="condition has 3 images for 4"):
        QuadrantSettings().checked(np.ones((3, *SHAPE)), 4, SHAPE)


def test_numbers_are_standardised_by_those_of_training_images():
    numbers = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]], np.float32)
    shape = condition_arrays.fit(SHAPE, numbers)
    condition = ArraySettings().build(shape, 1, rngs=nnx.Rngs(0))
    found = np.asarray(condition(jnp.asarray(numbers), BernoulliLikelihood()))
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    # The second is the same for all.
    np.testing.assert_allclose(found.std(axis=0), [1, 0], rtol=1e-5)


def test_a_shape_knows_its_numbers():
    shape = condition_arrays.ConditionedShape(SHAPE, [1.0], [2.0])
    other = condition_arrays.ConditionedShape(SHAPE, [1.0], [3.0])
    assert shape == SHAPE
    assert np.zeros(SHAPE).shape == shape
    assert shape != other
    assert len({shape, other, pickle.loads(pickle.dumps(shape))}) == 2
    assert from_metadata(json.loads(json.dumps(to_metadata(shape)))) == shape
    assert type(from_metadata(to_metadata(SHAPE))) is tuple
