"""Runs of experiments.train that are compared bit by bit."""

import contextlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interruptions import StopsAfter

from experiments import train
from vae_jax import config as factory
from vae_jax.config import run
from vae_jax.training import checkpoints, parallel
from vae_jax.training.records import read_records

_compile_program = parallel.compile_program
_COMPILED, _TEMPLATES = {}, {}


def _compile_once(build_program, devices, kind="jit"):
    experiment, form, num_examples = build_program.args
    form = json.dumps(factory.to_metadata(form))
    key = (experiment, form, num_examples, tuple(devices), kind)
    if key not in _COMPILED:
        _COMPILED[key] = _compile_program(build_program, devices, kind)
    return _COMPILED[key]


def compile_once(patch):
    """Let all runs of an experiment share a program, which each would trace and compile anew.

    Tests that kill processes make sure that it is the same program in each of them.
    """
    patch.setattr(parallel, "compile_program", _compile_once)


def _template(experiment, form):
    key = (experiment, json.dumps(factory.to_metadata(form)))
    if key not in _TEMPLATES:
        _TEMPLATES[key] = factory.run_state_template(experiment, form)
    return _TEMPLATES[key]


def trained(config, folder, image_shape, **options):
    """Return the bits of the last state, and the records without times."""
    with pytest.MonkeyPatch.context() as patch:
        compile_once(patch)
        train.train(config, folder, **options)
    template = _template(factory.resolve(config), image_shape)
    tree = checkpoints.restore(folder / "checkpoints", template).tree
    is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(tree)]
    leaves = [
        np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes()
        for leaf, key in zip(jax.tree.leaves(tree), is_key, strict=True)
    ]
    timed = ("examples_per_second", "data_wait_share")
    records = read_records(folder / "metrics.jsonl")
    return leaves, [{k: v for k, v in record.items() if k not in timed} for record in records]


def stops_after(patch, num_checks):
    """Interrupt a run after its next call, or `num_checks` calls later."""

    @contextlib.contextmanager
    def stopping():
        yield StopsAfter(num_checks)

    patch.setattr(run, "deferred", stopping)
    compile_once(patch)


def leave_unmeasured(patch):
    """Let runs end with the training."""
    patch.setattr(train.measuring, "evaluate_run", lambda *_, **__: {})
    patch.setattr(train.measuring, "describe", lambda _: "trained")
