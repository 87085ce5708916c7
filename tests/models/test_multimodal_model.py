import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_modalities import build_joint, draw_values, whole_batch_of
from small_models import in_one_program, normal

from vae_jax.distributions import Normal, kl_divergence
from vae_jax.models.experts import JOINT_POSTERIORS, product_of_experts
from vae_jax.objectives.multimodal import (
    Batch,
    Weights,
    draw_subsets,
    jmvae_objective,
    joint_elbo,
    kl_bound,
    mmvae_objective,
    mvae_objective,
)

TWO, THREE = ("image", "text"), ("image", "label", "text")
KEY = jax.random.key(0)
ONES = Weights(jnp.ones(3), jnp.float32(1))


def names_of(kind):
    return TWO if kind == "joint" else THREE


def objective_of(model, batch, key=KEY, num_subsets=1, num_samples=2):
    weights = Weights(jnp.arange(1.0, len(model.names) + 1), jnp.float32(0.7))
    if model.kind == "product":
        subsets = num_subsets if len(model.names) > 2 else 0
        return mvae_objective(model, batch, key, weights=weights, num_subsets=subsets)[0]
    if model.kind == "joint":
        alpha = jnp.float32(0.1)
        return jmvae_objective(model, batch, key, weights=weights, unimodal_kl_weight=alpha)[0]
    if model.kind == "mixture":
        return mmvae_objective(model, batch, key, weights=weights, num_samples=num_samples)[0]
    return joint_elbo(model, batch, key).weighted(weights)


@functools.cache
def model_of(names, kind):
    """Return the model of `build_joint`, which no test changes."""
    return build_joint(names, kind)


# Compiled as one program: on their own its hundreds of operations take half a minute.
@partial(jax.jit, static_argnums=0)
def _values_and_gradients(graphdef, params, batch):
    """Return the objective of each example, and the gradients of their sum."""

    def total(params):
        objective = objective_of(nnx.merge(graphdef, params), batch)
        return objective.sum(), objective

    gradients, objective = jax.grad(total, has_aux=True)(params)
    return objective, gradients


@pytest.mark.parametrize("kind", JOINT_POSTERIORS)
def test_without_modalities_the_posterior_is_the_prior_and_with_one_its_expert(kind):
    names = names_of(kind)
    model, values = model_of(names, kind), draw_values(names, 4)
    z = normal(1, 3, 4, model.latent_size)

    def given(model, present, values, z):
        posterior = model.encode(values, present)
        return posterior.log_prob(z), posterior.mean

    def given_each(model, values, z):
        given_one = jax.vmap(given, in_axes=(None, 0, None, None))
        return given(model, jnp.zeros(len(names), bool), values, z), given_one(
            model, jnp.eye(len(names), dtype=bool), values, z
        )

    def experts(model, values, z):
        found = []
        for name in names:
            expert = factor = model.heads[name](model.modalities[name].encoder(values[name]))
            if kind != "joint":
                stacked = Normal(factor.mean[None], factor.log_scale[None])
                expert = product_of_experts(stacked, jnp.ones((4, 1), bool))
            found.append((expert.log_prob(z), expert.mean))
        return model.prior.log_prob(z), found

    (log_prob, mean), (log_probs, means) = in_one_program(given_each, model, values, z)
    of_prior, expected = in_one_program(experts, model, values, z)
    np.testing.assert_array_equal(log_prob, of_prior)
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_allclose(log_probs, [found for found, _ in expected], rtol=2e-5)
    np.testing.assert_allclose(means, [found for _, found in expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["product", "mixture", "mixture_of_products"])
def test_permuting_the_modalities_changes_nothing(kind):
    model, values = model_of(THREE, kind), draw_values(THREE, 4)
    present = np.random.default_rng(2).random((4, 3)) < 0.6
    z = normal(1, 4, model.latent_size)

    def both(model, values, present, z):
        before = model.encode(values, present).log_prob(z)
        model.names = ("text", "image", "label")
        return model.encode(values, present[:, np.array([2, 0, 1])]).log_prob(z), before

    turned, before = in_one_program(both, model, values, jnp.asarray(present), z)
    np.testing.assert_allclose(turned, before, rtol=1e-5)


def test_one_compiled_program_serves_all_subsets():
    model, values = model_of(THREE, "mixture_of_products"), draw_values(THREE, 2)
    graphdef, params = nnx.split(model)
    num_traces = 0

    @jax.jit
    def mean(params, present):
        nonlocal num_traces
        num_traces += 1
        return nnx.merge(graphdef, params).encode(values, present).mean

    means = [mean(params, jnp.asarray(present, bool)) for present in np.ndindex(2, 2, 2)]
    assert num_traces == 1
    assert len({np.asarray(found).tobytes() for found in means}) == 8


def gradients_without(kind, missing, broken):
    """Return the objective and its gradients when one modality is missing in all examples."""
    model, values = model_of(THREE, kind), draw_values(THREE, 3)
    if broken:
        values[missing] = np.full_like(values[missing], np.nan)
    present = jnp.asarray([[name != missing for name in THREE]] * 3)
    return _values_and_gradients(*nnx.split(model), Batch(values, present))


@pytest.mark.parametrize("kind", ["product", "mixture", "mixture_of_products"])
def test_a_missing_modality_has_exactly_no_gradient_even_if_it_is_nan(kind):
    objective, gradients = gradients_without(kind, "image", broken=True)
    assert np.isfinite(objective).all()
    sizes = {"image": 0.0, "text": 0.0}
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(np.asarray(leaf)).all()
        for name in sizes:
            if f"'{name}'" in jax.tree_util.keystr(path):
                sizes[name] = max(sizes[name], np.abs(leaf).max())
    assert sizes["image"] == 0
    assert sizes["text"] > 0
    whole, _ = gradients_without(kind, "image", broken=False)
    np.testing.assert_array_equal(whole, objective)


def test_the_posterior_of_jmvae_has_no_gradient_in_a_missing_modality():
    model, values = model_of(TWO, "joint"), draw_values(TWO, 3)
    values["image"] = jax.device_put(np.full_like(values["image"], np.nan))
    graphdef, params = nnx.split(model)

    def loss(params):
        return nnx.merge(graphdef, params).encode(values, jnp.asarray([False, True])).mean.sum()

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params)):
        uses_text = "modalities']['text" in jax.tree_util.keystr(path).replace(".", "")
        assert uses_text or np.abs(leaf).max() == 0 or "heads" in jax.tree_util.keystr(path)


def test_all_modalities_of_jmvae_have_a_posterior_of_their_own():
    def means(model, values):
        features = [model.joint_encoders[name](values[name]) for name in TWO]
        joint = model.joint_head(jnp.concatenate(features, axis=-1))
        return model.encode(values).mean, joint.mean

    found, expected = in_one_program(means, model_of(TWO, "joint"), draw_values(TWO, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", JOINT_POSTERIORS)
def test_examples_do_not_depend_on_each_other(kind):
    names = names_of(kind)
    model, batch = model_of(names, kind), whole_batch_of(names, 3)
    values, other = dict(batch.values), draw_values(names, 3, seed=9)
    for name in names:
        values[name] = np.array(values[name])
        values[name][1] = np.asarray(other[name])[1]
    first, second = (
        np.asarray(_values_and_gradients(*nnx.split(model), each)[0])
        for each in (batch, batch._replace(values=values))
    )
    np.testing.assert_allclose(first[::2], second[::2], rtol=1e-5)
    assert abs(first[1] - second[1]) > 1e-4


def test_the_objective_of_jmvae_is_the_elbo_minus_two_kls():
    weights, alpha = Weights(jnp.asarray([1.0, 3.0]), jnp.float32(0.5)), jnp.float32(0.2)

    def found(model, batch):
        objective, terms, kls = jmvae_objective(
            model, batch, KEY, weights=weights, unimodal_kl_weight=alpha
        )
        return objective, terms.means(TWO), kls

    def parts(model, batch):
        joint = model.encode(batch.values).of(jnp.zeros(4, jnp.int32))
        latents = joint.draw(jax.random.normal(KEY, joint.mean.shape)).latents
        image, text = (model.decode(name, latents).log_prob(batch.values[name]) for name in TWO)
        experts = [
            model.encode(batch.values, jnp.arange(2) == i).of(jnp.zeros(4, jnp.int32))
            for i in (0, 1)
        ]
        to_image, to_text = (kl_divergence(joint, expert) for expert in experts)
        return image, text, kl_divergence(joint, model.prior), to_image, to_text

    model, batch = model_of(TWO, "joint"), whole_batch_of(TWO, 4)
    objective, means, kls = in_one_program(found, model, batch)
    image, text, kl, to_image, to_text = jax.device_get(in_one_program(parts, model, batch))
    expected = image + 3 * text - 0.5 * kl - 0.2 * (to_image + to_text)
    np.testing.assert_allclose(objective, expected, rtol=1e-5)
    assert float(kls["kl_to_text"]) == pytest.approx(float(to_text.mean()), rel=1e-5)
    assert float(means["elbo"]) == pytest.approx(float((image + text - kl).mean()), rel=1e-5)
    assert float(means["distortion_text"]) == pytest.approx(float(-text.mean()), rel=1e-5)
    assert float(means["distortion"]) == pytest.approx(float(-(image + text).mean()), rel=1e-5)


def expected_elbos(model, batch, subset, num=4000):
    """Return the ELBO of a subset, estimated from many draws."""
    return _expected_elbos(*nnx.split(model), batch, jnp.asarray(subset, bool), num)


@partial(jax.jit, static_argnums=(0, 4))
def _expected_elbos(graphdef, params, batch, subset, num):
    model = nnx.merge(graphdef, params)
    posterior = model.encode(batch.values, subset)
    noise = jax.random.normal(jax.random.key(8), (num, *posterior.mean.shape))
    latents, _ = posterior.draw(noise, jax.random.key(9))
    total = -kl_bound(posterior, model.prior)
    for name, has in zip(model.names, subset, strict=True):
        log_likelihood = model.decode(name, latents).log_prob(batch.values[name]).mean(axis=0)
        total += jnp.where(has, log_likelihood, 0)
    return total


def mean_over_keys(function, num=1500):
    keys = jax.random.split(jax.random.key(5), num)
    return jax.jit(lambda keys: jax.lax.map(function, keys).mean(axis=0))(keys)


def test_mvae_is_the_sum_of_the_elbos_of_its_subsets():
    model, batch = model_of(THREE, "product"), whole_batch_of(THREE, 2)
    found = mean_over_keys(
        lambda key: mvae_objective(model, batch, key, weights=ONES, num_subsets=1)[0]
    )
    subsets = np.array(list(np.ndindex(2, 2, 2)), bool)
    by_size = {
        size: [np.asarray(expected_elbos(model, batch, s)) for s in subsets if s.sum() == size]
        for size in (1, 2, 3)
    }
    expected = sum(by_size[1]) + by_size[3][0] + sum(by_size[2]) / 3
    np.testing.assert_allclose(found, expected, rtol=0.01)


def test_subsets_are_drawn_of_every_size_between():
    drawn = np.asarray(jax.jit(draw_subsets, static_argnums=(1, 2, 3))(KEY, 2, 3000, 4))
    sizes = drawn.sum(axis=-1)
    assert set(np.unique(sizes)) == {2, 3}
    assert (sizes == 2).mean() == pytest.approx(0.6, abs=0.03)


def test_mopoe_is_the_mean_over_subsets_of_the_elbo_of_all_modalities():
    model, batch = model_of(THREE, "mixture_of_products"), whole_batch_of(THREE, 2)
    found = mean_over_keys(lambda key: joint_elbo(model, batch, key).weighted(ONES))
    np.testing.assert_allclose(found, expected_elbos(model, batch, (True,) * 3), rtol=0.01)


def test_mmvae_with_one_sample_is_an_elbo_and_rises_with_the_number_of_samples():
    model, batch = model_of(THREE, "mixture"), whole_batch_of(THREE, 2)

    def bound(num_samples):
        return mean_over_keys(
            lambda key: mmvae_objective(model, batch, key, weights=ONES, num_samples=num_samples)[
                0
            ],
            400,
        )

    def elbo(model, batch):
        posterior = model.encode(batch.values)
        noise = jax.random.normal(jax.random.key(8), (4000, *posterior.mean.shape))
        latents, log_posterior = posterior.draw(noise, jax.random.key(9))
        total = model.prior.log_prob(latents) - log_posterior
        for name in THREE:
            total += model.decode(name, latents).log_prob(batch.values[name])
        return total.mean(axis=0)

    of_one = np.asarray(bound(1))
    np.testing.assert_allclose(of_one, in_one_program(elbo, model, batch), rtol=0.02)
    assert (np.asarray(bound(8)) > of_one).all()
