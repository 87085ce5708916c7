import dataclasses
import io
import itertools
import json
import re
from types import SimpleNamespace

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import write_bars

from configs import vanilla
from vae_jax import config as factory
from vae_jax.errors import UserError
from vae_jax.objectives import Objective
from vae_jax.settings import Traced, bounded, flatten, traced
from vae_jax.sweeps import fields, space
from vae_jax.sweeps import plan as sweep_plan
from vae_jax.sweeps import progress as sweep_progress
from vae_jax.sweeps.chunks import member_config
from vae_jax.sweeps.loop import MemberProgress
from vae_jax.sweeps.plan import MemberMemory, Resources, deal, member_number, resources_here
from vae_jax.sweeps.progress import ChunkProgress

GIB = 2**30
BASE = fields.resolved(vanilla.get_config())
IMAGES, MEMORY = 100, MemberMemory(state=10, step=3)
PLENTY = Resources(memory_limit=10**9, num_devices=1, side_by_side=True)
HALVING = space.Halving(epochs=(2, 4), reduction=2.0)
NEEDS = sweep_plan._needs


@pytest.fixture(scope="module", autouse=True)
def known_needs():
    """Every program needs the same, and no data is read for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep_plan, "_needs", lambda config_json: (IMAGES, MEMORY))
        yield


def dealt(sweep, *, trials=None, resources=PLENTY, **options):
    trials = list(enumerate(space.settings(sweep))) if trials is None else trials
    chunks, described = deal(
        sweep, BASE, trials, **{"batch": 0, "rivals": {}, "resources": resources, **options}
    )
    assert json.loads(json.dumps(chunks)) is not None
    return chunks, described


def sizes(chunks):
    return [len(chunk["members"]) for chunk in chunks]


def members_of(chunks):
    return [entry["member"] for chunk in chunks for entry in chunk["members"]]


def test_members_differ_within_a_chunk_by_hyperparameters_and_seeds_alone():
    sweep = space.grid(
        {
            "model.latent_size": (2, 3),
            "objective.beta": (0.5, 1.0, 2.0),
            ("optimizer", "optimizer.learning_rate"): [("adam", 1e-3), ("sgd", 1e-2)],
        },
        seeds=(0, 7),
    )
    chunks, described = dealt(sweep)
    assert sizes(chunks) == [6] * 4
    static = [
        (c["config"]["model"]["latent_size"], c["config"]["optimizer"]["name"]) for c in chunks
    ]
    # In the order in which the trials come.
    assert static == [(2, "adam"), (2, "sgd"), (3, "adam"), (3, "sgd")]
    assert [chunk["name"] for chunk in chunks] == [f"0000-0{i}" for i in range(4)]
    for chunk in chunks:
        members = [member_config(chunk, entry) for entry in chunk["members"]]
        configs = [flatten(member.to_dict()) for member in members]
        differing = {
            field for field in configs[0] if len({str(config[field]) for config in configs}) > 1
        }
        assert differing == {"objective.beta", "seed"}
    assert len(described.splitlines()) == 4
    assert "program 2 of 4: model.latent_size=2, optimizer='sgd': 6 members in 1 chunk" in described


def test_every_member_is_the_run_that_its_setting_and_seed_make():
    sweep = space.grid(
        {"model.encoder.widths": [(16,), (8, 8)], "objective.beta": (0.5, 2.0)}, seeds=(3, 1)
    )
    chunks, _ = dealt(sweep)
    found = {}
    for chunk in chunks:
        for entry in chunk["members"]:
            assert entry["setting"] == space.settings(sweep)[entry["trial"]]
            found[entry["member"]] = member_config(chunk, entry)
    expected = itertools.product(space.settings(sweep), sweep.seeds)
    for member, (setting, seed) in enumerate(expected):
        changed = factory.with_values(vanilla.get_config(), {**setting, "seed": seed})
        assert found[member] == factory.resolve(changed)
    assert len(found) == 8


def test_sections_are_programs_by_their_static_settings():
    objectives = [
        {"name": "tc", "beta": 2.0},
        {"name": "tc", "beta": 4.0},
        {"name": "tc", "beta": 4.0, "estimator": "stratified"},
        {"name": "elbo", "beta": 4.0},
        "elbo",
        {"beta": 3.0},
    ]
    sweep = space.grid({"objective": objectives})
    chunks, described = dealt(sweep)
    assert [[e["trial"] for e in chunk["members"]] for chunk in chunks] == [
        [0, 1],
        [2],
        [3, 4],
        [5],
    ]
    assert "objective='tc', objective.estimator='stratified': 1 members" in described
    for chunk in chunks:
        for entry in chunk["members"]:
            config = fields.with_values(BASE, space.settings(sweep)[entry["trial"]])
            assert member_config(chunk, entry) == factory.resolve(config)
            static = {**fields.resolved(config), "objective": None}
            assert static == {**fields.resolved(chunk["config"]), "objective": None}


@dataclasses.dataclass(frozen=True)
class StaticBeta(Objective):
    """An objective from outside, whose beta is static and whose width is traced."""

    beta: float = bounded(1.0, "A number.", above=0.0)
    width: Traced = traced(1.0, "A number.", above=0.0)

    def loss(self, model, batch, key, *, epoch, num_examples, **networks):
        raise NotImplementedError


def test_parts_from_outside_are_programs_by_their_own_declarations():
    objective = {"name": "test_sweep_plan:StaticBeta", "beta": 3.0}
    base = fields.with_values(BASE, {"objective": objective})
    # The objective.beta of registered parts is traced.
    sweep = space.grid({"objective.width": (1.0, 2.0), "objective.beta": (1.0, 2.0)})
    trials = list(enumerate(space.settings(sweep)))
    chunks, described = deal(sweep, base, trials, batch=0, rivals={}, resources=PLENTY)
    assert [[e["trial"] for e in chunk["members"]] for chunk in chunks] == [[0, 2], [1, 3]]
    assert [chunk["config"]["objective"]["beta"] for chunk in chunks] == [1.0, 2.0]
    assert "program 1 of 2: objective.beta=1.0: 2 members" in described
    own = [member_config(chunk, e).objective for chunk in chunks for e in chunk["members"]]
    assert [(o.beta, o.width) for o in own] == [(1.0, 1.0), (1.0, 2.0), (2.0, 1.0), (2.0, 2.0)]


def test_a_member_has_the_static_settings_of_its_chunk():
    base = fields.with_values(BASE, {"objective": {"name": "elbo", "num_samples": 5}})
    sweep = space.grid({"objective": [{"beta": 2.0}, {"name": "elbo", "beta": 3.0}]})
    trials = list(enumerate(space.settings(sweep)))
    chunks, _ = deal(sweep, base, trials, batch=0, rivals={}, resources=PLENTY)
    found = [
        (factory.resolve(chunk["config"]).objective, member_config(chunk, entry).objective)
        for chunk in chunks
        for entry in chunk["members"]
    ]
    assert [(shared.num_samples, own.num_samples) for shared, own in found] == [(5, 5), (1, 1)]
    assert [own.beta for _, own in found] == [2.0, 3.0]


def test_members_are_numbered_through_trials_and_their_seeds():
    sweep = space.grid({"objective.beta": (1.0, 2.0, 3.0)}, seeds=(5, 6, 9))
    numbers = [member_number(sweep, trial, seed) for trial in range(3) for seed in range(3)]
    assert numbers == list(range(9))
    chunks, _ = dealt(sweep, trials=[(7, {"objective.beta": 2.0}), (4, {"objective.beta": 1.0})])
    assert [(e["member"], e["trial"], e["seed"]) for e in chunks[0]["members"]] == [
        (21, 7, 5),
        (22, 7, 6),
        (23, 7, 9),
        (12, 4, 5),
        (13, 4, 6),
        (14, 4, 9),
    ]


DEALS = st.fixed_dictionaries(
    {
        "method": st.sampled_from([space.random, space.tpe]),
        "num_seeds": st.integers(1, 3),
        "halving": st.booleans(),
        "latent_sizes": st.lists(st.sampled_from([2, 3]), min_size=1, max_size=30),
        "limit": st.integers(0, 300),
        "num_devices": st.sampled_from([1, 2, 4]),
        "side_by_side": st.booleans(),
        "num_workers": st.integers(1, 4),
    }
)


def needed_by(chunk, resources):
    """Bytes a device, worked out once more."""
    per_device = -(-max(chunk["least_slots"], len(chunk["members"])) // resources.num_devices)
    at_once = per_device if resources.side_by_side else 1
    return IMAGES + per_device * MEMORY.state + at_once * MEMORY.step


@settings(deadline=None, max_examples=40)
@given(DEALS)
def test_every_member_is_dealt_once_and_every_chunk_fits(case):
    num_seeds = case["num_seeds"]
    sweep = case["method"](
        {"objective.beta": space.Uniform(0.1, 100), "model.latent_size": [2, 3]},
        num_trials=30,
        seeds=tuple(range(num_seeds)),
        halving=HALVING if case["halving"] else None,
    )
    trials = [
        (i, {"objective.beta": 0.1 + i, "model.latent_size": size})
        for i, size in enumerate(case["latent_sizes"])
    ]
    resources = Resources(
        IMAGES + case["limit"], case["num_devices"], case["side_by_side"], case["num_workers"]
    )
    try:
        chunks, described = dealt(sweep, trials=trials, resources=resources)
    except UserError:
        unit = num_seeds if sweep.halving else 1
        one = {"members": [None] * unit, "least_slots": unit}
        if sweep.method == "tpe":
            one["least_slots"] = 1 << (-(-unit // resources.num_devices) - 1).bit_length()
            one["least_slots"] *= resources.num_devices
        assert needed_by(one, resources) > resources.memory_limit
        return
    assert sorted(members_of(chunks)) == list(range(num_seeds * len(trials)))
    assert len({chunk["name"] for chunk in chunks}) == len(chunks)
    for chunk in chunks:
        assert needed_by(chunk, resources) <= resources.memory_limit
        assert len({e["setting"]["model.latent_size"] for e in chunk["members"]}) == 1
        own = [entry["trial"] for entry in chunk["members"]]
        assert own == sorted(own)
        if sweep.halving:
            assert all(own.count(trial) == num_seeds for trial in own)
    for latent_size in {setting["model.latent_size"] for _, setting in trials}:
        same = [c for c in chunks if c["config"]["model"]["latent_size"] == latent_size]
        # One program serves them all.
        assert len({chunk["least_slots"] for chunk in same}) == 1
        # No chunk is much smaller for another one's sake.
        assert max(sizes(same)) == sizes(same)[0]
        assert sum(sizes(same)) > (len(same) - 1) * sizes(same)[0]
        if not sweep.halving and not resources.side_by_side:
            assert sizes(same)[0] <= 8
    assert dealt(sweep, trials=trials, resources=resources) == (chunks, described)


def test_a_memory_limit_splits_a_chunk():
    sweep = space.grid({"objective.beta": tuple(float(i) for i in range(10))})
    assert sizes(dealt(sweep)[0]) == [10]
    limited = PLENTY._replace(memory_limit=IMAGES + 4 * 13)
    chunks, described = dealt(sweep, resources=limited)
    assert sizes(chunks) == [4, 4, 2]
    assert {chunk["least_slots"] for chunk in chunks} == {4}
    assert members_of(chunks) == list(range(10))
    assert (
        described == "  program 1 of 1: 10 members in 3 chunks of up to 4, about 0.00 of 0.00 GiB"
    )
    assert sizes(dealt(sweep, resources=limited._replace(num_devices=2))[0]) == [5, 5]


def test_members_in_turn_and_workers_make_chunks_small_but_do_not_change_comparisons():
    axes = {"objective.beta": tuple(float(i) for i in range(20))}
    in_turn = PLENTY._replace(side_by_side=False)
    assert sizes(dealt(space.grid(axes), resources=in_turn)[0]) == [7, 7, 6]
    assert sizes(dealt(space.grid(axes), resources=PLENTY._replace(num_workers=4))[0]) == [5] * 4
    compared = space.grid(axes, halving=HALVING)
    for resources in (in_turn, PLENTY._replace(num_workers=4)):
        assert sizes(dealt(compared, resources=resources)[0]) == [20]


def test_the_seeds_of_a_trial_stay_together_where_trials_are_compared():
    axes = {"objective.beta": (0.5, 1.0, 2.0)}
    limited = PLENTY._replace(memory_limit=IMAGES + 5 * 13)
    chunks, _ = dealt(space.grid(axes, seeds=(0, 1), halving=HALVING), resources=limited)
    assert [[e["trial"] for e in c["members"]] for c in chunks] == [[0, 0, 1, 1], [2, 2]]
    chunks, _ = dealt(space.grid(axes, seeds=(0, 1)), resources=limited)
    assert [[e["trial"] for e in c["members"]] for c in chunks] == [[0, 0, 1], [1, 2, 2]]


def test_a_chunk_holds_the_rule_of_halving():
    sweep = space.grid({"objective.beta": (0.5, 1.0)}, objective="distortion", halving=HALVING)
    chunks, _ = dealt(sweep, batch=3, rivals={2: [-5.0, -6.0], 4: []})
    (chunk,) = chunks
    assert chunk["halving"] == {
        "epochs": [2, 4],
        "reduction": 2.0,
        "rivals": {"2": [-5.0, -6.0], "4": []},
    }
    assert (chunk["objective"], chunk["maximize"], chunk["name"]) == (
        "distortion",
        False,
        "0003-00",
    )
    assert dealt(space.grid({"objective.beta": (0.5,)}))[0][0]["halving"] is None


@pytest.mark.parametrize(("num_trials", "slots"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 16)])
def test_the_chunks_of_a_search_have_a_power_of_two_of_slots(num_trials, slots):
    axes = {"objective.beta": space.Uniform(0.1, 10)}
    trials = [(i, {"objective.beta": float(i)}) for i in range(num_trials)]
    (chunk,), _ = dealt(space.tpe(axes, num_trials=40), trials=trials)
    assert (len(chunk["members"]), chunk["least_slots"]) == (num_trials, slots)
    (chunk,), _ = dealt(space.random(axes, num_trials=num_trials), trials=trials)
    assert chunk["least_slots"] == num_trials


def test_a_power_of_two_of_slots_keeps_to_the_limit_on_three_devices():
    sweep = space.tpe({"objective.beta": space.Uniform(0.1, 10)}, num_trials=40)
    trials = [(i, {"objective.beta": float(i)}) for i in range(12)]
    resources = Resources(IMAGES + 4 * 13, 3, True)
    chunks, _ = dealt(sweep, trials=trials, resources=resources)
    assert all(needed_by(chunk, resources) <= resources.memory_limit for chunk in chunks)


def test_a_limit_below_one_member_is_refused_with_the_flag_and_the_memory_needed(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep_plan, "_needs", NEEDS)
        path = write_bars(tmp_path / "bars.npz")
        config = vanilla.get_config()
        config.data.name, config.data.validation_split = str(path), "train[192:]"
        config.data.train_split = "train[:192]"
        one = space.grid({"objective.beta": (0.5, 1.0)}, seeds=(0, 1))
        two = space.grid({"objective.beta": (0.5, 1.0)}, seeds=(0, 1), halving=HALVING)
        needed = []
        for sweep, what in ((one, "one member"), (two, "the 2 seeds of one trial")):
            trials = list(enumerate(space.settings(sweep)))

            def deal_within(limit, sweep=sweep, trials=trials):
                resources = Resources(limit, 1, True)
                return deal(
                    sweep, config.to_dict(), trials, batch=0, rivals={}, resources=resources
                )

            with pytest.raises(UserError) as error:
                deal_within(GIB // 1000)
            message = str(error.value)
            assert message.startswith(f"--memory_limit=0.001GiB is below what {what} needs, about ")
            assert message.endswith("with the images; raise it, or lower batch_size")
            needed.append(float(re.search(r"about ([0-9.]+)GiB", message)[1]))
            # As reported, up to rounding.
            assert len(deal_within(int((needed[-1] + 0.001) * GIB))[0]) == 4 - 2 * (sweep is two)
            with pytest.raises(UserError, match="--memory_limit"):
                deal_within(int((needed[-1] - 0.001) * GIB))
        assert needed[1] == pytest.approx(2 * needed[0], abs=0.003)


def test_the_resources_of_this_machine_are_found():
    resources = resources_here()
    assert resources.memory_limit > 0
    assert resources.num_devices == jax.local_device_count() > 1
    assert resources.num_workers == 1
    if jax.default_backend() == "cpu":
        assert not resources.side_by_side


def test_dealing_leaves_the_base_as_it_is():
    before = json.dumps(BASE)
    dealt(space.grid({"objective.beta": (0.5, 1.0), "objective.sampled_kl": (False, True)}))
    assert json.dumps(BASE) == before


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(sweep_progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def make_progress(stream, **options):
    return ChunkProgress(
        name="0001-02", num_members=4, total_steps=1000, batch_size=50, stream=stream, **options
    )


def test_a_line_gives_the_rate_of_all_members_and_the_time_left(clock):
    stream = io.StringIO()
    display = make_progress(stream, seconds_between_lines=0.0)
    members = [
        MemberProgress(best={"elbo": -110.0}),
        MemberProgress(best={"elbo": -104.5}, latest={"elbo": -120.0}),
        MemberProgress(status="pruned", best={"elbo": -106.0}),
        MemberProgress(),
    ]
    clock.now += 4.0
    display.trained(100, 400, members)
    clock.now += 2.0
    display.trained(200, 300, members)
    # 700 steps in 6 s; three members have 800 to go.
    assert stream.getvalue().splitlines() == [
        "chunk 0001-02: step 100 of 1,000, 3 of 4 members in training, best elbo -104.50 nats; "
        "5,000 images/s, 27 s left",
        "chunk 0001-02: step 200 of 1,000, 3 of 4 members in training, best elbo -104.50 nats; "
        "5,833 images/s, 21 s left",
    ]


def test_without_validation_no_elbo_is_printed(clock):
    stream = io.StringIO()
    display = make_progress(stream, seconds_between_lines=0.0)
    clock.now += 1.0
    display.trained(1000, 4000, [MemberProgress(status="finished")] * 4)
    assert stream.getvalue() == (
        "chunk 0001-02: step 1,000 of 1,000, 0 of 4 members in training; 200,000 images/s, "
        "0 s left\n"
    )


def test_lines_are_rare_but_the_last_one_comes(clock):
    stream = io.StringIO()
    display = make_progress(stream, seconds_between_lines=10.0)
    for step in range(1, 6):
        clock.now += 4.0
        display.trained(step, 4, [MemberProgress()] * 4)
    for num_measured in range(1, 5):
        display.measured(num_measured)
    lines = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "chunk 0001-02: step 3 of 1",
        "chunk 0001-02: 4 of 4 members measured",
    ]
