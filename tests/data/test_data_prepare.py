import functools
import gzip
import http.server
import os
import shutil
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import command_line, prepare
from vae_jax.data import idx, idx_builder, load, prepared, split_sizes, tfds_writing
from vae_jax.data.sprites import builder as sprites_builder
from vae_jax.errors import UserError

pytest.importorskip("array_record", reason="has no Windows version")

RNG = np.random.default_rng(0)
IMAGES = {"train": RNG.integers(0, 256, (30, 28, 28)), "test": RNG.integers(0, 256, (7, 28, 28))}
LABELS = {"train": RNG.integers(0, 10, 30), "test": RNG.integers(0, 10, 7)}


def write_idx(path, array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.parent.mkdir(exist_ok=True)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_source(folder, suffix=".gz"):
    for split, (images, labels) in idx.FILES.items():
        write_idx(folder / f"{images}{suffix}", IMAGES[split])
        write_idx(folder / f"{labels}{suffix}", LABELS[split])
    return str(folder)


def check(data, split):
    np.testing.assert_array_equal(data.images[..., 0], IMAGES[split])
    np.testing.assert_array_equal(data.labels, LABELS[split])
    assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int32)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    made = idx_builder.prepare("fashion_mnist", write_source(root / "source"), str(root / "data"))
    assert made.sizes == {"train": 30, "test": 7}
    assert not made.was_there
    return root / "data"


@pytest.fixture
def copied(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / "data")
    return tmp_path / "data"


def refused(message, name="fashion_mnist", data_dir="", split="train"):
    with pytest.raises(UserError, match=message) as error:
        load(name, split, str(data_dir))
    assert "\n" not in str(error.value)


def prepare_refused(message, *arguments):
    with pytest.raises(UserError, match=message) as error:
        idx_builder.prepare(*map(str, arguments))
    assert "\n" not in str(error.value)


def test_what_was_prepared_is_loaded_in_the_order_of_the_files(data_dir):
    for name in ("fashion_mnist", "fashion_mnist:3.0.1"):
        check(load(name, "train", str(data_dir)), "train")
        check(load(name, "test", str(data_dir)), "test")
    assert split_sizes("fashion_mnist", str(data_dir)) == {"train": 30, "test": 7}
    part = load("fashion_mnist", "test[5:]+train[-10%:]", str(data_dir))
    np.testing.assert_array_equal(
        part.images[..., 0], np.concatenate([IMAGES["test"][5:], IMAGES["train"][27:]])
    )
    np.testing.assert_array_equal(
        part.labels, np.concatenate([LABELS["test"][5:], LABELS["train"][27:]])
    )


def test_tfds_itself_reads_what_was_prepared(data_dir):
    import tensorflow_datasets as tfds

    source = tfds.data_source("fashion_mnist", split="test", data_dir=data_dir)
    np.testing.assert_array_equal([x["image"][..., 0] for x in source], IMAGES["test"])
    np.testing.assert_array_equal([x["label"] for x in source], LABELS["test"])


def test_the_default_data_dir_is_that_of_tfds(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    check(load("fashion_mnist", "test", ""), "test")


def test_preparing_twice_does_nothing(data_dir):
    files = {file: file.stat().st_mtime_ns for file in data_dir.rglob("*.array_record*")}
    assert idx_builder.prepare("fashion_mnist", "/nowhere", str(data_dir)).was_there
    assert files == {file: file.stat().st_mtime_ns for file in data_dir.rglob("*.array_record*")}


def test_plain_files_and_tensorflow_is_never_imported(tmp_path):
    source = write_source(tmp_path / "source", suffix="")
    code = (
        "import sys; from vae_jax.data import idx_builder, load; "
        f"idx_builder.prepare('kmnist', {source!r}, {str(tmp_path)!r}); "
        f"assert load('kmnist', 'test', {str(tmp_path)!r}).images.shape == (7, 28, 28, 1); "
        "assert 'tensorflow_datasets' in sys.modules; assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_folder_in_the_way_does_not_hide_a_prepared_set(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("fashion_mnist")
    check(load("fashion_mnist", "test", str(data_dir)), "test")
    refused("holds no images", "./fashion_mnist", data_dir)


def test_unknown_names_versions_and_configs(data_dir):
    refused("prepared under .*, which has fashion_mnist: run ", "kmnist", data_dir)
    refused("prepared versions are 3.0.1", "fashion_mnist:1.0.0", data_dir)
    refused("prepared configs are none", "fashion_mnist/big", data_dir)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
def test_a_truncated_record_file_is_refused(copied, keep):
    (path,) = copied.rglob("*-train.array_record*")
    os.truncate(path, int(path.stat().st_size * keep))
    refused("split 'train' is damaged: .*prepare it again", data_dir=copied)
    check(load("fashion_mnist", "test", str(copied)), "test")


def test_another_file_format_is_refused(copied):
    (path,) = copied.rglob("dataset_info.json")
    path.write_text(path.read_text().replace("array_record", "tfrecord"))
    refused("is prepared as tfrecord; it must be array_record", data_dir=copied)


def tfds_builder(features, examples):
    import tensorflow_datasets as tfds

    class Custom(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        name = "custom"

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager):
            return {"train": enumerate(examples)}

        def _generate_examples(self):
            raise NotImplementedError

    return Custom


def write_custom(data_dir, features, examples, **settings):
    builder = tfds_builder(features, examples)(data_dir=data_dir, **settings)
    builder.download_and_prepare()


def test_other_features_than_png_bytes(tmp_path):
    import tensorflow_datasets as tfds

    pixels = RNG.normal(size=(3, 4, 5)).astype(np.float32)
    features = {"image": tfds.features.Tensor(shape=(4, 5), dtype=np.float32)}
    write_custom(
        tmp_path, features, [{"image": image} for image in pixels], file_format="array_record"
    )
    data = load("custom", "train[1:]", str(tmp_path))
    np.testing.assert_array_equal(data.images, pixels[1:, ..., np.newaxis])
    assert data.images.dtype == np.float32
    assert data.labels is None


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        ((2, 2), np.array([[1, np.nan], [1, 1]], np.float32), "example 1 has NaN or infinite"),
        ((None, 2), np.ones((3, 2), np.float32), r"example 1 has shape \[3, 2\]"),
    ],
)
def test_unusable_images(tmp_path, shape, value, message):
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Tensor(shape=shape, dtype=np.float32)}
    examples = [{"image": np.ones((2, 2), np.float32)}, {"image": value}]
    write_custom(tmp_path, features, examples, file_format="array_record")
    refused(message, "custom", tmp_path)


def test_a_set_without_images_is_refused(tmp_path):
    import tensorflow_datasets as tfds

    features = {"text": tfds.features.Scalar(np.int64)}
    write_custom(tmp_path, features, [{"text": 1}], file_format="array_record")
    refused(r"no feature 'image'; its features are \['text'\]", "custom", tmp_path)


def test_a_missing_or_damaged_file_is_refused(copied):
    (path,) = copied.rglob("*-train.array_record*")
    path.unlink()
    refused("split 'train' is damaged", data_dir=copied)
    (path,) = copied.rglob("dataset_info.json")
    path.write_text("{")
    refused("not a whole prepared data set", data_dir=copied)


def test_an_interrupted_preparation_leaves_no_data_set(tmp_path, monkeypatch):
    source, data_dir = write_source(tmp_path / "source"), tmp_path / "data"
    encode, calls = tfds_writing.encode_png, []

    def interrupt(image):
        calls.append(image)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return encode(image)

    with monkeypatch.context() as patch:
        patch.setattr(tfds_writing, "encode_png", interrupt)
        with pytest.raises(KeyboardInterrupt):
            idx_builder.prepare("fashion_mnist", source, str(data_dir))
    assert prepared.list_names(str(data_dir)) == []
    # A kill leaves this, since nothing can clean up after it.
    left_over = data_dir / "fashion_mnist" / "incomplete.ABC_3.0.1"
    left_over.mkdir(parents=True)
    (left_over / "dataset_info.json").write_text("{}")
    refused("is not prepared", data_dir=data_dir)
    assert not idx_builder.prepare("fashion_mnist", source, str(data_dir)).was_there
    assert not left_over.exists()
    check(load("fashion_mnist", "train", str(data_dir)), "train")


def test_mistakes_in_the_source_are_refused(tmp_path):
    source, data_dir = tmp_path / "source", tmp_path / "data"
    prepare_refused("known: mnist, fashion_mnist, kmnist", "cifar10", source, data_dir)
    prepare_refused("holds neither train-images-idx3-ubyte.gz", "mnist", source, data_dir)
    write_source(source)
    images, labels = (source / f"{file}.gz" for file in idx.FILES["test"])
    write_idx(labels, LABELS["test"] + 10)
    prepare_refused("label 1[0-9]; mnist has 0 to 9", "mnist", source, data_dir)
    write_idx(labels, LABELS["test"][:6])
    prepare_refused(r"with 7 images it must be \[7\]", "mnist", source, data_dir)
    write_idx(images, IMAGES["test"][:, :8])
    prepare_refused(r"shape \[7, 8, 28\]", "mnist", source, data_dir)
    images.write_bytes(images.read_bytes()[:99])
    prepare_refused("cut short", "mnist", source, data_dir)
    (tmp_path / "file").write_text("")
    prepare_refused("cannot be written", "mnist", source, tmp_path / "file")
    assert prepared.list_names(str(data_dir)) == []


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class CutShortHandler(QuietHandler):
    def copyfile(self, source, outputfile):
        outputfile.write(source.read(20))


@pytest.fixture
def serve():
    servers = []

    def start(folder, handler=QuietHandler):
        handler = functools.partial(handler, directory=folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_downloads_from_a_url(tmp_path, serve):
    url = serve(write_source(tmp_path / "source"))
    idx_builder.prepare("fashion_mnist", url + "/", str(tmp_path / "data"))
    check(load("fashion_mnist", "train", str(tmp_path / "data")), "train")
    file_url = (tmp_path / "source").as_uri()
    idx_builder.prepare("kmnist", file_url, str(tmp_path / "data"))
    check(load("kmnist", "test", str(tmp_path / "data")), "test")


def test_a_failed_download_leaves_nothing(tmp_path, serve):
    source, data_dir = tmp_path / "source", tmp_path / "data"
    write_source(source)

    def nothing_left():
        return not [path for path in (data_dir / "downloads").rglob("*") if path.is_file()]

    url = serve(source, CutShortHandler)
    prepare_refused("ended early: 20 of", "mnist", url, data_dir)
    assert nothing_left()
    prepare_refused("404 File not found", "mnist", serve(tmp_path), data_dir)
    assert nothing_left()
    prepare_refused("cannot be downloaded: .*refused", "mnist", "http://127.0.0.1:1", data_dir)
    assert nothing_left()
    (source / "train-images-idx3-ubyte.gz").write_bytes(b"<html>")
    prepare_refused("http.* is not an idx file", "mnist", serve(source), data_dir)
    assert nothing_left()
    assert prepared.list_names(str(data_dir)) == []


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_official_files_must_be_the_published_ones(tmp_path, serve, monkeypatch, name):
    url = serve(write_source(tmp_path / "source"))
    family = idx_builder.FAMILY[name]._replace(url=url + "/")
    monkeypatch.setitem(idx_builder.FAMILY, name, family)
    prepare_refused("http.* is not the published file", name, "", tmp_path / "data")
    assert not list((tmp_path / "data" / "downloads" / name).iterdir())


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Run the command in this process; return its exit code, output and errors."""

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        try:
            with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
                command_line.run(prepare.main)
        finally:
            flags.FLAGS.unparse_flags()
        return end.value.code, *capsys.readouterr()

    return run


def test_the_command_prints_one_line(tmp_path, run_command):
    arguments = (
        "--name=kmnist",
        f"--source={write_source(tmp_path / 'source')}",
        f"--data_dir={tmp_path / 'data'}",
    )
    # As a user starts it.
    command = [sys.executable, "-m", "experiments.prepare", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kmnist took ")
    assert "train 30, test 7 examples" in done.stdout
    assert done.stdout.count("\n") == 1
    code, output, error = run_command(*arguments)
    assert code == 0, error
    assert output.startswith("kmnist was prepared before")


def test_the_command_reports_a_mistake_in_one_line(tmp_path, run_command):
    code, output, error = run_command(f"--source={tmp_path}", f"--data_dir={tmp_path / 'data'}")
    assert (code, output) == (2, "")
    assert error.startswith("error: source=")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--name=mnist", "--without_label=4", "--image_size=32"), "--image_size=32 has no effect"),
        (("--name=sprites", "--without_label=4"), "--without_label=4 has no effect"),
    ],
)
def test_flags_that_leave_nothing_out_are_refused(tmp_path, run_command, given, message):
    code, _, error = run_command(*given, f"--data_dir={tmp_path}")
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith(f"error: {message}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["sprites", "sprites_color"])
def test_sprites_are_written_with_their_factors_and_read_back(name, tmp_path):
    made = sprites_builder.prepare(name, 16, 1100, str(tmp_path))
    assert (made.sizes, made.was_there) == ({"train": 1100}, False)
    assert sprites_builder.prepare(name, 16, 1100, str(tmp_path)).was_there
    config = f"{name}/16x16_first_1100"
    assert prepared.list_names(str(tmp_path)) == [config]
    rendered, read = load(name, "train[:1100]", "", 16), load(config, "train", str(tmp_path))
    np.testing.assert_array_equal(read.images, rendered.images)
    columns = [rendered.factors.names.index(factor) for factor in read.factors.names]
    assert sorted(columns) == list(range(len(rendered.factors.names)))
    np.testing.assert_array_equal(read.factors.values, rendered.factors.values[:, columns])
    assert read.factors.sizes == tuple(rendered.factors.sizes[column] for column in columns)


def test_tfds_itself_reads_sprites(tmp_path):
    import tensorflow_datasets as tfds

    sprites_builder.prepare("sprites", 0, 5, str(tmp_path))
    (first, *_) = tfds.data_source("sprites/64x64_first_5", split="train", data_dir=tmp_path)
    expected = load("sprites", "train[:1]", "")
    np.testing.assert_array_equal(first["image"], expected.images[0])
    labels = [first[f"label_{factor}"] for factor in expected.factors.names]
    np.testing.assert_array_equal(labels, expected.factors.values[0])


def test_more_sprites_than_there_are_are_refused(tmp_path):
    for num in (-1, 737_281):
        with pytest.raises(UserError, match=f"num_examples={num} must be from 1 to 737280"):
            sprites_builder.prepare("sprites", 0, num, str(tmp_path))


def write_as_tfds_does(data_dir, name, white):
    """The features of TFDS's dsprites and shapes3d, in part."""
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(8, 8, 1)),
        "label_shape": tfds.features.ClassLabel(num_classes=3),
        "label_x_position": tfds.features.ClassLabel(num_classes=32),
        "value_shape": tfds.features.Tensor(shape=[], dtype=np.float32),
        "id": tfds.features.Text(),
    }
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4] = white
    examples = (
        {
            "image": tfds_writing.encode_png(pixels),
            "label_shape": index,
            "label_x_position": 31 - index,
            "value_shape": 1.0 + index,
            "id": str(index),
        }
        for index in range(3)
    )
    described = tfds_writing.Description(name, "", "2.0.0", "")
    tfds_writing.write(data_dir, described, features, {"train": examples})


@pytest.mark.parametrize(("name", "white"), [("dsprites", 1), ("shapes3d", 255)])
def test_class_labels_of_tfds_are_factors_and_its_ones_are_white(name, white, tmp_path):
    write_as_tfds_does(tmp_path, name, white)
    data = load(name, "train", str(tmp_path))
    assert data.labels is None
    assert (data.factors.names, data.factors.sizes) == (("shape", "x_position"), (3, 32))
    np.testing.assert_array_equal(data.factors.values, [[0, 31], [1, 30], [2, 29]])
    assert (data.images[:, :4] == 255).all()
    assert (data.images[:, 4:] == 0).all()
    small = load(name, "train", str(tmp_path), 4)
    assert small.images.shape == (3, 4, 4, 1)
    assert (small.images[:, 0] == 255).all()
