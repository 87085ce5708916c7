"""Images of which pixels were not seen: the likelihood of the others, and the encoder's mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_models import initialized, normal

from vae_jax.data.pixels import binarize, with_grey_holes
from vae_jax.distributions import Bernoulli, Normal, SeenPixels
from vae_jax.models.likelihoods import (
    BernoulliSettings,
    CategoricalSettings,
    NormalSettings,
)
from vae_jax.models.missing_pixels import MaskedEncoder
from vae_jax.models.vae import VAESettings
from vae_jax.networks.mlp import MLPEncoderSettings
from vae_jax.objectives.bounds import elbo_terms

SHAPE = (2, 3, 1)
HOLES = np.zeros((4, *SHAPE), bool)
HOLES[0, 0, 1], HOLES[1, :, 2], HOLES[2] = True, True, True


def images():
    return (np.asarray(normal(0, 4, *SHAPE)) > 0).astype(np.float32)


@pytest.mark.parametrize(
    "every",
    [
        Bernoulli(normal(1, 5, 4, *SHAPE), event_ndim=3),
        Normal(normal(1, 5, 4, *SHAPE), jnp.float32(-0.3), event_ndim=3),
        Normal(normal(1, 5, 4, *SHAPE), normal(2, 4, *SHAPE), event_ndim=3),
    ],
)
def test_the_likelihood_is_that_of_the_seen_pixels(every):
    x = images()

    @jax.jit
    def log_probs(x):
        return SeenPixels(every).log_prob(x), every.log_prob(x), every.log_prob_by_dimension(x)

    found, whole, alone = map(np.asarray, log_probs(x))
    # Without holes it is the likelihood of all pixels.
    np.testing.assert_allclose(found, whole, rtol=1e-5)
    # Otherwise that of all, less what is added by pixels that may have any value.
    holed = np.where(HOLES, np.nan, x)
    expected = np.where(HOLES, 0, alone).sum(axis=(-1, -2, -3))
    np.testing.assert_allclose(log_probs(holed)[0], expected, rtol=1e-5)
    assert (expected[:, 2] == 0).all()


def build(likelihood=BernoulliSettings()):  # noqa: B008
    settings = VAESettings(
        latent_size=2,
        encoder=MLPEncoderSettings(widths=(4,)),
        likelihood=likelihood,
        missing_pixels=True,
    )
    assert settings.problem() is None
    return initialized(lambda: settings.build(SHAPE, jnp.full(SHAPE, 0.4), rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("likelihood", [BernoulliSettings(), NormalSettings(scale_kind="learned")])
def test_gradients_are_finite_and_do_not_see_what_is_missing(likelihood):
    graphdef, params = nnx.split(build(likelihood))

    @jax.jit
    def gradient(params, x):
        def loss(params):
            return -elbo_terms(nnx.merge(graphdef, params), x, x, jax.random.key(0)).elbo.mean()

        return jax.value_and_grad(loss)(params)

    value, found = gradient(params, np.where(HOLES, np.nan, images()))
    assert np.isfinite(value)
    leaves = jax.tree.leaves(found)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert any((np.asarray(leaf) != 0).any() for leaf in leaves)
    # The output of pixels that no image shows has no gradient.
    unseen = images()
    unseen[:, 0, 0] = np.nan
    bias = gradient(params, unseen)[1]["decoder"]["output"]["bias"]
    assert np.asarray(bias[...]).reshape(-1)[0] == 0
    assert (np.asarray(bias[...]).reshape(-1)[1:6] != 0).all()


def test_the_encoder_tells_a_missing_pixel_from_a_black_one():
    model = build()
    assert isinstance(model.encoder, MaskedEncoder)
    black, holed = np.zeros((1, *SHAPE), np.float32), np.zeros((1, *SHAPE), np.float32)
    holed[0, 0, 0] = np.nan
    encode = jax.jit(lambda x: model.encode(x).mean)
    assert not np.allclose(encode(black), encode(holed))


def test_binarised_images_keep_their_holes():
    grey, draw = np.random.default_rng(0).random((4, *SHAPE), np.float32), jax.jit(binarize)
    drawn = np.asarray(draw(jax.random.key(1), np.where(HOLES, np.float32(np.nan), grey)))
    np.testing.assert_array_equal(np.isnan(drawn), HOLES)
    whole = np.asarray(draw(jax.random.key(1), grey))
    np.testing.assert_array_equal(drawn[~HOLES], whole[~HOLES])
    assert set(np.unique(whole)) == {0, 1}
    shown = with_grey_holes(drawn)
    assert (shown[HOLES] == 0.5).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"likelihood": CategoricalSettings()}, "a likelihood that leaves pixels out"),
        ({"likelihood": NormalSettings(scale_kind="optimal")}, "other than 'optimal'"),
    ],
)
def test_likelihoods_of_all_pixels_are_refused(settings, message):
    problem = VAESettings(missing_pixels=True, **settings).problem()
    assert problem is not None
    assert message in problem
