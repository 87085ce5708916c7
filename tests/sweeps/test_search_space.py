import contextlib
import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.config.reference import declarations
from vae_jax.errors import UserError
from vae_jax.settings import resolve
from vae_jax.sweeps import space

BETA = st.floats(0, 100, width=32, allow_subnormal=False)
CHOICES = {
    "objective.beta": BETA,
    "model.latent_size": st.integers(1, 64),
    "objective.sampled_kl": st.booleans(),
    "model.encoder": st.sampled_from(["conv", "mlp"]),
    "model.encoder.widths": st.lists(st.integers(1, 512), max_size=3).map(tuple),
    "model.prior": st.one_of(
        st.sampled_from(["standard", "vamp"]),
        st.builds(lambda k: {"name": "vamp", "components": k}, st.integers(1, 500)),
    ),
}


@st.composite
def axes(draw, ranges=True):
    """A dict of axes that pass the checks."""
    names = draw(st.permutations(list(CHOICES)))
    names = names[: draw(st.integers(1, len(names)))]
    found = {}
    while names:
        together = tuple(names[: draw(st.integers(1, 2))])
        names = names[len(together) :]
        if len(together) > 1:
            values = st.tuples(*(CHOICES[name] for name in together))
            found[together] = draw(st.lists(values, min_size=1, max_size=4, unique_by=repr))
            continue
        (name,) = together
        if ranges and name in ("objective.beta", "model.latent_size") and draw(st.booleans()):
            low, log = draw(st.integers(1, 50)), draw(st.booleans())
            kind = space.Uniform if name == "objective.beta" else space.Integers
            found[name] = kind(low, low + draw(st.integers(1, 1000)), log=log)
        else:
            found[name] = draw(st.lists(CHOICES[name], min_size=1, max_size=4, unique_by=repr))
    return found


METHODS = st.sampled_from([space.random, space.quasi_random])
# The first sweep collects all declarations; the first quasi-random draw imports SciPy.
any_time = settings(deadline=None)


@any_time
@given(axes(ranges=False))
def test_a_grid_holds_every_combination_once_with_the_last_axis_fastest(axes):
    sweep = space.grid(axes)
    settings = space.settings(sweep)
    assert len(settings) == sweep.size == math.prod(len(values) for values in axes.values())
    expected = []
    for combination in itertools.product(*axes.values()):
        setting = {}
        for key, value in zip(axes, combination, strict=True):
            setting.update(zip(key, value, strict=True) if len(key) == 2 else {key: value})
        expected.append(setting)
    assert settings == expected
    assert all(type(a[f]) is type(b[f]) for a, b in zip(settings, expected, strict=True) for f in a)


def takes(declared, value):
    with contextlib.suppress(UserError):
        resolve(declared, value, "field")
        return True
    return False


@any_time
@given(METHODS, axes(), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_every_drawn_setting_is_a_config_and_lies_on_its_axes(method, axes, num_trials, seed):
    sweep = method(axes, num_trials=num_trials, search_seed=seed)
    settings = space.settings(sweep)
    assert len(settings) == sweep.size == num_trials
    for setting in settings:
        for field, value in setting.items():
            assert any(takes(declared, value) for declared in declarations()[field])
        for key, axis in axes.items():
            if isinstance(key, tuple):
                assert tuple(setting[field] for field in key) in axis
            elif isinstance(axis, list):
                assert setting[key] in axis
            else:
                assert axis.low <= setting[key] <= axis.high
                assert type(setting[key]) is (float if key == "objective.beta" else int)


@any_time
@given(METHODS, axes(), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_longer_sweep_begins_with_the_shorter_one(method, axes, one, other, seed):
    short, long = sorted([one, other])
    sweep = method(axes, num_trials=short, search_seed=seed)
    longer = space.settings(space.with_num_trials(sweep, long))
    assert longer[:short] == space.settings(sweep)


@any_time
@given(METHODS, axes())
def test_sweeps_are_equal_exactly_if_their_descriptions_are_after_json(method, axes):
    sweep = method(axes, num_trials=5)
    described = json.loads(json.dumps(space.describe(sweep)))
    assert described == space.describe(method(dict(axes), num_trials=5))
    for other in (
        dataclasses.replace(sweep, num_trials=6),
        dataclasses.replace(sweep, seeds=(1,)),
        dataclasses.replace(sweep, search_seed=1),
        dataclasses.replace(sweep, objective="loss"),
        dataclasses.replace(sweep, method="tpe", batch=2),
        dataclasses.replace(sweep, halving=space.Halving((1,))),
        dataclasses.replace(sweep, axes=(*sweep.axes, (("epochs",), space.Choice((1,))))),
    ):
        assert space.describe(other) != described
        assert space.from_description(json.loads(json.dumps(space.describe(other)))) == other
    assert space.from_description(described) == sweep


def test_other_ends_and_another_order_of_axes_are_another_sweep():
    uniform = space.describe(space.random({"objective.beta": space.Uniform(1, 2)}, num_trials=1))
    for axis in (space.Uniform(1, 3), space.Uniform(1, 2, log=True), space.Integers(1, 2)):
        assert space.describe(space.random({"objective.beta": axis}, num_trials=1)) != uniform
    axes = {"epochs": (1, 2), "objective.beta": (1.0,)}
    turned = dict(reversed(axes.items()))
    assert space.describe(space.grid(axes)) != space.describe(space.grid(turned))


def test_the_description_of_a_sweep():
    sweep = space.tpe(
        {
            "model.encoder.widths": [[400], (200, 200)],
            "objective.beta": space.Uniform(1, 2, log=True),
        },
        num_trials=9,
        halving=space.Halving(epochs=[2, 6]),
    )
    assert space.describe(sweep) == {
        "axes": [
            {"fields": ["model.encoder.widths"], "kind": "choice", "values": [[400], [200, 200]]},
            {"fields": ["objective.beta"], "kind": "uniform", "low": 1.0, "high": 2.0, "log": True},
        ],
        "method": "tpe",
        "num_trials": 9,
        "seeds": [0],
        "search_seed": 0,
        "batch": 16,
        "objective": "elbo",
        "halving": {"epochs": [2, 6], "reduction": 3.0},
    }


def test_another_search_seed_draws_other_settings():
    axes = {"objective.beta": space.Uniform(0, 1)}
    for method in (space.random, space.quasi_random):
        drawn = [space.settings(method(axes, num_trials=4, search_seed=s)) for s in (0, 1)]
        assert drawn[0] != drawn[1]


def test_draws_fill_their_axes():
    axes = {
        "objective.beta": space.Uniform(0, 4),
        "optimizer.learning_rate": space.Uniform(1e-4, 1, log=True),
        "model.latent_size": space.Integers(1, 4),
        "epochs": space.Integers(1, 100, log=True),
        "model.encoder": ("conv", "mlp"),
    }
    settings = space.settings(space.quasi_random(axes, num_trials=4096))
    columns = {field: np.array([setting[field] for setting in settings]) for field in axes}
    assert columns["objective.beta"].mean() == pytest.approx(2, rel=1e-3)
    assert np.log10(columns["optimizer.learning_rate"]).mean() == pytest.approx(-2, rel=1e-3)
    assert [np.sum(columns["model.latent_size"] == k) for k in (1, 2, 3, 4)] == [1024] * 4
    assert np.sum(columns["model.encoder"] == "mlp") == 2048
    # Half of a logarithmic axis from 0.5 to 100.5 lies below sqrt(0.5 * 100.5) = 7.09.
    assert np.mean(columns["epochs"] <= 7) == pytest.approx(
        math.log(7.5 / 0.5) / math.log(100.5 / 0.5), abs=2e-3
    )
    assert columns["epochs"].min() == 1
    assert columns["epochs"].max() == 100


@pytest.mark.parametrize("num_trials", [1, 3, 5, 100])
def test_a_number_that_is_no_power_of_two_raises_no_warning(num_trials):
    sweep = space.quasi_random({"objective.beta": space.Uniform(0, 1)}, num_trials=num_trials)
    assert len(space.settings(sweep)) == num_trials


def test_numpy_values_become_pythons_own():
    sweep = space.grid(
        {
            "objective.beta": np.geomspace(0.1, 10, 3),
            ("model.latent_size", "model.encoder"): [(np.int64(5), np.str_("mlp"))],
            "model.encoder.widths": np.array([[400, 200], [200, 100]]),
        },
        seeds=np.arange(2).tolist(),
    )
    setting = space.settings(sweep)[-1]
    assert setting == {
        "objective.beta": 10.0,
        "model.latent_size": 5,
        "model.encoder": "mlp",
        "model.encoder.widths": (200, 100),
    }
    assert [type(value) for value in setting.values()] == [float, int, str, tuple]
    assert type(setting["model.encoder.widths"][0]) is int


def test_a_section_is_taken_as_its_settings_are():
    section = {"name": "factor", "gamma": 5, "discriminator": {"widths": [np.int64(8), 4]}}
    sweep = space.grid({"objective": ["elbo", section]})
    (_, found) = space.settings(sweep)
    assert found["objective"] == {
        "name": "factor",
        "gamma": 5.0,
        "discriminator": {"widths": (8, 4)},
    }
    assert type(found["objective"]["gamma"]) is float
    assert type(found["objective"]["discriminator"]["widths"][0]) is int
    assert space.from_description(json.loads(json.dumps(space.describe(sweep)))) == sweep


def test_an_integer_on_a_float_field_becomes_a_float_and_on_no_other():
    axes = {("objective.beta", "model.latent_size"): [(1, 5), (2.0, 6)], "epochs": range(1, 3)}
    sweep = space.grid(axes)
    assert [type(value) for value in space.settings(sweep)[0].values()] == [float, int, int]
    drawn = space.random({"objective.warmup_epochs": space.Integers(0, 5)}, num_trials=9)
    values = [setting["objective.warmup_epochs"] for setting in space.settings(drawn)]
    assert all(type(value) is float and value.is_integer() for value in values)
    assert space.grid({"objective.beta": (1, 2)}) == space.grid({"objective.beta": (1.0, 2.0)})


def test_the_name_of_an_axis():
    assert space.axis_name(("a",)) == "a"
    assert space.axis_name(("a", "b")) == "a,b"


def test_a_number_of_trials_is_taken_by_every_method_but_a_grid():
    tpe = space.tpe({"objective.beta": space.Uniform(0, 1)}, num_trials=3)
    assert space.with_num_trials(tpe, 7).size == 7
    with pytest.raises(UserError, match="a grid has as many trials as its axes give, here 2"):
        space.with_num_trials(space.grid({"epochs": (1, 2)}), 7)


def test_examples_go_along_each_axis_and_through_all_settings_that_are_known():
    axes = {
        "objective.beta": space.Uniform(1, 2),
        ("epochs", "patience"): [(5, 0), (6, 1), (7, 2)],
        "model.latent_size": space.Integers(3, 9),
    }
    found = [tuple(setting.values()) for setting in space.examples(space.tpe(axes, num_trials=3))]
    assert found == [
        (1.0, 5, 0, 3),
        (2.0, 5, 0, 3),
        (1.0, 5, 0, 3),
        (1.0, 6, 1, 3),
        (1.0, 7, 2, 3),
        (1.0, 5, 0, 3),
        (1.0, 5, 0, 9),
    ]
    drawn = space.random(axes, num_trials=3)
    assert space.examples(drawn) == [
        *space.examples(space.tpe(axes, num_trials=3)),
        *space.settings(drawn),
    ]
    grid = space.grid({"epochs": (1, 2)})
    assert space.examples(grid) == space.settings(grid)


def test_an_option_that_no_sweep_has_is_refused():
    with pytest.raises(TypeError, match="sedes"):
        space.grid({"epochs": (1, 2)}, sedes=(0,))


def test_the_settings_of_tpe_are_not_known_beforehand():
    with pytest.raises(ValueError, match="depend on its results"):
        space.settings(space.tpe({"objective.beta": space.Uniform(0, 1)}, num_trials=3))


def test_only_the_elbo_is_maximised():
    for objective in space.OBJECTIVES:
        sweep = space.grid({"epochs": (1, 2)}, objective=objective)
        assert sweep.maximize == (objective == "elbo")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"epochs": 3}, "epochs: 3 is no axis; give a list of values, Uniform or Integers"),
        ({"model.encoder": "mlp"}, "model.encoder: 'mlp' is no axis"),
        ({"epochs": {1, 2}}, "epochs: {1, 2} is no axis"),
        ({"epochs": np.array(3)}, "is no axis"),
        ({3: (1, 2)}, "the axis 3 must be the name of a field or a tuple of names"),
        ({("epochs",): [(1,)]}, r"the axis \('epochs',\) must name two or more fields, or be no"),
        ({("epochs", "patience"): space.Integers(1, 2)}, "epochs,patience: a zipped axis needs"),
        (
            {("epochs", "batch_size"): [(1, 2), (1, 2, 3)]},
            r"epochs,batch_size: \(1, 2, 3\) must be a tuple of 2 values, one per field",
        ),
        ({("epochs", "batch_size"): [1, 2]}, "epochs,batch_size: 1 must be a tuple of 2 values"),
    ],
)
def test_an_invalid_axis_is_refused_at_once(axes, message):
    with pytest.raises(UserError, match=message):
        space.random(axes, num_trials=4)


def test_a_grid_takes_no_range():
    with pytest.raises(
        UserError, match=r"objective\.beta: a grid needs a list of values, not Uniform"
    ):
        space.grid({"objective.beta": space.Uniform(0, 1)})


def test_a_choice_of_a_single_text_is_refused():
    with pytest.raises(UserError, match="Choice takes a sequence of values, not 'mlp'"):
        space.Choice("mlp")


def write(folder, text):
    path = folder / "sweep.py"
    path.write_text(text)
    return path


def test_a_sweep_file_is_run(tmp_path):
    path = write(
        tmp_path,
        "from vae_jax.sweeps import space\n"
        "AXES = {'epochs': (1, 2)}\n"
        "def get_sweep():\n"
        "    return space.grid(AXES, seeds=(0, 1))\n",
    )
    assert space.load(path) == space.grid({"epochs": (1, 2)}, seeds=(0, 1))
    assert space.load(str(path)) == space.load(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sweep.py has no function get_sweep"),
        ("get_sweep = 3", "sweep.py has no function get_sweep"),
        ("def get_sweep(): return {}", "must return a sweep, such as .*, not dict"),
        ("x = 1\ndef get_sweep(:", "sweep.py, line 2: SyntaxError: "),
        ("x = 1\n1 / 0", "sweep.py, line 2: ZeroDivisionError: division by zero"),
        ("def get_sweep():\n\n    return undefined", "sweep.py, line 3: NameError: name 'undef"),
        ("import json\njson.loads('x')", "sweep.py, line 2: JSONDecodeError: "),
        ("import nonsense_module", "sweep.py, line 1: ModuleNotFoundError: No module"),
        ("raise ValueError('a\\nb')", "sweep.py, line 1: ValueError: a$"),
        (
            "from vae_jax.sweeps import space as s\ndef get_sweep():\n    return s.grid({'a': 3})",
            "sweep.py, line 3: a: 3 is no axis",
        ),
    ],
)
def test_a_sweep_file_that_fails_is_reported_in_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as error:
        space.load(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_sweep_file_that_is_missing_or_no_text_is_reported(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.py cannot be read: No such file or directory"):
        space.load(tmp_path / "nowhere.py")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"binary\.py cannot be read: "):
        space.load(tmp_path / "binary.py")
