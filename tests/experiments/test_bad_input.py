import contextlib
import io
import shutil
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from experiments import command_line, draw, evaluate, train
from vae_jax.config import run as training_run
from vae_jax.training import checkpoints

# Of ml_collections, on loading a config file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "toy.npz"
    images = {
        f"{split}_images": RNG.integers(0, 256, (num, 8, 8), dtype=np.uint8)
        for split, num in (("train", 256), ("test", 64))
    }
    np.savez(path, **images)
    return path


def tiny(data, workdir):
    return [
        "--config=configs/vanilla.py",
        f"--workdir={workdir}",
        f"--config.data.name={data}",
        "--config.data.train_split=train[:192]",
        "--config.data.validation_split=train[192:]",
        "--config.batch_size=32",
        "--config.epochs=1",
        "--config.model.widths=(8,)",
        "--config.model.latent_size=2",
        "--config.evaluation.num_samples=2",
    ]


def command(main, arguments, monkeypatch):
    """Exit code and standard error of a command, in this process."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    error = io.StringIO()
    try:
        with contextlib.redirect_stderr(error), pytest.raises(SystemExit) as stop:
            command_line.run(main)
    finally:
        for name in list(flags.FLAGS):
            if name.startswith("config."):
                delattr(flags.FLAGS, name)
            elif name in ("config", "workdir", "num_samples", "degrees"):
                flags.FLAGS[name].unparse()
        flags.FLAGS.unparse_flags()
    return stop.value.code, error.getvalue()


@pytest.fixture
def refused(monkeypatch):
    """Run a command that must end in one line; return the line."""

    def run(main, arguments):
        code, error = command(main, arguments, monkeypatch)
        assert code == 2
        assert "Traceback" not in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return error

    return run


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("--config.corruption=gaussian", ["corruption_level=0.0", "without effect"]),
        ("--config.model.gated=True --config.model.network=conv", ["model.gated=True"]),
        (
            "--config.model.name=autoencoder --config.hparams.beta=4",
            ["hparams.beta=4.0 has no effect"],
        ),
        (
            "--config.objective.name=factor",
            ["model.discriminator_widths=()", "at least one hidden layer"],
        ),
        (
            "--config.objective.name=tc --config.optimizer.accumulation_steps=2",
            ["accumulation_steps=2 parts each batch", "objective.name='tc'", "use 1"],
        ),
        (
            "--config.evaluation.disentanglement=True",
            ["toy.npz' has no factors", "sprites", "test_factors"],
        ),
        ("--config.hparams.bta=1", ["hparams.bta", "did you mean hparams.beta?"]),
        ("--config.epochs=1 --config.epoch=1", ["epoch ", "did you mean epochs?"]),
        ("--config.nonsense=1", ["nonsense is not a field"]),
        ("--config.hparams.inner.x=1", ["hparams.inner.x is not a field"]),
        ("--config.epochs=abc", ["config.epochs=abc", "int"]),
        ("--config.model.latent_size=1.5", ["config.model.latent_size=1.5", "int"]),
        ("--config.model.gated=maybe", ["config.model.gated=maybe", "boolean"]),
        ("--config.model.widths=(1.5,)", ["model.widths", "1.5", "positive integers"]),
        ("--config.hparams=3", ["config.hparams=3"]),
        ("--config.hparams.beta=-1", ["hparams.beta=-1.0", "at least 0"]),
        ("--config.hparams.beta=nan", ["hparams.beta=nan", "at least 0"]),
        ("--config.model.latent_size=0", ["model.latent_size=0", "at least 1"]),
        ("--config.model.latent_size=-3", ["model.latent_size=-3", "at least 1"]),
        ("--config.evaluation.num_samples=0", ["evaluation.num_samples=0", "at least 1"]),
        ("--config.seed=99999999999999999999", ["seed=99999999999999999999"]),
        ("--config.batch_size=193", ["batch_size=193", "192 images"]),
        ("--config.optimizer.accumulation_steps=7", ["accumulation_steps=7", "batch_size="]),
        ("--config.data.name=mnst", ["data.name='mnst'", "mnist"]),
        ("--config.data.train_split=foo", ["data.train_split", "'foo'", "train", "test"]),
        ("--config.data.test_split=test[:0]", ["data.test_split", "empty"]),
        (
            "--config.data.validation_split=train[100:]",
            ["data.train_split", "data.validation_split", "92 examples"],
        ),
        ("--config.hparams.corruption_level=0.5", ["hparams.corruption_level=0.5", "masking"]),
        (
            "--config.corruption=masking --config.hparams.corruption_level=1.5",
            ["hparams.corruption_level=1.5", "at most 1"],
        ),
        (
            "--config.corruption=downsampling --config.hparams.corruption_level=3",
            ["hparams.corruption_level=3", "divide the 8x8 pixels", "corruption='downsampling'"],
        ),
        (
            "--config.corruption=box --config.hparams.corruption_level=0.05",
            ["hparams.corruption_level=0.05", "less than half a pixel", "corruption='box'"],
        ),
        (
            "--config.model.network=conv --config.model.channels=(4,4,4,4)",
            ["model.channels", "8x8", "16x16"],
        ),
        (
            "--config.model.likelihood=normal",
            ["data.binarization='dynamic'", "model.likelihood='normal'"],
        ),
        (
            "--config.model.likelihood=discretized_logistic --config.data.binarization=static",
            ["data.binarization='static'", "model.likelihood='discretized_logistic'"],
        ),
        ("--config.model.likelihood=gaussian", ["model.likelihood='gaussian'", "laplace, normal"]),
        (
            "--config.model.normal_scale=learned",
            ["model.normal_scale='learned' has no effect", "use 'fixed'"],
        ),
        ("--config.model.learn_scale=True", ["model.learn_scale is not a field"]),
        ("--config.patience=2 --config.data.validation_split=", ["patience=2"]),
        ("junk", ["'junk' is not a flag"]),
        ("--nonsense=3", ["nonsense"]),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_is_written(
    data, tmp_path, refused, override, told
):
    # A tuple given twice is joined, so that the network is left to the override.
    arguments = [
        argument
        for argument in tiny(data, tmp_path / "run")
        if argument.split("=")[0] != "--config.model.widths" or "widths" not in override
    ]
    error = refused(train.main, [*arguments, *override.split()])
    for part in told:
        assert part in error
    assert not (tmp_path / "run").exists()


def test_a_missing_flag_is_named(data, refused):
    assert "--workdir is missing" in refused(train.main, ["--config=configs/vanilla.py"])
    assert "--config is missing" in refused(train.main, ["--workdir=/nowhere/run"])
    assert "--workdir is missing" in refused(evaluate.main, [])
    assert "--workdir is missing" in refused(draw.main, [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("def get_config(:\n", "invalid syntax"),
        ("import not_a_module_of_this_world\n", "not_a_module_of_this_world"),
        (
            "from ml_collections import ConfigDict\n"
            "def get_config():\n"
            "    return ConfigDict({'seed': 3})\n",
            "epochs is missing",
        ),
        (
            "from configs import vanilla\n"
            "def get_config():\n"
            "    config = vanilla.get_config()\n"
            "    config.lerning_rate = 1.0\n"
            "    return config\n",
            "lerning_rate is not a field of the config; did you mean",
        ),
    ],
)
def test_a_config_file_that_cannot_be_used_is_told_in_one_line(tmp_path, refused, text, told):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    error = refused(train.main, [f"--config={path}", f"--workdir={tmp_path / 'run'}"])
    assert told in error
    assert not (tmp_path / "run").exists()


def with_nan(images):
    images["train_images"][7, 3, 3] = np.nan


def with_greys_up_to_255(images):
    images["train_images"] *= 255


def with_negative_greys_in_the_test_set(images):
    images["test_images"] -= 0.5


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (with_nan, ["NaN", "image 7"]),
        (with_greys_up_to_255, ["data.train_split", "[0, 255]", "outside [0, 1]"]),
        (with_negative_greys_in_the_test_set, ["data.test_split", "outside [0, 1]"]),
    ],
)
@pytest.mark.parametrize("binarization", ["dynamic", "none"])
def test_pixels_that_do_not_fit_are_refused(tmp_path, refused, spoil, told, binarization):
    images = {
        "train_images": RNG.integers(0, 2, (256, 8, 8)).astype(np.float32),
        "test_images": RNG.integers(0, 2, (64, 8, 8)).astype(np.float32),
    }
    spoil(images)
    path = tmp_path / "spoiled.npz"
    np.savez(path, **images)
    arguments = [*tiny(path, tmp_path / "run"), f"--config.data.binarization={binarization}"]
    error = refused(train.main, arguments)
    for part in told:
        assert part in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("likelihood", "value", "told"),
    [
        ("categorical", 0.3, "hold 0.3, which is none of the 256 levels k/255"),
        ("discretized_logistic", 0.3, "hold 0.3, which is none of the 256 levels k/255"),
        ("discretized_logistic_mixture", -1 / 255, "lie in [-0.00392157, 1], outside [0, 1]"),
        ("continuous_bernoulli", 1.5, "lie in [0, 1.5], outside [0, 1]"),
        ("laplace", np.inf, "image 3"),
    ],
)
def test_values_that_a_likelihood_does_not_know_are_refused(
    tmp_path, refused, likelihood, value, told
):
    train_images = RNG.integers(0, 2, (256, 8, 8)).astype(np.float32)
    train_images[3, 2, 1] = value
    path = tmp_path / "values.npz"
    np.savez(path, train_images=train_images, test_images=train_images[50:60])
    arguments = [*tiny(path, tmp_path / "run"), "--config.data.binarization=none"]
    error = refused(train.main, [*arguments, f"--config.model.likelihood={likelihood}"])
    assert told in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_data_file_is_refused(data, tmp_path, refused, share):
    path = tmp_path / "short.npz"
    whole = data.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    error = refused(train.main, tiny(path, tmp_path / "run"))
    assert f"{path} is not a whole .npz file" in error


def test_a_data_file_with_a_flipped_byte_is_refused(data, tmp_path, refused):
    path = tmp_path / "flipped.npz"
    content = bytearray(data.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    assert str(path) in refused(train.main, tiny(path, tmp_path / "run"))


def test_a_workdir_that_cannot_be_written_is_refused(data, tmp_path, refused):
    file = tmp_path / "file"
    file.write_text("mine")
    for workdir in (file, file / "below"):
        error = refused(train.main, tiny(data, workdir))
        assert f"workdir={str(workdir)!r} cannot be written" in error
    assert file.read_text() == "mine"


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A finished run, for tests that leave it as it is."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert command(train.main, tiny(data, run), patch)[0] == 0
    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_workdir_of_another_config_is_refused_and_left_as_it_was(data, finished, refused):
    before = contents(finished)
    arguments = [*tiny(data, finished), "--config.seed=4", "--config.hparams.beta=2"]
    error = refused(train.main, arguments)
    assert "hparams.beta=2.0 (there: 1.0), seed=4 (there: 0)" in error
    assert "use another workdir" in error
    assert contents(finished) == before


def test_an_evaluation_of_no_samples_is_refused(finished, refused):
    before = contents(finished)
    error = refused(evaluate.main, [f"--workdir={finished}", "--num_samples=0"])
    assert "--num_samples=0 must be at least 1" in error
    assert contents(finished) == before


def test_degrees_that_are_no_numbers_are_refused(finished, refused):
    for degrees in ("nan", "", "0,inf"):
        assert "finite" in refused(draw.main, [f"--workdir={finished}", f"--degrees={degrees}"])
    error = refused(draw.main, [f"--workdir={finished}", "--degrees=0,half"])
    assert "--degrees=0,half must be one or more finite numbers" in error


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
def test_a_damaged_file_of_the_workdir_is_named(data, finished, tmp_path, refused, name):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / name).write_text('{"torn')
    assert f"{run / name} cannot be read" in refused(train.main, tiny(data, run))
    assert (run / name).read_text() == '{"torn'


@pytest.mark.parametrize("main", [evaluate.main, draw.main])
def test_a_run_that_is_not_there_is_refused(tmp_path, refused, main):
    assert "holds no run" in refused(main, [f"--workdir={tmp_path / 'nowhere'}"])
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("main", [evaluate.main, draw.main])
def test_a_run_without_a_checkpoint_is_refused(data, tmp_path, refused, main, monkeypatch):
    run = tmp_path / "run"
    # The first thing after the workdir was claimed.
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "_initial_or_restored", lambda *_: sys.exit(7))
        assert command(train.main, tiny(data, run), patch)[0] == 7
    assert "has no checkpoint yet" in refused(main, [f"--workdir={run}"])


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of `size` at `folder`; needs root, as in CI's container."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# Enough for nothing; for the config; for the first checkpoint.
@pytest.mark.parametrize("size", ["4k", "40k", "400k"])
def test_a_full_disk_is_told_in_one_line_and_with_room_the_run_goes_on(
    data, tmp_path, monkeypatch, size
):
    disk = tmp_path / "disk"
    arguments = [*tiny(data, disk / "run"), "--config.steps_per_call=1"]
    arguments += ["--config.checkpoints.every_seconds=0", "--config.checkpoints.max_to_keep=99"]
    with small_disk(disk, size):
        if size == "4k":
            (disk / "filling").write_bytes(b"0" * 4096)
        code, error = command(train.main, arguments, monkeypatch)
        assert code == 2
        assert "Traceback" not in error
        assert [line[:7] for line in error.splitlines() if "cannot be written" in line] == [
            "error: "
        ]
        if size == "400k":
            kept = checkpoints.steps(disk / "run" / "checkpoints")
            assert kept
            subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
            assert command(train.main, arguments, monkeypatch)[0] == 0
            assert (disk / "run" / "summary.json").is_file()
