import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_configs import small_experiment
from small_models import initialized, randomized

from vae_jax import config as factory
from vae_jax import trained
from vae_jax.distributions import Distribution
from vae_jax.errors import UserError
from vae_jax.evaluation import metrics
from vae_jax.models.interfaces import Likelihood
from vae_jax.models.likelihoods import (
    LIKELIHOODS,
    NormalLikelihood,
    nats_of,
    unaccepted,
)
from vae_jax.networks import ConvDecoder, MLPDecoder
from vae_jax.objectives import bounds
from vae_jax.trained import TrainedModel

FAMILIES = {
    "bernoulli": {},
    "continuous_bernoulli": {},
    "laplace": {"scale": 0.2},
    "discretized_logistic": {},
    "discretized_logistic learned": {"scale": 0.3, "scale_kind": "learned"},
    "discretized_logistic_mixture": {"components": 3},
    "categorical": {},
    **{
        f"normal {kind}": {"scale": 0.3, "scale_kind": kind}
        for kind in ("fixed", "learned", "per_pixel", "optimal")
    },
}

# The ranges of means at which a decoder can start.
CLIPPED = {
    "continuous_bernoulli": (0.01, 0.99),
    **dict.fromkeys(
        [
            "bernoulli",
            "categorical",
            "discretized_logistic",
            "discretized_logistic learned",
            "discretized_logistic_mixture",
        ],
        (0.001, 0.999),
    ),
}


def config_of(family, **changes):
    likelihood = {"name": family.split()[0], **FAMILIES[family]}
    changes = {"data.binarization": "none", "model.likelihood": likelihood, **changes}
    return small_experiment(changes, widths=(8,), latent_size=2)


def likelihood_of(family):
    return factory.build_likelihood(config_of(family))


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def grey_bytes(seed, num, image_shape=(4, 4, 1)):
    """Return noisy images of two kinds, for a model to learn."""
    rng = np.random.default_rng(seed)
    templates = rng.choice([30, 220], size=(2, *image_shape))
    images = templates[rng.integers(0, 2, num)] + rng.normal(scale=10, size=(num, *image_shape))
    return np.clip(images, 0, 255).astype(np.uint8)


def test_every_likelihood_is_tried_here():
    # Rows of a table have their own tests.
    assert {family.split()[0] for family in FAMILIES} == set(LIKELIHOODS) - {"columns"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_likelihood_makes_a_distribution_over_images_of_independent_channels(family):
    likelihood = likelihood_of(family)
    assert isinstance(likelihood, Likelihood)
    num = likelihood.outputs_per_channel
    outputs = np.asarray(normal(0, 2, 4, 3, 2, 3 * num))
    # The outputs of the second channel differ.
    others = outputs.copy()
    others[..., num : 2 * num] += normal(1, 2, 4, 3, 2, num)

    @jax.jit
    def run(outputs):
        distribution = likelihood(outputs)
        assert isinstance(distribution, Distribution)
        sample = distribution.sample(jax.random.key(0))
        return distribution.mean, sample, distribution.log_prob(sample[0])

    mean, sample, log_prob = map(np.asarray, run(outputs))
    other_mean = np.asarray(run(others)[0])
    assert mean.shape == sample.shape == (2, 4, 3, 2, 3)
    assert log_prob.shape == (2, 4)
    assert unaccepted(likelihood.accepts, sample) is None
    np.testing.assert_array_equal(other_mean[..., [0, 2]], mean[..., [0, 2]])
    assert (np.abs(other_mean - mean)[..., 1] > 0).all()


@pytest.mark.parametrize(
    ("family", "body"),
    [
        *((family, "mlp") for family in FAMILIES),
        *((family, "conv") for family in ("bernoulli", "discretized_logistic_mixture")),
    ],
)
def test_a_decoder_starts_at_the_mean_of_the_data(family, body):
    likelihood, shape = likelihood_of(family), (4, 6, 3)
    options = {"activation": jnp.tanh, "outputs_per_channel": likelihood.outputs_per_channel}
    mean = np.linspace(0, 1, 72, dtype=np.float32).reshape(shape)
    if body == "conv":
        # It has one bias per channel.
        mean = np.broadcast_to(np.float32([0.0, 0.3, 1.0]), shape)

    def build():
        if body == "mlp":
            return MLPDecoder(2, shape, [5], rngs=nnx.Rngs(0), **options)
        conv = {"kernel_size": 2, "upsampling": "transpose"} | options
        return ConvDecoder(2, shape, [3], [], rngs=nnx.Rngs(0), **conv)

    decoder = randomized(build)
    last = decoder.output if body == "mlp" else decoder.convolutions[-1]
    last.kernel = nnx.Param(jnp.asarray(np.zeros(last.kernel.shape, np.float32)))
    graphdef, params = nnx.split(decoder)

    @jax.jit
    def decode(params, mean, latents):
        decoder = nnx.merge(graphdef, params)
        decoder.set_output_bias(mean, likelihood.output_for_mean)
        return likelihood(decoder(latents)).mean

    decoded = decode(params, mean, normal(0, 5, 2))
    low, high = CLIPPED.get(family, (-np.inf, np.inf))
    expected = np.clip(np.broadcast_to(mean, (5, *shape)), low, high)
    np.testing.assert_allclose(decoded, expected, atol=2e-6)


def test_the_scale_of_a_normal_likelihood_starts_where_the_config_says():
    for family in FAMILIES:
        if family.startswith("normal"):
            likelihood = likelihood_of(family)
            start = jax.jit(lambda mean, own=likelihood: own(own.output_for_mean(mean)).log_scale)
            log_scale = start(np.full((2, 2, 1), 0.4, np.float32))
            np.testing.assert_allclose(np.exp(log_scale), 0.3, rtol=1e-5)


def test_a_learned_scale_of_a_logistic_is_one_parameter_that_training_moves():
    images = grey_bytes(0, 640)
    changes = {"batch_size": 16, "epochs": 1, "optimizer.learning_rate": 0.05}
    _, state, losses = train(config_of("discretized_logistic learned", **changes), images)
    (raw,) = (
        np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)
        if "learned_log_scale" in jax.tree_util.keystr(path)
    )
    assert raw.shape == ()
    # Noise of 10 of 255 levels around templates that are learned.
    assert np.exp(8 * np.tanh(raw / 8)) < 0.2
    assert losses[-1] < losses[0]


def test_a_scale_per_pixel_is_the_second_output_of_each_channel():
    likelihood = NormalLikelihood(0.5, "per_pixel")
    outputs = np.asarray(normal(0, 4, 2, 2, 6))
    distribution_of = jax.jit(lambda outputs: likelihood(outputs))
    distribution = distribution_of(outputs)
    np.testing.assert_array_equal(distribution.mean, outputs[..., ::2])
    np.testing.assert_allclose(distribution.log_scale, outputs[..., 1::2], atol=0.15)
    means_alone = np.arange(6) % 2 == 0
    far = distribution_of(np.where(means_alone, outputs, np.float32(1e6))).log_scale
    np.testing.assert_allclose(far, np.full((4, 2, 2, 3), 8))


@pytest.mark.parametrize(
    ("images", "problems"),
    [
        ([0, 0.25, 1], {"256 levels": "hold 0.25, which is none"}),
        ([0, 20 / 255, 1], {}),
        (np.arange(256, dtype=np.float32) / 255, {}),
        (
            [0, -0.5, 1],
            dict.fromkeys(["unit interval", "256 levels"], "lie in [-0.5, 1], outside [0, 1]"),
        ),
        (
            [0, 255, 3],
            dict.fromkeys(["unit interval", "256 levels"], "lie in [0, 255], outside [0, 1]"),
        ),
    ],
)
def test_each_kind_of_data_is_accepted_or_reported(images, problems):
    images = np.asarray(images, np.float32)
    for accepted in ("unit interval", "any finite", "256 levels"):
        problem = unaccepted(accepted, images)
        assert (problem is None) == (accepted not in problems)
        if problem is not None:
            assert problem.startswith(problems[accepted])


def test_only_probabilities_are_code_lengths():
    grey, binary = np.array([0.0, 0.2, 1.0]), np.array([0.0, 1.0])
    levels = ("discretized_logistic", "discretized_logistic_mixture", "categorical")
    for family in FAMILIES:
        name, likelihood = family.split()[0], likelihood_of(family)
        assert (nats_of(likelihood, grey) == "log probability") == (name in levels)
        exact = (*levels, "bernoulli")
        assert (nats_of(likelihood, binary) == "log probability") == (name in exact)


def trained_model(family, scale=0.4):
    config = config_of(family)
    model = randomized(
        lambda: factory.build_model(config, (3, 2, 1), jax.random.key(0)), scale=scale
    )
    return TrainedModel(config, (3, 2, 1), nnx.split(model)[1])


def measured(family, scale):
    images = grey_bytes(0, 9, (3, 2, 1)) / np.float32(255)
    return metrics.vae_metrics(
        trained_model(family, scale), images, jax.random.key(0), num_samples=2, batch_size=9
    )


def test_an_untrained_categorical_model_needs_eight_bits_per_pixel():
    known = measured("categorical", 0.0)
    assert known["bits_per_dim"] == pytest.approx(8, rel=1e-5)
    assert known["elbo"] == pytest.approx(-6 * 8 * np.log(2), rel=1e-5)


@pytest.mark.parametrize("family", ["bernoulli", "continuous_bernoulli", "normal optimal"])
def test_densities_and_cross_entropies_of_grey_values_have_no_bits(family):
    assert "bits_per_dim" not in measured(family, 0.3)


def test_a_trained_model_refuses_values_that_its_likelihood_does_not_accept():
    model = trained_model("discretized_logistic")
    stored = grey_bytes(0, 5, (3, 2, 1))
    by_bytes = model.reconstruction_log_likelihood(stored)
    by_floats = model.reconstruction_log_likelihood(stored / np.float32(255))
    np.testing.assert_array_equal(by_bytes, by_floats)
    with pytest.raises(UserError, match=r"images hold 0\.3, which is none of the 256 levels"):
        model.reconstruction_log_likelihood(np.full((3, 2, 1), 0.3))
    with pytest.raises(UserError, match=r"images: values lie in \[2, 2\], outside \[0, 1\]"):
        model.elbo(np.full((3, 2, 1), 2.0), jax.random.key(0))


def test_many_outputs_per_channel_are_decoded_in_smaller_batches(monkeypatch):
    latents, sizes = np.asarray(normal(0, 10, 2)), []
    whole = trained_model("categorical").decode(latents)
    monkeypatch.setattr(trained.images, "_MAX_OUTPUTS", 3 * 6 * 256)
    model = trained_model("categorical")
    np.testing.assert_allclose(model.decode(latents), whole, rtol=1e-5)

    def note(model, latents):
        sizes.append(len(latents))
        return latents

    model._run("note", note, latents)
    assert sizes == [3, 1]


def train(config, images, seed=0):
    """Return the program, the state after all epochs, and the loss of every step."""
    program = factory.build_program(config, images.shape[1:], len(images))
    mean = (images.mean(axis=0) / (255 if images.dtype == np.uint8 else 1)).astype(np.float32)
    hparams = factory.build_hparams(config)
    state = jax.jit(program.init)(mean, jax.random.key(seed), hparams).train
    run_steps = jax.jit(program.run_steps, static_argnames="num_steps")
    losses = []
    for _ in range(config.epochs):
        state, found = run_steps(state, images, len(images) // config.batch_size)
        losses.append(np.asarray(found["loss"]))
    return program, state, np.concatenate(losses)


# A learned scale of a logistic and the optimal one of a normal have tests of their own, which train
# as commands do.
@pytest.mark.parametrize(
    "family",
    [
        "bernoulli",
        "continuous_bernoulli",
        "laplace",
        "discretized_logistic",
        "discretized_logistic_mixture",
        "categorical",
        "normal fixed",
        "normal learned",
        "normal per_pixel",
    ],
)
def test_training_lowers_the_loss(family):
    config, images = config_of(family), grey_bytes(0, 32) / np.float32(255)
    shape, key, mean = images.shape[1:], jax.random.key(0), images.mean(axis=0)
    model = initialized(lambda: factory.build_model(config, shape, key, mean))
    graphdef, params = nnx.split(model)
    optimizer = optax.adam(1e-2)

    def loss(params, key):
        x = jnp.asarray(images)
        return -bounds.elbo_terms(nnx.merge(graphdef, params), x, x, key).elbo.mean()

    def step(state, key):
        params, optimizer_state = state
        value, gradient = jax.value_and_grad(loss)(params, key)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state)
        return (optax.apply_updates(params, updates), optimizer_state), value

    @jax.jit
    def run(params, key):
        keys = jax.random.split(key, 120)
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]

    losses = np.asarray(run(params, jax.random.key(0)))
    assert np.isfinite(losses).all()
    assert losses[-20:].mean() < losses[:5].mean() - 0.3


def test_the_optimal_scale_follows_the_noise_of_the_data():
    noise = 0.05
    rng = np.random.default_rng(0)
    images = (0.5 + noise * rng.normal(size=(64 * 60, 4, 4, 1))).astype(np.float32)
    settings = {"batch_size": 64, "epochs": 8, "optimizer.learning_rate": 1e-2}
    config = config_of("normal optimal", **settings)
    program, state, losses = train(config, images)
    likelihood = nnx.merge(program.graphdef, state.params["model"]).likelihood
    scale = np.exp(jax.jit(lambda outputs: likelihood(outputs).log_scale)(np.zeros((1, 1, 1))))
    assert scale == pytest.approx(noise, rel=0.03)
    # The loss is the entropy of that noise: training reports it with that scale, too.
    entropy = 16 * (np.log(noise) + 0.5 * np.log(2 * np.pi * np.e))
    assert losses[-64:].mean() == pytest.approx(entropy, abs=0.5)


def test_the_scale_of_evaluation_does_not_depend_on_the_image():
    likelihood = likelihood_of("normal optimal")
    outputs, images = np.zeros((2, 2, 2, 1), np.float32), np.asarray(normal(0, 2, 2, 2, 1))
    log_prob = jax.jit(lambda outputs, images: likelihood(outputs).log_prob(images))
    fixed = jax.jit(lambda outputs, images: NormalLikelihood(0.3)(outputs).log_prob(images))
    together = log_prob(outputs, images)
    np.testing.assert_allclose(together, fixed(outputs, images), rtol=1e-5)
    for i in range(2):
        alone = log_prob(outputs[i : i + 1], images[i : i + 1])
        np.testing.assert_allclose(alone, together[i : i + 1], rtol=1e-6)
