import math
from pathlib import Path

import pytest

from configs import beta, disentanglement, vanilla, wae
from vae_jax.config import resolve
from vae_jax.config.reference import declarations
from vae_jax.errors import UserError
from vae_jax.sweeps import checks, fields, space

BASE = fields.resolved(vanilla.get_config())
# The parts of `own_parts` that have settings, and those that these need.
OWN = {
    "model": {
        "name": "autoencoder",
        "encoder": {"name": "own_parts:Encoder", "width": 4},
        "decoder": "own_parts:Decoder",
    },
    "objective": {"name": "own_parts:Loss", "weight": 2.0},
}
BETA_AXIS = {"objective.beta": (1.0, 2.0)}


def drawn(axes, **rest):
    return space.random(axes, **{"num_trials": 4, **rest})


def refusal(sweep, base=BASE):
    with pytest.raises(UserError) as error:
        checks.check(sweep, base)
    assert "\n" not in str(error.value)
    return str(error.value)


BAD_AXES = [
    ({}, "the sweep has no axes; name at least one field and its values"),
    (
        {"objective.betta": (1, 2)},
        "the setting objective.betta=1: objective.betta is not a setting of objective='elbo'; did "
        "you mean beta?",
    ),
    ({"objective.betta": space.Uniform(1, 2)}, "objective.betta is not a setting of objective='"),
    ({"nothing.beta": (1, 2)}, "nothing is not a setting; it has seed, epochs,"),
    ({"hparams.beta": (1, 2)}, "hparams.beta is not a setting any more; it is objective.beta now"),
    ({"seed": (0, 1)}, "seed cannot be an axis; use seeds=(0, 1, ...) of the sweep"),
    ({("epochs", "seed"): [(1, 0)]}, "seed cannot be an axis"),
    ({"objective.beta": ()}, "objective.beta has no values; give at least one"),
    ({"objective.beta": (1, -2)}, "objective.beta=-2.0 must be a number of at least 0"),
    ({"objective.beta": (math.nan,)}, "objective.beta=nan must be a number"),
    ({"objective.beta": (1, "a")}, "objective.beta='a' must be a number"),
    ({"model.encoder": ("mlp", "mpl")}, "model.encoder.name='mpl' must be one of conv, gated_mlp"),
    ({"model.encoder": ("mlp", 3)}, "model.encoder=3 must be a choice, one of conv, gated_mlp"),
    ({"objective": ("elbo", {"name": "tc", "gama": 1})}, "objective.gama is not a setting of obj"),
    ({"objective": ({"name": "tc", "beta": -1},)}, "objective.beta=-1.0 must be a number"),
    ({"model.latent_size": (2, 0.5)}, "model.latent_size=0.5 must be an integer"),
    ({"model.latent_size": (True,)}, "model.latent_size=True must be an integer of at least 1"),
    ({"objective.sampled_kl": (True, 1)}, "objective.sampled_kl=1 must be True or False"),
    ({"model.encoder.widths": (400, 200)}, "model.encoder.widths=400 must be a tuple"),
    ({"objective.beta": (1, 2, 1.0)}, "objective.beta has the value 1.0 twice"),
    ({"model.encoder.widths": [[4], (4,)]}, "model.encoder.widths has the value (4,) twice"),
    ({"objective": [{"name": "tc", "beta": b} for b in (1, 1.0)]}, "objective has the value"),
    ({"epochs": (1,), ("epochs", "batch_size"): [(1, 2)]}, "epochs is on two axes"),
    ({("epochs", "epochs"): [(1, 2)]}, "epochs is on two axes"),
    ({("epochs", "batch_size"): [(1, 2), (1, 0)]}, "batch_size=0 must be an integer of at least 1"),
    ({("epochs", "batch_size"): [(1, 2)] * 2}, "epochs,batch_size has the value (1, 2) twice"),
    ({"model.latent_size": space.Uniform(1, 9)}, "model.latent_size=1.0 must be an integer"),
    ({"model.encoder": space.Uniform(0, 1)}, "model.encoder=0.0 must be a choice, one of"),
    ({"model.encoder.widths": space.Integers(0, 1)}, "model.encoder.widths=0 must be a tuple"),
    (
        {"optimizer.learning_rate": space.Uniform(0, 1)},
        "optimizer.learning_rate=0.0 must be a number",
    ),
    ({"objective.beta": space.Uniform(0, math.inf)}, "objective.beta=inf must be a number"),
    ({"model.latent_size": space.Integers(0, 9)}, "model.latent_size=0 must be an integer"),
    ({"objective.beta": space.Uniform(2, 2)}, "objective.beta: low=2.0 must be below high=2.0"),
    ({"epochs": space.Integers(3, 2)}, "epochs: low=3 must be below high=2"),
    ({"objective.beta": space.Uniform(0, 1, log=True)}, "low=0.0 must be above 0 for log=True"),
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


def test_only_searches_and_halving_need_a_validation_split():
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
    sweep = space.grid({"model.latent_size": (2, 3), "objective": ("elbo", "reconstruction")})
    assert refusal(sweep).startswith(
        "the setting model.latent_size=2, objective='reconstruction': objective"
    )


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (
            {"objective.wieght": (1, 2)},
            "objective.wieght is not a setting of objective='own_parts:Loss'; it has weight",
        ),
        ({"objective.wieght": (1, 2)}, "did you mean weight?"),
        ({"objective.weight": (1, -2)}, "objective.weight=-2.0 must be a number of at least 0"),
        ({"objective.weight": space.Uniform(-1, 2)}, "objective.weight=-1.0 must be a number"),
        ({"model.encoder.width": (2, 0)}, "model.encoder.width=0 must be an integer of at least 1"),
        (
            {"objective.beta": (1, 2)},
            "objective.beta is not a setting of objective='own_parts:Loss'; it has weight",
        ),
    ],
)
def test_axes_over_settings_of_parts_from_outside_are_checked_by_their_declarations(axes, message):
    base = fields.with_values(BASE, OWN)
    checks.check(drawn({"objective.weight": (1, 2)}, objective="distortion"), base)
    assert message in refusal(drawn(axes, objective="distortion"), base)


def test_a_setting_that_the_choice_does_not_have_is_named():
    sweep = space.grid({"corruption.level": (0.25, 0.5)})
    assert refusal(sweep).startswith(
        "the setting corruption.level=0.25: corruption.level is not a setting of corruption='none'"
    )


@pytest.mark.parametrize("method", [space.random, space.quasi_random, space.tpe])
def test_the_settings_of_a_search_are_checked_too(method):
    sweep = method({"corruption.level": space.Uniform(0.1, 0.5)}, num_trials=4)
    assert refusal(sweep).startswith("the setting corruption.level=0.")


def test_a_search_is_checked_along_each_axis():
    sweep = space.tpe(
        {
            "objective.beta": space.Uniform(0.1, 10),
            ("model.encoder", "model.encoder.widths"): [("mlp", (16,)), ("conv", ()), ("mlp", ())],
        },
        num_trials=4,
    )
    assert "model.encoder='mlp', model.encoder.widths=(): model.encoder.widths" in refusal(sweep)


def test_an_autoencoder_is_not_judged_by_an_elbo_that_it_has_not():
    base = fields.resolved({"model": "autoencoder"})
    axes = {"optimizer.learning_rate": (1e-3, 1e-2)}
    assert "objective='elbo' cannot judge a model without one" in refusal(space.grid(axes), base)
    checks.check(space.grid(axes, objective="distortion"), base)


def test_the_choices_that_share_a_setting_agree_on_whether_it_takes_floats():
    for field, declared in declarations().items():
        assert len({setting.is_number for setting in declared}) == 1, field


def test_a_section_is_its_choice_and_the_settings_that_it_says():
    section = {"name": "factor", "gamma": 5.0, "discriminator": {"widths": (8,)}}
    found = fields.expanded({"objective": section, "epochs": 3})
    assert found == {
        "objective": "factor",
        "objective.gamma": 5.0,
        "objective.discriminator.widths": (8,),
        "epochs": 3,
    }
    # The name of data is a setting like others.
    assert fields.expanded({"data": {"name": "mnist"}}) == {"data.name": "mnist"}


def test_a_choice_may_lack_settings_that_another_has_by_default():
    axes = {("model", "objective"): [("vae", "elbo"), ("autoencoder", "reconstruction")]}
    checks.check(space.grid(axes, objective="distortion"), BASE)
    said = fields.with_values(BASE, {"evaluation.num_samples": 7})
    assert "evaluation.num_samples is not a setting here" in refusal(
        space.grid(axes, objective="distortion"), said
    )


SHIPPED = {
    "disentanglement": disentanglement,
    "rate_distortion": beta,
    "representation": vanilla,
    "tpe": vanilla,
    "wae_weights": wae,
}


def test_every_shipped_sweep_can_run_on_the_config_of_its_command():
    folder = Path("configs/sweeps")
    assert {path.stem for path in folder.glob("*.py")} == {*SHIPPED, "__init__"}
    for name, base in SHIPPED.items():
        checks.check(space.load(folder / f"{name}.py"), fields.resolved(base.get_config()))


def test_a_section_with_a_name_replaces_the_one_there_and_one_without_does_not():
    base = fields.with_values(BASE, {"objective": {"name": "elbo", "num_samples": 5}})

    def objective(value):
        return resolve(fields.with_values(base, {"objective": value})).objective

    assert (objective({"beta": 4.0}).beta, objective({"beta": 4.0}).num_samples) == (4.0, 5)
    replaced = objective({"name": "elbo", "beta": 4.0})
    assert (replaced.beta, replaced.num_samples) == (4.0, 1)


SWEEPS = {
    "grid": space.grid({("objective.beta", "epochs"): [(1.0, 60), (2.0, 70)]}, seeds=(0, 1)),
    "random": space.random({"objective.beta": space.Uniform(0, 4)}, num_trials=3),
    "tpe": space.tpe({"objective.beta": space.Uniform(0, 4)}, num_trials=3),
}
# A config of schema 1, with what BASE says.
FLAT = {
    "data": {"train_split": "train[:55000]", "validation_split": "train[55000:]"},
    "model": {"name": "vae", "latent_size": 32, "network": "mlp", "widths": [400]},
    "hparams": {"beta": 1.0, "learning_rate": 3e-3},
}


def content(sweep, base=BASE):
    return {"config": fields.resolved(base), "sweep": space.describe(sweep)}


def older(sweep):
    """The sweep.json of an earlier version: the same sweep, its fields under other names."""
    described = space.describe(sweep)
    axes = [
        {**axis, "fields": [name.replace("objective", "hparams") for name in axis["fields"]]}
        for axis in described["axes"]
    ]
    return {"config": FLAT, "sweep": {**described, "axes": axes}, "storage": ""}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_of_an_earlier_version_is_the_same_where_its_configs_are(name):
    ours, there = content(SWEEPS[name]), older(SWEEPS[name])
    assert checks.is_same(ours, there)
    other_base = {**FLAT, "hparams": {"beta": 1.0, "learning_rate": 1e-3}}
    assert not checks.is_same(ours, {**there, "config": other_base})
    others = [
        content(SWEEPS[name], fields.with_values(BASE, {"batch_size": 7})),
        content(space.random({"objective.beta": space.Uniform(0, 5)}, num_trials=3)),
        content(space.tpe({"objective.beta": space.Uniform(0, 4, log=True)}, num_trials=3)),
        content(space.grid({"objective.beta": (1.0, 3.0)}, seeds=(0, 1))),
    ]
    for other in others:
        assert not checks.is_same(other, there)
        assert not checks.is_same(other, ours)


def test_fields_that_varied_together_are_the_same_as_a_section_that_says_them():
    ours = space.grid({"objective": [{"name": "tc", "beta": 2.0}, "iwae"]})
    zipped = {
        **space.describe(ours)["axes"][0],
        "fields": ["objective.name", "hparams.beta"],
        "values": [["tc", 2.0], ["iwae", 1.0]],
    }
    flat = {**FLAT, "objective": {"name": "elbo"}}
    there = {"config": flat, "sweep": {**space.describe(ours), "axes": [zipped]}}
    assert checks.is_same(content(ours), there)


def test_a_workdir_of_a_card_holds_no_sweep():
    assert not checks.is_same(content(SWEEPS["grid"]), {"card": "x", "config": {}})


def test_a_ramp_that_is_longer_than_the_run_is_said_once(caplog):
    base = fields.with_values(BASE, {"epochs": 5, "objective.warmup_epochs": 20.0})
    checks.check(space.grid({"objective.beta": (1.0, 2.0)}), base)
    assert caplog.messages == [
        "objective.warmup_epochs=20 is longer than the run of epochs=5, which ends at 25% of it"
    ]
    caplog.clear()
    checks.check(space.grid({"objective.warmup_epochs": (0.0, 5.0)}), base)
    assert not caplog.messages
