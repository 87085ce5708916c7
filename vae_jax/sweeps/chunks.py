"""Train one chunk of a sweep: the members that go through the same compiled calls.

A chunk is described by a JSON object alone, so that any process that sees the workdir can train it,
and another one go on with it. Each of its members becomes a run in members/NNNN.
"""

import functools
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import jax
import numpy as np

from vae_jax import config as factory
from vae_jax import trained, workdir
from vae_jax.config.build import abstract_model
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.sweeps import fields
from vae_jax.sweeps.loop import MemberProgress, fit_members
from vae_jax.sweeps.member_files import read_member, write_member
from vae_jax.sweeps.members import InTurn, MemberFunctions, SideBySide, prefers_side_by_side, stack
from vae_jax.sweeps.progress import ChunkProgress
from vae_jax.sweeps.space import Setting
from vae_jax.sweeps.successive_halving import survivors
from vae_jax.trained import TrainedModel, TrainedMultimodal
from vae_jax.training import checkpoints
from vae_jax.training.interruption import Interruption
from vae_jax.training.loop import Plan, Progress, RunState
from vae_jax.training.records import MembersJsonLinesWriter


class Entry(TypedDict):
    """A member of a chunk: its number, and the setting and seed that make its config."""

    member: int
    trial: int
    seed: int
    setting: Setting


class HalvingRule(TypedDict):
    """The rule that compares a chunk's trials, with `rivals`, the objective by epoch."""

    epochs: list[int]
    reduction: float
    rivals: dict[str, list[float]]


class Chunk(TypedDict):
    """A chunk of members, with all that the process that trains it needs."""

    name: str
    # The config without the members' own values.
    config: dict[str, Any]
    least_slots: int
    objective: str
    maximize: bool
    members: list[Entry]
    halving: HalvingRule | None


# Digests of the examples, by the digest of the settings that name them.
DATA_FILE = "data.json"


def chunk_folder(folder: Path, chunk: Chunk) -> Path:
    """Return the folder of a chunk's checkpoints, which is there while the chunk is trained."""
    return folder / "chunks" / chunk["name"]


def check_chunk(content: Any, path: Path) -> Chunk:
    """Return a chunk that was read from a file.

    Raises:
      UserError: the file holds something else.
    """
    kinds = {"name": str, "config": dict, "least_slots": int, "objective": str, "members": list}
    for name, kind in kinds.items():
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            raise UserError(f"{path} is damaged: a chunk has no {name!r}")
    for entry in content["members"]:
        if not isinstance(entry, dict) or not Entry.__annotations__.keys() <= entry.keys():
            raise UserError(f"{path} is damaged: a member is {str(entry)[:40]!r}")
    chunk: Any = content
    return cast(Chunk, chunk)


def is_done(folder: Path, chunk: Chunk) -> bool:
    """Return whether all members of a chunk have been trained and measured."""
    return all(read_member(folder, entry["member"]) for entry in chunk["members"])


def is_free(folder: Path, chunk: Chunk) -> bool:
    """Return whether no process is training a chunk."""
    scratch = chunk_folder(folder, chunk)
    if not scratch.is_dir():
        return True
    with workdir.hold_if_free(scratch) as free:
        return free


def member_config(chunk: Chunk, entry: Entry) -> factory.AnyExperiment:
    """Return the config of one member, as `experiments.train` would take it."""
    own = {**entry["setting"], fields.SEED: entry["seed"]}
    return factory.resolve(fields.with_values(chunk["config"], own))


class _Group:
    """The common part of chunks whose members differ only in traced settings and seeds."""

    def __init__(self, config: factory.AnyExperiment) -> None:
        self.config = config
        self.splits = factory.load_examples(config)
        self.form = self.splits.form
        self.plan = self.plan_of(config)
        self.mean_image = self.splits.mean_image
        self.data_digests = factory.data_digests(config, self.splits)
        program = factory.build_program(config, self.form, self.splits.num_examples)
        # Compiled on its own, as in a run alone, so that a member begins with the same bits.
        self.init = jax.jit(program.init)
        examples = jax.device_put(self.splits.train_examples)
        others = jax.device_put(self.splits.validation_examples)
        self.functions: MemberFunctions[Any] = (
            SideBySide(program, examples, others, jax.local_devices())
            if prefers_side_by_side()
            else InTurn(program, examples, others)
        )

    def plan_of(self, config: factory.AnyExperiment) -> Plan:
        return factory.build_plan(config, self.splits.num_examples)

    def init_members(self, configs: Sequence[factory.AnyExperiment]) -> RunState:
        return stack(
            [
                self.init(
                    self.mean_image,
                    factory.make_key(config.seed),
                    factory.build_hparams(config),
                    factory.read_first_stage_arrays(config),
                    factory.read_initial_arrays(config, self.form),
                )
                for config in configs
            ]
        )

    @functools.cached_property
    def targets(self) -> measuring.Targets:
        return measuring.prepare_examples(self.model, self.splits.test)

    @functools.cached_property
    def model(self) -> TrainedModel | TrainedMultimodal:
        _, params, extra = abstract_model(self.config, self.form)
        return trained.from_form(self.config, self.form, params, extra)


# The program and the data stay on the device for the group's next chunk.
@functools.lru_cache(maxsize=8)
def _group(config_json: str) -> _Group:
    return _Group(factory.resolve(json.loads(config_json)))


def train_chunk(
    folder: Path,
    chunk: Chunk,
    interruption: Interruption,
    on_end: Callable[[int], None] = lambda member: None,
) -> None:
    """Train and measure the members of a chunk, from where it was left if it was begun.

    A chunk that another process is training is left to it.

    Args:
      folder: the sweep's workdir.
      chunk: what to train.
      interruption: asked after every compiled call and between the members' evaluations.
      on_end: called with each member that has been trained, measured and written.

    Raises:
      Interrupted: a signal came; a checkpoint has been written.
    """
    scratch = chunk_folder(folder, chunk)
    with workdir.hold_if_free(scratch) as free:
        if not free:
            return
        if not is_done(folder, chunk):
            _train(folder, chunk, interruption, on_end)
        # Everything that lasts is in the members' own directories.
        shutil.rmtree(scratch, ignore_errors=True)


def _train(
    folder: Path, chunk: Chunk, interruption: Interruption, on_end: Callable[[int], None]
) -> None:
    entries = chunk["members"]
    group = _group(json.dumps(chunk["config"]))
    _claim_data(folder, group.config, group.data_digests)
    configs = [member_config(chunk, entry) for entry in entries]
    directory = chunk_folder(folder, chunk) / "checkpoints"
    states, progress = _initial_or_restored(group, chunk, configs, directory)
    folders = {entry["member"]: workdir.member_folder(folder, entry["member"]) for entry in entries}
    for own, config in zip(folders.values(), configs, strict=True):
        with factory.hold_run(own, config):
            pass
    # Members that ended after the checkpoint are trained again from it, but have their records.
    records = MembersJsonLinesWriter(
        {m: own / "metrics.jsonl" for m, own in folders.items() if read_member(folder, m) is None},
        dict(zip(folders, np.asarray(states.train.step).tolist(), strict=True)),
    )
    display = ChunkProgress(
        name=chunk["name"],
        num_members=len(entries),
        total_steps=group.plan.total_steps,
        batch_size=group.plan.batch_size,
    )
    ended: set[int] = set()

    def write_ended(index: int, state: RunState, progress: MemberProgress) -> None:
        member = entries[index]["member"]
        if read_member(folder, member) is None:
            records.flush()
            _write_member(folders[member], entries[index], configs[index], group, state, progress)
            on_end(member)
        ended.add(index)
        display.measured(len(ended))

    fit_members(
        states,
        progress,
        plan=group.plan,
        warmup_epochs=[group.plan_of(config).warmup_epochs for config in configs],
        functions=group.functions,
        least_slots=chunk["least_slots"],
        names=[entry["member"] for entry in entries],
        writers=[records],
        checkpoint_dir=directory,
        metadata={**factory.to_metadata(group.form), "chunk": workdir.config_digest(dict(chunk))},
        interruption=interruption,
        on_end=write_ended,
        prune=functools.partial(_pruned, chunk),
        on_call=display.trained,
    )


def _claim_data(folder: Path, config: factory.AnyExperiment, ours: dict[str, str]) -> None:
    """Write down the digests of the examples of a config, or refuse others than those there.

    Raises:
      UserError: earlier members of the sweep were trained on other examples.
    """
    path = folder / DATA_FILE
    settings = workdir.config_digest(config.to_dict()["data"])
    # A lock of its own: a reproduction holds its folder meanwhile.
    workdir.make_folder(folder / "chunks")
    with workdir.hold(folder / "chunks", wait=math.inf):
        digests = workdir.read_json(path) if path.is_file() else {}
        recorded = digests.setdefault(settings, ours)
        factory.refuse_other_data(folder, recorded, ours, accept=False)
        workdir.write_json(path, digests)


def _initial_or_restored(
    group: _Group, chunk: Chunk, configs: Sequence[factory.AnyExperiment], directory: Path
) -> tuple[RunState, list[MemberProgress]]:
    found = checkpoints.find(directory, set_torn_aside=True)
    if found is None:
        return group.init_members(configs), [MemberProgress() for _ in configs]
    # Earlier versions did not write it down.
    if found.metadata.get("chunk") not in (None, workdir.config_digest(dict(chunk))):
        raise UserError(
            f"{directory / str(found.step)} is not of the chunk in batches/ that has its name; "
            f"remove {directory}, and its members are trained again"
        )
    progress = [MemberProgress(**saved) for saved in found.metadata["members"]]
    state = factory.read_member_states(directory, found, configs, group.form)
    return state, progress


def _pruned(chunk: Chunk, epoch: int, progress: Sequence[MemberProgress]) -> set[int]:
    """Return the members of the trials that successive halving ends after this epoch.

    A trial counts with the mean over its seeds. Its rivals are the other trials of the chunk and
    those of earlier batches, whose values do not change while the chunk is trained: a chunk that is
    trained again, or elsewhere, decides the same.
    """
    halving = chunk["halving"]
    if halving is None or epoch not in halving["epochs"]:
        return set()
    members: dict[int, list[int]] = {}
    for index, entry in enumerate(chunk["members"]):
        members.setdefault(entry["trial"], []).append(index)
    values = {
        trial: float(np.mean([_value(progress[i], chunk["objective"]) for i in indices]))
        for trial, indices in members.items()
        if any(progress[i].status == "training" for i in indices)
    }
    if not values:
        return set()
    kept = survivors(
        values,
        halving["rivals"].get(str(epoch), []),
        halving["reduction"],
        chunk["maximize"],
    )
    return {
        index
        for trial in values.keys() - kept
        for index in members[trial]
        if progress[index].status == "training"
    }


def _value(progress: MemberProgress, objective: str) -> float:
    """Return the latest validation metric; NaN of a member that diverged."""
    return float("nan") if progress.status == "diverged" else progress.latest[objective]


def _write_member(
    folder: Path,
    entry: Entry,
    config: factory.AnyExperiment,
    group: _Group,
    state: RunState,
    progress: MemberProgress,
) -> None:
    """Write a member's run, member.json last."""
    step = int(state.train.step)
    facts = {
        **factory.to_metadata(group.form),
        "data": group.data_digests,
        "config": workdir.written_digest(folder),
        "step": step,
        "epoch": step // group.plan.steps_per_epoch,
        "examples_seen": step * group.plan.batch_size,
        **{name: getattr(progress, name) for name in Progress.__dataclass_fields__},
    }
    with workdir.hold(folder):
        checkpoints.save(folder / "checkpoints", step, state, facts, max_to_keep=1)
        known: dict[str, Any] = {**entry, "status": progress.status, "problem": progress.problem}
        known["valid"] = progress.best
        known |= {name: facts[name] for name in ("step", "epoch", "best_epoch", "train_seconds")}
        # Members that were given up are not measured; `experiments.evaluate` does it on demand.
        if progress.status in ("finished", "stopped_early"):
            model = group.model.with_params(config, state.best_params, state.best_extra)
            num_samples = config.evaluation.num_samples
            start = time.perf_counter()
            condition = measuring.condition_of(model, group.splits.test, group.targets)
            test = measuring.measure(
                model, group.targets, num_samples, condition, show_progress=False
            )
            known["evaluation_seconds"] = time.perf_counter() - start
            workdir.write_summary(folder, measuring.summarize(model, test, facts))
            known["test"] = test
        write_member(folder, known)
