import math

import pytest

from configs import vanilla
from vae_jax.config.fields import FIELDS, flatten
from vae_jax.errors import UserError
from vae_jax.sweeps import checks, fields, space

BASE = vanilla.get_config().to_dict()
BETA_AXIS = {"hparams.beta": (1.0, 2.0)}


def drawn(axes, **rest):
    return space.random(axes, **{"num_trials": 4, **rest})


def refusal(sweep, base=BASE):
    with pytest.raises(UserError) as error:
        checks.check(sweep, base)
    assert "\n" not in str(error.value)
    return str(error.value)


BAD_AXES = [
    ({}, "the sweep has no axes; name at least one field and its values"),
    ({"hparams.betta": (1, 2)}, "hparams.betta is not a field of the config; did you mean"),
    ({"hparams.betta": space.Uniform(1, 2)}, "hparams.betta is not a field of the config; did you"),
    ({"seed": (0, 1)}, "seed cannot be an axis; use seeds=(0, 1, ...) of the sweep"),
    ({("epochs", "seed"): [(1, 0)]}, "seed cannot be an axis"),
    ({"hparams.beta": ()}, "hparams.beta has no values; give at least one"),
    ({"hparams.beta": (1, -2)}, "hparams.beta=-2.0 must be a number of at least 0"),
    ({"hparams.beta": (math.nan,)}, "hparams.beta=nan must be a number"),
    ({"hparams.beta": (1, "a")}, "hparams.beta='a' must be a number"),
    ({"model.network": ("mlp", "mpl")}, "model.network='mpl' must be one of conv, mlp"),
    ({"model.latent_size": (2, 0.5)}, "model.latent_size=0.5 must be an integer"),
    ({"model.latent_size": (True,)}, "model.latent_size=True must be an integer of at least 1"),
    ({"model.gated": (True, 1)}, "model.gated=1 must be True or False"),
    ({"model.widths": (400, 200)}, "model.widths=400 must be a tuple"),
    ({"hparams.beta": (1, 2, 1.0)}, "hparams.beta has the value 1.0 twice"),
    ({"model.widths": [[4], (4,)]}, "model.widths has the value (4,) twice"),
    ({"epochs": (1,), ("epochs", "batch_size"): [(1, 2)]}, "epochs is on two axes"),
    ({("epochs", "epochs"): [(1, 2)]}, "epochs is on two axes"),
    ({("epochs", "batch_size"): [(1, 2), (1, 0)]}, "batch_size=0 must be an integer of at least 1"),
    ({("epochs", "batch_size"): [(1, 2)] * 2}, "epochs,batch_size has the value (1, 2) twice"),
    ({"model.latent_size": space.Uniform(1, 9)}, "model.latent_size=1.0 must be an integer"),
    ({"model.network": space.Uniform(0, 1)}, "model.network=0.0 must be one of"),
    ({"model.widths": space.Integers(0, 1)}, "model.widths=0 must be a tuple"),
    ({"hparams.learning_rate": space.Uniform(0, 1)}, "hparams.learning_rate=0.0 must be a number"),
    ({"hparams.beta": space.Uniform(0, math.inf)}, "hparams.beta=inf must be a number"),
    ({"model.latent_size": space.Integers(0, 9)}, "model.latent_size=0 must be an integer"),
    ({"hparams.beta": space.Uniform(2, 2)}, "hparams.beta: low=2.0 must be below high=2.0"),
    ({"epochs": space.Integers(3, 2)}, "epochs: low=3 must be below high=2"),
    ({"hparams.beta": space.Uniform(0, 1, log=True)}, "low=0.0 must be above 0 for log=True"),
    ({"patience": space.Integers(0, 2, log=True)}, "patience: low=0 must be above 0 for log=True"),
]


@pytest.mark.parametrize(("axes", "reason"), BAD_AXES)
def test_an_axis_that_cannot_run_is_refused_by_name(axes, reason):
    assert reason in refusal(drawn(axes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_trials": 0}, "num_trials=0 must be an integer of at least 1"),
        ({"num_trials": "64"}, "num_trials='64' must be an integer of at least 1"),
        ({"num_trials": None}, "num_trials=None must be"),
        ({"method": "grid"}, "num_trials=4 is not for a grid sweep"),
        ({"batch": 3}, "batch=3 is not for a random sweep"),
        ({"method": "tpe", "batch": 0}, "batch=0 must be an integer of at least 1"),
        ({"method": "anneal"}, "method='anneal' must be one of grid, quasi_random, random, tpe"),
        ({"seeds": ()}, "seeds=() must be a tuple of different integers, such as (0, 1)"),
        ({"seeds": 3}, "seeds=3 must be a tuple"),
        ({"seeds": (0, 1, 0)}, "seeds=(0, 1, 0) must be a tuple of different integers"),
        ({"seeds": (0, -1)}, "seed=-1 must be an integer from 0 to 2**32 - 1"),
        ({"seeds": (2**32,)}, "seed=4294967296 must be"),
        ({"search_seed": -1}, "seed=-1 must be an integer from 0"),
        ({"objective": "accuracy"}, "objective='accuracy' must be one of distortion, elbo, loss"),
        ({"halving": space.Halving(())}, "halving: epochs=() must be a tuple of increasing"),
        ({"halving": space.Halving((2, 2))}, "must be a tuple of increasing integers"),
        ({"halving": space.Halving((0, 2))}, "must be a tuple of increasing integers of at least"),
        ({"halving": space.Halving((2,), 1)}, "halving: reduction=1.0 must be a number above 1"),
        ({"halving": space.Halving((2, 60))}, "must end before the runs do, after 60 epochs"),
    ],
)
def test_numbers_that_cannot_be_are_refused(changes, reason):
    sweep = drawn(BETA_AXIS)
    for name, value in changes.items():
        # Around beartype, which users do not have.
        object.__setattr__(sweep, name, value)
    assert reason in refusal(sweep)


def test_only_what_judges_needs_a_validation_split():
    base = fields.with_values(BASE, {"data.validation_split": ""})
    halving = space.Halving((1, 2))
    checks.check(drawn(BETA_AXIS), base)
    for sweep, needs in (
        (drawn(BETA_AXIS, halving=halving), "halving needs a validation split"),
        (space.tpe(BETA_AXIS, num_trials=3), "a tpe sweep needs a validation split"),
    ):
        checks.check(sweep, BASE)
        assert needs in refusal(sweep, base)


def test_a_sweep_that_sets_the_epochs_is_halved_within_the_shortest():
    halving = space.Halving((1, 20))
    checks.check(drawn({"epochs": (21, 22)}, halving=halving), BASE)
    sweep = space.grid({"epochs": (20, 80)}, halving=halving)
    assert "the setting epochs=20: halving: epochs=(1, 20) must end before the runs" in refusal(
        sweep
    )


def test_a_setting_that_cannot_work_is_named():
    sweep = space.grid({"model.latent_size": (2, 3), "hparams.corruption_level": (0.0, 0.5)})
    assert refusal(sweep).startswith(
        "the setting model.latent_size=2, hparams.corruption_level=0.5: "
        "hparams.corruption_level=0.5 needs a corruption"
    )


@pytest.mark.parametrize("method", [space.random, space.quasi_random, space.tpe])
def test_the_settings_of_a_search_are_checked_too(method):
    sweep = method({"hparams.corruption_level": space.Uniform(0.1, 0.5)}, num_trials=4)
    assert refusal(sweep).startswith("the setting hparams.corruption_level=0.")


def test_a_search_is_checked_along_each_axis():
    sweep = space.tpe(
        {
            "hparams.beta": space.Uniform(0.1, 10),
            ("model.network", "model.widths"): [("mlp", (16,)), ("conv", ()), ("mlp", ())],
        },
        num_trials=4,
    )
    assert "model.network='mlp', model.widths=(): model.widths" in refusal(sweep)


def test_an_autoencoder_is_not_judged_by_an_elbo_that_it_has_not():
    base = fields.with_values(BASE, {"model.name": "autoencoder"})
    axes = {"hparams.learning_rate": (1e-3, 1e-2)}
    assert "objective='elbo' cannot judge a model without one" in refusal(space.grid(axes), base)
    checks.check(space.grid(axes, objective="distortion"), base)


def test_a_field_takes_floats_where_its_default_is_one():
    defaults = flatten(BASE)
    assert set(defaults) == set(FIELDS)
    for field, value in defaults.items():
        assert fields.takes_floats(field) == (type(value) is float), field


# What an earlier version wrote: the same sweep, its fields under other names.
SWEEPS = {
    "grid": space.grid({("hparams.beta", "epochs"): [(1.0, 60), (2.0, 70)]}, seeds=(0, 1)),
    "random": space.random({"hparams.beta": space.Uniform(0, 4)}, num_trials=3),
    "tpe": space.tpe({"hparams.beta": space.Uniform(0, 4)}, num_trials=3),
}


def content(sweep, base=BASE):
    return {"config": fields.resolved(base), "sweep": space.describe(sweep)}


def older(there):
    """The same with the section "hparams" under its former name."""
    config = dict(there["config"])
    config["knobs"] = config.pop("hparams")
    axes = [
        {**axis, "fields": [name.replace("hparams", "knobs") for name in axis["fields"]]}
        for axis in there["sweep"]["axes"]
    ]
    return {"config": config, "sweep": {**there["sweep"], "axes": axes}, "storage": ""}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_of_an_earlier_version_is_the_same_where_its_configs_are(name, monkeypatch):
    def upgraded(config):
        return {("hparams" if part == "knobs" else part): config[part] for part in config}

    ours = content(SWEEPS[name])
    there = older(ours)
    assert not checks.is_same(ours, there)
    monkeypatch.setattr(fields, "resolved", upgraded)
    assert checks.is_same(ours, there)
    others = [
        content(SWEEPS[name], fields.with_values(BASE, {"batch_size": 7})),
        content(space.random({"hparams.beta": space.Uniform(0, 5)}, num_trials=3)),
        content(space.tpe({"hparams.beta": space.Uniform(0, 4, log=True)}, num_trials=3)),
        content(space.grid({"hparams.beta": (1.0, 3.0)}, seeds=(0, 1))),
    ]
    for other in others:
        assert not checks.is_same(other, there)
        assert not checks.is_same(other, ours)


def test_a_workdir_of_a_card_holds_no_sweep():
    assert not checks.is_same(content(SWEEPS["grid"]), {"card": "x", "config": {}})
