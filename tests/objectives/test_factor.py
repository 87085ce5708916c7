import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_games import KEY, Game
from small_models import initialized, normal

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
    return jnp.asarray(np.random.default_rng(seed).random((num, *IMAGE_SHAPE), np.float32))


_permuted = jax.jit(permute_dimensions)


def test_a_permutation_keeps_each_dimension_and_removes_correlations():
    column = np.asarray(normal(0, 2000, 1))
    latents = jnp.asarray(np.concatenate([column, column, -column], axis=1))
    permuted = _permuted(latents, KEY)
    np.testing.assert_array_equal(np.sort(permuted, axis=0), np.sort(latents, axis=0))
    correlations = np.corrcoef(np.asarray(permuted).T) - np.eye(3)
    assert np.abs(correlations).max() < 0.1
    assert not np.array_equal(_permuted(latents, jax.random.key(1)), permuted)


CORRELATION = 0.8
TOTAL_CORRELATION = -0.5 * np.log(1 - CORRELATION**2)


def correlated(seed, num):
    """Return draws of two standard normals with correlation CORRELATION."""
    z = np.asarray(normal(seed, num, 2))
    second = CORRELATION * z[:, 0] + np.sqrt(1 - CORRELATION**2) * z[:, 1]
    return jnp.asarray(np.stack([z[:, 0], second], axis=1))


def best_log_ratio(latents):
    """Return the log ratio of the density of `correlated` and the product of its marginals."""
    a, b = latents[:, 0], latents[:, 1]
    rest = 1 - CORRELATION**2
    quadratic = (a**2 - 2 * CORRELATION * a * b + b**2) / rest - a**2 - b**2
    return TOTAL_CORRELATION - 0.5 * quadratic


def test_the_best_discriminator_gives_the_total_correlation_and_the_least_loss():
    # The best log ratio is scaled and shifted.
    changes = np.float32([(1, 0), (0, 0), (0.6, 0), (1.6, 0), (1, 0.4), (1, -0.4)])

    @jax.jit
    def estimates(latents, others):
        product = permute_dimensions(others, KEY)

        def loss(change):
            log_ratio = lambda z: change[0] * best_log_ratio(z) + change[1]  # noqa: E731
            return discriminator_loss(log_ratio, latents, product)

        estimate = density_ratio_total_correlation(best_log_ratio, latents)
        return estimate, jax.vmap(loss)(changes)

    estimate, losses = estimates(correlated(0, 20_000), correlated(1, 20_000))
    assert float(estimate) == pytest.approx(TOTAL_CORRELATION, abs=0.03)
    best, constant, *others = map(float, losses)
    assert constant == pytest.approx(np.log(2), rel=1e-5)
    assert min(others) > best + 0.003


def test_a_trained_discriminator_finds_the_total_correlation():
    discriminator = initialized(lambda: Discriminator(2, [32, 32], rngs=nnx.Rngs(0)))
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
    def estimate(params, latents):
        keys = jax.random.split(KEY, 500)
        (params, _), _ = jax.lax.scan(body, (params, optimizer.init(params)), keys)
        return density_ratio_total_correlation(nnx.merge(graphdef, params), latents)

    found = estimate(params, correlated(1, 20_000))
    assert float(found) == pytest.approx(TOTAL_CORRELATION, abs=0.1)


@pytest.fixture(scope="module")
def game():
    return game_of()


def test_the_loss_is_the_negative_elbo_and_the_weighted_total_correlation(game):
    images = images_of(9)

    @jax.jit
    def terms():
        sample_key, _ = jax.random.split(jax.random.split(KEY, 3)[2])
        elbo = elbo_terms(game.model, images, images, sample_key).elbo
        latents = game.model.encode(images).sample(sample_key)
        return elbo.mean(), game.networks["discriminator"](latents).mean()

    loss, metrics = game(images, gamma=6)
    elbo, ratio = map(float, terms())
    assert float(loss) == pytest.approx(-elbo + 6 * ratio, rel=1e-5)
    assert float(metrics["elbo"]) == pytest.approx(elbo, rel=1e-5)
    assert float(metrics["total_correlation"]) == pytest.approx(ratio, rel=1e-4)


def test_the_models_gradient_is_that_of_the_elbo_and_through_the_discriminator(game):
    images, params = images_of(9), game.params

    names = ("loss", "elbo", "total_correlation")

    @jax.jit
    @jax.jacrev
    def gradients(owned):
        loss, metrics = game(images, params={**params, "model": owned}, gamma=6.0)
        return {name: {"loss": loss, **metrics}[name] for name in names}

    found = gradients(params["model"])
    whole, elbo, through = (jax.tree.leaves(found[name]) for name in names)
    whole, elbo, through = ([np.asarray(leaf) for leaf in part] for part in (whole, elbo, through))
    assert max(np.abs(leaf).max() for leaf in through) > 1e-4
    for total, plain, added in zip(whole, elbo, through, strict=True):
        np.testing.assert_allclose(total, 6 * added - plain, rtol=1e-4, atol=1e-5)


def test_the_discriminator_gets_codes_of_one_batch_and_permuted_ones_of_another():
    game, seen = game_of(), []
    # The posterior is so narrow that its draws are its means.
    bias = game.model.posterior.linear.bias
    bias[...] = jnp.asarray([*np.asarray(bias[...])[:3], *[-1e6] * 3], jnp.float32)
    (opponent,) = game.config.objective.opponents()

    @jax.jit
    def played(*images):
        def log_ratio(latents):
            seen.append(latents)
            return jnp.zeros(len(latents))

        loss, _ = opponent.loss(
            game.model,
            tuple(Batch(each, each) for each in images),
            KEY,
            epoch=jnp.float32(0),
            num_examples=48,
            discriminator=log_ratio,
        )
        return loss, *seen, *(game.model.encode(each).mean for each in images)

    loss, joint, product, first, others = map(np.asarray, played(images_of(7, 1), images_of(7, 2)))
    assert float(loss) == pytest.approx(np.log(2), rel=1e-6)
    np.testing.assert_allclose(joint, first, atol=3e-3)
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
    rng = np.random.default_rng(0)
    before = discriminator.owned(game.params)
    grads = jax.tree.map(lambda p: rng.normal(size=(3, *p.shape)).astype(np.float32), before)

    @jax.jit
    def after(grads):
        def moved(optimizer):
            params, state = before, optimizer.init(before)
            for i in range(3):
                gradient = jax.tree.map(lambda leaf, i=i: leaf[i], grads)
                updates, state = optimizer.update(gradient, state, params)
                params = optax.apply_updates(params, updates)
            return params

        own = optax.adam(0.02, 0.6, 0.8, 1e-3)
        return moved(discriminator.make_optimizer(game.hparams)), moved(own)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *after(grads))


def test_a_factor_vae_is_restored_from_its_checkpoint(game, tmp_path):
    config = game.config
    program = factory.build_program(config, IMAGE_SHAPE, 48)
    state = jax.jit(program.init)(np.full(IMAGE_SHAPE, 0.5, np.float32), KEY, game.hparams)
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

    @jax.jit
    def started():
        return [
            program.init(jnp.full(IMAGE_SHAPE, 0.5), KEY, game.hparams).train.params["model"]
            for program, game in zip(programs, (with_one, without), strict=True)
        ]

    for a, b in zip(*map(jax.tree.leaves, started()), strict=True):
        np.testing.assert_array_equal(a, b)
