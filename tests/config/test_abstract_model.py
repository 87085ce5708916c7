"""The shapes of a model, which are traced once."""

from types import SimpleNamespace

import jax
from small_configs import small_experiment

from vae_jax.config.build import abstract_model

IMAGE_SHAPE = (3, 4, 1)


class WithoutHash:
    """The settings of a model, with one that cannot be hashed; counts how often it is built."""

    __hash__ = None

    def __init__(self, model):
        self._model, self.num_built = model, 0

    def build(self, *arguments, **options):
        self.num_built += 1
        return self._model.build(*arguments, **options)


def shapes(states):
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(states)]


def test_a_caller_may_change_the_states_that_it_gets():
    experiment = small_experiment()
    graphdef, params, extra = abstract_model(experiment, IMAGE_SHAPE)
    expected = shapes((params, extra))
    for name in list(params):
        del params[name]
    again, params, extra = abstract_model(experiment, IMAGE_SHAPE)
    assert again == graphdef
    assert shapes((params, extra)) == expected != []


def test_another_form_or_another_setting_has_shapes_of_its_own():
    found = [
        shapes(abstract_model(small_experiment({"model.latent_size": size}), form)[1])
        for size, form in ((3, IMAGE_SHAPE), (2, IMAGE_SHAPE), (3, (4, 4, 1)))
    ]
    assert len({str(entry) for entry in found}) == 3


def test_settings_without_a_hash_are_traced_every_time():
    experiment = small_experiment()
    model = WithoutHash(experiment.model)
    for count in (1, 2):
        _, params, _ = abstract_model(SimpleNamespace(model=model), IMAGE_SHAPE)
        assert model.num_built == count
    assert shapes(params) == shapes(abstract_model(experiment, IMAGE_SHAPE)[1])
