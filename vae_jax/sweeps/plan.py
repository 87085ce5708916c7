"""Deal out the trials of a sweep: into groups by their static fields, into chunks by memory."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from vae_jax import config as factory
from vae_jax.errors import UserError
from vae_jax.models.conditions import reads_of
from vae_jax.sweeps import fields
from vae_jax.sweeps.chunks import Chunk, Entry, HalvingRule
from vae_jax.sweeps.members import prefers_side_by_side
from vae_jax.sweeps.space import Setting, Sweep
from vae_jax.training import host
from vae_jax.training.players import Params

_GIB = 2**30

# The share of a device's or a machine's memory that a sweep takes without --memory_limit.
_SHARE_OF_DEVICE = 0.8
_SHARE_OF_MACHINE = 0.5

# Copies of a member's state that exist at once: before a call, after it, and on the way to disk.
_STATE_COPIES = 3

# The members of a chunk end together. Members in turn gain nothing from larger chunks, whose first
# results come later.
_MEMBERS_IN_TURN = 8


class Resources(NamedTuple):
    """The resources that a sweep may use.

    Attributes:
      memory_limit: bytes per device.
      num_devices: devices of one process.
      side_by_side: whether members go through a device side by side, or in turn.
      num_workers: processes that train chunks at once.
    """

    memory_limit: int
    num_devices: int
    side_by_side: bool
    num_workers: int = 1


def resources_here() -> Resources:
    """Return what a process may use here: most of an accelerator, or half of the machine."""
    devices = jax.local_devices()
    is_cpu = devices[0].platform == "cpu"
    share = _SHARE_OF_MACHINE / len(devices) if is_cpu else _SHARE_OF_DEVICE
    limit = share * host.memory(devices[0])
    return Resources(int(limit), len(devices), prefers_side_by_side())


def member_number(sweep: Sweep, trial: int, seed_index: int) -> int:
    """Return a member's number: they count through the trials, and within one through the seeds."""
    return trial * len(sweep.seeds) + seed_index


class MemberMemory(NamedTuple):
    """The device memory that a member needs, in bytes.

    Attributes:
      state: throughout.
      step: while it takes a step.
    """

    state: int
    step: int

    def total(self, num_members: int, *, side_by_side: bool) -> int:
        """Return the bytes that `num_members` members need on one device."""
        at_once = num_members if side_by_side else min(1, num_members)
        return num_members * self.state + at_once * self.step

    def most_members(self, limit: int, *, side_by_side: bool) -> int:
        """Return the number of members that fit into `limit` bytes of one device."""
        if side_by_side:
            return max(0, limit) // (self.state + self.step)
        return max(0, limit - self.step) // self.state


@functools.cache
def _needs(config_json: str) -> tuple[int, MemberMemory]:
    """Return the bytes of a program's examples on a device, and what a member needs there."""
    config = factory.resolve(json.loads(config_json))
    splits = factory.load_examples(config)
    kept = jax.tree.leaves((splits.train_examples, splits.validation_examples))
    return sum(array.nbytes for array in kept), _member_memory(config, splits.form)


def _member_memory(config: factory.AnyExperiment, form: factory.DataForm) -> MemberMemory:
    """Return an estimate of the memory that a member needs, from shapes, compiling nothing.

    A step is taken to need the gradients, the updates, and twice what the backward pass keeps of
    the forward pass. Nothing depends on the number of examples.
    """
    player = factory.build_players(config, form, config.batch_size)[0]
    state = factory.run_state_template(config, form)
    hparams, key = factory.build_hparams(config), factory.make_key(config.seed)
    reads = reads_of(config.model)
    batches = (factory.blank_examples(form, config.batch_size, reads=reads),)

    def backward(params: Params, extra: nnx.State) -> Any:
        def loss(params: Params) -> jax.Array:
            return player.loss(params, extra, batches, hparams, jnp.float32(0), key)[0]

        return jax.vjp(loss, params)[1]

    kept = jax.eval_shape(backward, state.train.params, state.train.extra)
    step = 2 * _num_bytes(state.train.params) + 2 * _num_bytes(kept)
    return MemberMemory(_STATE_COPIES * _num_bytes(state), step)


def _num_bytes(shapes: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def deal(
    sweep: Sweep,
    base: Mapping[str, Any],
    trials: Sequence[tuple[int, Setting]],
    *,
    batch: int,
    rivals: Mapping[int, Sequence[float]],
    resources: Resources,
) -> tuple[list[Chunk], str]:
    """Return the chunks that train these trials, and a description of them for the user.

    Args:
      sweep: what is tried.
      base: the base config.
      trials: number and setting of each.
      batch: which batch of the sweep this is.
      rivals: the objective by epoch of trials that ended before.
      resources: what there is.

    Raises:
      UserError: the memory limit has no room for one member, or for the seeds of one trial where
        halving compares trials.
    """
    groups: dict[str, list[Entry]] = {}
    for number, setting in trials:
        traced = factory.resolve(fields.with_values(base, setting)).hparams
        static = {
            field: value for field, value in fields.expanded(setting).items() if field not in traced
        }
        groups.setdefault(json.dumps(static), []).extend(
            {
                "member": member_number(sweep, number, index),
                "trial": number,
                "seed": seed,
                "setting": setting,
            }
            for index, seed in enumerate(sweep.seeds)
        )
    halving: HalvingRule | None = None
    if sweep.halving is not None:
        halving = {
            "epochs": list(sweep.halving.epochs),
            "reduction": sweep.halving.reduction,
            "rivals": {str(epoch): list(values) for epoch, values in rivals.items()},
        }
    # Trials are compared within a chunk, which must hold all seeds of each.
    unit = len(sweep.seeds) if halving else 1
    adaptive = sweep.method == "tpe"
    chunks: list[Chunk] = []
    lines: list[str] = []
    for number, (static_json, members) in enumerate(groups.items(), start=1):
        static = json.loads(static_json)
        config = fields.resolved(fields.with_values(base, static))
        images, memory = _needs(json.dumps(config))
        most = _most_members(images, memory, unit, resources, adaptive=adaptive)
        per_chunk = min(most, len(members))
        # The trials that are compared with each other must not depend on the machine.
        if not halving:
            per_chunk = min(per_chunk, -(-len(members) // resources.num_workers))
            if not resources.side_by_side:
                per_chunk = min(per_chunk, _MEMBERS_IN_TURN)
        per_chunk = max(unit, per_chunk // unit * unit)
        num_chunks = -(-len(members) // per_chunk)
        # Chunks of one size, so that one program serves them all.
        per_chunk = -(-len(members) // (num_chunks * unit)) * unit
        # A search suggests groups of any size: powers of two need fewer different programs.
        slots = per_chunk
        if adaptive:
            per_device = -(-per_chunk // resources.num_devices)
            slots = resources.num_devices * (1 << (per_device - 1).bit_length())
        for first in range(0, len(members), per_chunk):
            chunks.append(
                {
                    "name": f"{batch:04d}-{len(chunks):02d}",
                    "config": config,
                    "least_slots": slots,
                    "objective": sweep.objective,
                    "maximize": sweep.maximize,
                    "members": members[first : first + per_chunk],
                    "halving": halving,
                }
            )
        per_device = -(-slots // resources.num_devices)
        needed = images + memory.total(per_device, side_by_side=resources.side_by_side)
        described = ", ".join(f"{field}={value!r}" for field, value in static.items())
        lines.append(
            f"  program {number} of {len(groups)}{': ' if described else ''}{described}: "
            f"{len(members)} members in {num_chunks} chunk{'s'[: num_chunks > 1]} of up to "
            f"{per_chunk}, about {needed / _GIB:.2f} of {resources.memory_limit / _GIB:.2f} GiB"
        )
    return chunks, "\n".join(lines)


def _most_members(
    images: int, memory: MemberMemory, unit: int, resources: Resources, *, adaptive: bool
) -> int:
    """Return the most members that a chunk may have, a multiple of `unit`."""
    side_by_side = resources.side_by_side
    per_device = memory.most_members(resources.memory_limit - images, side_by_side=side_by_side)
    if adaptive and per_device > 0:
        per_device = 1 << (per_device.bit_length() - 1)
    most = per_device * resources.num_devices
    if most < unit:
        needed = images + memory.total(-(-unit // resources.num_devices), side_by_side=side_by_side)
        what = "one member" if unit == 1 else f"the {unit} seeds of one trial"
        raise UserError(
            f"--memory_limit={resources.memory_limit / _GIB:.3f}GiB is below what {what} needs, "
            f"about {needed / _GIB:.3f}GiB with the images; raise it, or lower batch_size"
        )
    return most // unit * unit
