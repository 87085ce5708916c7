"""Structures of distributions, as JAX compares them."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import distributions
from vae_jax.applications.generation.samplers import CorrelatedNormalMixture
from vae_jax.distributions import DiscretizedLogistic, Normal

CLASSES = [
    *filter(dataclasses.is_dataclass, map(distributions.__dict__.get, distributions.__all__)),
    CorrelatedNormalMixture,
]


def structure(cls):
    """Return the structure of a value whose fields are all 0."""
    value = object.__new__(cls)
    for field in dataclasses.fields(cls):
        object.__setattr__(value, field.name, 0)
    return jax.tree.structure(value)


def test_no_two_classes_have_one_structure():
    assert len(CLASSES) > 20
    for one, other in itertools.combinations(CLASSES, 2):
        assert structure(one) != structure(other), (one, other)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_structure_equals_itself_and_has_one_hash(cls):
    assert structure(cls) == structure(cls)
    assert hash(structure(cls)) == hash(structure(cls))


def test_static_fields_are_part_of_the_structure():
    normal = Normal(jnp.zeros((2, 3)), jnp.zeros(3), event_ndim=1)
    wider = Normal(jnp.zeros((2, 3)), jnp.zeros(3), event_ndim=2)
    assert jax.tree.structure(normal) != jax.tree.structure(wider)


def test_values_pass_through_flattening_with_their_names():
    value = DiscretizedLogistic(jnp.ones((2, 3)), jnp.zeros(3), event_ndim=1)
    leaves, tree = jax.tree.flatten(value)
    again = jax.tree.unflatten(tree, leaves)
    for field in dataclasses.fields(value):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(value, field.name))
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(value)]
    assert names == [f".{field.name}" for field in dataclasses.fields(value)[:2]]
