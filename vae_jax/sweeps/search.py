"""The trials of a search, whose settings are suggested from results, in an Optuna study.

The study lies in the workdir, in journal.log, or in a storage that several machines share, each
with a workdir of its own. A trial is claimed by creating it, in one step with its owner. The trials
of a killed process are among `Search.mine` of the workdir's next one; those of a dead machine in a
shared storage are taken over by another one.

A trial's user attributes: "owner", the workdir that runs it; "seen", when the owner gave its last
sign of life (Unix time, in seconds); and "rows", the results of its members.
"""

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from vae_jax.errors import UserError
from vae_jax.sweeps.space import Axis, Choice, Setting, Sweep, Uniform, unpack
from vae_jax.sweeps.storage import close, reaching

_SECONDS_BETWEEN_SIGNS = 60.0


class Trial(NamedTuple):
    """A setting to run, and its number in the sweep."""

    number: int
    setting: Setting


class Outcome(NamedTuple):
    """The end of a trial.

    Attributes:
      state: how it ended: complete, pruned or failed.
      value: the objective; None where there is none.
      reports: the objective at the marks of successive halving, and at the last epoch.
      rows: the results of its members, ready for JSON.
    """

    state: TrialState
    value: float | None
    reports: dict[int, float]
    rows: list[dict[str, Any]]


class Search:
    """The trials of one search, as one workdir sees them.

    Where a shared storage fails, every method raises a UserError that says so.

    Args:
      storage: where the study lies.
      url: the storage's, if it is shared; else empty.
      study: the study's name.
      sweep: what to try.
      owner: the name under which the workdir claims trials.
      names: what the study calls the axes.
    """

    def __init__(
        self,
        storage: BaseStorage,
        url: str,
        study: str,
        sweep: Sweep,
        *,
        owner: str,
        names: Sequence[str],
    ) -> None:
        self._storage = storage
        self._url = url
        self._study = study
        self._sweep = sweep
        self._owner = owner
        axes = [axis for _, axis in sweep.axes]
        self._distributions = dict(zip(names, map(_distribution, axes), strict=True))
        with reaching(url):
            self._id = storage.get_study_id_from_name(study)

    def mine(self) -> list[Trial]:
        """Return the trials that this workdir runs, by number."""
        with reaching(self._url):
            return [self._suggested(trial) for trial in self._trials() if self._is_ours(trial)]

    def running(self) -> set[int]:
        """Return the numbers of the trials that this workdir or another one runs."""
        with reaching(self._url):
            return {trial.number for trial in self._trials() if trial.state is TrialState.RUNNING}

    def claim(self, limit: int) -> list[Trial]:
        """Take up to `limit` new trials, which no other workdir then gets.

        Their settings are suggested from the trials that have ended or run; the same state of the
        study gives the same suggestions.
        """
        claimed: list[Trial] = []
        with reaching(self._url):
            # Earlier versions made all trials at the start, in the state WAITING.
            for trial in self._trials():
                if len(claimed) == limit or trial.state is not TrialState.WAITING:
                    continue
                if self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    self._own(trial)
                    claimed.append(self._suggested(trial))
            while len(claimed) < limit and len(self._trials()) < self._sweep.size:
                attributes = {"owner": self._owner, "seen": time.time()}
                new = create_trial(state=TrialState.RUNNING, user_attrs=attributes)
                trial = self._storage.get_trial(self._storage.create_new_trial(self._id, new))
                if trial.number >= self._sweep.size:
                    # Another machine was faster.
                    self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                    break
                claimed.append(self._suggested(trial))
        return claimed

    def reclaim(self, seconds: float) -> int:
        """Take over the trials of other workdirs that gave no sign of life for `seconds`.

        An owner that was only slow does no harm: its trial is the same, and the first result
        stands. The machines' clocks must agree to within `seconds`.

        Returns:
          The number of trials taken over.
        """
        with reaching(self._url):
            lost = [
                trial
                for trial in self._trials()
                if trial.state is TrialState.RUNNING
                and not self._is_ours(trial)
                and time.time() - _last_sign(trial) >= seconds
            ]
            for trial in lost:
                self._own(trial)
        return len(lost)

    @contextlib.contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Give signs of life meanwhile, if there are other workdirs to see them."""
        if not self._url:
            yield
            return
        ended = threading.Event()

        def give_signs() -> None:
            while not ended.wait(_SECONDS_BETWEEN_SIGNS):
                # A storage that fails is reported when the results are written.
                with contextlib.suppress(UserError):
                    self.alive()

        self.alive()
        thread = threading.Thread(target=give_signs, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def alive(self) -> None:
        """Give a sign of life for each trial that this workdir runs."""
        with reaching(self._url):
            for trial in filter(self._is_ours, self._trials()):
                self._set(trial, "seen", time.time())

    def finish(self, number: int, outcome: Outcome) -> None:
        """Write down how a trial ended. One that has ended before stays as it is.

        Without a finite value it has failed; a pruned one needs none.
        """
        state, value = outcome.state, outcome.value
        lacks_value = value is None and state is not TrialState.PRUNED
        if lacks_value or (value is not None and not math.isfinite(value)):
            state = TrialState.FAIL
        with reaching(self._url), contextlib.suppress(UpdateFinishedTrialError):
            trial = self._trials()[number]
            if trial.state.is_finished():
                return
            # The state comes last: a process killed before that leaves the trial among `mine`.
            self._set(trial, "rows", outcome.rows)
            for epoch, report in sorted(outcome.reports.items()):
                self._storage.set_trial_intermediate_value(trial._trial_id, epoch, report)
            values = None if state is TrialState.FAIL or value is None else [value]
            self._storage.set_trial_state_values(trial._trial_id, state, values)

    def rows(self) -> list[dict[str, Any]]:
        """Return the results of all trials that have ended, whoever ran them, in their order."""
        with reaching(self._url):
            return [
                row
                for trial in self._trials()
                if trial.state.is_finished()
                for row in trial.user_attrs.get("rows", [])
            ]

    def reports(self, before: int) -> list[dict[int, float]]:
        """Return the objective by epoch of each ended trial with a number below `before`."""
        with reaching(self._url):
            return [
                trial.intermediate_values
                for trial in self._trials()[:before]
                if trial.state.is_finished()
            ]

    def close(self) -> None:
        """Close the connections to the storage."""
        close(self._storage)

    def _trials(self) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(self._id, deepcopy=False)
        return sorted(trials, key=lambda trial: trial.number)[: self._sweep.size]

    def _is_ours(self, trial: FrozenTrial) -> bool:
        # An earlier version may have been killed before it wrote the owner.
        ours = (self._owner,) if self._url else (self._owner, None)
        return trial.state is TrialState.RUNNING and trial.user_attrs.get("owner") in ours

    def _own(self, trial: FrozenTrial) -> None:
        # The owner comes last: with it, the sign of life of an earlier owner would count.
        self._set(trial, "seen", time.time())
        self._set(trial, "owner", self._owner)

    def _set(self, trial: FrozenTrial, name: str, value: Any) -> None:
        # Another machine may have taken over the trial and ended it.
        with contextlib.suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(trial._trial_id, name, value)

    def _suggested(self, trial: FrozenTrial) -> Trial:
        """Return the trial with its setting, after a kill without the parameters it lacks."""
        params = dict(trial.params)
        if params.keys() != self._distributions.keys():
            study = optuna.load_study(study_name=self._study, storage=self._storage)
            sampler = self._sampler(trial.number)
            space = sampler.infer_relative_search_space(study, trial)
            relative = sampler.sample_relative(study, trial, space)
            for index, (name, distribution) in enumerate(self._distributions.items()):
                if name in params:
                    continue
                if name in relative:
                    params[name] = relative[name]
                else:
                    sampler = self._sampler(trial.number, 1 + index)
                    params[name] = sampler.sample_independent(study, trial, name, distribution)
                internal = distribution.to_internal_repr(params[name])
                self._storage.set_trial_param(trial._trial_id, name, internal, distribution)
        values = []
        for name, (_, axis) in zip(self._distributions, self._sweep.axes, strict=True):
            value = params[name]
            if isinstance(axis, Choice):
                value = axis.values[_labels(axis).index(value)]
            values.append(value)
        return Trial(trial.number, unpack(self._sweep, values))

    def _sampler(self, *position: int) -> optuna.samplers.TPESampler:
        """Return a sampler for one suggestion.

        Each has its own, because a sampler's random numbers go on from one suggestion to the next,
        and a process killed in between would start them again.
        """
        seed = np.random.SeedSequence((self._sweep.search_seed, *position)).generate_state(1).item()
        # Trials that run count as bad ones, so that a batch spreads out.
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _distribution(axis: Axis) -> BaseDistribution:
    if isinstance(axis, Choice):
        return CategoricalDistribution(_labels(axis))
    if isinstance(axis, Uniform):
        return FloatDistribution(axis.low, axis.high, log=axis.log)
    return IntDistribution(axis.low, axis.high, log=axis.log)


def _labels(axis: Choice) -> list[Any]:
    """Return the values as Optuna takes them: tuples and sections as text."""
    return [
        json.dumps(value) if isinstance(value, tuple | Mapping) else value for value in axis.values
    ]


def _last_sign(trial: FrozenTrial) -> float:
    """Return when the trial's owner was last seen, or began to run it; Unix time, in seconds."""
    began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    return max(began, trial.user_attrs.get("seen", 0.0))
