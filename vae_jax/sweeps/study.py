"""The trials of a sweep in a database that several processes and machines may share.

An Optuna study holds them: a dashboard shows it, and TPE learns from it. All of a sweep's trials
are there from the start, waiting. A process claims some, runs them and tells what came out; what a
process that was killed leaves behind, it finds again as `mine`, or another one reclaims.

A trial's user attributes: "index" among the sweep's trials, "owner" that runs it, when the owner
was "seen" last (Unix time, in seconds), and the "rows" it was told with.
"""

import contextlib
import json
import math
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import optuna
import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from vae_jax.errors import UserError, first_line
from vae_jax.sweeps.space import Choice, Setting, Sweep, Uniform, axis_name, settings, unpack

State = Literal["complete", "pruned", "failed"]

_STATES = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

_CONNECT_SECONDS = 5
# How long a process waits for another one that holds an SQLite file.
_LOCK_SECONDS = 60
# How long the process that fills a study may give no sign before another one goes on.
_FILLING_SECONDS = 30.0
# How long a running trial may have no owner: it gets one right after it starts to run.
_OWNERLESS_SECONDS = 60.0


class Trial(NamedTuple):
    """A setting to run, and its number in the study."""

    number: int
    setting: Setting


class Study:
    """The trials of one sweep, as one owner sees them; made by `open_study`.

    Where the storage cannot be reached, every method raises a UserError that names it.
    """

    def __init__(
        self,
        url: str,
        rdb: RDBStorage,
        name: str,
        sweep: Sweep,
        owner: str,
        exclusive: bool,
    ) -> None:
        self._url = url
        self._rdb = rdb
        # Reads each finished trial once.
        self._storage: BaseStorage = optuna.storages.get_storage(rdb)
        self._id = rdb.get_study_id_from_name(name)
        self._name = name
        self._sweep = sweep
        self._settings = None if sweep.method == "tpe" else settings(sweep)
        self._owner = owner
        self._exclusive = exclusive

    def close(self) -> None:
        """Close the connections to the storage."""
        self._rdb.remove_session()
        self._rdb.engine.dispose()

    def claim(self, limit: int) -> list[Trial]:
        """Take up to `limit` waiting trials, which no other process then gets.

        For TPE their settings are suggested here, from the trials that are finished or running; the
        same state of the study gives the same suggestions.

        Args:
          limit: most trials to take.

        Returns:
          The trials by number; fewer than `limit` where no more are waiting.
        """
        with _reaching(self._url):
            self._put_back_ownerless()
            claimed: list[Trial] = []
            for trial in self._trials():
                if len(claimed) >= limit:
                    break
                if trial.state is not TrialState.WAITING:
                    continue
                # An owner that was taken for dead may finish it while we take it.
                with contextlib.suppress(UpdateFinishedTrialError):
                    if self._take(trial.number):
                        claimed.append(Trial(trial.number, self._suggested(trial)))
            return claimed

    def mine(self) -> list[Trial]:
        """The trials that this owner has claimed and not told, by number."""
        with _reaching(self._url):
            return [
                Trial(trial.number, self._suggested(trial))
                for trial in self._trials()
                if trial.state is TrialState.RUNNING and _owner_of(trial) == self._owner
            ]

    def alive(self, numbers: Iterable[int]) -> None:
        """Say that trials are still being run, so that `reclaim` leaves them alone."""
        with _reaching(self._url):
            for number in numbers:
                # Somebody who took us for dead may have finished it.
                with contextlib.suppress(UpdateFinishedTrialError):
                    self._set(number, "seen", time.time())

    def reclaim(self, seconds: float) -> int:
        """Put back to waiting what other owners run and have given no sign of for so long.

        An owner that was only slow, and tells its trial after all, does no harm: it is the same
        trial, and the first telling stands. The machines' clocks must agree to within `seconds`.

        Args:
          seconds: age of the last sign of life, see `alive`.

        Returns:
          How many trials were put back.
        """
        with _reaching(self._url):
            return sum(
                self._put_back(trial)
                for trial in self._trials()
                if trial.state is TrialState.RUNNING
                and _owner_of(trial) not in (None, self._owner)
                and time.time() - _last_sign(trial) >= seconds
            )

    def tell(
        self,
        number: int,
        *,
        value: float | None,
        state: State,
        reports: Mapping[int, float],
        rows: list[dict[str, Any]],
    ) -> None:
        """Finish a trial. One that is finished stays as it was told first.

        Args:
          number: the trial.
          value: the objective; without a finite one, a trial that is complete has failed.
          state: how it ended. One that was pruned may have no value.
          reports: the objective by epoch trained.
          rows: what `rows` gives back, ready for JSON.
        """
        if value is None:
            failed = state != "pruned"
        else:
            failed = state == "failed" or not math.isfinite(value)
        values = None if failed or value is None else [value]
        with _reaching(self._url), contextlib.suppress(UpdateFinishedTrialError):
            trial_id = self._trial_id(number)
            if self._storage.get_trial(trial_id).state.is_finished():
                return
            # The state comes last: a process killed before that finds the trial among `mine`.
            self._set(number, "rows", rows)
            for epoch, report in sorted(reports.items()):
                # Trial.report warns where a report is there from before a kill; this replaces it.
                self._storage.set_trial_intermediate_value(trial_id, epoch, report)
            final = TrialState.FAIL if failed else _STATES[state]
            self._storage.set_trial_state_values(trial_id, final, values)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of all finished trials, whoever ran them, in the order of the trials."""
        with _reaching(self._url):
            return [
                row
                for trial in self._trials()
                if trial.state.is_finished()
                for row in trial.user_attrs.get("rows", [])
            ]

    def counts(self) -> dict[str, int]:
        """How many trials are waiting, running, complete, pruned and failed."""
        with _reaching(self._url):
            found = [trial.state for trial in self._trials()]
        return {name: found.count(state) for name, state in _STATES.items()}

    def best(self) -> tuple[int, Setting, float] | None:
        """Number, setting and objective of the best complete trial, the first of equals."""
        with _reaching(self._url):
            complete = [t for t in self._trials() if t.state is TrialState.COMPLETE]
        if not complete:
            return None
        sign = -1 if self._sweep.maximize else 1
        best = min(complete, key=lambda trial: sign * _value(trial))
        return best.number, self._setting(best, best.params), _value(best)

    def rivals(self, before: int) -> dict[int, list[float]]:
        """The objective at each epoch that finished trials with a smaller number reported.

        Args:
          before: a trial's number.

        Returns:
          The values by epoch, in the order of the trials.
        """
        found: dict[int, list[float]] = {}
        with _reaching(self._url):
            for trial in self._trials():
                if trial.number < before and trial.state.is_finished():
                    for epoch, value in sorted(trial.intermediate_values.items()):
                        found.setdefault(epoch, []).append(value)
        return found

    def _fill(self, digest: str, created: bool) -> None:
        """Add the sweep's trials that are missing, unless another process is at it.

        Raises:
          UserError: the study is of another sweep.
        """
        study = self._study()
        last, since = None, time.monotonic()
        # Several may wait for one that was killed; the first to go on gives the others a sign.
        patience = _FILLING_SECONDS * random.uniform(1.0, 1.3)
        while True:
            # In the order opposite to the creator's, who writes the digest and then the trials.
            num_trials = self._storage.get_n_trials(self._id)
            attrs = study.user_attrs
            if attrs.get("digest", digest) != digest:
                raise UserError(
                    f"the study {self._name!r} is of another sweep or another config: its digest "
                    f"is {attrs['digest']}, ours {digest}; use another name or another storage"
                )
            if "digest" not in attrs and num_trials:
                raise UserError(
                    f"the study {self._name!r} was not made by a sweep; use another name"
                )
            if attrs.get("filled"):
                return
            if (attrs.get("digest"), num_trials) != last:
                last, since = (attrs.get("digest"), num_trials), time.monotonic()
            if created or self._exclusive or time.monotonic() - since > patience:
                break
            time.sleep(0.2)
        study.set_user_attr("digest", digest)
        there = {trial.user_attrs.get("index") for trial in self._trials()}
        for index in range(self._sweep.size):
            if index not in there:
                params = {} if self._settings is None else self._params(self._settings[index])
                study.enqueue_trial(params, user_attrs={"index": index})
        study.set_user_attr("filled", True)

    def _study(self) -> optuna.Study:
        # A new one each time, because it keeps the trials that it has read for its sampler until
        # it is asked, and `_take` does not ask it.
        sampler = _Suggestions(self._sweep)
        return optuna.load_study(study_name=self._name, storage=self._storage, sampler=sampler)

    def _trials(self) -> list[FrozenTrial]:
        """The sweep's trials by number: one an index, whatever else somebody may have added."""
        found: dict[int, FrozenTrial] = {}
        for trial in self._storage.get_all_trials(self._id, deepcopy=False):
            if "index" in trial.user_attrs:
                found.setdefault(trial.user_attrs["index"], trial)
        return sorted(found.values(), key=lambda trial: trial.number)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def _set(self, number: int, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._trial_id(number), name, value)

    def _take(self, number: int) -> bool:
        """Set a waiting trial running and own it; False if another process was faster.

        Study.ask takes trials in the same way, but makes one of its own where none is left.
        """
        if not self._storage.set_trial_state_values(self._trial_id(number), TrialState.RUNNING):
            return False
        # The owner comes last: with it, the sign of life of an earlier owner would count.
        self._set(number, "seen", time.time())
        self._set(number, "owner", self._owner)
        return True

    def _put_back_ownerless(self) -> None:
        for trial in self._trials():
            ownerless = trial.state is TrialState.RUNNING and _owner_of(trial) is None
            age = time.time() - _last_sign(trial)
            if ownerless and (self._exclusive or age >= _OWNERLESS_SECONDS):
                self._put_back(trial)

    def _put_back(self, trial: FrozenTrial) -> bool:
        """Set a running trial waiting, with the parameters it has, if it is still as it was read.

        No lock is held in between. Should two processes put it back within the same milliseconds,
        and one take it at once, then it may be run twice; the first telling stands.
        """
        trial_id = self._trial_id(trial.number)
        now = self._storage.get_trial(trial_id)
        signs = [(t.state, t.datetime_start, t.user_attrs) for t in (trial, now)]
        if signs[0] != signs[1]:
            return False
        try:
            # A trial that waits may not be changed, so the owner goes first.
            self._set(trial.number, "owner", None)
            self._storage.set_trial_state_values(trial_id, TrialState.WAITING)
        except UpdateFinishedTrialError:
            return False
        return True

    def _suggested(self, trial: FrozenTrial) -> Setting:
        """The setting of a trial that runs, after a kill without those parameters it lacks."""
        running = optuna.Trial(self._study(), self._trial_id(trial.number))
        params: dict[str, Any] = {}
        for fields, axis in self._sweep.axes:
            name = axis_name(fields)
            if isinstance(axis, Choice):
                params[name] = running.suggest_categorical(name, _labels(axis))
            elif isinstance(axis, Uniform):
                params[name] = running.suggest_float(name, axis.low, axis.high, log=axis.log)
            else:
                params[name] = running.suggest_int(name, axis.low, axis.high, log=axis.log)
        return self._setting(trial, params)

    def _setting(self, trial: FrozenTrial, params: Mapping[str, Any]) -> Setting:
        if self._settings is not None:
            return dict(self._settings[trial.user_attrs["index"]])
        values = []
        for fields, axis in self._sweep.axes:
            value = params[axis_name(fields)]
            if isinstance(axis, Choice):
                value = axis.values[_labels(axis).index(value)]
            values.append(value)
        return unpack(self._sweep, values)

    def _params(self, setting: Setting) -> dict[str, Any]:
        """The setting as parameters of an Optuna trial, one an axis."""
        params = {}
        for fields, _ in self._sweep.axes:
            zipped = tuple(setting[field] for field in fields)
            params[axis_name(fields)] = _label(zipped if len(fields) > 1 else zipped[0])
        return params


class _Suggestions(optuna.samplers.BaseSampler):
    """TPE whose suggestions depend on the study's state, the search seed and the number alone.

    Each suggestion has a sampler of its own, because a sampler's random numbers go on from one to
    the next, and a process that was killed in between would start them again.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._seed = sweep.search_seed
        self._names = [axis_name(fields) for fields, _ in sweep.axes]

    def _sampler(self, *position: int) -> optuna.samplers.TPESampler:
        seed = np.random.SeedSequence((self._seed, *position)).generate_state(1).item()
        # Trials that run count as bad ones, so that a batch spreads out.
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        return self._sampler(trial.number).infer_relative_search_space(study, trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, optuna.distributions.BaseDistribution],
    ) -> dict[str, Any]:
        return self._sampler(trial.number).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: optuna.distributions.BaseDistribution,
    ) -> Any:
        sampler = self._sampler(trial.number, 1 + self._names.index(param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def open_study(
    storage: str, name: str, sweep: Sweep, digest: str, owner: str, exclusive: bool
) -> Study:
    """Make the study of a sweep with all its trials waiting, or join it.

    Args:
      storage: a database URL as SQLAlchemy and Optuna take it, such as sqlite:///trials.db or
        postgresql+psycopg://user@host/database.
      name: of the study; a storage may hold many.
      sweep: what to try.
      digest: of all that makes a study the same; one of another is refused.
      owner: who claims trials here. A process that resumes another must name the same.
      exclusive: whether no other process can be using the study, so that nothing need be waited for
        that a killed one began. Trials that another owner runs are still its own: see `reclaim`.

    Raises:
      UserError: the storage cannot be reached, or the study is of another sweep. A password in the
        URL is masked.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _reaching(storage):
        rdb = _connect(storage)
        try:
            try:
                optuna.create_study(
                    storage=rdb,
                    study_name=name,
                    direction="maximize" if sweep.maximize else "minimize",
                )
                created = True
            except DuplicatedStudyError:
                created = False
            study = Study(storage, rdb, name, sweep, owner, exclusive)
            study._fill(digest, created)
        except BaseException:
            rdb.remove_session()
            rdb.engine.dispose()
            raise
    return study


def _connect(storage: str) -> RDBStorage:
    """The storage with its tables.

    Raises:
      UserError: the URL is none, needs a driver that is missing, or names what keeps nothing.
    """
    shown = masked(storage)
    try:
        url = sqlalchemy.make_url(storage)
        dialect, driver = url.get_backend_name(), url.get_dialect().driver
    except sqlalchemy.exc.NoSuchModuleError:
        raise UserError(
            f"storage={shown!r} is of a kind of database that is not known here; use sqlite:///, "
            "postgresql+psycopg:// or mysql+pymysql://"
        ) from None
    except (ValueError, SQLAlchemyError):
        raise UserError(
            f"storage={shown!r} is no database URL; it must be like sqlite:///trials.db or "
            "postgresql+psycopg://user:password@host/database"
        ) from None
    arguments: dict[str, Any] = {"connect_args": {}}
    if dialect == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise UserError(
                f"storage={shown!r} is kept in memory and lost at the end; name a file, such as "
                "sqlite:///trials.db"
            )
        arguments["connect_args"]["timeout"] = _LOCK_SECONDS
    elif "connect_timeout" not in url.query and driver in (
        ("psycopg", "psycopg2", "pymysql", "mysqldb")
    ):
        arguments["connect_args"]["connect_timeout"] = _CONNECT_SECONDS
    once = {**arguments, "poolclass": sqlalchemy.pool.NullPool}
    try:
        engine = sqlalchemy.create_engine(url, **once)
    except ImportError as error:
        raise UserError(
            f"storage={shown!r} needs the Python module {error.name!r}, which is not installed; "
            "install it, or name another driver, as in mysql+pymysql://"
        ) from None
    with engine.connect():
        pass
    # Optuna would fill in what stands in braces.
    template = storage.replace("{", "{{").replace("}", "}}")
    _make_tables(template, once)
    rdb = RDBStorage(template, {**arguments, "pool_pre_ping": dialect != "sqlite"})
    if dialect == "sqlite":
        _lock_whole_transactions(rdb.engine)
    return rdb


def _make_tables(template: str, arguments: dict[str, Any]) -> None:
    # Optuna looks whether the tables are there and then makes them, so that of two processes one
    # may find them made by the other in between, and fails.
    for remaining in reversed(range(10)):
        try:
            RDBStorage(template, dict(arguments)).remove_session()
            return
        except (SQLAlchemyError, StorageInternalError):
            if not remaining:
                raise
            time.sleep(random.uniform(0.05, 0.3))


def _lock_whole_transactions(engine: sqlalchemy.Engine) -> None:
    """Let an SQLite transaction lock the file before it reads, not only before it writes.

    Optuna reads a trial's state and then sets it. Other databases lock the row in between; SQLite
    cannot, and two processes would both find the trial waiting and both take it.
    """

    def leave_transactions_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sqlalchemy.event.listen(engine, "connect", leave_transactions_to_us)
    sqlalchemy.event.listen(engine, "begin", begin)
    # Connections from before do not know of it.
    engine.dispose()


@contextlib.contextmanager
def _reaching(storage: str) -> Iterator[None]:
    """Tell of a storage that fails in one line."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause: BaseException = error.__cause__ or error
        told = first_line(getattr(cause, "orig", None) or cause)
        raise UserError(f"storage={masked(storage)!r} cannot be used: {told}") from None
    except RuntimeError as error:
        # The tables are of another version of Optuna.
        if "compatible" not in str(error):
            raise
        raise UserError(f"storage={masked(storage)!r}: {first_line(error)}") from None


def masked(storage: str) -> str:
    """The URL without its password; from one that is no URL, rather too much is taken out."""
    hidden = re.sub(r"(://[^:/@]*:).*@", r"\1***@", storage, flags=re.DOTALL)
    hidden = re.sub(r"([?&][^=&]*pass[^=&]*=)[^&]*", r"\1***", hidden, flags=re.IGNORECASE)
    return hidden


def _label(value: Any) -> Any:
    """The value as Optuna takes it: a tuple as text."""
    return json.dumps(value) if isinstance(value, tuple) else value


def _labels(axis: Choice) -> list[Any]:
    return [_label(value) for value in axis.values]


def _owner_of(trial: FrozenTrial) -> str | None:
    return trial.user_attrs.get("owner")


def _last_sign(trial: FrozenTrial) -> float:
    """When the trial's owner was last seen, or it began to run; Unix time, in seconds."""
    began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    return max(began, trial.user_attrs.get("seen", 0.0))


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value
