import dataclasses
import io
import os
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vae_jax.errors import UserError
from vae_jax.training import checkpoints
from vae_jax.training.interruption import Interruption, deferred
from vae_jax.training.loop import Interrupted, Plan, Progress, RunState, fit, negative_loss
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
# A checkpoint after every call.
OFTEN = dataclasses.replace(PLAN, checkpoint_seconds=0.0)


def initial():
    """Return a state whose parameters and extra state count the steps."""
    params = nnx.State({"weight": nnx.Param(jnp.zeros(3))})
    extra = nnx.State({"mean": nnx.Variable(jnp.zeros(2))})
    train = TrainState(
        step=jnp.int32(0),
        params={"model": params, "opponent": jax.tree.map(jnp.copy, params)},
        extra=extra,
        opt_state={"model": {"count": jnp.int32(0)}},
        hparams={"objective.beta": jnp.float32(1)},
        noise_key=jax.random.key(1),
        order_key=jax.random.key(2),
    )
    return RunState(train, *jax.tree.map(jnp.copy, (params, extra)))


def counted(state, num_steps):
    params, extra = jax.tree.map(lambda leaf: leaf + num_steps, (state.params, state.extra))
    return state._replace(step=state.step + num_steps, params=params, extra=extra)


class Steps:
    """Stands in for the compiled steps, and records the calls."""

    def __init__(self, **bad):
        self.calls, self._bad = [], bad

    def __call__(self, state, num_steps):
        first = int(state.step)
        self.calls.append((first, num_steps))
        metrics = {name: np.ones(num_steps, np.float32) for name in ("distortion", "rate")}
        for name, (step, value) in self._bad.items():
            if first <= step < first + num_steps:
                metrics[name][step - first] = value
        metrics["loss"] = metrics["distortion"] + metrics["rate"]
        metrics["elbo"] = -metrics["loss"]
        after = counted(state, num_steps)
        # As the real steps do, delete the buffers of the argument.
        for leaf in jax.tree.leaves((state.step, state.params, state.extra)):
            leaf.delete()
        return after, {name: jnp.asarray(values) for name, values in metrics.items()}


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


def validation(*elbos):
    """Return a validation that gives these ELBOs, one per epoch."""

    def validate(state):
        elbo = jnp.float32(elbos[int(state.step) // 5 - 1])
        return {"loss": -elbo, "elbo": elbo}

    return validate


def run(directory, *, state=None, progress=None, validate=None, steps=None, plan=PLAN, **options):
    notes = Notes()
    result = fit(
        initial() if state is None else state,
        progress or Progress(),
        plan=plan,
        run_steps=steps or Steps(),
        validate=validate,
        writers=[notes],
        checkpoint_dir=directory,
        metadata={"image_shape": [8, 8, 1]},
        interruption=options.pop("interruption", Interruption()),
        **options,
    )
    return *result, notes.records


def weights(params):
    """Return the number of steps that the model's parameters have counted."""
    params = params.get("model", params)
    return float(params["weight"][...][0])


def means(extra):
    """Return the number of steps that the extra state has counted."""
    return float(extra["mean"][...][0])


def restored(directory):
    checkpoint = checkpoints.restore(directory, jax.eval_shape(initial))
    fields = Progress.__dataclass_fields__
    return checkpoint, Progress(**{name: checkpoint.metadata[name] for name in fields})


def test_the_best_parameters_are_those_of_the_best_epoch_and_not_of_the_last(tmp_path):
    state, progress, _ = run(tmp_path, validate=validation(-9, -5, -7, -6))
    assert weights(state.best_params) == means(state.best_extra) == 10
    assert weights(state.train.params) == means(state.train.extra) == 20
    assert (progress.best_epoch, progress.best_score, progress.stopped_early) == (2, -5.0, False)
    checkpoint, saved = restored(tmp_path)
    assert checkpoint.step == 20
    assert weights(checkpoint.tree.best_params) == means(checkpoint.tree.best_extra) == 10
    assert dataclasses.replace(saved, train_seconds=0.0) == dataclasses.replace(
        progress, train_seconds=0.0
    )
    assert checkpoint.metadata["epoch"] == 4
    assert checkpoint.metadata["examples_seen"] == 40
    assert checkpoint.metadata["image_shape"] == [8, 8, 1]


def test_the_first_of_equal_epochs_is_best(tmp_path):
    assert run(tmp_path, validate=validation(-5, -5, -5, -5))[1].best_epoch == 1


def test_a_validation_that_is_not_a_number_is_never_best(tmp_path):
    state, progress, _ = run(tmp_path, validate=validation(np.nan, -5, np.nan, -6))
    assert (weights(state.best_params), progress.best_epoch) == (10, 2)


def test_without_validation_the_last_parameters_are_kept(tmp_path):
    state, progress, records = run(tmp_path)
    assert weights(state.best_params) == means(state.best_extra) == 20
    assert (progress.best_epoch, progress.best_score) == (4, None)
    assert {record["split"] for record in records} == {"train"}


@pytest.mark.parametrize(("patience", "epochs"), [(1, 2), (2, 4), (3, 4), (0, 4)])
def test_training_stops_when_the_patience_runs_out(tmp_path, patience, epochs):
    plan = dataclasses.replace(PLAN, patience=patience)
    state, progress, _ = run(tmp_path, plan=plan, validate=validation(-5, -6, -4, -7))
    assert int(state.train.step) == 5 * epochs
    assert progress.stopped_early == (patience == 1)


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    plan = dataclasses.replace(PLAN, patience=1)
    run(tmp_path, plan=plan, validate=validation(-5, -6))
    checkpoint, progress = restored(tmp_path)
    steps = Steps()
    run(tmp_path, plan=plan, state=checkpoint.tree, progress=progress, steps=steps)
    assert steps.calls == []


def test_epochs_are_compared_by_the_score_of_the_plan(tmp_path):
    losses = {"loss": 4.0, "elbo": -3.0, "distortion": 1.0}
    assert PLAN.score(losses) == negative_loss(losses) == -4.0

    def validate(state):
        epoch = int(state.step) // 5
        # The last epoch has the smallest loss, and the second the largest ELBO.
        return {"loss": jnp.float32(9 - epoch), "elbo": jnp.float32(-abs(epoch - 2))}

    assert run(tmp_path / "loss", validate=validate)[1].best_epoch == 4
    plan = dataclasses.replace(PLAN, score=lambda metrics: metrics["elbo"])
    state, progress, _ = run(tmp_path / "elbo", plan=plan, validate=validate)
    assert (progress.best_epoch, progress.best_score) == (2, 0.0)
    assert weights(state.best_params) == 10


def test_patience_begins_when_the_warm_up_is_over(tmp_path):
    plan = dataclasses.replace(PLAN, patience=1, warmup_epochs=2.0)
    steps = Steps()
    run(tmp_path, plan=plan, steps=steps, validate=validation(-5, -6, -7, -8, -9, -10))
    assert sum(num_steps for _, num_steps in steps.calls) == 3 * PLAN.steps_per_epoch


def test_calls_begin_at_fixed_steps_of_an_epoch_and_end_with_it(tmp_path):
    plan, steps = dataclasses.replace(PLAN, epochs=2, steps_per_call=2), Steps()
    _, _, records = run(tmp_path, plan=plan, steps=steps, validate=validation(-5, -4))
    assert steps.calls == [(0, 2), (2, 2), (4, 1), (5, 2), (7, 2), (9, 1)]
    positions = [(r["step"], r["epoch"], r["split"]) for r in records]
    assert positions == [
        (2, 0.4, "train"),
        (4, 0.8, "train"),
        (5, 1, "train"),
        (5, 1, "valid"),
        (7, 1.4, "train"),
        (9, 1.8, "train"),
        (10, 2, "train"),
        (10, 2, "valid"),
    ]
    assert all(r["examples_per_second"] > 0 for r in records if r["split"] == "train")


def test_a_run_continued_from_any_checkpoint_writes_the_same_records_and_state(tmp_path):
    plan, elbos = dataclasses.replace(OFTEN, steps_per_call=2), validation(-9, -5, -7, -6)

    def timeless(records):
        return [{k: v for k, v in r.items() if k != "examples_per_second"} for r in records]

    state, _, records = run(tmp_path / "whole", plan=plan, validate=elbos)
    plan = dataclasses.replace(PLAN, steps_per_call=2)
    # Within an epoch, at its end, and within the last.
    for step in (4, 10, 17):
        part = tmp_path / str(step)
        part.mkdir()
        os.symlink(tmp_path / "whole" / str(step), part / str(step))
        checkpoint, progress = restored(part)
        other, _, rest = run(
            part, plan=plan, validate=elbos, state=checkpoint.tree, progress=progress
        )
        assert timeless(rest) == timeless(r for r in records if r["step"] > step)
        assert weights(other.best_params) == weights(state.best_params)
        assert means(other.best_extra) == means(state.best_extra)
        assert weights(other.train.params) == weights(state.train.params)


@pytest.mark.parametrize(
    ("bad", "named", "plan"),
    [
        ({"rate": (7, np.inf)}, "step 7: rate=inf", OFTEN),
        ({"distortion": (8, np.nan)}, "step 8: distortion=nan", PLAN),
        ({"distortion": (6, np.nan), "rate": (9, np.inf)}, "step 6: distortion=nan", OFTEN),
        (
            {"distortion": (9, np.inf), "rate": (9, np.nan)},
            "step 9: distortion=inf, rate=nan",
            PLAN,
        ),
    ],
)
def test_a_loss_that_is_not_finite_names_step_and_term_and_the_last_good_checkpoint(
    tmp_path, bad, named, plan
):
    last_good, best = (5, (1, -5.0)) if plan is OFTEN else (0, (0, None))
    with pytest.raises(UserError, match=named) as error:
        run(tmp_path, plan=plan, steps=Steps(**bad), validate=validation(-5, -4))
    assert f"last good checkpoint, of step {last_good}, is kept" in str(error.value)
    assert checkpoints.steps(tmp_path)[-1] == last_good
    checkpoint, progress = restored(tmp_path)
    assert weights(checkpoint.tree.train.params) == last_good
    assert (progress.best_epoch, progress.best_score) == best


def test_a_run_that_went_wrong_goes_wrong_again_from_its_checkpoint(tmp_path):
    plan = dataclasses.replace(OFTEN, max_checkpoints=1)
    messages = []
    for _ in range(2):
        checkpoint = checkpoints.restore(tmp_path, jax.eval_shape(initial))
        state = None if checkpoint is None else checkpoint.tree
        with pytest.raises(UserError) as error:
            run(tmp_path, plan=plan, state=state, steps=Steps(rate=(13, np.inf)))
        messages.append(str(error.value))
        assert checkpoints.steps(tmp_path) == [10]
    assert messages[0] == messages[1]
    assert "step 13: rate=inf; the last good checkpoint, of step 10," in messages[0]


def test_no_other_copy_of_the_state_is_alive_during_a_call(tmp_path):
    shape, numbers = (12_345,), []

    class Watched(Steps):
        def __call__(self, state, num_steps):
            # A shard of an array is also an array, in the same buffer.
            leaves = [leaf for leaf in jax.live_arrays() if leaf.shape == shape]
            numbers.append(len({leaf.unsafe_buffer_pointer() for leaf in leaves}))
            return super().__call__(state, num_steps)

    params, best = (nnx.State({"weight": nnx.Param(jnp.full(shape, x))}) for x in (0.0, 1.0))
    state = initial()
    state = RunState(state.train._replace(params={"model": params}), best, state.best_extra)
    del params, best
    run(tmp_path, plan=OFTEN, state=state, steps=Watched())
    # The parameters and the best ones; later also the first best ones, which `state` still has.
    assert numbers == [2, 3, 3, 3]


def test_a_first_call_that_fails_leaves_the_initial_state(tmp_path):
    with pytest.raises(UserError, match="not finite at step 3: rate=nan"):
        run(tmp_path, steps=Steps(rate=(3, np.nan)))
    assert checkpoints.steps(tmp_path) == [0]
    assert weights(restored(tmp_path)[0].tree.train.params) == 0


@pytest.mark.parametrize("what", ["params", "extra"])
def test_parameters_ruined_by_the_last_step_of_a_call_are_not_saved(tmp_path, what):
    class Ruin(Steps):
        def __call__(self, state, num_steps):
            state, metrics = super().__call__(state, num_steps)
            if int(state.step) == 10:
                whole = getattr(state, what)
                ruined = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), whole)
                state = state._replace(**{what: ruined})
            return state, metrics

    with pytest.raises(UserError, match="parameters are not finite after step 10"):
        run(tmp_path, plan=OFTEN, steps=Ruin())
    assert checkpoints.steps(tmp_path) == [0, 5]
    assert weights(restored(tmp_path)[0].tree.train.params) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_after_the_call_and_stops(tmp_path, number, capsys):
    class Signalled(Steps):
        def __call__(self, state, num_steps):
            if int(state.step) == 10:
                os.kill(os.getpid(), number)
            return super().__call__(state, num_steps)

    before = signal.getsignal(number)
    steps = Signalled()
    with deferred() as interruption, pytest.raises(Interrupted) as stop:
        run(tmp_path, steps=steps, interruption=interruption)
    assert signal.getsignal(number) == before
    assert stop.value.signal == number
    assert str(stop.value).startswith(f"stopped by {number.name} at step 15; ")
    assert f"{number.name}: saving at the next stop" in capsys.readouterr().err
    assert steps.calls[-1] == (10, 5)
    assert checkpoints.steps(tmp_path) == [0, 15]
    assert weights(restored(tmp_path)[0].tree.train.params) == 15


def test_a_signal_amid_a_message_is_recorded_and_told(monkeypatch, capfd):
    class Written(io.StringIO):
        def write(self, text):
            raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

    monkeypatch.setattr(sys, "stderr", Written())
    with deferred() as interruption:
        signal.raise_signal(signal.SIGTERM)
    assert interruption.signal == signal.SIGTERM
    assert capfd.readouterr().err.startswith("SIGTERM: saving at the next stop")


def test_a_second_signal_stops_at_once():
    with deferred() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(("plan", "expected"), [(OFTEN, [0, 5, 10, 15, 20]), (PLAN, [0, 20])])
def test_checkpoints_come_first_last_and_by_the_clock(tmp_path, plan, expected):
    run(tmp_path, plan=plan)
    assert checkpoints.steps(tmp_path) == expected


def test_only_the_newest_checkpoints_stay(tmp_path):
    run(tmp_path, plan=dataclasses.replace(OFTEN, max_checkpoints=2))
    assert checkpoints.steps(tmp_path) == [15, 20]


def test_records_are_flushed_before_their_checkpoint_is_written(tmp_path, monkeypatch):
    notes, seen = Notes(), []
    save = checkpoints.save

    def watched(*arguments, **options):
        seen.append(notes.flushed == len(notes.records))
        save(*arguments, **options)

    monkeypatch.setattr(checkpoints, "save", watched)
    fit(
        initial(),
        Progress(),
        plan=OFTEN,
        run_steps=Steps(),
        validate=None,
        writers=[notes],
        checkpoint_dir=tmp_path,
        metadata={},
        interruption=Interruption(),
    )
    assert seen
    assert all(seen)


def test_every_epoch_is_announced_with_its_state(tmp_path):
    seen = []
    plan = dataclasses.replace(PLAN, steps_per_call=2)
    run(
        tmp_path,
        plan=plan,
        on_epoch=lambda state, epoch: seen.append((int(state.train.step), epoch)),
    )
    assert seen == [(5, 1), (10, 2), (15, 3), (20, 4)]
