import io
import json
import resource

import numpy as np
import pytest

from vae_jax.errors import UserError
from vae_jax.training.records import (
    JsonLinesWriter,
    MembersJsonLinesWriter,
    ProgressWriter,
    TensorBoardWriter,
    Writer,
    missing_steps,
    read_records,
)


def record(step, split="train", **metrics):
    return {"step": step, "epoch": step / 10, "split": split, "elbo": -100.0 - step, **metrics}


def write_all(path, steps, last_step=0):
    writer = JsonLinesWriter(path, last_step)
    for step in steps:
        writer.write(record(step))
    writer.close()


def test_records_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_all(path, [1, 2])
    assert read_records(path) == [record(1), record(2)]
    assert path.read_text().count("\n") == 2
    assert read_records(tmp_path / "nothing.jsonl") == []


def test_a_record_is_in_the_file_as_soon_as_it_is_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path, 0)
    writer.write(record(1))
    assert read_records(path) == [record(1)]
    writer.close()


def test_every_cut_of_the_last_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_all(path, [1, 2])
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        assert read_records(path) == [record(1)]
    write_all(path, [2], last_step=1)
    assert path.read_bytes() == whole


def test_opening_again_removes_what_lies_after_the_last_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_all(path, [1, 2, 3, 4])
    write_all(path, [3, 4, 5], last_step=2)
    assert [r["step"] for r in read_records(path)] == [1, 2, 3, 4, 5]
    write_all(path, [], last_step=0)
    assert read_records(path) == []


def test_numbers_keep_every_bit(tmp_path):
    path, value = tmp_path / "metrics.jsonl", float(np.float32(-1) / np.float32(3))
    for last_step in (0, 1, 1):
        writer = JsonLinesWriter(path, last_step)
        if last_step == 0:
            writer.write(record(1, loss=value))
        writer.close()
    assert read_records(path)[0]["loss"] == value


def epochs_of_records(num_epochs):
    """Two calls and a validation per epoch of ten steps."""
    return [
        {"step": 10 * epoch + step, "epoch": epoch + step / 10, "split": split, "elbo": -1.0}
        for epoch in range(num_epochs)
        for step, split in ((6, "train"), (10, "train"), (10, "valid"))
    ]


@pytest.mark.parametrize(
    ("lost", "missing"),
    [([], []), ([0], [6]), ([4, 5], [20]), ([7], [30]), ([6, 7, 8], [26, 30]), (range(9), [30])],
)
def test_a_gap_in_the_records_is_found_wherever_it_is(lost, missing):
    records = epochs_of_records(3)
    kept = [record for index, record in enumerate(records) if index not in lost]
    assert missing_steps(kept, 30) == missing
    # A stop in mid-epoch leaves no gap.
    assert missing_steps(records[:7], 26) == []
    assert missing_steps([], 0) == []


def test_a_continued_run_keeps_one_record_of_each_step_and_names_a_gap(tmp_path, caplog):
    path, records = tmp_path / "metrics.jsonl", epochs_of_records(3)
    doubled = [*records[:3], *records[1:6], *records[7:]]
    path.write_text("".join(json.dumps(record) + "\n" for record in doubled))
    JsonLinesWriter(path, 30).close()
    assert read_records(path) == [*records[:6], *records[7:]]
    assert f"{path} had 2 records twice" in caplog.text
    assert f"{path} lacks records from step 26 to 26" in caplog.text


@pytest.mark.parametrize("line", ["null", "3", "[1, 2]", '{"step": 2}', "[" * 10**5])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    write_all(path, [1])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2 is damaged: .*"):
        read_records(path)


def members_writer(folder, last_steps):
    paths = {member: folder / f"{member}.jsonl" for member in last_steps}
    return MembersJsonLinesWriter(paths, last_steps)


def test_each_member_has_its_own_file_of_records(tmp_path):
    writer = members_writer(tmp_path, {3: 0, 8: 0})
    assert isinstance(writer, Writer)
    # Records that are not flushed are lost with the process; its checkpoint is older, too.
    for step in (1, 2):
        for member in (3, 5, 8):
            writer.write({"member": member, **record(step, of=member)})
        writer.write({"member": 3, **record(step, "valid", loss=float("nan"))})
    assert read_records(tmp_path / "3.jsonl") == read_records(tmp_path / "8.jsonl") == []
    writer.flush()
    own = [[record(step, of=3), record(step, "valid", loss=None)] for step in (1, 2)]
    assert read_records(tmp_path / "3.jsonl") == own[0] + own[1]
    assert read_records(tmp_path / "8.jsonl") == [record(step, of=8) for step in (1, 2)]
    writer.write({"member": 8, **record(3)})
    writer.flush()
    writer.write({"member": 8, **record(4)})
    writer.flush()
    writer.write({"member": 3, **record(3)})
    writer.close()
    assert [r["step"] for r in read_records(tmp_path / "8.jsonl")] == [1, 2, 3, 4]
    assert [r["step"] for r in read_records(tmp_path / "3.jsonl")] == [1, 1, 2, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.jsonl", "8.jsonl"]


def test_records_after_a_members_own_last_step_are_removed(tmp_path):
    for member in (3, 5, 8):
        write_all(tmp_path / f"{member}.jsonl", [1, 2, 3, 4])
    # A stop in the middle of a round leaves some members ahead of others.
    writer = members_writer(tmp_path, {3: 2, 8: 3})
    steps = {m: [r["step"] for r in read_records(tmp_path / f"{m}.jsonl")] for m in (3, 5, 8)}
    assert steps == {3: [1, 2], 5: [1, 2, 3, 4], 8: [1, 2, 3]}
    writer.write({"member": 3, **record(3)})
    writer.flush()
    assert read_records(tmp_path / "3.jsonl") == [record(step) for step in (1, 2, 3)]


def test_records_of_members_that_cannot_be_written_are_reported_in_one_line(tmp_path):
    writer = members_writer(tmp_path, {3: 0})
    (tmp_path / "3.jsonl").unlink()
    (tmp_path / "3.jsonl").mkdir()
    writer.write({"member": 3, **record(1)})
    with pytest.raises(UserError, match=r"3\.jsonl cannot be written: .*make room") as error:
        writer.flush()
    assert "\n" not in str(error.value)


def test_a_full_disk_is_reported_in_one_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path, 0)
    writer.write(record(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, hard))
    try:
        # Closing fails, too: the line that did not fit is still in the buffer.
        for act in (lambda: writer.write(record(2)), writer.close):
            with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written: .*make room"):
                act()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_records(path) == [record(1)]
    write_all(path, [2], last_step=1)
    assert read_records(path) == [record(1), record(2)]


def test_a_full_device_is_reported_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    # Opening would replace the link by a file.
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: None)
        writer = JsonLinesWriter(path, 0)
    with pytest.raises(
        UserError, match=r"metrics\.jsonl cannot be written: No space left"
    ) as error:
        writer.write(record(1))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="No space left"):
        writer.close()


def test_a_folder_that_cannot_be_created_is_reported_in_one_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for make in (
        lambda: JsonLinesWriter(file / "metrics.jsonl", 0),
        lambda: TensorBoardWriter(file / "tensorboard", 0),
    ):
        with pytest.raises(UserError, match="cannot be written"):
            make()


@pytest.fixture
def events_of():
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="reads event files"
    )

    def read(folder):
        events = accumulator.EventAccumulator(
            str(folder), size_guidance={"scalars": 0, "images": 0}
        )
        events.Reload()
        return events

    return read


def scalars(events, tag):
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_tensorboard_reads_scalars_and_images(tmp_path, events_of):
    writer = TensorBoardWriter(tmp_path, 0)
    for step in (10, 20):
        writer.write(record(step, examples_per_second=5.0))
        writer.write(record(step, "valid"))
    writer.write_images("samples", np.linspace(-1, 2, 4 * 8 * 6).reshape(4, 8, 6, 1), 20)
    # A flush is enough: a kill may come next.
    writer.flush()
    events = events_of(tmp_path)
    assert sorted(events.Tags()["scalars"]) == [
        "train/elbo",
        "train/examples_per_second",
        "valid/elbo",
    ]
    assert scalars(events, "train/elbo") == [(10, -110.0), (20, -120.0)]
    assert scalars(events, "valid/elbo") == [(10, -110.0), (20, -120.0)]
    image = events.Images("samples")[0]
    assert image.step == 20
    assert (image.height, image.width) == (8, 24)
    assert image.encoded_image_string.startswith(b"\x89PNG")
    writer.close()


def test_tensorboard_hides_what_a_resumed_run_repeats(tmp_path, events_of):
    killed = TensorBoardWriter(tmp_path, 0)
    for step in (10, 20, 30):
        killed.write(record(step, loss=1.0))
    killed.flush()
    resumed = TensorBoardWriter(tmp_path, 10)
    for step in (20, 30, 40):
        resumed.write(record(step, loss=2.0))
    resumed.close()
    killed.close()
    events = events_of(tmp_path)
    assert scalars(events, "train/loss") == [(10, 1.0), (20, 2.0), (30, 2.0), (40, 2.0)]


def test_tensorboard_reads_hyperparameters_and_metrics(tmp_path, events_of):
    plugin_data = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    values = {
        "objective.beta": 0.5,
        "model.latent_size": 2,
        "model.encoder.remat": True,
        "optimizer.name": "adam",
        "model.encoder.widths": (16, 8),
    }
    writer = TensorBoardWriter(tmp_path, 0)
    writer.write_hyperparameters(values, {"test/elbo": -101.5, "test/rate": 4.25}, 30)
    writer.flush()
    events = events_of(tmp_path)
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = plugin_data.HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["objective.beta"].number_value == 0.5
    assert hparams["model.latent_size"].number_value == 2
    assert hparams["model.encoder.remat"].bool_value is True
    assert hparams["optimizer.name"].string_value == "adam"
    assert hparams["model.encoder.widths"].string_value == "(16, 8)"
    # Of several lists of settings TensorBoard shows one alone, and without one those of all runs.
    with pytest.raises(KeyError):
        events.SummaryMetadata("_hparams_/experiment")
    assert scalars(events, "test/elbo") == [(30, -101.5)]
    assert scalars(events, "test/rate") == [(30, 4.25)]
    writer.close()


class Screen(io.TextIOWrapper):
    name, mode = "<screen>", "w"

    def __init__(self, *, terminal=False):
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._terminal = terminal

    def isatty(self):
        return self._terminal

    def text(self):
        return self.buffer.getvalue().decode()


def test_progress_lines_show_elbo_rate_and_time_left():
    stream = Screen()
    writer = ProgressWriter(
        total_steps=40, first_step=10, batch_size=5, stream=stream, seconds_between_lines=0.0
    )
    writer.write({**record(20), "epoch": 1})
    writer.write({**record(40, "valid"), "epoch": 2})
    writer.close()
    first, last = stream.text().splitlines()
    assert first.startswith("epoch 1, train elbo -120.00 nats; ")
    assert "images/s" in first
    assert first.endswith(" s left")
    assert last.startswith("epoch 2, valid elbo -140.00 nats; ")
    assert last.endswith(", 0 s left")


@pytest.mark.parametrize(
    ("metrics", "shown"), [({"distortion": 6.0}, "distortion 6.00"), ({"bound": 5.0}, "loss 7.00")]
)
def test_progress_without_an_elbo_shows_the_distortion_or_the_loss(metrics, shown):
    stream = Screen()
    writer = ProgressWriter(
        total_steps=10, first_step=0, batch_size=1, stream=stream, seconds_between_lines=0.0
    )
    writer.write({"step": 5, "epoch": 0.5, "split": "train", "loss": 7.0, **metrics})
    assert stream.text().startswith(f"epoch 0.5, train {shown} nats; ")


def test_progress_lines_are_rare():
    stream = Screen()
    writer = ProgressWriter(total_steps=100, first_step=0, batch_size=1, stream=stream)
    for step in range(1, 100):
        writer.write(record(step))
    assert stream.text() == ""
    writer.write(record(100, "valid"))
    assert stream.text().count("\n") == 1


def test_a_terminal_gets_a_bar():
    stream = Screen(terminal=True)
    writer = ProgressWriter(total_steps=10, first_step=2, batch_size=100, stream=stream)
    writer.write(record(10, "valid"))
    writer.close()
    assert "valid elbo -110.00" in stream.text()
    assert "1.00k/1.00k" in stream.text()


def test_every_writer_has_the_same_methods(tmp_path):
    writers = [
        JsonLinesWriter(tmp_path / "metrics.jsonl", 0),
        TensorBoardWriter(tmp_path / "tensorboard", 0),
        ProgressWriter(total_steps=1, first_step=0, batch_size=1, stream=Screen()),
    ]
    for writer in writers:
        assert isinstance(writer, Writer)
        writer.write(record(1))
        writer.flush()
        writer.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == record(1)
