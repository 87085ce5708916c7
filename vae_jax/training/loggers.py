"""Loggers: the records of a run in MLflow, Weights & Biases or Trackio, beside metrics.jsonl.

metrics.jsonl is what a logger is filled from. What a logger has is noted in the workdir's
loggers.json: the id of its run there, and the last step that it was given. A run that goes on
therefore goes on in the same run of the logger; records from before the logger was named, or while
it could not be reached, are given to it later; and none is given twice.
"""

import contextlib
import importlib
import io
import logging
import math
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from vae_jax import workdir
from vae_jax.errors import UserError, first_line
from vae_jax.settings import flatten
from vae_jax.training.records import Record, read_records

_FILE = "loggers.json"
_PROJECT = "vae_jax"
_SECONDS_BETWEEN_SENDS = 2.0
# What MLflow's servers take in one request.
_MOST_METRICS, _MOST_PARAMS, _LONGEST_PARAM = 1000, 100, 6000

# The metrics of some steps, by step; "train/elbo" is that of the training set.
Steps = Mapping[int, Mapping[str, float]]


class Described(NamedTuple):
    """A run as a logger sees it.

    Attributes:
      folder: its workdir.
      config: its settings by dotted name.
      group: the name of its sweep; empty for a run alone.
    """

    folder: Path
    config: Mapping[str, Any]
    group: str = ""

    @property
    def name(self) -> str:
        """The name of the run."""
        own = self.folder.absolute().name
        return f"{self.group}-{own}" if self.group else own


@runtime_checkable
class Logger(Protocol):
    """A run in a logger. Any method may fail with any exception."""

    @property
    def run(self) -> str:
        """The id by which the run is opened again."""

    @property
    def where(self) -> str:
        """The place that the records go to, in words."""

    def last_step(self) -> int | None:
        """Return the last step that the logger has; None if it cannot be asked."""

    def log(self, steps: Steps) -> None:
        """Take the metrics of some steps, in order."""

    def finish(self, metrics: Mapping[str, float], step: int, *, failed: bool) -> None:
        """Take the final metrics, and end the run."""

    def close(self) -> None:
        """Leave the run as one that was stopped and may go on."""


class _MLflow:
    """A run in MLflow: a server, or a database that `mlflow ui` reads."""

    def __init__(self, described: Described, run: str | None) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        self.where = str(self._client.tracking_uri)
        if run is None:
            tags = {"workdir": str(described.folder.absolute())}
            tags |= {"sweep": described.group} if described.group else {}
            created = self._client.create_run(
                self._experiment(), tags=tags, run_name=described.name
            )
            self.run = str(created.info.run_id)
            params = [
                Param(name, str(value)[:_LONGEST_PARAM]) for name, value in described.config.items()
            ]
            for start in range(0, len(params), _MOST_PARAMS):
                self._client.log_batch(self.run, params=params[start : start + _MOST_PARAMS])
        else:
            self.run = run
            self._client.update_run(run, status="RUNNING")

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            # Another process has just made it.
            except MlflowException:
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def last_step(self) -> int | None:
        steps = [entry.step for entry in self._client.get_metric_history(self.run, "epoch")]
        return max(steps, default=-1)

    def log(self, steps: Steps) -> None:
        now = time.time_ns() // 10**6
        # "epoch" comes last of a step: where it is, the rest is.
        self._send([(n, v, now, step) for step, own in steps.items() for n, v in own.items()])

    def _send(self, metrics: list[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        for start in range(0, len(metrics), _MOST_METRICS):
            part = [Metric(*values) for values in metrics[start : start + _MOST_METRICS]]
            self._client.log_batch(self.run, metrics=part)

    def finish(self, metrics: Mapping[str, float], step: int, *, failed: bool) -> None:
        now = time.time_ns() // 10**6
        self._send([(name, value, now, step) for name, value in metrics.items()])
        self._client.set_terminated(self.run, status="FAILED" if failed else "FINISHED")

    def close(self) -> None:
        self._client.set_terminated(self.run, status="KILLED")


class _WandB:
    """A run in Weights & Biases, written into the workdir unless WANDB_MODE=online."""

    def __init__(self, described: Described, run: str | None) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        folder = os.environ.get("WANDB_DIR", str(described.folder.absolute()))
        # Before the new file is there.
        self._written = -1 if run is None else _last_step_in_files(Path(folder), run)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            id=run or uuid.uuid4().hex[:12],
            name=described.name,
            group=described.group or None,
            config=dict(described.config),
            dir=folder,
            mode=mode,
            # A run offline has no server that could say what is there.
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                silent=True,
                init_timeout=30,
                finish_timeout=60,
            ),
        )
        self.run = str(self._run.id)
        self._is_online = mode == "online"
        self.where = str(self._run.url if self._is_online else Path(self._run.dir).parent)

    def last_step(self) -> int | None:
        return int(self._run.starting_step) - 1 if self._is_online else self._written

    def log(self, steps: Steps) -> None:
        for step, metrics in steps.items():
            self._run.log(dict(metrics), step=step, commit=True)

    def finish(self, metrics: Mapping[str, float], step: int, *, failed: bool) -> None:
        self._run.summary.update(dict(metrics))
        self._run.finish(exit_code=int(failed))

    def close(self) -> None:
        self._run.finish(exit_code=1)


def _last_step_in_files(folder: Path, run: str) -> int:
    """Return the last step in the files of a run that was written offline; -1 if there is none.

    A kill takes with it what the process of Weights & Biases has not written yet.
    """
    from wandb.proto.wandb_internal_pb2 import Record as Message

    last = -1
    for path in folder.glob(f"*wandb/offline-run-*-{run}/*.wandb"):
        for content in wandb_messages(path.read_bytes()):
            message = Message.FromString(content)
            if message.WhichOneof("record_type") == "history":
                last = max(last, int(message.history.step.num))
    return last


def wandb_messages(content: bytes) -> Iterator[bytes]:
    """Yield the whole messages of a .wandb file: LevelDB's log format, after a header of 7 bytes.

    Blocks of 2^15 bytes hold parts of messages: a checksum of 4 bytes, the size in 2, a kind in 1.
    """
    position, message = 7, b""
    while position + 7 <= len(content):
        left = 2**15 - position % 2**15
        if left < 7:
            position += left
            continue
        size = int.from_bytes(content[position + 4 : position + 6], "little")
        kind = content[position + 6]
        end = position + 7 + size
        # 1 is a whole message; 2, 3 and 4 are the first, a middle and the last part of one.
        if not 1 <= kind <= 4 or end > len(content):
            return
        part = content[position + 7 : end]
        message = part if kind in (1, 2) else message + part
        position = end
        if kind in (1, 4):
            yield message


class _Trackio:
    """A run in Trackio's local database, or in the Space or server of its environment variables."""

    def __init__(self, described: Described, run: str | None) -> None:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        self._project = os.environ.get("TRACKIO_PROJECT", _PROJECT)
        self._storage: Any = SQLiteStorage
        self._is_local = not (_trackio_is_remote())
        # Trackio opens a run again by its name.
        self.run = run or f"{described.name}-{uuid.uuid4().hex[:6]}"
        with contextlib.redirect_stdout(io.StringIO()):
            self._run = trackio.init(
                self._project,
                name=self.run,
                group=described.group or None,
                config=dict(described.config),
                resume="never" if run is None else "must",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self.where = f"project {self._project}; trackio show --project {self._project}"

    def last_step(self) -> int | None:
        if not self._is_local:
            return None
        step = self._storage.get_max_step_for_run(self._project, self.run)
        return -1 if step is None else int(step)

    def log(self, steps: Steps) -> None:
        for step, metrics in steps.items():
            self._run.log(dict(metrics), step=step)

    def finish(self, metrics: Mapping[str, float], step: int, *, failed: bool) -> None:
        self._run.log(dict(metrics), step=step)
        self.close()

    def close(self) -> None:
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()


def _trackio_is_remote() -> bool:
    return bool(os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL"))


# By name: what opens the described run, new or with the id that it has there.
LOGGERS: dict[str, Callable[[Described, str | None], Logger]] = {
    "mlflow": _MLflow,
    "wandb": _WandB,
    "trackio": _Trackio,
}


def require(names: Sequence[str]) -> None:
    """Import the packages of some loggers.

    Their reports about their users are switched off, unless the environment says otherwise.

    Raises:
      UserError: a logger is unknown, or its package is not installed.
    """
    for name in names:
        if name not in LOGGERS:
            raise UserError(f"--log={name} must be some of {','.join(LOGGERS)}, between commas")
    if len(set(names)) < len(names):
        raise UserError(f"--log={','.join(names)} names a logger twice")
    for name, value in _environment(names).items():
        os.environ.setdefault(name, value)
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UserError(
                f"--log={name} needs a package that is not installed ({first_line(error)}); "
                f"pip install -e '.[{name}]'"
            ) from None
    if "mlflow" in names:
        # It sets the levels of its own when it is imported. Of a server that does not answer there
        # is one warning, ours.
        for own, level in (("mlflow", "WARNING"), ("alembic", "WARNING"), ("urllib3", "ERROR")):
            logging.getLogger(own).setLevel(level)


def _environment(names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if "mlflow" in names:
        found |= {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # A server that does not answer must not hold the training.
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        }
    if "wandb" in names:
        found["WANDB_ERROR_REPORTING"] = "false"
    if "trackio" in names and not _trackio_is_remote():
        # It would ask the Hugging Face Hub for the user's name.
        found["HF_HUB_OFFLINE"] = "1"
    return found


class LoggerWriter:
    """Gives the records of a run to a logger. One that fails is left out, with one warning.

    Attributes:
      is_failed: whether the logger has failed.
    """

    def __init__(self, name: str, described: Described, *, announce: bool = True) -> None:
        """Open the run; it is given the records in metrics.jsonl that it lacks with the next ones.

        Args:
          name: of the logger.
          described: the run.
          announce: whether to print where the records go.
        """
        self._name, self._described = name, described
        self._logger: Logger | None = None
        self.is_failed = False
        noted = _noted(described.folder).get(name, {})
        self._step = int(noted.get("step", -1))
        self._last_send = -math.inf
        begun = noted.get("run")
        opened = self._attempt(lambda: LOGGERS[name](described, begun))
        if opened is None:
            self._pending: list[Record] = []
            return
        self._logger = opened
        there = self._attempt(opened.last_step) if begun else None
        if there is not None:
            self._step = there
        self._note()
        if announce:
            print(f"--log={name}: {opened.where}", file=sys.stderr, flush=True)
        records = read_records(described.folder / "metrics.jsonl")
        self._pending = [record for record in records if record["step"] > self._step]

    def write(self, record: Record) -> None:
        """Keep a record that the logger lacks, and now and then send what is kept."""
        if self._logger is None or record["step"] <= self._step:
            return
        self._pending.append(record)
        if time.monotonic() - self._last_send >= _SECONDS_BETWEEN_SENDS:
            # More records of the last step may come.
            self._send(before=record["step"])

    def flush(self) -> None:
        """Send all records."""
        self._send(before=math.inf)

    def finish(self, metrics: Mapping[str, Any], step: int, *, failed: bool = False) -> None:
        """Send all records and the final metrics, and end the run there.

        Args:
          metrics: those that are no finite numbers are left out.
          step: the last step of the run.
          failed: whether the run ended without a model.
        """
        self.flush()
        numbers = _numbers(metrics)
        if (logger := self._logger) is not None:
            self._attempt(lambda: logger.finish(numbers, step, failed=failed))
        if not self.is_failed:
            self._note(finished=True)
        self._logger = None

    def close(self) -> None:
        """Send the records of whole steps, and leave the run as one that may go on.

        A finished run stays finished.
        """
        # What stopped the run may have come between the records of a step.
        self._send(before=self._pending[-1]["step"] if self._pending else 0)
        if self._logger is not None:
            self._attempt(self._logger.close)
            self._logger = None

    def _send(self, before: int | float) -> None:
        steps: dict[int, dict[str, float]] = {}
        for record in self._pending:
            if record["step"] < before:
                split, epoch = record["split"], record["epoch"]
                own = {n: v for n, v in record.items() if n not in ("step", "epoch", "split")}
                kept = steps.setdefault(record["step"], {})
                kept |= {f"{split}/{name}": value for name, value in _numbers(own).items()}
                kept["epoch"] = kept.pop("epoch", epoch)
        if not steps or (logger := self._logger) is None:
            return
        self._pending = [record for record in self._pending if record["step"] >= before]
        self._last_send = time.monotonic()
        # Before they are sent: after a kill in between they are missing there, and never doubled.
        sent, self._step = self._step, max(steps)
        self._note()
        self._attempt(lambda: logger.log(steps))
        if self.is_failed:
            self._step = sent
            self._note()

    def _attempt(self, function: Callable[[], Any]) -> Any:
        """Call a function of the logger; if it fails, warn and go on without the logger."""
        try:
            return function()
        # A logger may fail in any way, and training goes on in any case.
        except Exception as error:
            self.is_failed, self._logger = True, None
            logging.warning(
                "--log=%s failed, and training goes on without it (%s: %s); the same command sends "
                "what is missing there",
                self._name,
                type(error).__name__,
                first_line(error)[:200],
            )
            return None

    def _note(self, *, finished: bool = False) -> None:
        noted = _noted(self._described.folder)
        run = self._logger.run if self._logger is not None else noted[self._name]["run"]
        noted[self._name] = {"run": run, "step": self._step, "finished": finished}
        workdir.write_json(self._described.folder / _FILE, noted)


def _noted(folder: Path) -> dict[str, Any]:
    """Return what is noted of each logger of a run."""
    path = folder / _FILE
    return workdir.read_json(path) if path.is_file() else {}


def unfinished(names: Sequence[str], folder: Path) -> list[str]:
    """Return the loggers that have not been given all of a finished run."""
    noted = _noted(folder) if names else {}
    return [name for name in names if not noted.get(name, {}).get("finished", False)]


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are finite numbers."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def summary_metrics(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a summary.json or a member.json under the names that loggers show."""
    found = {
        f"{part}/{name}": value
        for part, content in (("best_valid", "valid"), ("test", "test"))
        for name, value in flatten(summary.get(content, {})).items()
    }
    times = ("best_epoch", "wall_seconds", "train_seconds")
    return found | {name: summary[name] for name in times if name in summary}
