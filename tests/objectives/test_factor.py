import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_games import KEY, Game
from small_models import normal

from vae_jax import config as factory
from vae_jax.networks.discriminator import Discriminator
from vae_jax.objectives import Batch
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.objectives.factor import (
    density_ratio_total_correlation,
    discriminator_loss,
    permute_dimensions,
)
from vae_jax.training import checkpoints

IMAGE_SHAPE = (4, 4, 1)


def game_of(**changes):
    section = {"name": "factor", "gamma": 6.0, "discriminator": {"widths": (8, 8)}}
    return Game({"batch_size": 12, "objective": section, **changes}, IMAGE_SHAPE, 48, widths=(8,))


def images_of(num, seed=0):
    return jax.random.uniform(jax.random.key(seed), (num, *IMAGE_SHAPE))


def test_a_permutation_keeps_each_dimension_and_removes_correlations():
    column = normal(0, 2000, 1)
    latents = jnp.concatenate([column, column, -column], axis=1)
    permuted = permute_dimensions(latents, KEY)
    np.testing.assert_array_equal(np.sort(permuted, axis=0), np.sort(latents, axis=0))
    correlations = np.corrcoef(np.asarray(permuted).T) - np.eye(3)
    assert np.abs(correlations).max() < 0.1
    assert not np.array_equal(permute_dimensions(latents, jax.random.key(1)), permuted)


CORRELATION = 0.8
TOTAL_CORRELATION = -0.5 * np.log(1 - CORRELATION**2)


def correlated(seed, num):
    """Return draws of two standard normals with correlation CORRELATION."""
    z = normal(seed, num, 2)
    second = CORRELATION * z[:, 0] + np.sqrt(1 - CORRELATION**2) * z[:, 1]
    return jnp.stack([z[:, 0], second], axis=1)


def best_log_ratio(latents):
    """Return the log ratio of the density of `correlated` and the product of its marginals."""
    a, b = latents[:, 0], latents[:, 1]
    rest = 1 - CORRELATION**2
    quadratic = (a**2 - 2 * CORRELATION * a * b + b**2) / rest - a**2 - b**2
    return TOTAL_CORRELATION - 0.5 * quadratic


def test_the_best_discriminator_gives_the_total_correlation_and_the_least_loss():
    latents = correlated(0, 20_000)
    estimate = density_ratio_total_correlation(best_log_ratio, latents)
    assert float(estimate) == pytest.approx(TOTAL_CORRELATION, abs=0.03)

    product = permute_dimensions(correlated(1, 20_000), KEY)

    def loss(log_ratio):
        return float(discriminator_loss(log_ratio, latents, product))

    best = loss(best_log_ratio)
    assert loss(lambda z: jnp.zeros(len(z))) == pytest.approx(np.log(2), rel=1e-5)
    for scale, shift in ((0.6, 0), (1.6, 0), (1, 0.4), (1, -0.4)):
        assert loss(lambda z, a=scale, b=shift: a * best_log_ratio(z) + b) > best + 0.003


def test_a_trained_discriminator_finds_the_total_correlation():
    discriminator = Discriminator(2, [32, 32], rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(discriminator)
    optimizer = optax.adam(5e-3, 0.5, 0.9)

    def body(carry, key):
        params, opt_state = carry
        z = jax.random.normal(key, (400, 2))
        second = CORRELATION * z[:, 0] + np.sqrt(1 - CORRELATION**2) * z[:, 1]
        joint, others = jnp.split(jnp.stack([z[:, 0], second], axis=1), 2)
        product = permute_dimensions(others, key)
        grads = jax.grad(lambda p: discriminator_loss(nnx.merge(graphdef, p), joint, product))(
            params
        )
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    @jax.jit
    def trained(params):
        keys = jax.random.split(KEY, 500)
        return jax.lax.scan(body, (params, optimizer.init(params)), keys)[0][0]

    log_ratio = nnx.merge(graphdef, trained(params))
    estimate = density_ratio_total_correlation(log_ratio, correlated(1, 20_000))
    assert float(estimate) == pytest.approx(TOTAL_CORRELATION, abs=0.1)


@pytest.fixture(scope="module")
def game():
    return game_of()


def test_the_loss_is_the_negative_elbo_and_the_weighted_total_correlation(game):
    images = images_of(9)
    loss, metrics = game(images, gamma=6)
    expected = -metrics["elbo"] + 6 * metrics["total_correlation"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    sample_key, _ = jax.random.split(jax.random.split(KEY, 3)[2])
    terms = elbo_terms(game.model, images, images, sample_key)
    assert float(metrics["elbo"]) == pytest.approx(float(terms.elbo.mean()), rel=1e-5)
    latents = game.model.encode(images).sample(sample_key)
    ratio = game.networks["discriminator"](latents).mean()
    assert float(metrics["total_correlation"]) == pytest.approx(float(ratio), rel=1e-4)


def test_the_models_gradient_is_that_of_the_elbo_and_through_the_discriminator(game):
    images, params = images_of(9), game.params

    def value(owned, name, gamma):
        loss, metrics = game(images, params={**params, "model": owned}, gamma=gamma)
        return {"loss": loss, **metrics}[name]

    whole, elbo, through = (
        jax.tree.leaves(jax.grad(value)(params["model"], name, 6.0))
        for name in ("loss", "elbo", "total_correlation")
    )
    assert max(np.abs(leaf).max() for leaf in through) > 1e-4
    for total, plain, added in zip(whole, elbo, through, strict=True):
        np.testing.assert_allclose(total, 6 * added - plain, rtol=1e-4, atol=1e-5)


def test_the_discriminator_gets_codes_of_one_batch_and_permuted_ones_of_another():
    game, seen = game_of(), []
    # The posterior is so narrow that its draws are its means.
    bias = game.model.posterior.linear.bias
    bias[...] = bias[...].at[3:].set(-1e6)
    first, second = images_of(7, 1), images_of(7, 2)

    def log_ratio(latents):
        seen.append(np.asarray(latents))
        return jnp.zeros(len(latents))

    (opponent,) = game.config.objective.opponents()
    batches = tuple(Batch(images, images) for images in (first, second))
    loss, _ = opponent.loss(
        game.model,
        batches,
        KEY,
        epoch=jnp.float32(0),
        num_examples=48,
        discriminator=log_ratio,
    )
    assert float(loss) == pytest.approx(np.log(2), rel=1e-6)
    joint, product = seen
    np.testing.assert_allclose(joint, game.model.encode(first).mean, atol=3e-3)
    others = np.asarray(game.model.encode(second).mean)
    np.testing.assert_allclose(np.sort(product, axis=0), np.sort(others, axis=0), atol=3e-3)
    assert np.abs(product - others).max() > 0.01


def test_a_constant_discriminator_has_a_loss_of_log_two_and_finds_no_correlation(game):
    images, params = images_of(9), game.params
    guess = {**params, "discriminator": jax.tree.map(jnp.zeros_like, params["discriminator"])}
    loss, metrics = game(images, images[::-1], player=1, params=guess)
    assert float(loss) == float(metrics["discriminator_loss"])
    assert float(loss) == pytest.approx(np.log(2), rel=1e-6)
    assert float(game(images, params=guess)[1]["total_correlation"]) == 0


def test_the_score_of_an_epoch_does_not_depend_on_the_discriminator(game):
    images, params, score = images_of(9), game.params, game.config.objective.score
    other = {**params, "discriminator": jax.tree.map(lambda x: 3 * x, params["discriminator"])}
    found = [game(images, params=chosen) for chosen in (params, other)]
    scores = [score({"loss": loss, **metrics}) for loss, metrics in found]
    assert scores[0] == scores[1] == float(found[0][1]["elbo"])
    assert abs(float(found[0][0] - found[1][0])) > 1e-3


def test_the_discriminator_has_its_own_adam():
    changes = {
        "objective.discriminator.learning_rate": 0.02,
        "objective.discriminator.b1": 0.6,
        "objective.discriminator.b2": 0.8,
        "objective.discriminator.epsilon": 1e-3,
        "objective.discriminator.every": 3,
        "optimizer.weight_decay": 0.5,
    }
    game = game_of(**changes)
    model, discriminator = game.players
    assert (model.owns, discriminator.owns) == (("model",), ("discriminator",))
    assert (model.every, discriminator.every) == (1, 3)
    assert (model.num_batches, discriminator.num_batches) == (1, 2)
    optimizer = discriminator.make_optimizer(game.hparams)
    own = optax.adam(0.02, 0.6, 0.8, 1e-3)
    params = expected = discriminator.owned(game.params)
    state, own_state = optimizer.init(params), own.init(params)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        grads = jax.tree.map(lambda p, r=rng: jnp.asarray(r.normal(size=p.shape), p.dtype), params)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        own_updates, own_state = own.update(grads, own_state)
        expected = optax.apply_updates(expected, own_updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, expected)


def test_a_factor_vae_is_restored_from_its_checkpoint(game, tmp_path):
    config = game.config
    program = factory.build_program(config, IMAGE_SHAPE, 48)
    state = jax.jit(program.init)(jnp.full(IMAGE_SHAPE, 0.5), KEY, game.hparams)
    assert set(state.train.params) == set(state.train.opt_state) == {"model", "discriminator"}
    checkpoints.save(tmp_path, 1, state, {}, max_to_keep=1)
    restored = checkpoints.restore(tmp_path, factory.run_state_template(config, IMAGE_SHAPE))
    assert jax.tree.structure(restored.tree) == jax.tree.structure(state)
    for a, b in zip(*map(jax.tree.leaves, (restored.tree, state)), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a, b)


def test_a_model_starts_the_same_with_and_without_an_opponent():
    with_one, without = game_of(), game_of(objective="tc")
    programs = (factory.build_program(g.config, IMAGE_SHAPE, 48) for g in (with_one, without))
    states = [
        jax.jit(program.init)(jnp.full(IMAGE_SHAPE, 0.5), KEY, game.hparams).train
        for program, game in zip(programs, (with_one, without), strict=True)
    ]
    for a, b in zip(*(jax.tree.leaves(state.params["model"]) for state in states), strict=True):
        np.testing.assert_array_equal(a, b)
