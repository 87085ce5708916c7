import os
import sys

import numpy as np
import pytest
import short_runs
from prepared_data import write_prepared
from short_runs import stops_after
from small_cards import small_card
from small_data import write_bars

from configs import vanilla
from experiments import command_line, train
from vae_jax import config as factory
from vae_jax.config import datasets
from vae_jax.data.dataset import Dataset
from vae_jax.errors import UserError
from vae_jax.papers import runs as card_runs
from vae_jax.sweeps import checks, space
from vae_jax.training.loop import Interrupted
from vae_jax.training.records import read_records

pytestmark = pytest.mark.usefixtures("parsed_flags")

pytest.importorskip("array_record", reason="has no Windows version")

# GiB of the 192 training images of 8x8 pixels, and of the 70 test images.
TRAIN_GIB, TEST_GIB = 192 * 64 / 2**30, 70 * 64 / 2**30
OVERRIDES = {
    "epochs": 2,
    "batch_size": 32,
    "steps_per_call": 3,
    "data.name": "bars",
    "data.train_split": "train[:192]",
    "data.validation_split": "train[192:]",
    "model.encoder.widths": (16,),
    "model.latent_size": 2,
    "tensorboard.images_every_epochs": 0,
    "evaluation.num_samples": 2,
    # A checkpoint after every call.
    "checkpoints.every_seconds": 0.0,
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The bars as a prepared data set."""
    folder = tmp_path_factory.mktemp("data")
    with np.load(write_bars(folder / "bars.npz")) as bars:
        images = {split: bars[f"{split}_images"][..., None] for split in ("train", "test")}
    write_prepared(folder, "bars", images, (8, 8, 1))
    return str(folder)


def config_of(data_dir, **changes):
    """The experiment; `changes` by dotted name."""
    values = {**OVERRIDES, "data.dir": str(data_dir), **changes}
    return factory.resolve(factory.with_values(vanilla.get_config(), values))


def changed(config, changes):
    return factory.resolve(factory.with_values(config, changes))


@pytest.fixture
def unmeasured(monkeypatch):
    short_runs.leave_unmeasured(monkeypatch)


def trained(config, folder):
    size = config.data.image_size or 8
    return short_runs.trained(config, folder, (size, size, 1))


def test_streamed_or_in_memory_stopped_or_not_a_run_is_bitwise_the_same(
    data_dir, tmp_path, monkeypatch, unmeasured
):
    streamed = config_of(data_dir, **{"data.mode": "stream", "data.image_size": 6})
    in_memory = config_of(data_dir, **{"data.mode": "memory", "data.image_size": 6})
    expected = trained(in_memory, tmp_path / "memory")
    assert trained(streamed, tmp_path / "stream") == expected
    # In the middle of the first epoch, and of the second.
    for num_questions in (0, 1):
        with monkeypatch.context() as patch:
            stops_after(patch, num_questions)
            with pytest.raises(Interrupted):
                train.train(streamed, tmp_path / "stopped")
    assert trained(streamed, tmp_path / "stopped") == expected
    for mode in ("stream", "memory"):
        for record in read_records(tmp_path / mode / "metrics.jsonl"):
            assert ("data_wait_share" in record) == (
                mode == "stream" and record["split"] == "train"
            )
            assert 0 <= record.get("data_wait_share", 0) <= 1


def test_what_does_not_fit_is_streamed(data_dir):
    opened = factory.open_splits(
        config_of(data_dir, **{"data.mode.memory_limit": 1.01 * TRAIN_GIB})
    )
    assert isinstance(opened, factory.Splits)
    config = config_of(data_dir, **{"data.mode.memory_limit": 0.99 * TRAIN_GIB})
    streamed = factory.open_splits(config)
    assert isinstance(streamed, factory.StreamedSplits)
    assert streamed.train.shape == opened.train.shape == (192, 8, 8, 1)
    np.testing.assert_array_equal(streamed.test.images, opened.test.images)
    np.testing.assert_array_equal(streamed.validation.images, opened.validation.images)
    indices = np.array([191, 0])
    np.testing.assert_array_equal(
        streamed.train.read(indices).images, opened.train.read(indices).images
    )
    config = changed(config, {"data.mode": "memory"})
    assert isinstance(factory.open_splits(config), factory.Splits)


def test_calls_are_as_long_as_their_batches_are_small(data_dir):
    config = config_of(data_dir, **{"data.mode": "stream", "batch_size": 2})
    train_set = factory.open_splits(config).train
    # 128 bytes per step; a call may have 64 MiB, and a sixth of the limit.
    assert factory.most_streamed_steps(config, train_set) == 2**26 // 128
    config = changed(config, {"data.mode.memory_limit": 6 * 3.5 * 128 / 2**30})
    assert factory.most_streamed_steps(config, train_set) == 3
    plan = factory.build_plan(config, 192, 3)
    assert [plan.next_call(step) for step in (0, 3, 93, 96)] == [3, 3, 3, 3]
    config = changed(config, {"data.mode.memory_limit": 1e-9})
    assert factory.most_streamed_steps(config, train_set) == 1
    config = changed(config, {"steps_per_call": 2})
    assert factory.build_plan(config, 192, 3).steps_per_call == 2


def test_the_mean_image_has_the_same_bits_from_a_stream(data_dir, monkeypatch):
    opened = {
        mode: factory.open_splits(config_of(data_dir, **{"data.mode": mode})).train
        for mode in ("stream", "memory")
    }
    exact = opened["memory"].images.mean(axis=0) / 255
    for most in (10**6, 100, 7):
        monkeypatch.setattr(datasets, "_MOST_IMAGES_AVERAGED", most)
        # Chunks of 5 images.
        monkeypatch.setattr(datasets, "_BYTES_AVERAGED_AT_ONCE", 5 * 64)
        means = {mode: np.asarray(factory.mean_image(dataset)) for mode, dataset in opened.items()}
        np.testing.assert_array_equal(means["stream"], means["memory"])
        if most > 192:
            np.testing.assert_array_equal(means["memory"], exact.astype(np.float32))
        else:
            indices = np.floor(np.linspace(0, 192, most, endpoint=False)).astype(int)
            spaced = opened["memory"].images[indices].mean(axis=0) / 255
            np.testing.assert_allclose(means["memory"], spaced, rtol=1e-6)


def test_the_mean_of_floating_images_is_exact_to_their_precision():
    images = np.random.default_rng(0).random((1000, 4, 4, 1), np.float32)
    mean = np.asarray(factory.mean_image(Dataset(images, None)))
    np.testing.assert_allclose(mean, images.astype(np.float64).mean(axis=0), rtol=1e-7)


def refused(message, function, *arguments):
    with pytest.raises(UserError, match=message) as error:
        function(*arguments)
    assert "\n" not in str(error.value)


def test_only_the_training_set_is_streamed(data_dir):
    for mode in ("auto", "stream"):
        config = config_of(
            data_dir,
            **{
                "data.mode": mode,
                "data.mode.memory_limit": TEST_GIB / 2,
                "data.validation_split": "",
            },
        )
        refused(
            r"^data\.test_split='test' takes .* GiB decoded, more than data\.mode\.memory_limit=.*"
            "; use a slice of at most 35 images, or a higher limit",
            factory.open_splits,
            config,
        )
        refused("^data.test_split='test' takes", factory.load_test, config)
    config = changed(config, {"data.test_split": "test[:35]"})
    assert factory.load_test(config).shape == (35, 8, 8, 1)


def test_a_static_draw_of_what_does_not_fit_is_refused(data_dir):
    limit = {"data.mode.memory_limit": 0.99 * TRAIN_GIB, "data.binarization": "static"}
    refused(
        "binarization='static'.*use 'dynamic'", factory.open_splits, config_of(data_dir, **limit)
    )


def test_the_test_set_alone_has_the_static_draw_that_it_has_beside_the_others(data_dir):
    config = config_of(data_dir, **{"data.binarization": "static"})
    np.testing.assert_array_equal(
        factory.load_test(config).images, factory.load_splits(config).test.images
    )


def test_sweeps_and_cards_train_in_memory(data_dir):
    too_large = config_of(data_dir, **{"data.mode.memory_limit": 0.99 * TRAIN_GIB})
    refused(
        "^data.train_split=.*only experiments.train can stream it", factory.load_splits, too_large
    )
    streamed = config_of(data_dir, **{"data.mode": "stream"})
    refused("^data.mode='stream' is for experiments.train", factory.load_splits, streamed)
    sweep = space.grid({"objective.beta": (1.0, 2.0)})
    refused("data.mode='stream'", checks.check_configs, sweep, streamed.to_dict())
    sweep = space.grid({"data.mode": ("memory", "stream")})
    refused("data.mode='stream'", checks.check_configs, sweep, config_of(data_dir).to_dict())
    card = small_card("mnist")
    refused("data.mode='stream'", card_runs._check_data, card, streamed.to_dict())


def test_floating_images_are_checked_as_they_are_read(tmp_path):
    images = np.zeros((60, 8, 8), np.float32)
    images[45] = 2.0
    np.savez(tmp_path / "floats.npz", train_images=images, test_images=images[:9])
    changes = {"data.name": str(tmp_path / "floats.npz"), "data.mode": "stream"}
    changes |= {"data.train_split": "train", "data.validation_split": ""}
    config = config_of("", **changes)
    refused(r"^data\.train_split: pixels .* outside \[0, 1\]", factory.open_splits, config)

    class Lazy:
        shape, dtype = (60, 8, 8, 1), images.dtype

        def read(self, indices):
            return Dataset(images[indices, ..., None], None)

    checked = datasets._Checked(config, "data.train_split", Lazy())
    assert checked.read(np.arange(45)).shape == (45, 8, 8, 1)
    refused(r"^data\.train_split: pixels", checked.read, np.arange(44, 46))


def test_data_that_go_bad_in_training_end_the_command_in_one_line(
    tmp_path, monkeypatch, capfd, unmeasured
):
    """The same command continues once the data are whole again."""
    short_runs.compile_once(monkeypatch)
    images = np.random.default_rng(0).integers(0, 256, (400, 40, 40, 3), dtype=np.uint8)
    write_prepared(tmp_path, "noise", {"train": images, "test": images[:20]}, (40, 40, 3))
    (path,) = tmp_path.rglob("*-train.array_record*")
    whole = path.read_bytes()
    changes = {"data.name": "noise", "data.train_split": "train[:384]", "data.validation_split": ""}
    changes |= {"data.mode": "stream", "steps_per_call": 1, "epochs": 1}
    config = config_of(tmp_path, **changes)
    build_stream = factory.build_stream

    def cut_short(*args, **options):
        os.truncate(path, len(whole) // 4)
        return build_stream(*args, **options)

    def code_of_the_command():
        monkeypatch.setattr(sys, "argv", ["command"])
        with pytest.raises(SystemExit) as stop:
            command_line.run(lambda: train.train(config, tmp_path / "run"))
        return stop.value.code

    with monkeypatch.context() as patch:
        patch.setattr(factory, "build_stream", cut_short)
        assert code_of_the_command() == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    (message,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert "split 'train' is damaged" in message
    path.write_bytes(whole)
    assert code_of_the_command() == 0
    assert read_records(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 12
