import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_models import normal, randomized

from configs import vanilla
from experiments import train
from vae_jax import config as factory
from vae_jax.distributions import Normal
from vae_jax.errors import UserError
from vae_jax.models import Discriminator, FactorVAE
from vae_jax.objectives import disentangling
from vae_jax.objectives.bounds import ElboTerms, elbo_terms
from vae_jax.training import checkpoints
from vae_jax.training.step import init_state

IMAGE_SHAPE = (4, 4, 1)
NUM_EXAMPLES = 48
KEY, AFTER = jax.random.key(0), jnp.float32(jnp.inf)

# A config of each objective, and the hyperparameter that is its strength.
OBJECTIVES = {
    "capacity": ({"hparams.gamma": 3.0, "hparams.capacity": 2.0}, "gamma"),
    "tc": ({"hparams.beta": 4.0}, "beta"),
    "tc stratified": ({"hparams.beta": 4.0, "objective.tc_estimator": "stratified"}, "beta"),
    "dip": ({"hparams.dip_off_diagonal": 3.0}, "dip_off_diagonal"),
    "dip ii": ({"hparams.dip_diagonal": 3.0, "objective.dip_kind": "ii"}, "dip_diagonal"),
    "factor": ({"hparams.gamma": 6.0, "model.discriminator_widths": (8, 8)}, "gamma"),
}


def config_of(name="elbo", **changes):
    config = vanilla.get_config()
    config.batch_size, config.evaluation.batch_size = 12, 12
    config.model.widths, config.model.latent_size = (8,), 3
    config.data.binarization = "none"
    config.objective.name = name.split()[0]
    values = OBJECTIVES[name][0] if name in OBJECTIVES else {}
    config.update_from_flattened_dict({**values, **changes})
    return config


def images_of(num, seed=0):
    """Images of two kinds, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    kind = rng.random((num, 1, 1, 1)) < 0.5
    noise = rng.random((num, *IMAGE_SHAPE))
    return jnp.asarray(np.where(kind, 0.3 * noise, 0.7 + 0.3 * noise), jnp.float32)


class Problem:
    """The loss of a config, its parameters drawn at random, and a batch."""

    def __init__(self, name, **changes):
        self.config = config_of(name, **changes)
        factory.validate(self.config)
        self.model = randomized(lambda: factory.build_model(self.config, IMAGE_SHAPE, KEY))
        graphdef, self.params = nnx.split(self.model)
        self.loss_fn = jax.jit(factory.build_loss(self.config, graphdef, NUM_EXAMPLES))
        self.hparams = factory.build_hparams(self.config)
        self.images = images_of(9)

    def __call__(self, epoch=AFTER, params=None, **hparams):
        """Loss and metrics."""
        hparams = self.hparams._replace(**{k: jnp.float32(v) for k, v in hparams.items()})
        params = self.params if params is None else params
        return self.loss_fn(params, self.images, hparams, epoch, KEY)

    def gradients(self, names):
        """Of the loss or a metric: those of the VAE, and those of its discriminator."""

        def values(params):
            loss, metrics = self(params=params)
            return [{"loss": loss, **metrics}[name] for name in names]

        for gradient in jax.jit(jax.jacrev(values))(self.params):
            gradient = nnx.to_pure_dict(gradient)
            own = gradient.pop("discriminator")
            yield jax.tree.leaves(gradient), jax.tree.leaves(own)


def assert_no_gradient(leaves):
    assert leaves
    assert all((np.asarray(leaf) == 0).all() for leaf in leaves)


def assert_some_gradient(leaves):
    assert max(np.abs(leaf).max() for leaf in leaves) > 1e-4


TERMS = ElboTerms(jnp.array([-3.0, -5.0]), jnp.array([[1.0, 2.0], [3.0, 6.0]]))


@pytest.mark.parametrize(("capacity", "expected"), [(2, 4 + 10 * 4), (6, 4), (10, 4 + 10 * 4)])
def test_the_rate_is_drawn_to_the_capacity_from_either_side(capacity, expected):
    loss = disentangling.capacity_loss(TERMS, jnp.float32(10), jnp.float32(capacity))
    assert float(loss) == pytest.approx(expected)


def test_the_capacity_rises_linearly_and_the_loss_is_at_its_distance():
    problem = Problem("capacity", **{"hparams.capacity": 20.0, "hparams.capacity_epochs": 8.0})
    for epoch, capacity in ((0, 0), (2, 5), (8, 20), (30, 20), (np.inf, 20)):
        loss, metrics = problem(jnp.float32(epoch))
        assert float(metrics["capacity"]) == pytest.approx(capacity)
        expected = metrics["distortion"] + 3 * abs(metrics["rate"] - capacity)
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(problem(jnp.float32(0), capacity_epochs=0)[1]["capacity"]) == 20


def test_the_covariance_penalty_weighs_covariances_and_variances_apart():
    covariance = jnp.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.2], [0.0, -0.2, 0.5]])
    penalty = disentangling.covariance_penalty(covariance, jnp.float32(3), jnp.float32(7))
    off_diagonal, diagonal = 2 * (0.25 + 0.04), 1 + 0 + 0.25
    assert float(penalty) == pytest.approx(3 * off_diagonal + 7 * diagonal, rel=1e-5)


def test_the_covariances_are_those_of_the_means_and_of_the_latents():
    posterior = Normal(normal(0, 50, 3) + 7, 0.3 * normal(1, 50, 3))
    means = disentangling.covariance_of_means(posterior)
    np.testing.assert_allclose(means, np.cov(posterior.mean.T, bias=True), rtol=1e-4, atol=1e-5)
    latents, _ = posterior.draw(normal(2, 4000, 50, 3))
    drawn = np.cov(latents.reshape(-1, 3).T)
    np.testing.assert_allclose(disentangling.covariance_of_latents(posterior), drawn, atol=0.03)


@pytest.mark.parametrize("name", ["dip", "dip ii"])
def test_dip_adds_the_penalty_of_its_covariance_to_the_negative_elbo(name):
    problem = Problem(name)
    posterior = problem.model.encode(problem.images)
    covariance = np.cov(np.asarray(posterior.mean, np.float64).T, bias=True)
    if name == "dip ii":
        covariance += np.diag(np.exp(2 * np.asarray(posterior.log_scale)).mean(axis=0))
    loss, metrics = problem(dip_off_diagonal=2, dip_diagonal=5)
    variances = np.diag(covariance)
    penalty = 2 * (np.square(covariance).sum() - np.square(variances).sum())
    penalty += 5 * np.square(variances - 1).sum()
    assert float(metrics["covariance_penalty"]) == pytest.approx(penalty, rel=1e-4)
    assert float(loss) == pytest.approx(penalty - float(metrics["elbo"]), rel=1e-5)


@pytest.mark.parametrize("name", ["tc", "tc stratified"])
def test_beta_weighs_the_total_correlation_alone(name):
    problem = Problem(name)
    plain, metrics = problem(beta=1)
    assert float(plain) == pytest.approx(-float(metrics["elbo"]), rel=1e-6)
    loss, same = problem(beta=4)
    assert same == metrics
    assert float(loss - plain) == pytest.approx(3 * float(metrics["total_correlation"]), rel=1e-4)
    names = ("mutual_information", "total_correlation", "dimensionwise_kl")
    # A draw's log q(z|x) - log p(z), whose expectation is the rate.
    assert sum(float(metrics[part]) for part in names) == pytest.approx(
        float(metrics["rate"]), abs=1.5
    )


def test_a_permutation_keeps_each_dimension_and_breaks_what_joins_them():
    column = normal(0, 2000, 1)
    latents = jnp.concatenate([column, column, -column], axis=1)
    permuted = disentangling.permute_dimensions(latents, KEY)
    np.testing.assert_array_equal(np.sort(permuted, axis=0), np.sort(latents, axis=0))
    correlations = np.corrcoef(np.asarray(permuted).T) - np.eye(3)
    assert np.abs(correlations).max() < 0.1
    assert not np.array_equal(
        disentangling.permute_dimensions(latents, jax.random.key(1)), permuted
    )


CORRELATION = 0.8
TOTAL_CORRELATION = -0.5 * np.log(1 - CORRELATION**2)


def correlated(seed, num):
    """Draws of two standard normals with that correlation."""
    z = normal(seed, num, 2)
    second = CORRELATION * z[:, 0] + np.sqrt(1 - CORRELATION**2) * z[:, 1]
    return jnp.stack([z[:, 0], second], axis=1)


def best_log_ratio(latents):
    """Log of the density of `correlated` over the product of its marginals."""
    a, b = latents[:, 0], latents[:, 1]
    rest = 1 - CORRELATION**2
    quadratic = (a**2 - 2 * CORRELATION * a * b + b**2) / rest - a**2 - b**2
    return TOTAL_CORRELATION - 0.5 * quadratic


def test_the_best_discriminator_gives_the_total_correlation_and_the_least_loss():
    latents = correlated(0, 20_000)
    estimate = disentangling.density_ratio_total_correlation(best_log_ratio, latents)
    assert float(estimate) == pytest.approx(TOTAL_CORRELATION, abs=0.03)

    def loss(log_ratio):
        return float(disentangling.discriminator_loss(log_ratio, latents, KEY))

    best = loss(best_log_ratio)
    assert loss(lambda z: jnp.zeros(len(z))) == pytest.approx(np.log(2), rel=1e-5)
    for scale, shift in ((0.6, 0), (1.6, 0), (1, 0.4), (1, -0.4)):
        assert loss(lambda z, a=scale, b=shift: a * best_log_ratio(z) + b) > best + 0.003


def test_the_first_half_is_shown_as_it_is_and_the_second_permuted():
    latents, seen = correlated(0, 7), []

    def log_ratio(z):
        seen.append(np.asarray(z))
        return z[:, 0]

    disentangling.discriminator_loss(log_ratio, latents, KEY)
    joint, product = seen
    np.testing.assert_array_equal(joint, latents[:4])
    np.testing.assert_array_equal(np.sort(product, axis=0), np.sort(latents[3:], axis=0))


def test_a_trained_discriminator_finds_the_total_correlation():
    discriminator = Discriminator(2, [32, 32], rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(discriminator)
    optimizer = optax.adam(5e-3, 0.5, 0.9)

    def body(carry, key):
        params, opt_state = carry
        z = jax.random.normal(key, (400, 2))
        second = CORRELATION * z[:, 0] + np.sqrt(1 - CORRELATION**2) * z[:, 1]
        latents = jnp.stack([z[:, 0], second], axis=1)
        grads = jax.grad(
            lambda p: disentangling.discriminator_loss(nnx.merge(graphdef, p), latents, key)
        )(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    @jax.jit
    def trained(params):
        keys = jax.random.split(KEY, 500)
        return jax.lax.scan(body, (params, optimizer.init(params)), keys)[0][0]

    log_ratio = nnx.merge(graphdef, trained(params))
    estimate = disentangling.density_ratio_total_correlation(log_ratio, correlated(1, 20_000))
    assert float(estimate) == pytest.approx(TOTAL_CORRELATION, abs=0.1)


def test_the_vae_and_its_discriminator_get_each_their_own_gradient():
    problem = Problem("factor")
    assert isinstance(problem.model, FactorVAE)
    names = ["loss", "elbo", "total_correlation", "discriminator_loss"]
    whole, plain, through, own = problem.gradients(names)
    assert_no_gradient(own[0])
    assert_some_gradient(own[1])
    assert_no_gradient(through[1])
    assert_some_gradient(through[0])
    assert_no_gradient(plain[1])
    for total, elbo, added in zip(whole[0], plain[0], through[0], strict=True):
        np.testing.assert_allclose(total, 6 * added - elbo, rtol=1e-4, atol=1e-5)
    for total, alone in zip(whole[1], own[1], strict=True):
        np.testing.assert_allclose(total, alone, rtol=1e-6)


def test_the_factor_loss_is_the_elbo_and_the_weighted_total_correlation():
    problem = Problem("factor")
    loss, metrics = problem(gamma=6)
    expected = -metrics["elbo"] + 6 * metrics["total_correlation"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    keys = jax.random.split(jax.random.split(KEY, 3)[2])
    terms = elbo_terms(problem.model, problem.images, problem.images, keys[0])
    assert float(metrics["elbo"]) == pytest.approx(float(terms.elbo.mean()), rel=1e-5)


def test_the_discriminator_has_an_adam_of_its_own():
    problem = Problem("factor", **{"hparams.discriminator_learning_rate": 0.02})
    optimizer = factory.build_optimizer(problem.config, 100)(problem.hparams)
    state, params, update = (
        optimizer.init(problem.params),
        problem.params,
        jax.jit(optimizer.update),
    )
    own, expected = optax.adam(0.02, 0.5, 0.9), params["discriminator"]
    own_state = own.init(expected)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        grads = jax.tree.map(lambda p, r=rng: jnp.asarray(r.normal(size=p.shape), p.dtype), params)
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        own_updates, own_state = own.update(grads["discriminator"], own_state)
        expected = optax.apply_updates(expected, own_updates)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), params["discriminator"], expected
    )
    # Adam's first steps are as long as its learning rate.
    moved = np.abs(params["encoder"]["mlp"]["layers"][0]["bias"][...]).max()
    assert 1e-4 < moved < 2


@pytest.mark.parametrize("name", ["capacity", "dip", "factor", "tc"])
def test_one_program_trains_members_of_different_strength(name):
    problem = Problem(name, **{"hparams.learning_rate": 0.01})
    program = factory.build_program(problem.config, IMAGE_SHAPE, NUM_EXAMPLES)
    make_optimizer = factory.build_optimizer(problem.config, 40)
    images = images_of(NUM_EXAMPLES)

    @jax.jit
    @jax.vmap
    def trained(strength):
        hparams = problem.hparams._replace(**{OBJECTIVES[name][1]: strength})
        state = init_state(problem.params, hparams, make_optimizer, KEY)
        state, metrics = jax.lax.scan(
            lambda state, _: program.run_steps(state, images, 1), state, length=40
        )
        # The last of the validation batches has one example.
        return metrics, program.validate(state, images_of(13, 1))

    metrics, valid = trained(jnp.array([1.0, 5.0]))
    assert all(np.isfinite(values).all() for values in jax.tree.leaves((metrics, valid)))
    assert valid["loss"][0] != valid["loss"][1]
    distortion = metrics["distortion"].reshape(2, 40)
    assert (distortion[:, -4:].mean(axis=1) < distortion[:, :4].mean(axis=1) - 0.1).all()


def test_a_factor_vae_is_restored_from_its_checkpoint(tmp_path):
    config = config_of("factor")
    program = factory.build_program(config, IMAGE_SHAPE, NUM_EXAMPLES)
    state = jax.jit(program.init)(jnp.full(IMAGE_SHAPE, 0.5), KEY, factory.build_hparams(config))
    checkpoints.save(tmp_path, 1, state, {}, max_to_keep=1)
    restored = checkpoints.restore(tmp_path, factory.run_state_template(config, IMAGE_SHAPE))
    assert jax.tree.structure(restored.tree) == jax.tree.structure(state)
    for a, b in zip(*map(jax.tree.leaves, (restored.tree, state)), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        (
            "elbo",
            {"hparams.gamma": 2.0},
            "hparams.gamma=2.0 has no effect with objective.name='elbo'",
        ),
        ("factor", {"hparams.beta": 4.0}, "use 1.0, or objective.name='elbo' or 'tc'"),
        ("tc", {"hparams.capacity": 5.0}, "hparams.capacity=5.0 has no effect"),
        ("tc", {"hparams.warmup_epochs": 5.0}, "hparams.warmup_epochs=5.0 has no effect"),
        ("tc", {"objective.num_samples": 2}, "objective.num_samples=2 has no effect"),
        ("dip", {"objective.tc_estimator": "stratified"}, "use 'weighted', or objective.name='tc'"),
        ("dip", {"objective.gradient": "stl"}, "objective.gradient='stl' has no effect"),
        ("capacity", {"model.discriminator_widths": [4]}, "model.discriminator_widths="),
        ("factor", {"model.discriminator_widths": ()}, "must name at least one hidden layer"),
        (
            "dip",
            {"model.posterior": "iaf"},
            "model.posterior='iaf' does not fit objective.name='dip'",
        ),
        ("tc", {"model.prior": "vamp"}, "model.prior='vamp' does not fit objective.name='tc'"),
        (
            "factor",
            {"model.hierarchy": "ladder", "model.top_latent_size": 2},
            "model.hierarchy='ladder' does not fit objective.name='factor'",
        ),
        (
            "dip",
            {"model.name": "autoencoder"},
            "objective.name='dip' has no effect with model.name",
        ),
        (
            "tc",
            {"optimizer.accumulation_steps": 2},
            "optimizer.accumulation_steps=2 parts each batch, whose examples objective.name='tc'",
        ),
        ("capacity", {"optimizer.accumulation_steps": 2}, "compares with each other; use 1"),
    ],
)
def test_what_an_objective_cannot_have_is_refused_in_one_line(name, changes, told):
    config = config_of(name)
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=re.escape(told)) as error:
        factory.validate(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["capacity", "dip", "factor", "tc"])
def test_an_objective_of_whole_batches_is_refused_under_pmap(name, tmp_path):
    with pytest.raises(UserError, match="pmap parts each batch, whose examples"):
        train.train(config_of(name), tmp_path / "run", devices=jax.devices()[:2], kind="pmap")
    assert not (tmp_path / "run").exists()
