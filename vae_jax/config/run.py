"""A run from its config: begun or continued in its directory, trained and evaluated."""

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.data import columns
from vae_jax.data.columns import RowShape
from vae_jax.errors import UserError
from vae_jax.settings import flatten, name_of
from vae_jax.training import checkpoints, host, loggers, parallel, processes, profiling
from vae_jax.training.interruption import deferred
from vae_jax.training.loop import Plan, Progress, RunState, RunSteps, Validate, fit
from vae_jax.training.records import JsonLinesWriter, ProgressWriter, TensorBoardWriter, Writer
from vae_jax.training.step import TrainState

Splits = factory.Splits | factory.StreamedSplits | factory.JointSplits
Summary = dict[str, Any]
OnEpoch = Callable[[RunState, int], None]


class Finished(NamedTuple):
    """The summary of a finished run; None in all processes but the first.

    Attributes:
      summary: the content of summary.json.
      was_finished: whether the run had been trained and evaluated before.
    """

    summary: Summary | None
    was_finished: bool


def train(
    config: factory.AnyExperiment,
    folder: Path,
    *,
    evaluate: Callable[[Splits], Summary],
    make_image_writer: Callable[[Splits, RunState, TensorBoardWriter], OnEpoch] | None = None,
    devices: Sequence[jax.Device] | None = None,
    kind: parallel.Kind = "jit",
    profile: bool = False,
    accept_data: bool = False,
    log: Sequence[str] = (),
) -> Finished:
    """Train to the end of the plan, from the newest checkpoint if there is one, and evaluate.

    Args:
      config: the experiment.
      folder: the run's directory; several processes must share it.
      evaluate: returns the summary of the trained run, given its data; called by one process.
      make_image_writer: returns what writes images after an epoch, if the config asks for them.
      devices: to train on, those of all processes; by default one.
      kind: how several devices are used together.
      profile: whether to trace a compiled call.
      accept_data: whether to go on with other examples than those that the run began with.
      log: names of loggers that take the records, beside metrics.jsonl and TensorBoard; a finished
        run is given to those that lack it.

    Raises:
      UserError: the data or the directory do not fit the config, or training cannot go on.
      Interrupted: a signal came; a checkpoint has been written.
    """
    loggers.require(log)
    devices = jax.local_devices()[:1] if devices is None else devices
    if kind == "pmap" and len(devices) > 1:
        factory.refuse_parts(config, "--parallel=pmap", "--parallel=jit")
    for line in factory.unfinished(config):
        logging.warning(line)
    splits = factory.open_examples(config)
    parallel.check_batch_size(config.batch_size, config.optimizer.accumulation_steps, len(devices))
    num_examples, form = splits.num_examples, splits.form
    build_program = functools.partial(factory.build_program, config, form, num_examples)
    compiled = parallel.compile_program(build_program, devices, kind)
    most_steps = None
    if isinstance(splits, factory.StreamedSplits):
        most_steps = factory.most_streamed_steps(config, splits.train)
    plan = factory.build_plan(config, num_examples, most_steps)
    directory = folder / "checkpoints"
    # The first of several processes holds the directory for all.
    first = processes.is_first()
    with (
        factory.hold_run(folder, config) if first else contextlib.nullcontext(),
        contextlib.ExitStack() as logged,
    ):

        def open_loggers(names: Sequence[str]) -> list[loggers.LoggerWriter]:
            described = loggers.Described(folder, flatten(config.to_dict()))
            return [
                logged.enter_context(contextlib.closing(loggers.LoggerWriter(name, described)))
                for name in names
            ]

        metadata = factory.to_metadata(form)
        if first:
            metadata["data"] = factory.data_digests(config, splits)
            metadata["config"] = workdir.written_digest(folder)
            if isinstance(form, RowShape):
                print(f"columns: {columns.in_words(form.plain_columns)}", file=sys.stderr)
        state, progress = _initial_or_restored(
            compiled, config, splits, folder, metadata, accept_data
        )
        finished = progress.stopped_early or int(state.train.step) == plan.total_steps
        first_step = int(state.train.step)
        summary = workdir.read_summary(folder) if first else None
        # A summary of an earlier step is that of an evaluation in mid-run.
        is_evaluated = finished and summary is not None and summary.get("step") == first_step
        # The first process decides for all: the others do not read the summary.
        if processes.from_first(int(is_evaluated)):
            if summary is not None:
                for logger in open_loggers(loggers.unfinished(log, folder)):
                    logger.finish(loggers.summary_metrics(summary), first_step)
            return Finished(summary, was_finished=True)
        in_loggers: list[loggers.LoggerWriter] = []
        with contextlib.ExitStack() as stack:
            writers: list[Writer] = []
            on_epoch: OnEpoch | None = None
            if first:
                tensorboard = TensorBoardWriter(workdir.tensorboard_folder(folder), first_step)
                writers = [
                    JsonLinesWriter(folder / "metrics.jsonl", first_step),
                    tensorboard,
                    ProgressWriter(
                        total_steps=plan.total_steps,
                        first_step=first_step,
                        batch_size=plan.batch_size,
                    ),
                ]
                wants_images = (
                    config.model.takes == "images"
                    and not isinstance(form, RowShape)
                    and config.tensorboard.images_every_epochs > 0
                )
                if make_image_writer is not None and wants_images:
                    on_epoch = make_image_writer(splits, state, tensorboard)
            for writer in writers:
                stack.enter_context(contextlib.closing(writer))
            # They stay open for the summary.
            in_loggers = open_loggers(log) if first else []
            run_steps, describe_call = _steps(config, compiled, splits, plan, state.train, stack)
            if profile:
                run_steps = profiling.profiled(run_steps, workdir.tensorboard_folder(folder))
            interruption = stack.enter_context(deferred())
            state, _ = fit(
                state,
                progress,
                plan=plan,
                run_steps=run_steps,
                validate=_validation(compiled, splits),
                writers=[*writers, *in_loggers],
                checkpoint_dir=directory,
                metadata=metadata,
                interruption=interruption,
                on_epoch=on_epoch or (lambda state, epoch: None),
                describe_call=describe_call,
            )
        # The rest is little work, which one process does on one device.
        summary = evaluate(splits) if first else None
        for logger in in_loggers:
            logger.finish(loggers.summary_metrics(summary or {}), int(state.train.step))
        return Finished(summary, was_finished=False)


def _initial_or_restored(
    compiled: parallel.Compiled,
    config: factory.AnyExperiment,
    splits: Splits,
    folder: Path,
    metadata: dict[str, Any],
    accept_data: bool,
) -> tuple[RunState, Progress]:
    """Return the state to go on from; `metadata` is what checkpoints of this start will have."""
    directory = folder / "checkpoints"
    begun = processes.is_first() and bool(checkpoints.steps(directory))
    newest = checkpoints.find(directory, set_torn_aside=True) if begun else None
    if newest is not None:
        factory.refuse_other_config(folder, newest)
        recorded = newest.metadata.get("data", {})
        factory.refuse_other_data(folder, recorded, metadata["data"], accept=accept_data)
    elif begun:
        logging.warning("no checkpoint in %s is whole; starting anew", directory)
    step = processes.from_first(-1 if newest is None else newest.step)
    if step >= 0:
        saved = checkpoints.metadata_of(directory, step)
        progress = Progress(**{name: saved[name] for name in Progress.__dataclass_fields__})
        state = factory.read_run_state(directory, step, saved, config, splits.form)
        return compiled.put(state), progress
    key, hparams = factory.make_key(config.seed), factory.build_hparams(config)
    first_stage = factory.read_first_stage_arrays(config)
    initial = factory.read_initial_arrays(config, splits.form)
    start = compiled.put((splits.mean_image, key, hparams, first_stage, initial))
    _refuse_large(config, jax.eval_shape(compiled.init, *start))
    return compiled.init(*start), Progress()


def _refuse_large(config: factory.AnyExperiment, state: RunState) -> None:
    """Refuse a state that does not fit into memory, before it is made."""
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    there = host.memory(jax.local_devices()[0])
    if needed > there:
        raise UserError(
            f"model={name_of(config.model)!r} takes {needed / 2**30:.3g} GiB with its optimizer, "
            f"and there are {there / 2**30:.3g} GiB of memory; use fewer latents or smaller layers"
        )


def _steps(
    config: factory.AnyExperiment,
    compiled: parallel.Compiled,
    splits: Splits,
    plan: Plan,
    state: TrainState,
    stack: contextlib.ExitStack,
) -> tuple[RunSteps, Callable[[float], dict[str, float]]]:
    """Return the compiled steps on their data, and further metrics of a call, given its seconds."""
    if not isinstance(splits, factory.StreamedSplits):
        examples = compiled.put(splits.train_examples)
        return lambda state, num_steps: compiled.run_steps(state, examples, num_steps), lambda _: {}
    stream = stack.enter_context(
        factory.build_stream(config, splits.train, plan, state, put=compiled.put_batches)
    )
    return (
        lambda state, num_steps: compiled.run_batches(state, stream.take(num_steps)),
        lambda seconds: {"data_wait_share": stream.seconds_waited / seconds},
    )


def _validation(compiled: parallel.Compiled, splits: Splits) -> Validate | None:
    if splits.validation_examples is None:
        return None
    examples = compiled.put(splits.validation_examples)
    return lambda state: compiled.validate(state, examples)
