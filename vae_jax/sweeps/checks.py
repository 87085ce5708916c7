"""Checks of a sweep before anything is compiled."""

import collections
import itertools
import logging
import math
from collections.abc import Mapping
from typing import Any

from vae_jax import config as factory
from vae_jax.errors import UserError
from vae_jax.sweeps import fields
from vae_jax.sweeps.space import (
    METHODS,
    OBJECTIVES,
    Axis,
    Choice,
    Halving,
    Sweep,
    axis_name,
    examples,
    from_description,
)


def check(sweep: Sweep, base: Mapping[str, Any]) -> None:
    """Refuse a sweep that cannot run on top of the config `base`.

    Raises:
      UserError: names the axis, the value, and what would be right.
    """
    if not sweep.axes:
        raise UserError("the sweep has no axes; name at least one field and its values")
    for field, count in collections.Counter(sweep.fields).items():
        if field == fields.SEED:
            raise UserError(f"{field} cannot be an axis; use seeds=(0, 1, ...) of the sweep")
        if count > 1:
            raise UserError(f"{field} is on two axes; it must be on one")
    for names, axis in sweep.axes:
        _check_axis(axis_name(names), axis)
    _check_numbers(sweep)
    check_configs(sweep, base)


def check_configs(sweep: Sweep, base: Mapping[str, Any]) -> None:
    """Refuse a sweep with a setting that makes a config which cannot work.

    Raises:
      UserError: what is wrong, and with which setting.
    """
    too_short: dict[str, None] = {}
    for setting in examples(sweep):
        try:
            experiment = factory.resolve(fields.with_values(base, setting))
            too_short |= dict.fromkeys(factory.unfinished(experiment))
            factory.refuse_stream(experiment)
            _check_judging(sweep, experiment)
        except UserError as error:
            described = ", ".join(f"{field}={value!r}" for field, value in setting.items())
            raise UserError(f"the setting {described}: {error}") from None
    for line in too_short:
        logging.warning(line)


def is_same(resolved: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Return whether a workdir's sweep.json, perhaps of an earlier version, is of the same sweep.

    It is where both try the same configs in the same way, whatever their fields were called.
    """
    if "sweep" not in there:
        return False
    if {**there, **resolved} == there:
        return True
    return _way(resolved["sweep"]) == _way(there["sweep"]) and _tried(resolved) == _tried(there)


def _way(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a sweep without the names and the values of its fields."""
    ranges = [
        {name: value for name, value in axis.items() if name not in ("fields", "values")}
        for axis in described["axes"]
    ]
    return {**described, "axes": ranges}


def _tried(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the configs by which a sweep is checked."""
    return [
        fields.resolved(fields.with_values(content["config"], setting))
        for setting in examples(from_description(content["sweep"]))
    ]


def _check_axis(name: str, axis: Axis) -> None:
    if not isinstance(axis, Choice):
        if axis.low >= axis.high:
            raise UserError(f"{name}: low={axis.low!r} must be below high={axis.high!r}")
        if axis.log and axis.low <= 0:
            raise UserError(f"{name}: low={axis.low!r} must be above 0 for log=True")
        return
    if not axis.values:
        raise UserError(f"{name} has no values; give at least one")
    # By their texts: a part is a mapping, which has no hash, and 1 equals True.
    texts = [repr(value) for value in axis.values]
    for index, text in enumerate(texts):
        if text in texts[:index]:
            raise UserError(f"{name} has the value {text} twice; each must be there once")


def _check_numbers(sweep: Sweep) -> None:
    if sweep.method not in METHODS:
        raise UserError(f"method={sweep.method!r} must be one of {', '.join(METHODS)}")
    needed = {"num_trials": sweep.method != "grid", "batch": sweep.method == "tpe"}
    for name, is_needed in needed.items():
        number = getattr(sweep, name)
        if is_needed and (type(number) is not int or number < 1):
            raise UserError(f"{name}={number!r} must be an integer of at least 1")
        if not is_needed and number is not None:
            raise UserError(f"{name}={number!r} is not for a {sweep.method} sweep")
    seeds = sweep.seeds
    if not isinstance(seeds, tuple) or not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds={seeds!r} must be a tuple of different integers, such as (0, 1)")
    for seed in (*seeds, sweep.search_seed):
        factory.resolve({fields.SEED: seed})
    if sweep.objective not in OBJECTIVES:
        raise UserError(f"objective={sweep.objective!r} must be one of {', '.join(OBJECTIVES)}")
    if sweep.halving is not None:
        _check_halving(sweep.halving)


def _check_halving(halving: Halving) -> None:
    marks = halving.epochs
    integers = isinstance(marks, tuple) and marks and all(type(mark) is int for mark in marks)
    if not integers or marks[0] < 1 or any(b <= a for a, b in itertools.pairwise(marks)):
        raise UserError(
            f"halving: epochs={marks!r} must be a tuple of increasing integers of at least 1"
        )
    if not 1 < halving.reduction < math.inf:
        raise UserError(f"halving: reduction={halving.reduction!r} must be a number above 1")


def _check_judging(sweep: Sweep, experiment: factory.AnyExperiment) -> None:
    """Refuse an experiment whose runs cannot be judged as the sweep judges them."""
    if sweep.objective == "elbo" and not experiment.model.has_density:
        raise UserError("objective='elbo' cannot judge a model without one; use 'distortion'")
    halving = sweep.halving
    if halving is not None and halving.epochs[-1] >= experiment.epochs:
        raise UserError(
            f"halving: epochs={halving.epochs!r} must end before the runs do, after "
            f"{experiment.epochs} epochs"
        )
    if (sweep.method == "tpe" or halving is not None) and not experiment.data.validation_split:
        needs = "a tpe sweep" if sweep.method == "tpe" else "halving"
        raise UserError(f"{needs} needs a validation split to judge by, such as 'train[55000:]'")
