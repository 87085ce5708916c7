import contextlib
import dataclasses
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from small_configs import small_experiment

from vae_jax import config as factory
from vae_jax.sweeps import loop as sweep_loop
from vae_jax.sweeps.loop import MemberProgress, fit_members
from vae_jax.sweeps.members import InTurn, Trained, stack
from vae_jax.training import checkpoints
from vae_jax.training.interruption import Interruption
from vae_jax.training.loop import Interrupted, Plan, Progress, RunState, copy_tree, fit
from vae_jax.training.step import TrainState

PLAN = Plan(
    epochs=4,
    steps_per_epoch=5,
    steps_per_call=5,
    batch_size=2,
    patience=0,
    checkpoint_seconds=1e9,
    max_checkpoints=99,
)
SOON = dataclasses.replace(PLAN, checkpoint_seconds=0.0)
# The validation ELBO of each member after each epoch.
ELBOS = [(-9, -5, -7, -6), (-8, -7, -6, -5), (-1, -2, -3, -4)]


@pytest.fixture(scope="module", autouse=True)
def checkpoints_that_cost_nothing():
    """Else the time that writing takes says which calls are followed by a checkpoint."""
    with mock.patch.object(sweep_loop, "_CHECKPOINT_SHARE", np.inf):
        yield


@jax.jit
def initial():
    """A state whose parameters count the steps."""
    params = nnx.State({"weight": nnx.Param(jnp.zeros(3))})
    train = TrainState(
        step=jnp.int32(0),
        params={"model": params},
        extra=nnx.State({}),
        opt_state={"model": {"count": jnp.int32(0)}},
        hparams={"objective.beta": jnp.float32(1)},
        noise_key=jax.random.key(1),
        order_key=jax.random.key(2),
    )
    return RunState(train, jax.tree.map(jnp.copy, params), nnx.State({}))


@jax.jit
def counted(state, num_steps):
    return state._replace(
        step=state.step + num_steps,
        params=jax.tree.map(lambda leaf: leaf + num_steps, state.params),
    )


@jax.jit
def at(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


class Members:
    """Stands in for the compiled functions of members in turn; `calls` is who trained when.

    Args:
      elbos: of each member by epoch; None has no validation.
      bad: by member, the step whose loss is not finite, and which term.
      ruined: by member, a step whose call ruins the parameters.
      num_slots: the least number of slots; some may have no member.
      after: called with the number of calls of single members so far, after each.
    """

    def __init__(self, elbos=ELBOS, *, bad=None, ruined=None, num_slots=0, after=lambda num: None):
        self.calls, self.rounds = [], []
        self._elbos, self._bad, self._ruined = elbos, bad or {}, ruined or {}
        self._num_slots, self._after = num_slots, after

    @property
    def validates(self):
        return self._elbos is not None

    def num_slots(self, num_members, least):
        return max(num_members, least, self._num_slots)

    def place(self, stacked, num_slots):
        indices = np.minimum(np.arange(num_slots), len(stacked.train.step) - 1)
        return [at(stacked, index) for index in indices]

    def run_steps(self, states, active, num_steps, stop):
        assert active.any()
        states, trained, finite = list(states), np.zeros_like(active), np.ones_like(active)
        metrics = {
            name: np.full((len(states), num_steps), np.nan, np.float32)
            for name in ("distortion", "rate", "loss", "elbo")
        }
        self.rounds.append([])
        for index in np.flatnonzero(active).tolist():
            if trained.any() and stop():
                break
            state = states[index]
            first = int(state.train.step)
            assert first % PLAN.steps_per_epoch + num_steps <= PLAN.steps_per_epoch
            self.calls.append((index, first, num_steps))
            self.rounds[-1].append(index)
            metrics["distortion"][index] = metrics["rate"][index] = 1 + index
            step, term = self._bad.get(index, (-1, ""))
            if first <= step < first + num_steps:
                metrics[term][index, step - first] = np.inf
                finite[index] = False
            if first <= self._ruined.get(index, -1) < first + num_steps:
                finite[index] = False
            metrics["loss"][index] = metrics["distortion"][index] + metrics["rate"][index]
            metrics["elbo"][index] = -metrics["loss"][index]
            if finite[index]:
                states[index] = state._replace(train=counted(state.train, num_steps))
                # The real functions consume the buffers of their argument, too.
                for leaf in jax.tree.leaves((state.train.step, state.train.params)):
                    leaf.delete()
            trained[index] = True
            self._after(len(self.calls))
        return Trained(states, trained, finite, metrics)

    def validate(self, states, active):
        elbos = np.full(len(states), np.nan, np.float32)
        for index in np.flatnonzero(active).tolist():
            epoch = int(states[index].train.step) // PLAN.steps_per_epoch
            elbos[index] = self._elbos[index][epoch - 1]
        return {"loss": -elbos, "elbo": elbos}

    def keep_best(self, states, better):
        return [s.with_best() if b else s for s, b in zip(states, better.tolist(), strict=True)]

    def stacked(self, states, num_members):
        return stack(states[:num_members])

    def state(self, states, index):
        return states[index]


class Notes:
    """Keeps records in memory."""

    def __init__(self):
        self.records, self.flushed = [], 0

    def write(self, record):
        self.records.append(record)

    def flush(self):
        self.flushed = len(self.records)

    def close(self):
        pass

    def timeless(self, member):
        return [
            {k: v for k, v in record.items() if k not in ("examples_per_second", "member")}
            for record in self.records
            if record["member"] == member
        ]


class Memory:
    """Stands in for checkpoints on a disk, where they take most of the time."""

    def __init__(self):
        self.saved = {}

    def save(self, directory, step, tree, metadata, *, max_to_keep):
        if step not in self.saved:
            self.saved[step] = copy_tree(tree), json.dumps(metadata)

    def newest(self):
        if not self.saved:
            return None, None
        tree, metadata = self.saved[max(self.saved)]
        return tree, [MemberProgress(**entry) for entry in json.loads(metadata)["members"]]

    def patch(self):
        return mock.patch.object(checkpoints, "save", self.save)


def run(directory, functions, *, num_members=3, stacked=None, progress=None, **options):
    """The final progress, the indices and states of those that ended, and the records."""
    ended, notes = [], Notes()
    arguments = {
        "plan": PLAN,
        "warmup_epochs": [0.0] * num_members,
        "least_slots": num_members,
        "names": list(range(num_members)),
        "interruption": Interruption(),
        "writers": [notes],
        "on_end": lambda index, state, entry: ended.append((index, state, entry)),
    }
    final = fit_members(
        stack([initial()] * num_members) if stacked is None else stacked,
        progress or [MemberProgress()] * num_members,
        functions=functions,
        checkpoint_dir=Path(directory),
        metadata={},
        **{**arguments, **options},
    )
    return final, ended, notes


def weights(params):
    return float(params["weight"][...][0])


def untimed(progress):
    return [dataclasses.replace(entry, train_seconds=0.0) for entry in progress]


def template_of(state, num_members):
    """The shapes of the members' stacked states."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((num_members, *leaf.shape), leaf.dtype), state
    )


def restored(directory, num_members=3):
    template = template_of(jax.eval_shape(initial), num_members)
    checkpoint = checkpoints.restore(directory, template)
    return checkpoint.tree, [MemberProgress(**m) for m in checkpoint.metadata["members"]]


def test_each_member_keeps_its_own_best_epoch(tmp_path):
    final, ended, _ = run(tmp_path, Members())
    assert [entry.best_epoch for entry in final] == [2, 4, 1]
    assert [entry.best_score for entry in final] == [-5.0, -5.0, -1.0]
    assert [entry.best["elbo"] for entry in final] == [-5.0, -5.0, -1.0]
    assert [entry.latest["elbo"] for entry in final] == [-6.0, -5.0, -4.0]
    assert {(entry.status, entry.epoch, entry.problem) for entry in final} == {("finished", 4, "")}
    assert [index for index, _, _ in ended] == [0, 1, 2]
    assert [entry for _, _, entry in ended] == final
    assert [weights(state.best_params) for _, state, _ in ended] == [10, 20, 5]
    assert [weights(state.train.params["model"]) for _, state, _ in ended] == [20, 20, 20]
    tree, progress = restored(tmp_path)
    assert progress == final
    np.testing.assert_array_equal(tree.best_params["weight"][...][:, 0], [10, 20, 5])


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(-9, -1), min_size=4, max_size=4), st.integers(0, 4)),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 3),
    st.sampled_from([2, 5, 9]),
)
def test_every_member_is_trained_as_a_run_alone(members, patience, steps_per_call):
    elbos, warmups = [m[0] for m in members], [float(m[1]) for m in members]
    plan = dataclasses.replace(PLAN, patience=patience, steps_per_call=steps_per_call)
    with Memory().patch():
        final, ended, notes = run(
            "", Members(elbos), num_members=len(members), plan=plan, warmup_epochs=warmups
        )
        states = {index: state for index, state, _ in ended}
        for index, own in enumerate(elbos):
            one, alone = Members([own]), Notes()

            def run_steps(train, num_steps, one=one):
                state = RunState(train, train.params["model"], train.extra)
                after = one.run_steps([state], np.array([True]), num_steps, lambda: False)
                metrics = {name: jnp.asarray(v[0]) for name, v in after.metrics.items()}
                return after.states[0].train, metrics

            def validate(train, own=own):
                elbo = jnp.float32(own[int(train.step) // PLAN.steps_per_epoch - 1])
                return {"loss": -elbo, "elbo": elbo}

            state, progress = fit(
                initial(),
                Progress(),
                plan=dataclasses.replace(plan, warmup_epochs=warmups[index]),
                run_steps=run_steps,
                validate=validate,
                writers=[alone],
                checkpoint_dir=Path(),
                metadata={},
                interruption=Interruption(),
            )
            for name in ("best_epoch", "best_score", "stopped_early"):
                assert getattr(final[index], name) == getattr(progress, name)
            ending = "stopped_early" if progress.stopped_early else "finished"
            assert final[index].status == ending
            ours, theirs = states[index].train.params, state.train.params
            assert weights(ours["model"]) == weights(theirs["model"])
            assert weights(states[index].best_params) == weights(state.best_params)
            valid = [r for r in notes.timeless(index) if r["split"] == "valid"]
            assert valid == [r for r in alone.records if r["split"] == "valid"]
            found = [(r["step"], r["epoch"], r["split"]) for r in notes.timeless(index)]
            assert found == [(r["step"], r["epoch"], r["split"]) for r in alone.records]


def test_patience_begins_when_a_members_own_warm_up_is_over(tmp_path):
    plan = dataclasses.replace(PLAN, patience=1)
    functions = Members([(-5, -6, -7, -8)] * 3)
    final, ended, _ = run(tmp_path, functions, plan=plan, warmup_epochs=[0.0, 2.0, 4.0])
    assert [entry.epoch for entry in final] == [2, 3, 4]
    assert [entry.status for entry in final] == ["stopped_early", "stopped_early", "finished"]
    assert [int(state.train.step) for _, state, _ in ended] == [10, 15, 20]
    assert functions.rounds == [[0], [1, 2], [0, 1, 2], [1, 2], [2]]


@pytest.mark.parametrize(
    ("bad", "problem", "plan"),
    [
        ({1: (7, "rate")}, "the loss is not finite at step 7: rate=inf", PLAN),
        ({1: (9, "distortion")}, "the loss is not finite at step 9: distortion=inf", SOON),
    ],
    ids=["saved at the end", "saved after every call"],
)
def test_a_member_that_diverges_ends_alone_with_its_last_good_state(tmp_path, bad, problem, plan):
    final, ended, notes = run(tmp_path, Members(bad=bad), plan=plan)
    assert [entry.status for entry in final] == ["finished", "diverged", "finished"]
    assert [entry.problem for entry in final] == ["", problem, ""]
    diverged = final[1]
    assert (diverged.epoch, diverged.best_epoch, diverged.best_score) == (1, 1, -8.0)
    (state,) = [state for index, state, _ in ended if index == 1]
    assert (int(state.train.step), weights(state.train.params["model"])) == (5, 5)
    assert weights(state.best_params) == 5
    assert [r["step"] for r in notes.timeless(1)] == [5, 5]
    with Memory().patch():
        healthy, _, others = run(tmp_path, Members(), plan=plan)
    for index in (0, 2):
        assert untimed(final)[index] == untimed(healthy)[index]
        assert notes.timeless(index) == others.timeless(index)
    tree, progress = restored(tmp_path)
    assert progress == final
    np.testing.assert_array_equal(tree.train.step, [20, 5, 20])


def test_parameters_that_are_not_finite_are_reported_although_the_loss_is(tmp_path):
    final, _, _ = run(tmp_path, Members(ruined={2: 14}))
    assert final[2].status == "diverged"
    assert final[2].problem == "no finite parameters after step 15"


@pytest.mark.parametrize(("step", "good"), [(3, 0), (12, 10)])
def test_all_members_may_diverge_together(step, good):
    with Memory().patch():
        final, ended, notes = run("", Members(bad=dict.fromkeys(range(3), (step, "rate"))))
    assert [(entry.status, entry.epoch) for entry in final] == [("diverged", good // 5)] * 3
    problem = f"the loss is not finite at step {step}: rate=inf"
    assert [entry.problem for entry in final] == [problem] * 3
    assert [weights(state.train.params["model"]) for _, state, _ in ended] == [good] * 3
    assert max((r["step"] for r in notes.records), default=0) == good


@pytest.mark.parametrize("step", [3, 12])
def test_when_all_members_diverge_the_last_checkpoint_says_so(tmp_path, step):
    bad = dict.fromkeys(range(3), (step, "rate"))
    final, _, _ = run(tmp_path, Members(bad=bad), plan=SOON)
    assert untimed(restored(tmp_path)[1]) == untimed(final)


@pytest.mark.parametrize("plan", [PLAN, SOON], ids=["whole rounds", "one member a call"])
@pytest.mark.parametrize("steps_per_call", [2, 5])
def test_members_are_compared_at_the_end_of_an_epoch_when_all_have_come_there(plan, steps_per_call):
    asked = []

    def prune(epoch, progress):
        asked.append((epoch, [(entry.status, entry.epoch) for entry in progress]))
        return {1} if epoch == 2 else set()

    plan = dataclasses.replace(plan, steps_per_call=steps_per_call)
    with Memory().patch():
        final, ended, notes = run("", Members(bad={0: (11, "rate")}), plan=plan, prune=prune)
    # The first member has ended when its third epoch is over.
    assert asked == [
        (1, [("training", 1)] * 3),
        (2, [("training", 2)] * 3),
        (3, [("diverged", 2), ("pruned", 2), ("training", 3)]),
        (4, [("diverged", 2), ("pruned", 2), ("finished", 4)]),
    ]
    assert [entry.status for entry in final] == ["diverged", "pruned", "finished"]
    assert [index for index, _, _ in ended] == [1, 0, 2]
    assert [int(state.train.step) for _, state, _ in ended] == [10, 10, 20]
    assert max(r["step"] for r in notes.timeless(1)) == 10


def test_no_end_is_reported_before_the_round_is_over():
    events = []

    def prune(epoch, progress):
        events.append("comparison")
        return {0}

    functions = Members(bad={1: (3, "rate")}, after=lambda num: events.append("call"))
    plan = dataclasses.replace(SOON, epochs=2)
    with Memory().patch():
        run("", functions, plan=plan, prune=prune, on_end=lambda i, *_: events.append(i))
    assert events == [*["call"] * 3, "comparison", 0, 1, "call", "comparison", 2]


CASES = st.fixed_dictionaries(
    {
        "bad": st.dictionaries(
            st.integers(0, 2), st.tuples(st.integers(0, 19), st.just("rate")), max_size=2
        ),
        "steps_per_call": st.sampled_from([2, 5]),
        "checkpoint_seconds": st.sampled_from([0.0, 1e9]),
        "patience": st.sampled_from([0, 1]),
        "pruned": st.none() | st.tuples(st.integers(1, 3), st.integers(0, 2)),
        "warmups": st.lists(st.sampled_from([0.0, 2.0]), min_size=3, max_size=3),
        # After how many calls of single members a signal comes, again and again.
        "stops": st.lists(st.integers(1, 8), max_size=4),
    }
)


@settings(deadline=None, max_examples=25)
@given(CASES)
def test_members_stopped_at_any_moments_end_as_if_never_stopped(case):
    plan = dataclasses.replace(
        PLAN, **{n: case[n] for n in ("steps_per_call", "checkpoint_seconds", "patience")}
    )

    def prune(epoch, progress):
        mark, index = case["pruned"] or (0, 0)
        due = epoch == mark and progress[index].status == "training"
        return {index} if due else set()

    def complete(stops):
        """Final progress, ends, records and state, put together from all starts."""
        memory, ended, records, num_stops = Memory(), {}, {0: [], 1: [], 2: []}, 0
        stops = [*stops, 10**9]
        stacked = progress = None
        while True:
            interruption = Interruption()

            def after(num, limit=stops[num_stops], interruption=interruption):
                if num >= limit:
                    interruption.signal = signal.SIGTERM

            def on_end(index, state, entry, ended=ended):
                again = leaves(state), untimed([entry])
                assert ended.setdefault(index, again) == again

            notes = Notes()
            with memory.patch(), contextlib.suppress(Interrupted):
                final = fit_members(
                    stack([initial()] * 3) if stacked is None else stacked,
                    progress or [MemberProgress()] * 3,
                    plan=plan,
                    warmup_epochs=case["warmups"],
                    functions=Members(bad=case["bad"], after=after),
                    least_slots=3,
                    names=range(3),
                    writers=[notes],
                    checkpoint_dir=Path(),
                    metadata={},
                    interruption=interruption,
                    on_end=on_end,
                    prune=prune,
                )
                for member in range(3):
                    records[member] += notes.timeless(member)
                return untimed(final), ended, records, leaves(memory.newest()[0])
            num_stops += 1
            stacked, progress = memory.newest()
            stacked = copy_tree(stacked)
            for member in range(3):
                records[member] += notes.timeless(member)

    stopped, whole = complete(case["stops"]), complete([])
    assert stopped == whole
    assert set(stopped[1]) == {0, 1, 2}


def leaves(tree):
    is_key = [jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(tree)]
    return [
        np.asarray(jax.random.key_data(x) if key else x).tobytes()
        for x, key in zip(jax.tree.leaves(tree), is_key, strict=True)
    ]


def test_members_continued_from_any_checkpoint_on_the_disk_end_the_same(tmp_path):
    plan = dataclasses.replace(SOON, patience=2)
    final, ended, notes = run(tmp_path / "whole", Members(), plan=plan)
    steps = checkpoints.steps(tmp_path / "whole")
    # One a call of a member, as each is saved.
    assert len(steps) == len({(r["member"], r["step"]) for r in notes.records})
    for step in steps[:-1:3]:
        part = tmp_path / str(step)
        part.mkdir()
        os.symlink(tmp_path / "whole" / str(step), part / str(step))
        tree, progress = restored(part)
        first = np.asarray(tree.train.step)
        with Memory().patch():
            again, ended_again, rest = run(
                part, Members(), plan=plan, stacked=tree, progress=progress
            )
        assert untimed(again) == untimed(final)
        for index in range(3):
            expected = [r for r in notes.timeless(index) if r["step"] > first[index]]
            assert rest.timeless(index) == expected
        states = {index: leaves(state) for index, state, _ in ended}
        assert {index: leaves(state) for index, state, _ in ended_again} == states


def test_a_signal_in_the_middle_of_a_round_is_obeyed_after_a_checkpoint(tmp_path):
    interruption = Interruption()

    def after(num):
        if num == 4:
            interruption.signal = signal.SIGTERM

    functions = Members(after=after)
    with pytest.raises(Interrupted) as stop:
        run(tmp_path, functions, interruption=interruption)
    assert stop.value.signal == signal.SIGTERM
    assert str(stop.value).startswith("stopped by SIGTERM at step 10 of 3 members; ")
    # The first call is saved whatever the time.
    assert functions.rounds == [[0], [1, 2], [0]]
    assert checkpoints.steps(tmp_path) == [5 * 4, 20 * 4]
    tree, progress = restored(tmp_path)
    np.testing.assert_array_equal(tree.train.step, [10, 5, 5])
    assert [entry.epoch for entry in progress] == [2, 1, 1]
    functions = Members()
    run(tmp_path, functions, stacked=tree, progress=progress)
    assert functions.calls[:3] == [(1, 5, 5), (2, 5, 5), (0, 10, 5)]


def test_a_signal_between_the_ends_of_members_stops_and_all_are_reported_after_a_restart(tmp_path):
    interruption, seen = Interruption(), []

    def on_end(index, state, entry):
        seen.append(index)
        if index == 1:
            interruption.signal = signal.SIGINT

    with pytest.raises(Interrupted):
        run(tmp_path, Members(), interruption=interruption, on_end=on_end)
    assert seen == [0, 1]
    tree, progress = restored(tmp_path)
    functions = Members()
    final, ended, notes = run(tmp_path, functions, stacked=tree, progress=progress)
    assert final == progress
    assert [index for index, _, _ in ended] == [0, 1, 2]
    assert [weights(state.best_params) for _, state, _ in ended] == [10, 20, 5]
    assert functions.calls == notes.records == []


def test_without_validation_each_members_last_parameters_are_kept(tmp_path):
    final, ended, notes = run(tmp_path, Members(None, bad={1: (12, "rate")}))
    assert [entry.best_epoch for entry in final] == [4, 2, 4]
    assert [entry.epoch for entry in final] == [4, 2, 4]
    assert {(entry.best_score, len(entry.latest), len(entry.best)) for entry in final} == {
        (None, 0, 0)
    }
    best = {index: weights(state.best_params) for index, state, _ in ended}
    assert best == {0: 20, 1: 10, 2: 20}
    assert {record["split"] for record in notes.records} == {"train"}


class Clock:
    """Time that passes only by `passes`."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        clock = SimpleNamespace(perf_counter=lambda: self.now, monotonic=lambda: self.now)
        monkeypatch.setattr(sweep_loop, "time", clock)

    def passes(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("plan", [PLAN, SOON], ids=["whole rounds", "one member a call"])
def test_the_time_of_a_call_is_shared_by_its_members(monkeypatch, plan):
    clock = Clock(monkeypatch)
    functions = Members(bad={1: (12, "rate")}, after=lambda num: clock.passes(2.0))
    with Memory().patch():
        final, ended, notes = run("", functions, plan=plan)
    assert [entry.train_seconds for entry in final] == pytest.approx([8.0, 6.0, 8.0])
    assert sum(entry.train_seconds for entry in final) == pytest.approx(clock.now)
    for _, state, entry in ended:
        seconds = 2.0 * (int(state.train.step) // 5 + (entry.status == "diverged"))
        assert entry.train_seconds == pytest.approx(seconds)
    rates = [r["examples_per_second"] for r in notes.records if r["split"] == "train"]
    # Ten images in two seconds by each.
    assert rates == pytest.approx([5.0] * len(rates))


def test_checkpoints_that_take_long_are_rare(tmp_path, monkeypatch):
    clock, saved = Clock(monkeypatch), []
    monkeypatch.setattr(sweep_loop, "_CHECKPOINT_SHARE", 0.05)

    def save(directory, step, tree, metadata, **options):
        clock.passes(1.0)
        saved.append((tree.train.step.tolist(), clock.now))

    monkeypatch.setattr(checkpoints, "save", save)
    plan = dataclasses.replace(SOON, epochs=20)
    functions = Members([range(20)] * 3, after=lambda num: clock.passes(1.0))
    run(tmp_path, functions, plan=plan)
    times = [now for _, now in saved]
    assert saved[-1][0] == [plan.total_steps] * 3
    assert 3 <= len(saved) <= 5
    # Each second of writing earns twenty until the next; the last comes when all have ended.
    assert min(np.diff(times[:-1])) >= 20


def test_slots_without_a_member_never_train_and_are_not_reported(tmp_path):
    functions = Members(num_slots=5)
    final, ended, notes = run(tmp_path, functions, names=[17, 4, 9])
    assert len(final) == len(ended) == 3
    assert {index for index, _, _ in functions.calls} == {0, 1, 2}
    assert {record["member"] for record in notes.records} == {17, 4, 9}
    assert [r["elbo"] for r in notes.timeless(4) if r["split"] == "valid"] == list(ELBOS[1])
    tree, progress = restored(tmp_path)
    assert tree.train.step.shape == (3,)
    assert progress == final


def test_every_call_is_reported_with_the_steps_of_all_members(tmp_path):
    seen = []

    def on_call(step, num_steps, progress):
        seen.append((step, num_steps, sum(entry.status == "training" for entry in progress)))

    run(tmp_path, Members(bad={1: (6, "rate")}), on_call=on_call)
    assert seen == [(5, 5, 3), (5, 10, 3), (10, 15, 2), (15, 10, 2), (20, 10, 0)]


def test_records_are_flushed_before_their_checkpoint_is_written(tmp_path, monkeypatch):
    notes, seen = Notes(), []

    def save(*arguments, **options):
        seen.append(notes.flushed == len(notes.records) > 0)

    monkeypatch.setattr(checkpoints, "save", save)
    run(tmp_path, Members(), plan=SOON, writers=[notes])
    assert len(seen) == 12
    assert all(seen)


class Real:
    """Members of a real program, with learning rates of their own."""

    def __init__(self):
        config = small_experiment(
            {
                "epochs": 3,
                "batch_size": 4,
                "steps_per_call": 2,
                "checkpoints.every_seconds": 0.0,
                "evaluation.batch_size": 10,
            },
            widths=(8,),
            latent_size=2,
        )
        shape = (4, 4, 1)
        images = np.random.default_rng(0).integers(0, 256, (26, *shape), np.uint8)
        train, valid = jnp.asarray(images[:16]), jnp.asarray(images[16:])
        program = factory.build_program(config, shape, len(train))
        self.plan = factory.build_plan(config, len(train))
        self.functions = InTurn(program, train, valid)

        @jax.jit
        def init(seed, rate):
            hparams = {**factory.build_hparams(config), "optimizer.learning_rate": rate}
            return program.init(jnp.full(shape, 0.5), factory.make_key(seed), hparams)

        self._initial = init

    def stacked(self, *rates):
        states = [self._initial(seed, np.float32(rate)) for seed, rate in enumerate(rates)]
        # As those are that are restored: others would be programs of their own.
        return jax.device_put(stack(states), jax.local_devices()[0])

    def run(self, directory, stacked, progress=None, after=lambda num: None, **options):
        functions, num = self.functions, [0]

        def on_call(*_):
            num[0] += 1
            after(num[0])

        final, ended, notes = run(
            directory,
            functions,
            stacked=stacked,
            progress=progress,
            num_members=len(stacked.train.step),
            on_call=on_call,
            **{"plan": self.plan, **options},
        )
        ended.sort(key=lambda one: one[0])
        return untimed(final), stack([state for _, state, _ in ended]), notes

    def restored(self, directory, num_members):
        template = template_of(jax.eval_shape(self._initial, 0, 0.0), num_members)
        checkpoint = checkpoints.restore(directory, template)
        return checkpoint.tree, [MemberProgress(**m) for m in checkpoint.metadata["members"]]


@pytest.fixture(scope="module")
def real():
    return Real()


RATES = (0.003, 0.03, 1e9)


@pytest.fixture(scope="module")
def whole(real):
    """Progress, state and records of members that were never stopped."""
    with Memory().patch():
        return real.run("", real.stacked(*RATES))


@pytest.mark.parametrize("num_calls", [1, 5, 9])
def test_a_real_program_stopped_anywhere_ends_with_the_same_bits(tmp_path, real, whole, num_calls):
    expected, state, notes = whole
    assert [entry.status for entry in expected] == ["finished", "finished", "diverged"]
    interruption = Interruption()

    def after(num):
        if num == num_calls:
            interruption.signal = signal.SIGTERM

    with pytest.raises(Interrupted):
        real.run(tmp_path, real.stacked(*RATES), after=after, interruption=interruption)
    tree, progress = real.restored(tmp_path, 3)
    steps = np.asarray(tree.train.step)
    rarely = dataclasses.replace(real.plan, checkpoint_seconds=1e9)
    again, other, rest = real.run(tmp_path, tree, progress, plan=rarely)
    assert again == expected
    assert leaves(other) == leaves(state)
    for index in range(3):
        later = [r for r in notes.timeless(index) if r["step"] > steps[index]]
        assert rest.timeless(index) == later
    assert leaves(real.restored(tmp_path, 3)[0]) == leaves(state)


def test_all_members_of_a_real_program_may_diverge_at_the_end_of_an_epoch(tmp_path, real):
    stacked = real.stacked(1e9, 1e9)
    # The call to come is the last one of an epoch.
    stacked = stacked._replace(train=stacked.train._replace(step=jnp.array([2, 2])))
    before = copy_tree(stacked)
    final, state, _ = real.run(tmp_path, stacked)
    assert [entry.status for entry in final] == ["diverged", "diverged"]
    assert leaves(state) == leaves(before)
