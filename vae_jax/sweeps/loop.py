"""The loop around the compiled epochs of many members: the counterpart of `training.loop`.

A member depends on its own state alone, not on the other members, on time or on kills. Only
successive halving compares members, at fixed epochs.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vae_jax.sweeps.members import Mask, MemberFunctions, States
from vae_jax.training import checkpoints
from vae_jax.training.interruption import Interruption
from vae_jax.training.loop import Interrupted, Plan, Progress, RunState, judge, non_finite
from vae_jax.training.records import Record, Writer

Status = Literal["training", "finished", "stopped_early", "pruned", "diverged"]

# At most this share of the time goes into checkpoints: those of many members take long to write.
_CHECKPOINT_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class MemberProgress(Progress):
    """The progress of a member: everything known of it beside its arrays.

    Attributes:
      status: "training", or how it ended.
      epoch: epochs trained.
      latest: its validation metrics after its last epoch, in nats.
      best: those after its best epoch.
      problem: what was not finite, and where, in a member that diverged.
    """

    status: Status = "training"
    epoch: int = 0
    latest: dict[str, float] = dataclasses.field(default_factory=dict)
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    problem: str = ""


def fit_members(
    stacked: RunState,
    progress: Sequence[MemberProgress],
    *,
    plan: Plan,
    warmup_epochs: Sequence[float],
    functions: MemberFunctions[States],
    least_slots: int,
    names: Sequence[int],
    writers: Sequence[Writer],
    checkpoint_dir: Path,
    metadata: dict[str, Any],
    interruption: Interruption,
    on_end: Callable[[int, RunState, MemberProgress], None],
    prune: Callable[[int, Sequence[MemberProgress]], set[int]] = lambda epoch, progress: set(),
    on_call: Callable[[int, int, Sequence[MemberProgress]], None] = lambda *_: None,
) -> list[MemberProgress]:
    """Train the members from wherever they stand until each has ended.

    Args:
      stacked: the stacked states, initial or restored. Their buffers are consumed.
      progress: what came with them.
      plan: how long to train and in which calls; its `warmup_epochs` are not read.
      warmup_epochs: for each member, the epochs that do not count as its patience.
      functions: the compiled program.
      least_slots: members that the program has room for at least; chunks with the same share it.
      names: the members' names in the records.
      writers: where records go, each with its "member".
      checkpoint_dir: where checkpoints of all members go.
      metadata: written into every checkpoint beside the progress.
      interruption: asked after every call.
      on_end: called with the index, state and progress of a member that has ended, at least once:
        again after a restart.
      prune: returns the indices of the members to end now, given the number of epochs and the
        progress.
      on_call: called after each compiled call with the step reached, the steps that all members
        together have taken in it, and the progress.

    Returns:
      The final progress, which a checkpoint holds too.

    Raises:
      Interrupted: a signal came; a checkpoint has been written.
      UserError: something cannot be written.
    """
    num_members = len(progress)
    progress = list(progress)
    reported: set[int] = set()
    num_slots = functions.num_slots(num_members, least_slots)
    steps = np.zeros(num_slots, int)
    steps[:num_members] = np.asarray(stacked.train.step)
    states = functions.place(stacked, num_slots)
    last_save, save_seconds = -float("inf"), 0.0

    def training() -> Mask:
        active = [entry.status == "training" for entry in progress]
        return np.array(active + [False] * (num_slots - num_members))

    def is_due() -> bool:
        least = max(plan.checkpoint_seconds, save_seconds / _CHECKPOINT_SHARE)
        return bool(interruption) or time.monotonic() - last_save >= least

    def save() -> None:
        nonlocal last_save, save_seconds
        begun = time.monotonic()
        for writer in writers:
            writer.flush()
        # Members differ in their steps, and one that diverges takes none; this number grows with
        # every step and with every end.
        num_ended = sum(entry.status != "training" for entry in progress)
        checkpoints.save(
            checkpoint_dir,
            int(steps[:num_members].sum()) * (num_members + 1) + num_ended,
            functions.stacked(states, num_members),
            {**metadata, "members": [dataclasses.asdict(entry) for entry in progress]},
            max_to_keep=plan.max_checkpoints,
        )
        last_save = time.monotonic()
        save_seconds = last_save - begun

    def stop_if_interrupted() -> None:
        if interruption:
            raise Interrupted(interruption, f"step {steps.max()} of {num_members} members")

    def report_ended() -> None:
        for index, entry in enumerate(progress):
            if entry.status != "training" and index not in reported:
                on_end(index, functions.state(states, index), entry)
                reported.add(index)
                stop_if_interrupted()

    def write(index: int, record: Record) -> None:
        for writer in writers:
            writer.write({"member": names[index], **record})

    def change(index: int, **changes: Any) -> None:
        progress[index] = dataclasses.replace(progress[index], **changes)

    def end_epoch(states: States, active: Mask, epoch: int, step: int) -> States:
        """Validate, and keep the parameters of the members that are better than ever."""
        indices = np.flatnonzero(active).tolist()
        if not functions.validates:
            for index in indices:
                change(index, epoch=epoch, best_epoch=epoch)
            return functions.keep_best(states, active)
        metrics = functions.validate(states, active)
        better = np.zeros_like(active)
        for index in indices:
            own = {name: float(values[index]) for name, values in metrics.items()}
            write(index, {"step": step, "epoch": epoch, "split": "valid", **own})
            judged, better[index] = judge(
                progress[index],
                plan.score(own),
                epoch,
                patience=plan.patience,
                warmup_epochs=warmup_epochs[index],
            )
            assert isinstance(judged, MemberProgress)
            progress[index] = dataclasses.replace(
                judged,
                epoch=epoch,
                latest=own,
                best=own if better[index] else judged.best,
                status="stopped_early" if judged.stopped_early else "training",
            )
        return functions.keep_best(states, better)

    report_ended()
    while training().any():
        start = time.perf_counter()
        step = int(steps[training()].min())
        num_steps = plan.next_call(step)
        # A stop in the middle of a round leaves some members ahead of others.
        behind = training() & (steps == step)
        states, trained, finite, metrics = functions.run_steps(states, behind, num_steps, is_due)
        seconds = time.perf_counter() - start
        steps[trained & finite] += num_steps
        step += num_steps
        indices = np.flatnonzero(trained).tolist()
        epoch = step / plan.steps_per_epoch
        at_end = step % plan.steps_per_epoch == 0
        for index in indices:
            own = {name: values[index] for name, values in metrics.items()}
            if not finite[index]:
                problem = non_finite(own, step - num_steps)
                problem = problem or f"no finite parameters after step {step}"
                change(index, status="diverged", problem=problem)
                continue
            write(
                index,
                {
                    "step": step,
                    "epoch": int(epoch) if at_end else round(epoch, 4),
                    "split": "train",
                    **{name: float(values.mean()) for name, values in own.items()},
                    "examples_per_second": num_steps * plan.batch_size * len(indices) / seconds,
                },
            )
        if at_end and (trained & finite).any():
            states = end_epoch(states, trained & finite, int(epoch), step)
        # The members share the time, as they share the machine.
        share = (time.perf_counter() - start) / len(indices)
        for index in indices:
            change(index, train_seconds=progress[index].train_seconds + share)
            if progress[index].status == "training" and steps[index] == plan.total_steps:
                change(index, status="finished")
        round_is_over = bool((trained == behind).all())
        if at_end and round_is_over:
            for index in prune(int(epoch), progress):
                change(index, status="pruned")
        on_call(step, num_steps * len(indices), progress)
        if is_due() or not training().any():
            save()
        stop_if_interrupted()
        if round_is_over:
            report_ended()
    return progress
