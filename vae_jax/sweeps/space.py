"""Search spaces: axes over settings, and the points that a method draws from them.

A sweep file is plain Python with a function `get_sweep()`:

    from vae_jax.sweeps import space

    def get_sweep():
        return space.grid({"model.latent_size": (2, 5, 10, 20)}, seeds=(0, 1))

An axis is a sequence of values, a `Uniform` or an `Integers`; a tuple of field names as its key
makes fields vary together. Where a field is a part, a value is a choice by name, or a section such
as `{"name": "tc", "beta": 4.0}`. A setting is a dict of one value per field; a trial is a setting,
and runs once with each of the sweep's seeds.
"""

import dataclasses
import itertools
import json
import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.config import python_file
from vae_jax.config.reference import declarations
from vae_jax.errors import UserError

Setting = dict[str, Any]
Fields = tuple[str, ...]

OBJECTIVES = ("distortion", "elbo", "loss")
METHODS = ("grid", "quasi_random", "random", "tpe")


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values; those of a zipped axis are tuples of one value per field."""

    values: Sequence[Any] | np.ndarray

    def __post_init__(self) -> None:
        values = _plain(self.values)
        if not isinstance(values, tuple):
            raise UserError(f"Choice takes a sequence of values, not {self.values!r}")
        object.__setattr__(self, "values", values)


@dataclasses.dataclass(frozen=True)
class Uniform:
    """A number from `low` to `high`; with `log`, uniform in its logarithm."""

    low: float | int
    high: float | int
    log: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))


@dataclasses.dataclass(frozen=True)
class Integers:
    """An integer from `low` to `high`, both included; with `log`, uniform in its logarithm."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", operator.index(self.low))
        object.__setattr__(self, "high", operator.index(self.high))


Axis = Choice | Uniform | Integers


@dataclasses.dataclass(frozen=True)
class Halving:
    """Stop trials that lag behind, by asynchronous successive halving.

    Attributes:
      epochs: the marks, in epochs trained, at which trials are compared.
      reduction: one trial in `reduction` goes on at each mark.
    """

    epochs: Sequence[int]
    reduction: float | int = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "epochs", _plain(self.epochs))
        object.__setattr__(self, "reduction", float(self.reduction))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A search space and how it is searched; `grid`, `random`, `quasi_random` and `tpe` make one.

    Attributes:
      axes: the fields of each axis and its values, in order.
      method: one of `METHODS`.
      num_trials: the number of settings; None for a grid, which has as many as its axes give.
      seeds: each setting runs once with each of them.
      search_seed: the seed of the method's own random numbers.
      batch: the number of settings that TPE suggests at a time; None for the other methods.
      objective: the validation metric that says which trial is better, one of `OBJECTIVES`.
      halving: when to stop trials that lag behind; None never does.
    """

    axes: tuple[tuple[Fields, Axis], ...]
    method: str
    num_trials: int | None = None
    seeds: Sequence[int] = (0,)
    search_seed: int = 0
    batch: int | None = None
    objective: str = "elbo"
    halving: Halving | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", _plain(self.seeds))
        for names, axis in self.axes:
            if self.method == "grid" and not isinstance(axis, Choice):
                kind = type(axis).__name__
                raise UserError(f"{axis_name(names)}: a grid needs a list of values, not {kind}")

    @property
    def size(self) -> int:
        """The number of trials."""
        if self.num_trials is not None:
            return self.num_trials
        return math.prod(len(axis.values) for _, axis in self.axes if isinstance(axis, Choice))

    @property
    def fields(self) -> list[str]:
        """The fields of all axes, in order."""
        return [field for names, _ in self.axes for field in names]

    @property
    def maximize(self) -> bool:
        """True if a larger objective is better."""
        return self.objective == "elbo"


def grid(axes: Mapping[Any, Any], **options: Any) -> Sweep:
    """Return a sweep over every combination of the axes' values, the last axis fastest.

    Args:
      axes: values by field name; by a tuple of names, tuples of values that vary together.
      options: `seeds`, `objective` and `halving`, as `Sweep` describes them.
    """
    return Sweep(_axes(axes), "grid", **options)


def random(axes: Mapping[Any, Any], *, num_trials: int, **options: Any) -> Sweep:
    """Return a sweep over independent draws; a longer one begins as the shorter one does.

    Args:
      axes: values, `Uniform` or `Integers` by field name; tuples of values by a tuple of names.
      num_trials: the number of draws.
      options: as for `grid`, and `search_seed`.
    """
    return Sweep(_axes(axes), "random", num_trials, **options)


def quasi_random(axes: Mapping[Any, Any], *, num_trials: int, **options: Any) -> Sweep:
    """Return a sweep over a scrambled Sobol sequence, spread more evenly than `random`.

    It takes the same arguments. A power of two is the best `num_trials`; a longer sweep begins as
    the shorter one does. Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points", as SciPy
    implements it.
    """
    return Sweep(_axes(axes), "quasi_random", num_trials, **options)


def tpe(axes: Mapping[Any, Any], *, num_trials: int, batch: int = 16, **options: Any) -> Sweep:
    """Return a search by a tree-structured Parzen estimator, near the settings that did well.

    It takes the arguments of `random`. Each `batch` of settings is suggested from the results of
    those before it. Bergstra et al. (2011), "Algorithms for Hyper-Parameter Optimization", as
    Optuna implements it.
    """
    return Sweep(_axes(axes), "tpe", num_trials, batch=batch, **options)


def axis_name(names: Fields) -> str:
    """Return an axis's name: its field, or its fields with commas between them."""
    return ",".join(names)


def with_num_trials(sweep: Sweep, num_trials: int) -> Sweep:
    """Return the sweep with another number of trials.

    Raises:
      UserError: the sweep is a grid.
    """
    if sweep.method == "grid":
        raise UserError(
            f"a grid has as many trials as its axes give, here {sweep.size}; "
            "only random, quasi_random and tpe take another number"
        )
    return dataclasses.replace(sweep, num_trials=num_trials)


def unpack(sweep: Sweep, values: Sequence[Any]) -> Setting:
    """Return the setting that one value per axis stands for, zipped axes taken apart."""
    setting: Setting = {}
    for (names, _), value in zip(sweep.axes, values, strict=True):
        setting |= zip(names, value if len(names) > 1 else (value,), strict=True)
    return {field: _as_field_takes(field, value) for field, value in setting.items()}


def settings(sweep: Sweep) -> list[Setting]:
    """Return all settings of a grid, random or quasi-random sweep, in order.

    Raises:
      ValueError: the method is TPE, whose settings depend on results.
    """
    if sweep.method == "tpe":
        raise ValueError("the settings of a TPE sweep depend on its results")
    if sweep.method == "grid":
        values = [axis.values for _, axis in sweep.axes if isinstance(axis, Choice)]
        return [unpack(sweep, combination) for combination in itertools.product(*values)]
    points = _points(sweep.method, sweep.size, len(sweep.axes), sweep.search_seed)
    return [
        unpack(sweep, [_pick(axis, u) for (_, axis), u in zip(sweep.axes, point, strict=True)])
        for point in points.tolist()
    ]


def examples(sweep: Sweep) -> list[Setting]:
    """Return settings to check: all of a grid; else those along each axis, and all draws."""
    if sweep.method == "grid":
        return settings(sweep)
    ends = [
        axis.values if isinstance(axis, Choice) else (axis.low, axis.high) for _, axis in sweep.axes
    ]
    first = [values[0] for values in ends]
    along = [
        unpack(sweep, [*first[:index], value, *first[index + 1 :]])
        for index, values in enumerate(ends)
        for value in values
    ]
    return along if sweep.method == "tpe" else [*along, *settings(sweep)]


def describe(sweep: Sweep) -> dict[str, Any]:
    """Return everything that makes the sweep what it is, as JSON gives it back."""
    axes = [
        {"fields": names, "kind": type(axis).__name__.lower(), **dataclasses.asdict(axis)}
        for names, axis in sweep.axes
    ]
    return dict(json.loads(json.dumps({**dataclasses.asdict(sweep), "axes": axes})))


def from_description(described: Mapping[str, Any]) -> Sweep:
    """Return the sweep that `describe` described, in this version of the code or an earlier one."""
    kinds = {kind.__name__.lower(): kind for kind in (Choice, Uniform, Integers)}
    axes = []
    for axis in described["axes"]:
        limits = {name: axis[name] for name in axis if name not in ("fields", "kind")}
        axes.append((tuple(axis["fields"]), kinds[axis["kind"]](**limits)))
    halving = None if described["halving"] is None else Halving(**described["halving"])
    return Sweep(**{**described, "axes": tuple(axes), "halving": halving})


def load(path: str | Path) -> Sweep:
    """Return the sweep that `get_sweep()` of a Python file returns.

    Raises:
      UserError: there is no such file, it fails, or it gives no sweep.
    """
    wanted = "a sweep, such as space.grid(...)"
    sweep: Sweep = python_file.call(path, "get_sweep", "sweep file", Sweep, wanted)
    return sweep


def _axes(axes: Mapping[Any, Any]) -> tuple[tuple[Fields, Axis], ...]:
    if not isinstance(axes, Mapping):
        raise UserError(f"axes must be a dict of values by field name, not {axes!r}")
    return tuple(_axis(key, axis) for key, axis in axes.items())


def _axis(key: Any, axis: Any) -> tuple[Fields, Axis]:
    names = (key,) if isinstance(key, str) else key
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise UserError(f"the axis {key!r} must be the name of a field or a tuple of names")
    if isinstance(key, tuple) and len(key) < 2:
        raise UserError(f"the axis {key!r} must name two or more fields, or be no tuple")
    if isinstance(axis, Uniform | Integers):
        if len(names) > 1:
            kind = type(axis).__name__
            raise UserError(f"{axis_name(names)}: a zipped axis needs a list of tuples, not {kind}")
        return names, axis
    values = axis.values if isinstance(axis, Choice) else _plain(axis)
    if not isinstance(values, tuple):
        raise UserError(
            f"{axis_name(names)}: {axis!r} is no axis; give a list of values, Uniform or Integers"
        )
    if len(names) == 1:
        return names, Choice([_as_field_takes(names[0], value) for value in values])
    for value in values:
        if not isinstance(value, tuple) or len(value) != len(names):
            raise UserError(
                f"{axis_name(names)}: {value!r} must be a tuple of {len(names)} values, "
                "one per field"
            )
    return names, Choice([tuple(map(_as_field_takes, names, value)) for value in values])


def _plain(value: Any) -> Any:
    """Return the value without NumPy in it, and with tuples for sequences, in sections too."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _as_field_takes(field: str, value: Any) -> Any:
    """Return an integer on a field of floats as a float, in a section too; others as they are."""
    if isinstance(value, Mapping):
        return {name: _as_field_takes(f"{field}.{name}", own) for name, own in value.items()}
    if type(value) is int and any(known.is_number for known in declarations().get(field, ())):
        return float(value)
    return value


def _points(method: str, num_points: int, num_axes: int, seed: int) -> np.ndarray:
    """Return points of the unit cube, one per row; a longer sequence begins with the shorter."""
    if method == "random":
        return np.random.default_rng(seed).random((num_points, num_axes))
    # SciPy takes half a second to import, and the other methods do without.
    from scipy.stats import qmc

    sobol = qmc.Sobol(num_axes, rng=np.random.default_rng(seed))
    # SciPy warns of a number that is no power of two.
    return sobol.random_base2((num_points - 1).bit_length())[:num_points]


def _pick(axis: Axis, u: float) -> Any:
    """Return the value at the quantile `u`, in [0, 1)."""
    if isinstance(axis, Choice):
        return axis.values[int(u * len(axis.values))]
    low, high = float(axis.low), float(axis.high)
    if isinstance(axis, Integers):
        # Each integer owns the interval that rounds to it.
        low, high = low - 0.5, high + 0.5
    if axis.log:
        value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
    else:
        value = low + u * (high - low)
    if isinstance(axis, Integers):
        return min(max(math.floor(value + 0.5), axis.low), axis.high)
    return min(max(value, low), high)
