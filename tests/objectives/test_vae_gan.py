import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from small_games import KEY, Game
from small_models import normal

from configs import vae_gan
from vae_jax import config as factory
from vae_jax.config.overrides import with_values
from vae_jax.errors import UserError
from vae_jax.objectives.vae_gan import feature_error
from vae_jax.training.step import init_state, train_step

IMAGE_SHAPE = (4, 4, 1)
NETWORK = {"name": "mlp", "widths": (6,)}
SECTION = {"name": "vae_gan", "gamma": 3.0, "discriminator": {"network": NETWORK, "widths": (5,)}}
ENCODER, DECODER, DISCRIMINATOR = range(3)


def images_of(num, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random((num, *IMAGE_SHAPE), np.float32))


@pytest.fixture(scope="module")
def game():
    return Game({"batch_size": 12, "objective": SECTION}, IMAGE_SHAPE, 48, widths=(8,))


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def test_the_feature_error_is_a_normal_log_likelihood_up_to_its_constant():
    a, b = normal(0, 7, 5), normal(1, 7, 5)
    log_densities = stats.norm.logpdf(a, b).sum(axis=1)
    expected = -log_densities.mean() - 5 / 2 * np.log(2 * np.pi)
    assert float(feature_error(a, b)) == pytest.approx(float(expected), rel=1e-5)


def test_each_player_has_a_loss_of_its_own(game):
    images = images_of(9)
    loss, metrics = game(images)
    found = {name: float(value) for name, value in metrics.items()}
    assert float(loss) == pytest.approx(found["rate"] + found["feature_error"], rel=1e-5)
    assert found["elbo"] == pytest.approx(-found["rate"] - found["distortion"], rel=1e-5)
    # The decoder's loss is linear in gamma, and what is left without it is to fool D.
    losses = [float(game(images, player=DECODER, gamma=gamma)[0]) for gamma in (0, 1, 3)]
    fooling = game(images, player=DECODER)[1]["generator_loss"]
    assert losses[0] == pytest.approx(2 * float(fooling), rel=1e-5)
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-4)
    assert losses[1] > losses[0]


def test_a_discriminator_that_guesses_has_twice_log_two(game):
    guess = jax.tree.map(np.zeros_like, game.params["discriminator"])
    params = {**game.params, "discriminator": guess}
    loss, metrics = game(images_of(9), player=DISCRIMINATOR, params=params)
    assert float(loss) == pytest.approx(2 * np.log(2), rel=1e-6)
    assert float(metrics["discriminator_accuracy"]) == 0.5
    found = game(images_of(9), player=DECODER, params=params)[1]["generator_loss"]
    assert float(found) == pytest.approx(np.log(2), rel=1e-6)


def test_players_own_the_encoder_the_decoder_and_the_discriminator(game):
    owned = [player.owns for player in game.players]
    assert owned == [("model.encoder", "model.posterior"), ("model.decoder",), ("discriminator",)]

    @jax.jit
    def step(params, images):
        state = init_state(params, game.extra, game.hparams, game.players, KEY)
        return state, *train_step(state, (images,), jnp.float32(0), players=game.players)

    state, after, metrics = step(game.params, images_of(12))
    norms = {name for name in metrics if name.endswith("_gradient_norm")}
    assert norms == {f"{who}_gradient_norm" for who in ("model", "decoder", "discriminator")}
    assert all(float(metrics[name]) > 0 for name in norms)
    assert {"feature_error", "decoder_loss", "discriminator_loss", "discriminator_accuracy"} <= set(
        metrics
    )
    assert jax.tree.structure(after) == jax.tree.structure(state)
    before, now = state.params["model"], after.params["model"]
    for part in before:
        assert bits(before[part]) != bits(now[part])


def test_the_decoders_loss_moves_the_decoder_alone(game):
    decoder = game.players[DECODER]

    @jax.jit
    def move(params):
        arguments = (params, game.extra, decoder.init(params, game.hparams), (images_of(12),))
        rest = (game.hparams, jnp.float32(0), KEY)
        return decoder.move(*arguments, *rest, accumulation_steps=1, axis_name=None)[0]

    before, after = game.params, move(game.params)
    assert bits(before["discriminator"]) == bits(after["discriminator"])
    changed = {
        part
        for part in before["model"]
        if bits(before["model"][part]) != bits(after["model"][part])
    }
    assert changed == {"decoder"}


def test_the_score_of_an_epoch_does_not_depend_on_the_discriminator(game):
    params, score = game.params, game.config.objective.score
    tripled = jax.tree.map(lambda leaf: 3 * np.asarray(leaf), params["discriminator"])
    other = {**params, "discriminator": tripled}
    found = [game(images_of(9), params=chosen) for chosen in (params, other)]
    scores = [score({"loss": loss, **metrics}) for loss, metrics in found]
    assert scores[0] == scores[1] == -float(found[0][1]["distortion"])
    assert abs(float(found[0][0]) - float(found[1][0])) > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective.gamma": -1.0}, r"objective\.gamma=-1\.0 must be a number of at least 0"),
        (
            {"objective.discriminator.network": {"name": "mlp", "widths": ()}},
            r"objective\.discriminator\.network\.widths=\(\)",
        ),
        (
            {"objective.discriminator.network": {"name": "conv", "channels": ()}},
            r"objective\.discriminator\.network\.channels=\(\)",
        ),
        ({"model": "autoencoder", "evaluation": {}}, "needs a posterior and a prior"),
        ({"data.binarization": "dynamic"}, r"data\.binarization='dynamic' draws zeros and ones"),
        (
            {"model.likelihood": {"name": "normal", "scale_kind": "learned"}},
            r"would not train the scale of model\.likelihood='normal'",
        ),
        ({"model": "ladder"}, "does not separate from its other parts"),
    ],
)
def test_wrong_values_are_refused_in_a_line(changes, message):
    with pytest.raises(UserError, match=message) as refused:
        factory.resolve(with_values(vae_gan.get_config(), changes))
    assert "\n" not in str(refused.value)
