import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_configs import small_experiment
from small_games import KEY, Game
from small_models import normal

from experiments import train
from vae_jax import config as factory
from vae_jax.distributions import Normal
from vae_jax.errors import UserError
from vae_jax.objectives import capacity as capacity_objective
from vae_jax.objectives import dip
from vae_jax.objectives.bounds import ElboTerms
from vae_jax.training.step import init_state

IMAGE_SHAPE = (4, 4, 1)
NUM_EXAMPLES = 48

# The settings of each objective, and the name of its strength.
OBJECTIVES = {
    "capacity": ({"name": "capacity", "gamma": 3.0, "capacity": 2.0}, "gamma"),
    "tc": ({"name": "tc", "beta": 4.0}, "beta"),
    "tc stratified": ({"name": "tc", "beta": 4.0, "estimator": "stratified"}, "beta"),
    "dip": ({"name": "dip", "off_diagonal": 3.0}, "off_diagonal"),
    "dip ii": ({"name": "dip", "diagonal": 3.0, "kind": "ii"}, "diagonal"),
    "factor": (
        {"name": "factor", "gamma": 6.0, "discriminator": {"widths": (8, 8)}},
        "gamma",
    ),
}
SMALL = {"batch_size": 12, "evaluation.batch_size": 12}


def game_of(name, **changes):
    changes = {**SMALL, "objective": OBJECTIVES[name][0], **changes}
    return Game(changes, IMAGE_SHAPE, NUM_EXAMPLES, widths=(8,))


def images_of(num, seed=0):
    """Return noisy images of two kinds, for a model to learn."""
    rng = np.random.default_rng(seed)
    kind = rng.random((num, 1, 1, 1)) < 0.5
    noise = rng.random((num, *IMAGE_SHAPE))
    return jnp.asarray(np.where(kind, 0.3 * noise, 0.7 + 0.3 * noise), jnp.float32)


_capacity_loss = jax.jit(capacity_objective.capacity_loss)
TERMS = ElboTerms(jnp.array([-3.0, -5.0]), jnp.array([[1.0, 2.0], [3.0, 6.0]]))


@pytest.mark.parametrize(("capacity", "expected"), [(2, 4 + 10 * 4), (6, 4), (10, 4 + 10 * 4)])
def test_the_rate_is_drawn_to_the_capacity_from_either_side(capacity, expected):
    loss = _capacity_loss(TERMS, jnp.float32(10), jnp.float32(capacity))
    assert float(loss) == pytest.approx(expected)


def test_the_capacity_rises_linearly_and_the_loss_follows_it():
    images = images_of(9)
    game = game_of("capacity", **{"objective.capacity": 20.0, "objective.capacity_epochs": 8.0})
    for epoch, capacity in ((0, 0), (2, 5), (8, 20), (30, 20), (np.inf, 20)):
        loss, metrics = game(images, epoch=epoch)
        assert float(metrics["capacity"]) == pytest.approx(capacity)
        expected = float(metrics["distortion"]) + 3 * abs(float(metrics["rate"]) - capacity)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(game(images, epoch=0, capacity_epochs=0)[1]["capacity"]) == 20


def test_the_covariance_penalty_weighs_covariances_and_variances_apart():
    covariance = jnp.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.2], [0.0, -0.2, 0.5]])
    penalty = jax.jit(dip.covariance_penalty)(covariance, jnp.float32(3), jnp.float32(7))
    off_diagonal, diagonal = 2 * (0.25 + 0.04), 1 + 0 + 0.25
    assert float(penalty) == pytest.approx(3 * off_diagonal + 7 * diagonal, rel=1e-5)


def test_the_covariances_are_those_of_the_means_and_of_the_latents():
    mean, log_scale = np.asarray(normal(0, 50, 3)) + 7, 0.3 * np.asarray(normal(1, 50, 3))

    @jax.jit
    def covariances(mean, log_scale, noise):
        posterior = Normal(mean, log_scale)
        of_means, of_latents = (
            dip.covariance_of_means(posterior),
            dip.covariance_of_latents(posterior),
        )
        return of_means, of_latents, posterior.draw(noise)[0]

    arrays = map(jnp.asarray, (mean, log_scale))
    of_means, of_latents, latents = map(np.asarray, covariances(*arrays, normal(2, 4000, 50, 3)))
    np.testing.assert_allclose(of_means, np.cov(mean.T, bias=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of_latents, np.cov(latents.reshape(-1, 3).T), atol=0.03)


@pytest.mark.parametrize("name", ["dip", "dip ii"])
def test_dip_adds_the_penalty_of_its_covariance_to_the_negative_elbo(name):
    game = game_of(name)
    images = images_of(9)
    posterior = jax.jit(game.model.encode)(images)
    covariance = np.cov(np.asarray(posterior.mean, np.float64).T, bias=True)
    if name == "dip ii":
        covariance += np.diag(np.exp(2 * np.asarray(posterior.log_scale)).mean(axis=0))
    loss, metrics = game(images, off_diagonal=2, diagonal=5)
    variances = np.diag(covariance)
    penalty = 2 * (np.square(covariance).sum() - np.square(variances).sum())
    penalty += 5 * np.square(variances - 1).sum()
    assert float(metrics["covariance_penalty"]) == pytest.approx(penalty, rel=1e-4)
    assert float(loss) == pytest.approx(penalty - float(metrics["elbo"]), rel=1e-5)


@pytest.mark.parametrize("name", ["tc", "tc stratified"])
def test_beta_weighs_the_total_correlation_alone(name):
    game = game_of(name)
    images = images_of(9)
    plain, metrics = game(images, beta=1)
    assert float(plain) == pytest.approx(-float(metrics["elbo"]), rel=1e-6)
    loss, same = game(images, beta=4)
    assert same == metrics
    more = float(loss) - float(plain)
    assert more == pytest.approx(3 * float(metrics["total_correlation"]), rel=1e-4)
    names = ("mutual_information", "total_correlation", "dimensionwise_kl")
    # The sum is log q(z|x) - log p(z) of draws; its expectation is the rate.
    assert sum(float(metrics[part]) for part in names) == pytest.approx(
        float(metrics["rate"]), abs=1.5
    )


@pytest.mark.parametrize("name", ["dip", "factor", "tc"])
def test_one_program_trains_members_of_different_strength(name):
    game = game_of(name, **{"optimizer.learning_rate": 0.01})
    program = factory.build_program(game.config, IMAGE_SHAPE, NUM_EXAMPLES)
    images = images_of(NUM_EXAMPLES)

    last = images_of(13, 1)

    @jax.jit
    @jax.vmap
    def trained(strength):
        hparams = {**game.hparams, f"objective.{OBJECTIVES[name][1]}": strength}
        state = init_state(game.params, game.extra, hparams, game.players, KEY)
        state, metrics = jax.lax.scan(
            lambda state, _: program.run_steps(state, images, 1), state, length=40
        )
        # The last of the validation batches has one example.
        return metrics, program.validate(state, last)

    metrics, valid = trained(jnp.array([1.0, 5.0]))
    assert all(np.isfinite(values).all() for values in jax.tree.leaves((metrics, valid)))
    assert valid["loss"][0] != valid["loss"][1]
    distortion = metrics["distortion"].reshape(2, 40)
    assert (distortion[:, -4:].mean(axis=1) < distortion[:, :4].mean(axis=1) - 0.1).all()


@pytest.mark.parametrize("name", ["capacity", "dip", "factor", "tc"])
def test_an_objective_of_whole_batches_is_refused_under_pmap(name, tmp_path):
    config = small_experiment({**SMALL, "objective": OBJECTIVES[name][0]})
    with pytest.raises(UserError, match="pmap parts each batch, whose examples"):
        train.train(config, tmp_path / "run", devices=jax.devices()[:2], kind="pmap")
    assert not (tmp_path / "run").exists()
