"""What a sweep tries: axes over config fields, and the settings that a method draws from them.

A sweep file is plain Python with a function `get_sweep()`:

    from vae_jax import search_space as space

    def get_sweep():
        return space.grid({"hparams.beta": np.geomspace(0.1, 10, 16)}, seeds=(0, 1))

An axis is a sequence of values, a `Uniform` or an `Integers`; a tuple of field names as its key
makes fields vary together. A setting is a dict of one value a field; a trial is a setting, and runs
once for each of the sweep's seeds.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.config import python_file
from vae_jax.config.fields import FIELDS, unknown_field_message
from vae_jax.errors import UserError

Setting = dict[str, Any]
Fields = tuple[str, ...]

OBJECTIVES = ("distortion", "elbo", "loss")
METHODS = ("grid", "quasi_random", "random", "tpe")


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values.

    Args:
      values: on a zipped axis, tuples of a value a field.
    """

    values: Sequence[Any] | np.ndarray

    def __post_init__(self) -> None:
        if not _is_sequence(self.values):
            raise UserError(f"Choice takes a sequence of values, not {self.values!r}")
        object.__setattr__(self, "values", tuple(_plain(value) for value in self.values))


@dataclasses.dataclass(frozen=True)
class Uniform:
    """A number from `low` to `high`.

    Args:
      low: smallest value.
      high: largest value.
      log: uniform in the logarithm; `low` must be positive.
    """

    low: float | int
    high: float | int
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, _as_float(_plain(getattr(self, name))))


@dataclasses.dataclass(frozen=True)
class Integers:
    """An integer from `low` to `high`, both included.

    Args:
      low: smallest value.
      high: largest value.
      log: uniform in the logarithm; `low` must be positive.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, _plain(getattr(self, name)))


Axis = Choice | Uniform | Integers


@dataclasses.dataclass(frozen=True)
class Halving:
    """Stop trials that lag behind, by asynchronous successive halving.

    Args:
      epochs: the marks, in epochs trained, at which trials are compared.
      reduction: at each mark, one in so many goes on.
    """

    epochs: Sequence[int]
    reduction: float | int = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "epochs", _plain(self.epochs))
        object.__setattr__(self, "reduction", _as_float(_plain(self.reduction)))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A search space and how it is searched; made by `grid`, `random`, `quasi_random` or `tpe`.

    Args:
      axes: the fields of an axis and its values, in order.
      method: one of `METHODS`.
      num_trials: how many settings; None for a grid, which has as many as its axes give.
      seeds: each setting runs once with each of them.
      search_seed: of the method's own random numbers.
      batch: settings that TPE suggests at a time; None for the other methods.
      objective: the validation figure that says which trial is better, one of `OBJECTIVES`.
      halving: whether and when to stop trials that lag behind.

    Raises:
      UserError: an axis is none, or is not one that the method can take.
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
        if self.method not in METHODS:
            raise UserError(f"method={self.method!r} must be one of {', '.join(METHODS)}")
        for fields, axis in self.axes:
            name = axis_name(fields)
            if isinstance(axis, Choice):
                continue
            kind = type(axis).__name__
            if self.method == "grid":
                raise UserError(f"{name}: a grid needs a list of values, not {kind}")
            if len(fields) > 1:
                raise UserError(f"{name}: a zipped axis needs a list of tuples, not {kind}")
        object.__setattr__(self, "seeds", _plain(self.seeds))

    @property
    def size(self) -> int:
        """Number of trials."""
        if self.method == "grid":
            return math.prod(len(axis.values) for _, axis in self.axes if isinstance(axis, Choice))
        assert self.num_trials is not None
        return self.num_trials

    @property
    def maximize(self) -> bool:
        """Whether a larger objective is better."""
        return self.objective == "elbo"


def grid(
    axes: Mapping[Any, Any],
    *,
    seeds: Sequence[int] = (0,),
    objective: str = "elbo",
    halving: Halving | None = None,
) -> Sweep:
    """Every combination of the axes' values, the last axis fastest.

    Args:
      axes: values by field name; by a tuple of names, tuples of values that vary together.
      seeds: see `Sweep`; so for the others.
      objective: see `Sweep`.
      halving: see `Sweep`.
    """
    return Sweep(axes=_axes(axes), method="grid", seeds=seeds, objective=objective, halving=halving)


def random(
    axes: Mapping[Any, Any],
    *,
    num_trials: int,
    seeds: Sequence[int] = (0,),
    search_seed: int = 0,
    objective: str = "elbo",
    halving: Halving | None = None,
) -> Sweep:
    """Independent draws; a longer sweep begins with the settings of the shorter one.

    Args:
      axes: values, `Choice`, `Uniform` or `Integers` by field name or tuple of names.
      num_trials: see `Sweep`; so for the others.
      seeds: see `Sweep`.
      search_seed: see `Sweep`.
      objective: see `Sweep`.
      halving: see `Sweep`.
    """
    return Sweep(_axes(axes), "random", num_trials, seeds, search_seed, None, objective, halving)


def quasi_random(
    axes: Mapping[Any, Any],
    *,
    num_trials: int,
    seeds: Sequence[int] = (0,),
    search_seed: int = 0,
    objective: str = "elbo",
    halving: Halving | None = None,
) -> Sweep:
    """A scrambled Sobol sequence: spread more evenly than `random`, with the same arguments.

    Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points", as SciPy implements it. A power
    of two is the best `num_trials`; a longer sweep begins with the settings of the shorter one.
    """
    return Sweep(
        _axes(axes), "quasi_random", num_trials, seeds, search_seed, None, objective, halving
    )


def tpe(
    axes: Mapping[Any, Any],
    *,
    num_trials: int,
    batch: int = 16,
    seeds: Sequence[int] = (0,),
    search_seed: int = 0,
    objective: str = "elbo",
    halving: Halving | None = None,
) -> Sweep:
    """Tree-structured Parzen estimator: settings near those that did well; see `random`.

    Bergstra et al. (2011), "Algorithms for Hyper-Parameter Optimization", as Optuna implements it.
    Each `batch` of settings is suggested from the results of those before it.
    """
    return Sweep(_axes(axes), "tpe", num_trials, seeds, search_seed, batch, objective, halving)


def axis_name(fields: Fields) -> str:
    """An axis's name: its field, or its fields with commas between them."""
    return ",".join(fields)


def with_num_trials(sweep: Sweep, num_trials: int) -> Sweep:
    """The same sweep with another number of trials.

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
    """The setting that one value an axis stands for, zipped axes taken apart."""
    setting: Setting = {}
    for (fields, _), value in zip(sweep.axes, values, strict=True):
        together = value if len(fields) > 1 else (value,)
        for field, of_field in zip(fields, together, strict=True):
            setting[field] = _as_field_takes(field, of_field)
    return setting


def settings(sweep: Sweep) -> list[Setting]:
    """All settings of a grid, random or quasi-random sweep, in order.

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


def describe(sweep: Sweep) -> dict[str, Any]:
    """Everything that makes the sweep what it is, ready for JSON."""
    axes: list[dict[str, Any]] = []
    for fields, axis in sweep.axes:
        kind = type(axis).__name__.lower()
        axes.append({"fields": list(fields), "kind": kind, **_listed(dataclasses.asdict(axis))})
    rest = {f.name: getattr(sweep, f.name) for f in dataclasses.fields(sweep) if f.name != "axes"}
    if sweep.halving is not None:
        rest["halving"] = dataclasses.asdict(sweep.halving)
    return {"axes": axes, **_listed(rest)}


def load(path: str | Path) -> Sweep:
    """The sweep that `get_sweep()` of a Python file returns.

    Raises:
      UserError: there is no such file, it fails, or it gives no sweep.
    """
    sweep = python_file.call(path, "get_sweep", "sweep file")
    if not isinstance(sweep, Sweep):
        raise UserError(
            f"get_sweep() in {path} must return a sweep, such as search_space.grid(...), "
            f"not {type(sweep).__name__}"
        )
    return sweep


def check(sweep: Sweep, config: Mapping[str, Any]) -> None:
    """Refuse a sweep that cannot run on top of `config`.

    Args:
      sweep: what to try.
      config: the base config's values by dotted field name.

    Raises:
      UserError: names the axis, the value, and what would be right.
    """
    if not sweep.axes:
        raise UserError("the sweep has no axes; name at least one field and its values")
    seen: set[str] = set()
    for fields, axis in sweep.axes:
        for field in fields:
            if field == "seed":
                raise UserError("seed cannot be an axis; use seeds=(0, 1, ...) of the sweep")
            if field not in FIELDS:
                raise UserError(unknown_field_message(field))
            if field in seen:
                raise UserError(f"{field} is on two axes; it must be on one")
            seen.add(field)
        if isinstance(axis, Choice):
            _check_choice(fields, axis)
        else:
            _check_range(fields[0], axis)
    _check_numbers(sweep)
    _check_judging(sweep, config)


def _check_choice(fields: Fields, axis: Choice) -> None:
    name = axis_name(fields)
    if not len(axis.values):
        raise UserError(f"{name} has no values; give at least one")
    if len(fields) > 1:
        for value in axis.values:
            if not isinstance(value, tuple) or len(value) != len(fields):
                raise UserError(
                    f"{name}: {value!r} must be a tuple of {len(fields)} values, one a field"
                )
        columns = list(zip(*axis.values, strict=True))
    else:
        columns = [tuple(axis.values)]
    zipped = f" on the axis {name}" if len(fields) > 1 else ""
    for field, values in zip(fields, columns, strict=True):
        for value in values:
            if type(value) is not type(values[0]):
                raise UserError(
                    f"{field} mixes {type(values[0]).__name__} and {type(value).__name__}{zipped}: "
                    f"{values[0]!r}, {value!r}; its values must be of one type"
                )
            expected = FIELDS[field](value)
            if expected is not None:
                raise UserError(f"{field}={value!r}{zipped} must be {expected}")
    seen = set()
    for value in axis.values:
        if value in seen:
            raise UserError(f"{name} has the value {value!r} twice; each must be there once")
        seen.add(value)


def _check_range(field: str, axis: Uniform | Integers) -> None:
    kind = type(axis).__name__
    if not _takes_floats(field) and not _takes_integers(field):
        raise UserError(f"{field} is no number: it needs a list of values, not {kind}")
    if isinstance(axis, Uniform) and not _takes_floats(field):
        raise UserError(f"{field} is an integer: use Integers instead of Uniform")
    for end in (axis.low, axis.high):
        if isinstance(axis, Integers) and type(end) is not int:
            raise UserError(f"{field}: Integers takes integers, not {end!r}")
        expected = FIELDS[field](end)
        if expected is not None:
            raise UserError(f"{field}={end!r}, an end of its {kind}, must be {expected}")
    if axis.low >= axis.high:
        raise UserError(f"{field}: low={axis.low!r} must be below high={axis.high!r}")
    if axis.log and axis.low <= 0:
        raise UserError(f"{field}: low={axis.low!r} must be above 0 for log=True")


def _check_numbers(sweep: Sweep) -> None:
    counts = {"num_trials": sweep.num_trials, "batch": sweep.batch}
    if sweep.method == "grid":
        del counts["num_trials"]
    if sweep.method != "tpe":
        del counts["batch"]
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise UserError(f"{name}={count!r} must be an integer of at least 1")
    seeds = sweep.seeds
    if not isinstance(seeds, tuple) or not seeds:
        raise UserError(f"seeds={seeds!r} must be a tuple of one or more integers, such as (0, 1)")
    for name, seed in (*(("seeds", seed) for seed in seeds), ("search_seed", sweep.search_seed)):
        expected = FIELDS["seed"](seed)
        if expected is not None:
            among = "each must be" if name == "seeds" else "it must be"
            raise UserError(f"{name}: {seed!r}; {among} {expected}")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds={seeds!r} has one twice; each must be there once")


def _check_judging(sweep: Sweep, config: Mapping[str, Any]) -> None:
    if sweep.objective not in OBJECTIVES:
        raise UserError(f"objective={sweep.objective!r} must be one of {', '.join(OBJECTIVES)}")
    halving = sweep.halving
    if halving is not None:
        marks = halving.epochs
        good = isinstance(marks, tuple) and marks and all(type(mark) is int for mark in marks)
        if not good or marks[0] < 1 or any(b <= a for a, b in itertools.pairwise(marks)):
            raise UserError(
                f"halving: epochs={marks!r} must be a tuple of increasing integers of at least 1"
            )
        reduction = halving.reduction
        if type(reduction) is not float or not 1 < reduction < math.inf:
            raise UserError(f"halving: reduction={reduction!r} must be a number above 1")
        length = min(_values_of("epochs", sweep, config))
        if marks[-1] >= length:
            raise UserError(
                f"halving: epochs={marks!r} must end before the runs do, at epochs={length!r}"
            )
    judges = sweep.method == "tpe" or halving is not None
    if judges and "" in _values_of("data.validation_split", sweep, config):
        needs = "a tpe sweep" if sweep.method == "tpe" else "halving"
        raise UserError(
            f"data.validation_split='' leaves nothing to judge by: {needs} needs a validation "
            "split, such as 'train[55000:]'"
        )


def _values_of(field: str, sweep: Sweep, config: Mapping[str, Any]) -> list[Any]:
    """The values that runs of the sweep have in a field; of a range, its ends."""
    for fields, axis in sweep.axes:
        if field in fields:
            if not isinstance(axis, Choice):
                return [axis.low, axis.high]
            if len(fields) == 1:
                return list(axis.values)
            return [value[fields.index(field)] for value in axis.values]
    return [config[field]]


def _axes(axes: Mapping[Any, Any]) -> tuple[tuple[Fields, Axis], ...]:
    if not isinstance(axes, Mapping):
        raise UserError(f"axes must be a dict of values by field name, not {axes!r}")
    return tuple(_axis(key, axis) for key, axis in axes.items())


def _axis(key: Any, axis: Any) -> tuple[Fields, Axis]:
    fields = (key,) if isinstance(key, str) else key
    if not isinstance(fields, tuple) or not all(isinstance(field, str) for field in fields):
        raise UserError(f"the axis {key!r} must be the name of a field or a tuple of names")
    if isinstance(key, tuple) and len(key) < 2:
        raise UserError(f"the axis {key!r} must name two or more fields, or be no tuple")
    if isinstance(axis, Uniform | Integers):
        return fields, axis
    if not isinstance(axis, Choice):
        if not _is_sequence(axis):
            raise UserError(
                f"{axis_name(fields)}: {axis!r} is no axis; give a list of values, Uniform or "
                "Integers"
            )
        axis = Choice(axis)
    if len(fields) == 1:
        return fields, Choice([_as_field_takes(fields[0], value) for value in axis.values])
    # A value of another length is left alone for `check`, which names it.
    return fields, Choice(
        [
            tuple(map(_as_field_takes, fields, value))
            if isinstance(value, tuple) and len(value) == len(fields)
            else value
            for value in axis.values
        ]
    )


def _is_sequence(values: Any) -> bool:
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    return isinstance(values, Sequence) and not isinstance(values, str | bytes)


def _plain(value: Any) -> Any:
    """The value without NumPy in it, sequences as tuples."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(_plain(item) for item in value) if _is_sequence(value) else value


def _as_float(value: Any) -> Any:
    # Adding 0 turns -0.0 into 0.0, so that equal numbers are written alike.
    return float(value) + 0.0 if type(value) in (int, float) else value


def _as_field_takes(field: str, value: Any) -> Any:
    return _as_float(value) if _takes_floats(field) else value


def _takes_floats(field: str) -> bool:
    return field in FIELDS and FIELDS[field](0.5) is None


def _takes_integers(field: str) -> bool:
    # Two is the smallest integer that all such fields accept.
    return field in FIELDS and FIELDS[field](2) is None


def _points(method: str, num_points: int, num_axes: int, seed: int) -> np.ndarray:
    """Points of the unit cube, one a row; the first rows do not depend on how many there are."""
    if method == "random":
        return np.random.default_rng(seed).random((num_points, num_axes))
    # SciPy takes half a second to import, and the other methods do without.
    from scipy.stats import qmc

    sobol = qmc.Sobol(num_axes, rng=np.random.default_rng(seed))
    # Of a number that is no power of two SciPy warns.
    return sobol.random_base2((num_points - 1).bit_length())[:num_points]


def _pick(axis: Axis, u: float) -> Any:
    """The value at the quantile `u`, in [0, 1)."""
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


def _listed(value: Any) -> Any:
    """The value with its tuples as JSON gives them back."""
    if isinstance(value, Mapping):
        return {name: _listed(item) for name, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, tuple | list) else value
