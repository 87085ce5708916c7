import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_runs
from flax import nnx
from small_configs import small_config
from small_games import KEY, Game

from configs import rae
from vae_jax import config as factory
from vae_jax.applications.generation import samplers
from vae_jax.errors import UserError
from vae_jax.objectives.rae import squared_slope

IMAGES = jnp.asarray(np.random.default_rng(3).random((12, 3, 4, 1), np.float32))
NAMES = {"rae_l2": "decoder_squared_parameters", "rae_gp": "decoder_gradient_penalty"}


def game_of(name):
    return Game({"model": {"name": "autoencoder"}, "objective": {"name": name}, "batch_size": 12})


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_weighs_its_terms(name):
    loss, metrics = game_of(name)(IMAGES, latent_weight=3.0, decoder_weight=0.5)
    terms = [float(metrics[term]) for term in ("distortion", "squared_norm", NAMES[name])]
    assert float(loss) == pytest.approx(np.dot(terms, [1, 1.5, 0.5]), rel=1e-5)


def test_the_squared_parameters_are_those_of_the_decoder_alone():
    game = game_of("rae_l2")
    params = jax.tree.leaves(nnx.state(game.model.decoder, nnx.Param))
    expected = sum(float(np.square(leaf).sum()) for leaf in params)
    assert float(game(IMAGES)[1]["decoder_squared_parameters"]) == pytest.approx(expected, rel=1e-5)


def test_the_slope_in_random_directions_has_the_squared_jacobian_as_its_mean():
    game = game_of("rae_gp")
    graphdef, state = nnx.split(game.model)

    def decode(codes):
        return nnx.merge(graphdef, state).decode(codes).mean

    # All signs, each once, have exactly the mean of independent ones.
    signs = np.float32(list(itertools.product([-1.0, 1.0], repeat=3)))

    @jax.jit
    def jacobians_and_slopes(images):
        codes = game.model.latents(images)

        def slope(row):
            return squared_slope(decode, codes, jnp.broadcast_to(row, codes.shape))

        jacobians = jax.vmap(jax.jacobian(lambda code: decode(code[None])[0]))(codes)
        return jacobians, jax.vmap(slope)(signs)

    jacobians, slopes = map(np.asarray, jacobians_and_slopes(IMAGES[:4]))
    expected = np.square(jacobians).sum(axis=(1, 2, 3, 4))
    assert np.std(slopes, axis=0).min() > 0
    np.testing.assert_allclose(slopes.mean(axis=0), expected, rtol=1e-4)


def test_the_gradient_penalty_is_half_the_squared_jacobian():
    game = Game({"model": {"name": "autoencoder"}, "objective": {"name": "rae_gp"}}, latent_size=1)
    decode = lambda code: game.model.decode(code[None]).mean[0]  # noqa: E731
    jacobians = jax.jit(lambda: jax.vmap(jax.jacobian(decode))(game.model.latents(IMAGES)))()
    expected = np.square(jacobians).sum() / len(IMAGES) / 2
    penalty = game(IMAGES)[1]["decoder_gradient_penalty"]
    assert float(penalty) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("setting", ["latent_weight", "decoder_weight"])
@pytest.mark.parametrize("name", NAMES)
def test_negative_weights_are_refused_by_name(name, setting):
    changes = {"model": {"name": "autoencoder"}, "objective": {"name": name, setting: -1.0}}
    with pytest.raises(UserError, match=rf"objective\.{setting}"):
        factory.resolve(small_config(changes))


@pytest.mark.parametrize("name", NAMES)
def test_a_posterior_is_refused(name):
    with pytest.raises(UserError, match=f"objective='{name}' leaves out the posterior"):
        factory.resolve(small_config({"objective": {"name": name}}))


def test_codes_are_sampled_by_a_fitted_density_alone():
    model = small_runs.make_model((3, 4, 1), base=rae.get_config())
    images = np.random.default_rng(0).random((192, 3, 4, 1), np.float32)
    mixture = samplers.build("mixture", model, images, KEY)
    assert model.decode(samplers.sample_latents(mixture, KEY, 3)).shape == (3, 3, 4, 1)
    with pytest.raises(UserError, match="needs a prior"):
        samplers.build("prior", model, images, KEY)
    with pytest.raises(UserError, match="needs a model with a posterior and a prior"):
        model.sample(KEY, 3)
