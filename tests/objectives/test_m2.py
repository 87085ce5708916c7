import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from small_configs import small_experiment
from small_models import randomized

from vae_jax import config as factory
from vae_jax.objectives.base import LabelledBatch
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.objectives.m2 import bound, class_weights, elbo_by_class, likeliest

CLASSES = 4
_bound = jax.jit(bound, static_argnums=3)


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * 3


@jax.jit
def log_softmax(logits):
    return jax.nn.log_softmax(logits, axis=0)


@given(st.integers(0, 10_000), st.integers(-1, CLASSES - 1))
@settings(max_examples=20)
def test_the_bound_is_one_on_the_sum_over_classes(seed, label):
    elbo, logits = numbers(seed, CLASSES, 1), numbers(seed + 1, CLASSES, 1)
    is_label = jnp.asarray(np.arange(CLASSES)[:, None] == label)
    elbo_of = jnp.asarray(elbo)
    found = _bound(elbo_of, log_softmax(logits), is_label, CLASSES)
    prior = -np.log(CLASSES)
    if label >= 0:
        np.testing.assert_allclose(found, elbo[label] + prior, rtol=1e-5, atol=1e-6)
        return
    log_evidence = special.logsumexp(elbo, axis=0) + prior
    assert found[0] <= log_evidence[0] + 1e-4
    # The exact q(y|x) closes the gap.
    best = _bound(elbo_of, log_softmax(elbo), is_label, CLASSES)
    np.testing.assert_allclose(best, log_evidence, rtol=1e-5, atol=1e-5)


def test_a_classifier_cut_off_keeps_known_classes_and_sums_to_one():
    log_q = jnp.asarray(special.log_softmax(numbers(0, 5, CLASSES), axis=1))
    labels = jnp.array([-1, 0, 1, 2, 3])

    @jax.jit
    def cut_off(log_q):
        classes, kept = likeliest(log_q, labels, 2)
        weights = class_weights(kept, classes == labels)
        return classes, kept, weights, *likeliest(log_q, labels, CLASSES)

    classes, kept, weights, everything, all_kept = map(np.asarray, cut_off(log_q))
    np.testing.assert_allclose(np.exp(kept).sum(axis=0), 1, rtol=1e-5)
    assert (classes == np.asarray(labels)).any(axis=0)[1:].all()
    log_q = np.asarray(log_q)
    np.testing.assert_array_equal(classes[0, 0], log_q[0].argmax())
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-5)
    order = np.argsort(everything, axis=0)
    np.testing.assert_allclose(np.take_along_axis(all_kept, order, axis=0), log_q.T, rtol=1e-5)


@pytest.fixture(scope="module")
def trained():
    """A tiny model, its objective and a batch with two known classes."""
    experiment = small_experiment(
        {
            "model": {"name": "m2", "condition": {"name": "label", "classes": CLASSES}},
            "model.classifier.widths": (3,),
            "data.labelled": 8,
        }
    )
    model = randomized(lambda: factory.build_model(experiment, (4, 4, 1), jax.random.key(0)))
    images = (numbers(0, 5, 4, 4, 1) > 0).astype(np.float32)
    labels = np.array([-1, 2, -1, 0, -1], np.int32)
    labelled = images[1:4]
    arrays = images, images, labels, labelled, labelled, np.array([0, 1, 2], np.int32)
    batch = LabelledBatch(*map(jnp.asarray, arrays))
    return experiment.objective, model, batch


def loss_of(trained, batch, objective=None):
    default, model, _ = trained
    objective = objective or default
    options = {"epoch": jnp.float32(0), "num_examples": 5}
    return jax.jit(lambda: objective.loss(model, batch, jax.random.key(1), **options))()


def test_the_loss_is_the_bound_and_the_weighted_cross_entropy(trained):
    objective, model, batch = trained
    loss, metrics = loss_of(trained, batch)

    @jax.jit
    def terms():
        classes = jnp.arange(CLASSES)[:, None]
        bound_key, labelled_key = jax.random.split(jax.random.key(1))
        log_likelihood, kl = elbo_by_class(model, batch.inputs, batch.targets, classes, bound_key)
        log_q, log_p = (
            jax.nn.log_softmax(model.classify(inputs).logits)
            for inputs in (batch.inputs, batch.labelled_inputs)
        )
        # The bound of labelled examples has their class given, and a weight of its own.
        known = elbo_terms(
            model.given(batch.labelled_labels),
            batch.labelled_inputs,
            batch.labelled_inputs,
            labelled_key,
        )
        return log_likelihood - kl, log_q.T, log_p, known.elbo.mean() - jnp.log(CLASSES)

    elbo, log_q, log_p, known = map(np.asarray, terms())
    expected = []
    for i, label in enumerate(np.asarray(batch.labels)):
        q = np.exp(log_q[:, i])
        inner = (q * (elbo[:, i] - log_q[:, i])).sum() if label < 0 else elbo[label, i]
        expected.append(inner - np.log(CLASSES))
    np.testing.assert_allclose(metrics["elbo"], np.mean(expected), rtol=1e-5)
    cross_entropy = -np.mean([log_p[i, label] for i, label in enumerate([0, 1, 2])])
    np.testing.assert_allclose(metrics["cross_entropy"], cross_entropy, rtol=1e-5)
    weight = objective.classification_weight
    np.testing.assert_allclose(loss, -np.mean(expected) + weight * cross_entropy, rtol=1e-5)
    np.testing.assert_allclose(metrics["labelled_elbo"], known, rtol=1e-5)
    more = dataclasses.replace(objective, labelled_weight=0.5)
    heavier, _ = loss_of(trained, batch, more)
    np.testing.assert_allclose(heavier, np.asarray(loss) - 0.5 * known, rtol=1e-5)


def test_known_classes_leave_the_classifier_to_the_cross_entropy(trained):
    objective, model, batch = trained
    known = batch._replace(labels=jnp.asarray(np.arange(5, dtype=np.int32) % CLASSES))
    graphdef, params, _ = factory.split_model(model)

    @jax.jit
    def gradient(labels):
        def loss(params):
            merged = jax.tree.map(lambda x: x, params)
            built = factory.build.nnx.merge(graphdef, merged)
            options = {"epoch": jnp.float32(0), "num_examples": 5}
            bounded = type(objective)(classification_weight=0.0)
            return bounded.loss(built, known._replace(labels=labels), jax.random.key(1), **options)[
                0
            ]

        return jax.grad(loss)(params)["class_output"]["kernel"][...]

    assert not np.asarray(gradient(known.labels)).any()
    assert np.asarray(gradient(batch.labels)).any()
