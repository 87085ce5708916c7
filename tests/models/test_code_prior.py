import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_codes import IMAGE_SHAPE, QUANTIZERS, coded_experiment
from small_models import randomized

from vae_jax.config import split_model
from vae_jax.models.code_prior import CodePriorSettings, FirstStage, Frozen
from vae_jax.networks.causal_transformer import TransformerSettings
from vae_jax.objectives.bounds import elbo_terms

# 3x2 codes of two.
PAIRS = {"name": "vq_gradient", "codebook_size": 2, "vector_size": 3}
ALL_CODES = np.array(list(itertools.product(range(2), repeat=6)), np.int32).reshape(-1, 3, 2)


def settings_of(quantizer):
    return CodePriorSettings(
        FirstStage(workdir="somewhere", model=coded_experiment(quantizer).model),
        TransformerSettings(width=8, layers=2, heads=2),
    )


def build(quantizer):
    settings = settings_of(quantizer)
    return randomized(
        lambda: settings.build(IMAGE_SHAPE, jnp.full(IMAGE_SHAPE, 0.5), rngs=nnx.Rngs(0)), scale=0.8
    )


@pytest.fixture(scope="module")
def model():
    return build(PAIRS)


@jax.jit
def log_probabilities(model, codes):
    return model.prior.log_prob_of_codes(codes), model.prior.log_prob(model.embed(codes))


def test_the_probabilities_of_all_codes_sum_to_one(model):
    of_codes, of_latents = log_probabilities(model, ALL_CODES)
    assert np.ptp(of_codes) > 1
    np.testing.assert_allclose(np.exp(of_codes).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(of_latents, of_codes, rtol=1e-5)


def test_draws_have_the_probabilities_of_the_prior(model):
    num = 20_000

    @jax.jit
    def draw(model, keys):
        latents = jax.vmap(model.prior.sample)(keys)
        return model.nearest_codes(latents), model.nearest_codes(model.prior.mean)

    drawn, likeliest = draw(model, jax.random.split(jax.random.key(0), num))
    powers = 2 ** np.arange(5, -1, -1)
    counts = np.bincount(np.asarray(drawn).reshape(num, 6) @ powers, minlength=64)
    expected = num * np.exp(log_probabilities(model, ALL_CODES)[0])
    chi_squared = (np.square(counts - expected) / expected).sum()
    # 63 degrees of freedom: mean 63, deviation 11.
    assert chi_squared < 63 + 5 * 11
    assert np.asarray(likeliest).shape == (3, 2)


@pytest.mark.parametrize("quantizer", list(QUANTIZERS.values()))
def test_the_bound_is_the_likelihood_of_the_decoder_and_of_the_codes(quantizer):
    model = build(quantizer)
    if hasattr(model.first_stage.quantizer, "uses"):
        model.first_stage.quantizer.uses[...] = jnp.full(7, 1 / 7)
    images = jnp.asarray(np.random.default_rng(1).random((5, *IMAGE_SHAPE), np.float32))

    @jax.jit
    def terms(model):
        terms = elbo_terms(model, images, images, jax.random.key(2), num_samples=3)
        codes = model.codes(images)
        log_likelihood = model.first_stage.decode(model.embed(codes)).log_prob(images)
        return terms, codes, log_likelihood, model.network(codes.reshape(5, 6))

    found, codes, log_likelihood, logits = terms(model)
    logits = np.asarray(logits, np.float64)
    by_hand = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    rows, columns = np.ogrid[:5, :6]
    rate = -by_hand[rows, columns, np.asarray(codes).reshape(5, 6)].sum(axis=-1)
    np.testing.assert_allclose(found.kl[:, 0], rate, rtol=1e-4)
    np.testing.assert_allclose(found.elbo, log_likelihood - rate, rtol=1e-4)


def test_a_bound_is_below_the_likelihood_summed_over_all_codes(model):
    images = jax.random.bernoulli(jax.random.key(1), 0.5, (4, *IMAGE_SHAPE)).astype(jnp.float32)

    @jax.jit
    def both(model, codes):
        likelihoods = model.decode(model.embed(codes)[:, None]).log_prob(images)
        joint = likelihoods + model.prior.log_prob_of_codes(codes)[:, None]
        bound = elbo_terms(model, images, images, jax.random.key(2)).elbo
        return jax.nn.logsumexp(joint, axis=0), bound

    exact, bound = both(model, ALL_CODES)
    assert (np.asarray(bound) < exact).all()


@pytest.mark.parametrize("quantizer", list(QUANTIZERS))
def test_the_first_stage_is_state_that_no_gradient_moves(quantizer):
    model = nnx.eval_shape(
        lambda: settings_of(quantizer).build(IMAGE_SHAPE, None, rngs=nnx.Rngs(0))
    )
    _, params, extra = split_model(model)
    assert set(params) == {"network"}
    assert set(extra) == {"first_stage"}
    kinds = {
        type(leaf) for leaf in jax.tree.leaves(extra, is_leaf=lambda v: isinstance(v, nnx.Variable))
    }
    assert Frozen in kinds
    assert nnx.Param not in kinds


@pytest.mark.parametrize("quantizer", list(QUANTIZERS))
def test_the_nearest_codes_invert_the_embedding(quantizer):
    model = randomized(
        lambda: coded_experiment(quantizer).model.build(IMAGE_SHAPE, None, rngs=nnx.Rngs(0))
    )
    if hasattr(model.quantizer, "uses"):
        model.quantizer.uses[...] = jnp.full(7, 1 / 7)
    codes = np.random.default_rng(0).integers(0, model.num_codes, (4, 3, 2)).astype(np.int32)
    found = jax.jit(lambda codes: model.nearest_codes(model.embed(codes)))(codes)
    np.testing.assert_array_equal(found, codes)
