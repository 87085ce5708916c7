import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image
from prepared_data import write_prepared

from vae_jax.data import Dataset, LazyDataset, load, open_lazily, streaming
from vae_jax.data.dataset import num_bytes
from vae_jax.data.streaming import Stream, read_ahead
from vae_jax.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
BATCH_SIZE, STEPS_PER_EPOCH, TOTAL_STEPS = 8, 6, 18
# A bound for what hangs; the tests wait for events.
SECONDS = 120


def order(epoch):
    return np.random.default_rng(epoch).permutation(len(IMAGES))


def steps_of_call(step):
    """Calls of four and of two steps."""
    return min(4, STEPS_PER_EPOCH - step % STEPS_PER_EPOCH)


def expected_batch(step):
    epoch, index = divmod(step, STEPS_PER_EPOCH)
    return IMAGES[order(epoch)[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]]


def stream_of(dataset, first_step=0, **options):
    options = {"num_threads": 2, "num_ahead": 4, "total_steps": TOTAL_STEPS, **options}
    return Stream(
        dataset,
        order,
        batch_size=BATCH_SIZE,
        first_step=first_step,
        steps_of_call=steps_of_call,
        **options,
    )


def all_batches(dataset, first_step=0, **options):
    """The batches from a step on, by step."""
    with stream_of(dataset, first_step, **options) as stream:
        step, calls = first_step, []
        while step < TOTAL_STEPS:
            calls.append(np.asarray(stream.take(steps_of_call(step))))
            assert len(calls[-1]) == steps_of_call(step)
            step += len(calls[-1])
        with pytest.raises(ValueError, match="not what was read ahead"):
            stream.take(1)
    return dict(enumerate(np.concatenate(calls), first_step))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    pytest.importorskip("array_record", reason="has no Windows version")
    folder = tmp_path_factory.mktemp("prepared")
    write_prepared(folder, "noise", {"train": IMAGES, "test": IMAGES[:9]}, (6, 5, 3), num_shards=3)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    for index, image in enumerate(IMAGES):
        Image.fromarray(image).save(path / f"{index:03d}.png")
    return str(path)


@pytest.fixture(params=["prepared", "folder", "npz"])
def source(request, tmp_path):
    """Arguments that name the same images in a source of each kind."""
    if request.param == "npz":
        np.savez(tmp_path / "noise.npz", images=IMAGES)
        return str(tmp_path / "noise.npz"), ""
    if request.param == "folder":
        return request.getfixturevalue("folder"), ""
    return "noise", request.getfixturevalue("data_dir")


def test_only_what_is_asked_for_is_read_and_in_that_order(source):
    name, data_dir = source
    whole = load(name, "train[10:]+train[8:13]", data_dir)
    lazy = open_lazily(name, "train[10:]+train[8:13]", data_dir)
    assert isinstance(lazy, LazyDataset)
    assert isinstance(whole, Dataset)
    assert (lazy.shape, lazy.dtype) == ((45, 6, 5, 3), np.uint8)
    assert num_bytes(lazy) == whole.images.nbytes
    np.testing.assert_array_equal(whole.images, np.concatenate([IMAGES[10:], IMAGES[8:13]]))
    indices = np.array([41, 0, 0, 7, 44])
    part = lazy.read(indices)
    np.testing.assert_array_equal(part.images, whole.images[indices])
    if whole.labels is not None:
        np.testing.assert_array_equal(part.labels, whole.labels[indices])


def test_a_step_has_the_batch_that_the_order_gives_it_wherever_the_stream_begins(source):
    name, data_dir = source
    dataset = open_lazily(name, "train", data_dir)
    for first_step in (0, 4, 6, 16):
        batches = all_batches(dataset, first_step)
        assert list(batches) == list(range(first_step, TOTAL_STEPS))
        for step, batch in batches.items():
            np.testing.assert_array_equal(batch, expected_batch(step))


def test_the_processes_rows_are_the_whole_batch_and_each_reads_its_own_only():
    parts = []
    for index in range(4):
        counting = Counting()
        parts.append(all_batches(counting, process_index=index, process_count=4))
        assert counting.num_read == TOTAL_STEPS * BATCH_SIZE // 4
    for step in range(TOTAL_STEPS):
        whole = np.concatenate([part[step] for part in parts])
        np.testing.assert_array_equal(whole, expected_batch(step))
    with pytest.raises(ValueError, match="8 examples do not divide over 3 processes"):
        stream_of(counting, process_count=3)


def test_batches_go_to_the_device_as_they_are_stored():
    with stream_of(Dataset(IMAGES, None)) as stream:
        batches = stream.take(4)
    assert isinstance(batches, jax.Array)
    assert (batches.shape, batches.dtype) == ((4, 8, 6, 5, 3), np.uint8)


class Counting:
    """Images that count what is read of them.

    Attributes:
      opened: an event that every read waits for; set at first.
      on_read: called after every read.
    """

    shape, dtype = IMAGES.shape, IMAGES.dtype

    def __init__(self, on_read=lambda: None):
        self.num_read, self.threads, self.on_read = 0, set(), on_read
        self.opened, self._changed = threading.Event(), threading.Condition()
        self.opened.set()

    def read(self, indices):
        assert self.opened.wait(SECONDS)
        with self._changed:
            self.num_read += len(indices)
            self.threads.add(threading.current_thread().name)
            self.on_read()
            self._changed.notify_all()
        return Dataset(IMAGES[indices], None)

    def wait_for(self, num_batches):
        """Wait until so many batches have been read."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: self.num_read >= num_batches * BATCH_SIZE, SECONDS
            )


@pytest.mark.parametrize(("num_threads", "num_ahead"), [(1, 1), (3, 5)])
def test_what_is_read_ahead_is_bounded(num_threads, num_ahead):
    counting = Counting()
    with stream_of(
        counting, total_steps=10**6, num_threads=num_threads, num_ahead=num_ahead
    ) as stream:
        for taken_or_next in (4, 4 + 2):
            counting.wait_for(taken_or_next + num_ahead)
            # Time for one too many, which a slow machine may miss; it finds none where none is.
            time.sleep(0.1)
            assert counting.num_read == (taken_or_next + num_ahead) * BATCH_SIZE
            if taken_or_next == 4:
                stream.take(4)
    assert len(counting.threads) <= num_threads


def test_the_next_call_is_read_while_a_call_trains(monkeypatch):
    """By a clock that reading alone moves, and no batch is read before it is looked at."""
    clock = SimpleNamespace(now=0.0)

    def read_one():
        clock.now += 1.0

    counting = Counting(read_one)
    counting.opened.clear()

    def look():
        # Before the reader goes on.
        now = clock.now
        counting.opened.set()
        return now

    monkeypatch.setattr(streaming, "time", SimpleNamespace(perf_counter=look))
    with stream_of(counting, num_threads=1, num_ahead=4) as stream:
        stream.take(4)
        assert stream.seconds_waited >= 4
        counting.wait_for(4 + 2 + 4)
        stream.take(2)
        assert stream.seconds_waited == 0


def test_a_closed_stream_leaves_no_threads_behind():
    before = threading.active_count()
    # Batches are being read when it is closed.
    stream = stream_of(Counting(lambda: time.sleep(0.02)))
    stream.take(4)
    stream.close()
    deadline = time.monotonic() + SECONDS
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def refused(dataset, message):
    with pytest.raises(UserError, match=message) as error:
        all_batches(dataset)
    assert "\n" not in str(error.value)


class Ending(Counting):
    """A source that has fewer images than it says."""

    def read(self, indices):
        return Dataset(IMAGES[indices[indices < 45]], None)


def test_a_stream_that_ends_early_is_refused():
    refused(Ending(), r"ended early: for step \d+ it gave images of shape \[\d, 6, 5, 3\] in place")


@pytest.mark.parametrize("keep", [0.1, 0.6])
def test_a_record_file_that_is_cut_short_while_it_is_read_is_refused(tmp_path, keep):
    pytest.importorskip("array_record", reason="has no Windows version")
    # Too large for what was read ahead to have it all.
    noise = RNG.integers(0, 256, (50, 60, 50, 3), dtype=np.uint8)
    write_prepared(tmp_path, "noise", {"train": noise})
    dataset = open_lazily("noise", "train", str(tmp_path))
    (path,) = tmp_path.rglob("*-train.array_record*")
    os.truncate(path, int(path.stat().st_size * keep))
    refused(dataset, "split 'train' is damaged: .*; delete the folder and prepare it again")


def test_a_damaged_record_is_named(tmp_path):
    pytest.importorskip("array_record", reason="has no Windows version")
    write_prepared(tmp_path, "noise", {"train": [*IMAGES[:30, ..., :1], IMAGES[0, 1:, :, :1]]})
    dataset = open_lazily("noise", "train", str(tmp_path))
    np.testing.assert_array_equal(dataset.read(np.arange(30)).images, IMAGES[:30, ..., :1])
    with pytest.raises(
        UserError,
        match=r"split 'train', example 30 has shape \[5, 5, 1\], but .* example 0 has "
        r"\[6, 5, 1\]; .*data.image_size",
    ):
        dataset.read(np.array([3, 30]))


def test_an_image_file_that_goes_bad_is_named(folder, tmp_path):
    subprocess.run(["cp", "-r", folder, tmp_path / "images"], check=True)
    dataset = open_lazily(str(tmp_path / "images"), "train", "")
    (tmp_path / "images" / "047.png").write_bytes(b"no image")
    refused(dataset, r"047\.png: cannot be decoded")


def test_results_come_in_order_and_errors_where_they_occur():
    def read(index):
        time.sleep(0.01 * (index % 3))
        if index == 7:
            raise UserError("seven")
        return np.array(index)

    results = read_ahead(read, 20, num_threads=3, num_ahead=6)
    assert [int(next(results)) for _ in range(7)] == list(range(7))
    with pytest.raises(UserError, match=r"^seven$"):
        next(results)


def test_grain_brings_neither_tensorflow_nor_torch(data_dir):
    code = (
        "import sys; from vae_jax.data import open_lazily; "
        "from vae_jax.data.streaming import read_ahead; "
        f"data = open_lazily('noise', 'train', {data_dir!r}); import numpy as np; "
        "read = lambda i: data.read(np.array([i])).images; "
        "list(read_ahead(read, 3, num_threads=1, num_ahead=1)); "
        "assert 'grain' in sys.modules; print({'tensorflow', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()", done.stderr


def test_without_grain_streaming_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    refused(Counting(), "data.mode='stream' cannot be used here .*; use data.mode='memory'")
    assert len(load("mnist", "test[:3]", "").images) == 3


def test_images_of_many_shapes_are_cropped_and_resized(tmp_path):
    pytest.importorskip("array_record", reason="has no Windows version")
    # A white square in the middle of black margins, which are cut off.
    pictures = []
    for height, width in ((40, 20), (20, 20), (16, 32)):
        side = min(height, width)
        picture = np.zeros((height, width, 3), np.uint8)
        top, left = (height - side) // 2, (width - side) // 2
        picture[top : top + side, left : left + side] = 255
        pictures.append(picture)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    write_prepared(tmp_path / "data", "squares", {"train": pictures}, (None, None, 3))
    for name in (str(tmp_path), "squares"):
        with pytest.raises(UserError, match=r"data\.image_size"):
            load(name, "train", str(tmp_path / "data"))
        images = load(name, "train", str(tmp_path / "data"), image_size=10).images
        np.testing.assert_array_equal(images, np.full((3, 10, 10, 3), 255))


def test_resizing_is_antialiased_and_leaves_images_of_that_size_alone(tmp_path):
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checks).save(tmp_path / "checks.png")
    whole = load(str(tmp_path), "train", "", image_size=64).images
    np.testing.assert_array_equal(whole[0, ..., 0], checks)
    small = load(str(tmp_path), "train", "", image_size=16).images
    assert small.shape == (1, 16, 16, 1)
    np.testing.assert_allclose(small, 127.5, atol=12)


def test_arrays_are_not_resized(tmp_path):
    np.savez(tmp_path / "noise.npz", images=IMAGES)
    for name in ("mnist", str(tmp_path / "noise.npz")):
        with pytest.raises(UserError, match=r"^data\.image_size=10 is for folders of images"):
            load(name, "train", "", image_size=10)
