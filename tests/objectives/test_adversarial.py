import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_games import KEY, Game

from configs import aae, vanilla
from vae_jax import config as factory
from vae_jax.config.overrides import with_values
from vae_jax.errors import UserError
from vae_jax.objectives import Batch
from vae_jax.objectives.codes import draw_codes
from vae_jax.training.step import init_state, train_step

IMAGE_SHAPE = (4, 4, 1)
SECTION = {"name": "adversarial", "weight": 3.0, "discriminator": {"widths": (8,)}}


def norm_of(tree):
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)))


def game_of(**changes):
    return Game({"batch_size": 12, "objective": SECTION, **changes}, IMAGE_SHAPE, 48, widths=(8,))


def images_of(num, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random((num, *IMAGE_SHAPE), np.float32))


@pytest.fixture(scope="module")
def game():
    return game_of()


def test_the_loss_is_the_distortion_and_the_weighted_loss_of_the_generator(game):
    images = images_of(9)
    loss, metrics = game(images, weight=3)
    found = {name: float(value) for name, value in metrics.items()}
    expected = found["distortion"] + 3 * found["generator_loss"]
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert found["elbo"] == pytest.approx(-found["distortion"] - found["rate"], rel=1e-5)
    alone, metrics = game(images, weight=0)
    assert float(alone) == float(metrics["distortion"])


def test_an_autoencoder_has_one_code_per_image_and_the_game_matches_it_to_the_standard_normal():
    game = game_of(model={"name": "autoencoder"})
    images = images_of(9)
    loss, metrics = game(images, weight=3)
    assert "rate" not in metrics
    expected = float(metrics["distortion"]) + 3 * float(metrics["generator_loss"])
    assert float(loss) == pytest.approx(expected, rel=1e-5)

    @jax.jit
    def codes_and_draws():
        tiled = jnp.tile(images, (300, 1, 1, 1))
        return *draw_codes(game.model, tiled, KEY), game.model.latents(images)

    codes, drawn, expected = map(np.asarray, codes_and_draws())
    np.testing.assert_allclose(codes[:9], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), 1, atol=0.1)


def test_the_discriminator_moves_the_encoder_and_not_the_decoder(game):
    params = game.params

    def fooling(owned):
        return game(images_of(9), params={**params, "model": owned})[1]["generator_loss"]

    @jax.jit
    def norms(owned):
        grads = jax.grad(fooling)(owned)
        return {part: norm_of(grads[part]) for part in grads}

    sizes = {part: float(norm) for part, norm in norms(params["model"]).items()}
    assert sizes["decoder"] == 0
    assert sizes["encoder"] > 1e-4
    assert sizes["posterior"] > 1e-4


def test_the_discriminator_separates_draws_of_the_prior_from_codes():
    game, seen = game_of(), []
    # The posterior is so narrow that its draws are its means.
    bias = game.model.posterior.linear.bias
    bias[...] = jnp.asarray([*np.asarray(bias[...])[:3], *[-1e6] * 3], jnp.float32)
    (opponent,) = game.config.objective.opponents()

    @jax.jit
    def played(images):
        def log_ratio(latents):
            seen.append(latents)
            return latents[:, 0]

        options = {"epoch": jnp.float32(0), "num_examples": 48, "discriminator": log_ratio}
        loss, metrics = opponent.loss(game.model, (Batch(images, images),), KEY, **options)
        return loss, metrics, *seen, game.model.encode(images).mean

    loss, metrics, prior, codes, means = jax.device_get(played(images_of(2000)))
    np.testing.assert_allclose(prior.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(prior.std(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(codes, means, atol=3e-3)
    real, fake = prior[:, 0], codes[:, 0]
    expected = np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()
    assert float(loss) == float(metrics["discriminator_loss"])
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    right = (np.mean(real > 0) + np.mean(fake < 0)) / 2
    assert float(metrics["discriminator_accuracy"]) == pytest.approx(right, abs=1e-5)


def test_a_constant_discriminator_has_twice_log_two(game):
    guess = jax.tree.map(np.zeros_like, game.params["discriminator"])
    params = {**game.params, "discriminator": guess}
    loss, metrics = game(images_of(9), player=1, params=params)
    assert float(loss) == pytest.approx(2 * np.log(2), rel=1e-6)
    assert float(metrics["discriminator_accuracy"]) == 0.5
    assert float(game(images_of(9), params=params)[1]["generator_loss"]) == pytest.approx(
        np.log(2), rel=1e-6
    )


def test_the_score_of_an_epoch_does_not_depend_on_the_discriminator(game):
    params, score = game.params, game.config.objective.score
    tripled = jax.tree.map(lambda leaf: 3 * np.asarray(leaf), params["discriminator"])
    other = {**params, "discriminator": tripled}
    found = [game(images_of(9), params=chosen) for chosen in (params, other)]
    scores = [score({"loss": loss, **metrics}) for loss, metrics in found]
    assert scores[0] == scores[1] == -float(found[0][1]["distortion"])
    assert abs(float(found[0][0]) - float(found[1][0])) > 1e-3


def test_a_step_reports_both_losses_the_accuracy_and_the_norm_of_each_gradient(game):
    model, discriminator = game.players
    assert (model.owns, discriminator.owns) == (("model",), ("discriminator",))
    images = images_of(12)

    @jax.jit
    def both(params):
        state = init_state(params, game.extra, game.hparams, game.players, KEY)
        _, metrics = train_step(state, (images,), jnp.float32(0), players=game.players)
        keys = jax.random.split(jax.random.fold_in(state.noise_key, state.step), 2)

        def loss_of(owned):
            params = {**state.params, "model": owned}
            arguments = (state.extra, (images,), state.hparams, jnp.float32(0), keys[0])
            return model.loss(params, *arguments)[0]

        return metrics, norm_of(jax.grad(loss_of)(state.params["model"]))

    metrics, norm = both(game.params)
    assert {
        "loss",
        "generator_loss",
        "discriminator_loss",
        "discriminator_accuracy",
        "model_gradient_norm",
        "discriminator_gradient_norm",
    } <= set(metrics)
    assert float(metrics["model_gradient_norm"]) == pytest.approx(float(norm), rel=1e-4)
    assert float(metrics["discriminator_gradient_norm"]) > 0


def test_the_discriminator_has_its_own_adam_and_number_of_updates():
    section = {**SECTION, "discriminator": {"learning_rate": 0.02, "b1": 0.6, "updates": 3}}
    game = game_of(objective=section)
    player = game.players[1]
    assert player.updates == 3
    own = optax.adam(0.02, 0.6, 0.999, 1e-8)
    params = player.owned(game.params)
    grads = jax.tree.map(jnp.ones_like, params)

    @jax.jit
    def updates():
        made = player.make_optimizer(game.hparams)
        return [o.update(grads, o.init(params))[0] for o in (made, own)]

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *updates())


def test_the_game_moves_codes_to_the_prior():
    section = {**SECTION, "weight": 100.0}
    section["discriminator"] = {"widths": (32,), "learning_rate": 2e-3}
    changes = {"model": {"name": "autoencoder"}, "model.latent_size": 2, "batch_size": 64}
    changes |= {"optimizer.learning_rate": 2e-3, "optimizer.schedule": "constant"}
    game = Game({**changes, "objective": section}, IMAGE_SHAPE, 1024, widths=(32,))
    game.model.bottleneck.bias[...] = jnp.asarray(np.full(2, 4, np.float32))
    images, graphdef = images_of(500), nnx.graphdef(game.model)

    @jax.jit
    def run(params):
        state = init_state(params, game.extra, game.hparams, game.players, KEY)

        def body(state, key):
            batch = (jax.random.uniform(key, (64, *IMAGE_SHAPE)),)
            return train_step(state, batch, jnp.float32(0), players=game.players)

        after, metrics = jax.lax.scan(body, state, jax.random.split(KEY, 1000))
        models = (nnx.merge(graphdef, s.params["model"], s.extra) for s in (state, after))
        return [model.latents(images).mean(axis=0) for model in models], metrics

    (before, after), metrics = run(game.params)
    # The prior has mean 0. Images of noise have codes that are narrower than it.
    assert np.linalg.norm(before) > 5
    assert np.linalg.norm(after) < 2.5
    accuracy = np.asarray(metrics["discriminator_accuracy"])
    assert accuracy[:100].mean() > 0.68
    assert accuracy[-300:].mean() < 0.65


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": -1.0}, r"objective\.weight=-1\.0 must be a number of at least 0"),
        ({"discriminator": {"widths": ()}}, r"objective\.discriminator\.widths=\(\)"),
        ({"discriminator": {"updates": 0}}, r"objective\.discriminator\.updates=0"),
        ({"discriminator": {"learning_rate": 0.0}}, r"objective\.discriminator\.learning_rate"),
    ],
)
def test_wrong_values_are_refused_in_a_line(changes, message):
    section = {"name": "adversarial", **changes}
    with pytest.raises(UserError, match=message) as refused:
        factory.resolve(with_values(vanilla.get_config(), {"objective": section}))
    assert "\n" not in str(refused.value)


def test_a_model_with_discrete_codes_is_refused_in_a_line():
    config = with_values(aae.get_config(), {"model": "vq_vae", "evaluation": {}})
    with pytest.raises(UserError, match="does not train the codes of model='vq_vae'"):
        factory.resolve(config)
