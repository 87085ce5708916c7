"""Records in loggers: one of the tests' own everywhere, and the real ones where they are there."""

import ast
import contextlib
import importlib.util
import json
import logging
import math
from pathlib import Path

import pytest
import small_logger
from small_logger import Kept

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.training import loggers
from vae_jax.training.records import JsonLinesWriter, Writer, read_records

CONFIG = {"seed": 3, "model.name": "vae", "model.encoder.widths": (16, 8)}


def record(step, split="train", **metrics):
    return {"step": step, "epoch": step / 4, "split": split, "loss": 10.0 - step, **metrics}


RECORDS = [
    record(2),
    record(4, rate=math.nan),
    record(4, "valid", rate=2.0),
    record(6),
    record(8),
    record(8, "valid"),
]
# The steps that a logger must have after a whole run, each once.
LOSSES = {
    "train/loss": [(2, 8.0), (4, 6.0), (6, 4.0), (8, 2.0)],
    "valid/loss": [(4, 6.0), (8, 2.0)],
}
SUMMARY = {"test": {"elbo": -81.5, "by_modality": {"image": -80.0}, "levels": [1, 2]}, "seed": 3}


@pytest.fixture
def kept(monkeypatch):
    return small_logger.use(monkeypatch)


@pytest.fixture(autouse=True)
def opened():
    """The files of runs that were killed."""
    yield
    while OPENED:
        OPENED.pop().close()


OPENED = []


def begin(folder, last_step, name="small_logger"):
    """Return what writes the file and what fills the logger, as a run that goes on has them."""
    folder.mkdir(exist_ok=True)
    file = JsonLinesWriter(folder / "metrics.jsonl", last_step)
    OPENED.append(file)
    return file, loggers.LoggerWriter(name, loggers.Described(folder, CONFIG, group="sweep"))


def give(writers, records):
    for own in records:
        for writer in writers:
            writer.write(own)


def losses(log):
    """The values of the losses by step, in the order in which a logger got them."""
    return {
        name: [(step, metrics[name]) for step, metrics in log if name in metrics]
        for name in ("train/loss", "valid/loss")
    }


def killed_and_continued(folder, name):
    """Write RECORDS with a kill after step 6, before which step 4 was saved."""
    killed = begin(folder, 0, name)
    give(killed, RECORDS[:3])
    killed[1].flush()
    give(killed, RECORDS[3:4])
    # As if a signal came: what has been given is there.
    killed[1].flush()
    killed[1].close()
    continued = begin(folder, 4, name)
    give(continued, RECORDS[3:])
    continued[1].finish(loggers.summary_metrics(SUMMARY), 8)
    continued[1].close()
    return workdir.read_json(folder / "loggers.json")[name]["run"]


def test_a_continued_run_goes_on_in_the_same_run_of_the_logger_without_doubles(tmp_path, kept):
    run = killed_and_continued(tmp_path / "run", "small_logger")
    assert list(kept) == [run] == ["sweep-run 0"]
    own = kept[run]
    assert losses(own["log"]) == LOSSES
    assert [step for step, _ in own["log"]] == [2, 4, 6, 8]
    # What is not finite is left out, and the epoch says that a step is whole.
    assert list(own["log"][1][1]) == ["train/loss", "valid/loss", "valid/rate", "epoch"]
    assert own["config"] == CONFIG
    assert own["final"] == (8, {"test/elbo": -81.5, "test/by_modality.image": -80.0})
    assert own["state"] == "finished"
    assert loggers.unfinished(["small_logger", "other"], tmp_path / "run") == ["other"]


@pytest.mark.parametrize("has_memory", [True, False])
def test_a_kill_at_any_moment_doubles_nothing(tmp_path, kept, monkeypatch, has_memory):
    monkeypatch.setattr(Kept, "has_memory", has_memory)
    monkeypatch.setattr(loggers, "_SECONDS_BETWEEN_SENDS", 0.0)
    for num_given in range(1, len(RECORDS) + 1):
        for is_last_lost in (False, True):
            folder = tmp_path / f"{num_given}{is_last_lost}"
            file, writer = begin(folder, 0)
            give((file, writer), RECORDS[: num_given - 1])
            if is_last_lost:
                # The kill comes between the note and the logger.
                writer._logger.log = lambda steps: None
            give((file, writer), RECORDS[num_given - 1 : num_given])
            # The first checkpoint is of step 4.
            last_step = 4 if num_given > 2 else 0
            file, writer = begin(folder, last_step)
            give((file, writer), [entry for entry in RECORDS if entry["step"] > last_step])
            writer.finish({}, 8)
            own = kept[workdir.read_json(folder / "loggers.json")["small_logger"]["run"]]
            for name, values in losses(own["log"]).items():
                assert len(set(values)) == len(values)
                if has_memory or not is_last_lost:
                    assert values == LOSSES[name], (num_given, is_last_lost)


def test_records_from_before_the_logger_was_named_are_sent(tmp_path, kept):
    folder = tmp_path / "run"
    folder.mkdir()
    with contextlib.closing(JsonLinesWriter(folder / "metrics.jsonl", 0)) as file:
        give([file], RECORDS)
    _, writer = begin(folder, 8)
    writer.finish({}, 8, failed=True)
    (own,) = kept.values()
    assert losses(own["log"]) == LOSSES
    assert own["state"] == "failed"


def test_records_are_sent_now_and_then_and_steps_are_whole(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(loggers, "_SECONDS_BETWEEN_SENDS", 0.0)
    _, writer = begin(tmp_path / "run", 0)
    assert isinstance(writer, Writer)
    own = next(iter(kept.values()))
    seen = []
    for entry in RECORDS:
        writer.write(entry)
        seen.append([step for step, _ in own["log"]])
    assert seen == [[], [2], [2], [2, 4], [2, 4, 6], [2, 4, 6]]
    # A step without all of its records stays for the next start.
    writer.close()
    assert seen[-1] == [step for step, _ in own["log"]]
    assert own["state"] == "stopped"
    _, writer = begin(tmp_path / "run", 4)
    give([writer], RECORDS[3:])
    writer.flush()
    assert losses(own["log"]) == LOSSES


@pytest.mark.parametrize("where", ["__init__", "last_step", "log", "finish", "close"])
def test_a_logger_that_fails_is_left_out_with_one_warning_and_filled_later(
    tmp_path, kept, monkeypatch, caplog, where
):
    def fail(*_, **__):
        raise ConnectionError("no route\nto the host")

    folder = tmp_path / "run"
    if where == "last_step":
        begin(folder, 0)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Kept, where, fail)
        file, writer = begin(folder, 0)
        give((file, writer), RECORDS)
        writer.flush()
        if where != "close":
            writer.finish({}, 8)
        writer.close()
    assert writer.is_failed
    (message,) = [found.getMessage() for found in caplog.records]
    assert message == (
        "--log=small_logger failed, and training goes on without it (ConnectionError: no route); "
        "the same command sends what is missing there"
    )
    assert read_records(folder / "metrics.jsonl")[0] == RECORDS[0]
    assert loggers.unfinished(["small_logger"], folder) == ["small_logger"]
    writer = loggers.LoggerWriter("small_logger", loggers.Described(folder, CONFIG))
    writer.finish({}, 8)
    (own,) = kept.values()
    assert losses(own["log"]) == LOSSES
    assert own["state"] == "finished"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tensorboard"], "--log=tensorboard must be some of mlflow,wandb,trackio,small_logger,"),
        (["small_logger", "small_logger"], "--log=small_logger,small_logger names a logger twice"),
        (["nothing"], r"--log=nothing needs a package that is not installed .*; pip install -e"),
    ],
)
def test_a_wrong_name_is_refused_in_a_line(kept, monkeypatch, names, message):
    if "nothing" in names:
        monkeypatch.setitem(loggers.LOGGERS, "nothing", Kept)
    with pytest.raises(UserError, match=message) as error:
        loggers.require(names)
    assert "\n" not in str(error.value)


def test_no_package_of_a_logger_is_imported_unless_it_is_asked_for():
    paths = [path for folder in ("vae_jax", "experiments") for path in Path(folder).rglob("*.py")]
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in getattr(node, "names", ())]
            imported = {name.split(".")[0] for name in [*names, getattr(node, "module", "") or ""]}
            if isinstance(node, ast.Import | ast.ImportFrom) and node.__dict__.get("level", 0) == 0:
                assert not imported & {"mlflow", "wandb", "trackio"}, path


def of_mlflow(folder, run):
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_run(run)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "sweep-run")
    assert found.data.params == {name: str(value) for name, value in CONFIG.items()}
    assert found.data.tags["sweep"] == "sweep"
    assert found.data.metrics["test/elbo"] == -81.5
    return {
        name: [(m.step, m.value) for m in client.get_metric_history(run, name)] for name in LOSSES
    }


def of_trackio(folder, run):
    from trackio.sqlite_storage import SQLiteStorage

    rows = SQLiteStorage.get_logs("vae_jax", run)
    assert [row["test/elbo"] for row in rows if "test/elbo" in row] == [-81.5]
    return losses([(row["step"], row) for row in rows])


def of_wandb(folder, run):
    from wandb.proto import wandb_internal_pb2 as messages

    history, final = [], {}
    files = sorted((folder / "wandb").glob(f"offline-run-*-{run}/*.wandb"))
    assert len(files) == 2, "a file for each start"
    for path in files:
        for content in loggers.wandb_messages(path.read_bytes()):
            message = messages.Record.FromString(content)
            for part, items in (("history", "item"), ("summary", "update")):
                if message.WhichOneof("record_type") == part:
                    found = {
                        item.key or "/".join(item.nested_key): json.loads(item.value_json)
                        for item in getattr(getattr(message, part), items)
                    }
                    if part == "history":
                        history.append((found["_step"], found))
                    else:
                        final |= found
            if message.WhichOneof("record_type") == "run":
                assert (message.run.run_id, message.run.display_name) == (run, "sweep-run")
    assert final["test/elbo"] == -81.5
    return losses(history)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "read"), [("mlflow", of_mlflow), ("wandb", of_wandb), ("trackio", of_trackio)]
)
def test_a_real_logger_has_each_record_of_a_continued_run_once(tmp_path, monkeypatch, name, read):
    for variable, value in {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "HF_HOME": str(tmp_path / "hugging_face"),
        "WANDB_MODE": "offline",
    }.items():
        monkeypatch.setenv(variable, value)
    for variable in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"pip install -e '.[{name}]' to test --log={name}; it takes long to import")
    loggers.require([name])
    folder = tmp_path / "run"
    run = killed_and_continued(folder, name)
    assert read(folder, run) == LOSSES
