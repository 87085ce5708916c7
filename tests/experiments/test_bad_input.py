import contextlib
import gc
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from experiments import command_line, disentanglement, draw, evaluate, sweep, train
from vae_jax.config import run as training_run
from vae_jax.config.upgrades import SCHEMA
from vae_jax.evaluation import summary as measuring
from vae_jax.training import checkpoints

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
        "--config.model.encoder.widths=(8,)",
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
        for name in ("config", "workdir", "num_samples", "degrees", "output"):
            flags.FLAGS[name].unparse()
        flags.FLAGS.unparse_flags()
    return stop.value.code, error.getvalue()


@pytest.fixture
def refused(monkeypatch):
    """Run a command that must end in one line; return the line."""

    def run(main, arguments):
        code, error = command(main, arguments, monkeypatch)
        assert code == 2, error
        assert "Traceback" not in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return error

    return run


@pytest.mark.parametrize(
    ("override", "message"),
    [
        # A setting that its choice does not have.
        ("--config.corruption.level=0.5", ["corruption.level is not a setting", "'none'", "none"]),
        (
            "--config.model.encoder=gated_mlp --config.model.encoder.activation=relu",
            ["model.encoder.activation is not a setting of model.encoder='gated_mlp'"],
        ),
        (
            "--config.model=autoencoder --config.objective.beta=4",
            ["objective.beta is not a setting of objective='reconstruction'"],
        ),
        (
            "--config.model.likelihood.scale_kind=learned",
            ["model.likelihood.scale_kind is not a setting of model.likelihood='bernoulli'"],
        ),
        (
            "--config.objective=iwae --config.objective.num_sample=5",
            ["objective.num_sample is not a setting", "did you mean num_samples?"],
        ),
        ("--config.data.modalities=('image','label')", ["data.modalities is not a setting"]),
        # A setting that is not there at all, or not any more.
        ("--config.objective.bta=1", ["objective.bta", "did you mean beta?"]),
        ("--config.epochs=1 --config.epoch=1", ["epoch ", "did you mean epochs?"]),
        ("--config.nonsense=1", ["nonsense is not a setting"]),
        ("--config.seed.x=1", ["seed.x is not a setting: seed has none of its own"]),
        ("--config.hparams.beta=4", ["hparams.beta is not a setting any more", "objective.beta"]),
        ("--config.model.network=conv", ["model.network is not", "it is model.encoder now"]),
        ("--config.hparams=3", ["hparams is not a setting"]),
        # An unknown choice.
        ("--config.objective=elbw", ["objective.name='elbw'", "must be one of ", "elbo?"]),
        ("--config.model.encoder.name=mpl", ["model.encoder.name='mpl'", "did you mean mlp?"]),
        ("--config.model.likelihood=gaussian", ["'gaussian'", "laplace, normal"]),
        ("--config.optimizer=3", ["optimizer.name='3' must be one of adagrad, adam, sgd"]),
        ("--config.data.mode=own:Mode", ["data.mode.name='own:Mode' must be one of auto"]),
        # A part from outside that cannot stand there.
        (
            "--config.model.encoder=not_a_module_of_this_world:Net",
            ["model.encoder.name=", "'not_a_module_of_this_world' cannot be imported"],
        ),
        (
            "--config.model.encoder=examples.own_encoder:Wdie",
            ["model.encoder.name=", "has no 'Wdie'; did you mean Wide?"],
        ),
        (
            "--config.objective=examples.own_encoder:Wide",
            ["objective.name=", "is the wrong kind of part"],
        ),
        (
            "--config.model.encoder=vae_jax.objectives.elbo:ELBO",
            ["model.encoder.name=", "is the wrong kind of part", "'build'"],
        ),
        ("--config.model.encoder=math:pi", ["model.encoder.name='math:pi'", "frozen dataclass"]),
        # A value of the wrong kind, or out of its limits.
        ("--config.epochs=abc", ["epochs='abc'", "integer"]),
        ("--config.model.latent_size=1.5", ["model.latent_size=1.5", "integer"]),
        ("--config.evaluation.disentanglement=maybe", ["='maybe'", "True or False"]),
        ("--config.model.encoder.widths=(1.5,)", ["model.encoder.widths", "1.5", "positive"]),
        ("--config.data=3", ["data='3' must be settings"]),
        ("--config.objective.beta=-1", ["objective.beta=-1", "at least 0"]),
        ("--config.objective.beta=nan", ["objective.beta='nan'", "at least 0"]),
        ("--config.objective.beta=1e39", ["objective.beta=1e+39", "float32 holds"]),
        ("--config.model.latent_size=0", ["model.latent_size=0", "at least 1"]),
        ("--config.model.latent_size=-3", ["model.latent_size=-3", "at least 1"]),
        ("--config.evaluation.num_samples=0", ["evaluation.num_samples=0", "at least 1"]),
        ("--config.seed=99999999999999999999", ["seed=99999999999999999999"]),
        (
            "--config.objective=tc --config.batch_size=1",
            ["batch_size=1 is too few examples", "objective='tc'", "use at least 2"],
        ),
        # Sizes that no machine holds.
        (f"--config.epochs={10**20}", [f"epochs={10**20}", "below 2147483648"]),
        ("--config.epochs=2000000000", ["of 6 steps each", "use at most 357913941"]),
        ("--config.model.latent_size=1000000000", ["model='vae' takes ", "GiB", "use fewer"]),
        (
            "--config.model.encoder.widths=(100000000,100000000)",
            ["model='vae' takes ", "GiB with its optimizer", "of memory"],
        ),
        (
            "--config.model.prior=flow --config.model.prior.layers=1000000",
            ["model.prior.layers=1000000", "at most 1000"],
        ),
        ("--config.data.name=", ["data.name=''", "a text that is not empty"]),
        (
            "--config.corruption=masking --config.corruption.level=1.5",
            ["corruption.level=1.5", "at most 1"],
        ),
        (
            "--config.corruption=gaussian --config.corruption.level=0",
            ["corruption.level=0", "above 0"],
        ),
        # Parts that do not fit together.
        (
            "--config.objective=factor --config.objective.discriminator.widths=()",
            ["objective.discriminator.widths=()", "one or more positive integers"],
        ),
        (
            "--config.objective=tc --config.optimizer.accumulation_steps=2",
            ["accumulation_steps=2 parts each batch", "objective='tc'", "use 1"],
        ),
        (
            "--config.model=autoencoder --config.evaluation={} --config.objective=iwae",
            ["objective='iwae' needs a posterior and a prior", "model='autoencoder'"],
        ),
        (
            "--config.objective=jmvae",
            ["objective='jmvae' is defined for models of several modalities", "model='vae'"],
        ),
        ("--config.optimizer.accumulation_steps=7", ["accumulation_steps=7", "batch_size="]),
        (
            "--config.model.likelihood=normal",
            ["data.binarization='dynamic'", "model.likelihood='normal'"],
        ),
        (
            "--config.model.likelihood=discretized_logistic --config.data.binarization=static",
            ["data.binarization='static'", "model.likelihood='discretized_logistic'"],
        ),
        ("--config.patience=2 --config.data.validation_split=", ["patience=2"]),
        # Settings that the data do not allow.
        (
            "--config.evaluation.disentanglement=True",
            ["toy.npz' has no factors", "sprites", "test_factors"],
        ),
        ("--config.batch_size=193", ["batch_size=193", "192 images"]),
        ("--config.data.name=mnst", ["data.name='mnst'", "mnist"]),
        ("--config.data.train_split=foo", ["data.train_split", "'foo'", "train", "test"]),
        ("--config.data.test_split=test[:0]", ["data.test_split", "empty"]),
        (
            "--config.data.train_split=train[:55000]",
            [
                "'55000', but 'train' has 256 examples; slices that fit are "
                "--config.data.train_split='train[:90%]' "
                "--config.data.validation_split='train[90%:]' --config.data.test_split='test'",
            ],
        ),
        (
            "--config.data.validation_split=validation",
            ["'validation', which is not known", "--config.data.validation_split='train[90%:]'"],
        ),
        (
            "--config.data.validation_split=train[100:]",
            ["data.train_split", "data.validation_split", "92 examples"],
        ),
        (
            "--config.corruption=downsampling --config.corruption.level=3",
            ["corruption.level=3", "divide the 8x8 pixels", "corruption='downsampling'"],
        ),
        (
            "--config.corruption=box --config.corruption.level=0.05",
            ["corruption.level=0.05", "less than half a pixel", "corruption='box'"],
        ),
        (
            "--config.model.encoder=conv --config.model.encoder.channels=(4,4,4,4)",
            ["model.encoder='conv'", "8x8", "16x16", "channels"],
        ),
        # No flags.
        ("junk", ["'junk' is not a flag"]),
        ("--nonsense=3", ["nonsense", "a setting of the config is set by --config.NAME=VALUE"]),
        # Of names that no command of this process has as a flag.
        (
            "--latent_size=2",
            ["'latent_size'", "for the setting of the config write --config.model.latent_size=2"],
        ),
        ("--objective.beta=4", ["write --config.objective.beta=4"]),
        (
            "--config.model.encoder=examples.own_encoder:Wide --config.model.encoder.widht=3",
            ["widht is not a setting of model.encoder='examples.own_encoder:Wide'; it has width;"],
        ),
        ("--config.epochs", ["--config.epochs has no value; write --config.epochs=VALUE"]),
    ],
)
def test_a_mistake_is_refused_in_one_line_before_anything_is_written(
    data, tmp_path, refused, override, message
):
    error = refused(train.main, [*tiny(data, tmp_path / "run"), *override.split()])
    for part in message:
        assert part in error
    assert not (tmp_path / "run").exists()


def test_a_missing_flag_is_named(data, refused):
    assert "--workdir is missing" in refused(train.main, ["--config=configs/vanilla.py"])
    assert "--config is missing" in refused(train.main, ["--workdir=/nowhere/run"])
    assert "--workdir is missing" in refused(evaluate.main, [])
    assert "--workdir is missing" in refused(draw.main, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("def get_config(:\n", "invalid syntax"),
        ("import not_a_module_of_this_world\n", "not_a_module_of_this_world"),
        (
            "from ml_collections import ConfigDict\n"
            "def get_config():\n"
            "    return ConfigDict({'seed': 3, 'model': {'latent': 4}})\n",
            "model.latent is not a setting of model='vae'; did you mean latent_size?",
        ),
        (
            "from configs import vanilla\n"
            "def get_config():\n"
            "    config = vanilla.get_config()\n"
            "    config.batchsize = 64\n"
            "    return config\n",
            "batchsize is not a setting; did you mean batch_size?",
        ),
        (
            "from configs import vanilla\n"
            "def get_config():\n"
            "    config = vanilla.get_config()\n"
            "    config.hparams = {'beta': 4.0}\n"
            "    return config\n",
            "hparams is not a setting any more: what stood there stands with the part",
        ),
        (
            "def get_config():\n    return {'schema': 99}\n",
            "schema=99, which a later version of vae_jax wrote",
        ),
        ("def get_configuration():\n    return {}\n", "mine.py has no function get_config()"),
        ("get_config = {}\n", "mine.py has no function get_config()"),
    ],
)
def test_a_config_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, refused, text, message):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    error = refused(train.main, [f"--config={path}", f"--workdir={tmp_path / 'run'}"])
    assert message in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("main", [train.main, sweep.main, disentanglement.main])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("return {}['beta']", "KeyError: 'beta'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise SystemExit", "SystemExit"),
        ("raise BaseException('two\\nlines')", "BaseException: two"),
        ("return get_config()", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_a_config_file_that_fails_is_one_line_with_its_error(
    tmp_path, refused, main, body, message
):
    path = tmp_path / "mine.py"
    path.write_text(f"def get_config():\n    {body}\n")
    error = refused(main, [f"--config={path}", f"--workdir={tmp_path / 'run'}"])
    assert error.startswith(f"error: {path}, line 2: {message}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("main", [train.main, sweep.main, disentanglement.main])
@pytest.mark.parametrize(("value", "kind"), [("None", "NoneType"), ("3", "int"), ("[1]", "list")])
def test_a_config_of_another_type_is_one_line(tmp_path, refused, main, value, kind):
    path = tmp_path / "mine.py"
    path.write_text(f"def get_config():\n    return {value}\n")
    error = refused(main, [f"--config={path}", f"--workdir={tmp_path / 'run'}"])
    expected = f"get_config() in {path} must return a ConfigDict, or nested dicts, not {kind}"
    assert error == f"error: {expected}\n"


def with_nan(images):
    images["train_images"][7, 3, 3] = np.nan


def with_greys_up_to_255(images):
    images["train_images"] *= 255


def with_negative_greys_in_the_test_set(images):
    images["test_images"] -= 0.5


def with_ones_of_8_bits(images):
    images["train_images"] = images["train_images"].astype(np.uint8)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (with_nan, ["NaN", "image 7"]),
        (with_greys_up_to_255, ["data.train_split", "[0, 255]", "outside [0, 1]"]),
        (with_negative_greys_in_the_test_set, ["data.test_split", "outside [0, 1]"]),
        (with_ones_of_8_bits, ["data.train_split", "uint8 and hold only 0 and 1", "as bool"]),
    ],
)
@pytest.mark.parametrize("binarization", ["dynamic", "none"])
def test_pixels_that_do_not_fit_are_refused(tmp_path, refused, spoil, message, binarization):
    images = {
        "train_images": RNG.integers(0, 2, (256, 8, 8)).astype(np.float32),
        "test_images": RNG.integers(0, 2, (64, 8, 8)).astype(np.float32),
    }
    spoil(images)
    path = tmp_path / "spoiled.npz"
    np.savez(path, **images)
    arguments = [*tiny(path, tmp_path / "run"), f"--config.data.binarization={binarization}"]
    error = refused(train.main, arguments)
    for part in message:
        assert part in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("likelihood", "value", "message"),
    [
        ("categorical", 0.3, "hold 0.3, which is none of the 256 levels k/255"),
        ("discretized_logistic", 0.3, "hold 0.3, which is none of the 256 levels k/255"),
        ("discretized_logistic_mixture", -1 / 255, "lie in [-0.00392157, 1], outside [0, 1]"),
        ("continuous_bernoulli", 1.5, "lie in [0, 1.5], outside [0, 1]"),
        ("laplace", np.inf, "image 3"),
    ],
)
def test_values_that_a_likelihood_does_not_know_are_refused(
    tmp_path, refused, likelihood, value, message
):
    train_images = RNG.integers(0, 2, (256, 8, 8)).astype(np.float32)
    train_images[3, 2, 1] = value
    path = tmp_path / "values.npz"
    np.savez(path, train_images=train_images, test_images=train_images[50:60])
    arguments = [*tiny(path, tmp_path / "run"), "--config.data.binarization=none"]
    error = refused(train.main, [*arguments, f"--config.model.likelihood={likelihood}"])
    assert message in error
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
    arguments = [*tiny(data, finished), "--config.seed=4", "--config.objective.beta=2"]
    error = refused(train.main, arguments)
    assert "objective.beta=2.0 (there: 1.0), seed=4 (there: 0)" in error
    assert "use another workdir" in error
    assert contents(finished) == before


def test_settings_that_training_does_not_depend_on_may_change(
    data, finished, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    others = ["--config.evaluation.num_samples=3", "--config.data.dir=elsewhere"]
    assert command(train.main, [*tiny(data, run), *others], monkeypatch) == (0, "")
    config = json.loads((run / "config.json").read_text())
    assert (config["evaluation"]["num_samples"], config["data"]["dir"]) == (3, "elsewhere")
    # Its checkpoints still belong to it.
    assert command(evaluate.main, [f"--workdir={run}"], monkeypatch)[0] == 0
    assert json.loads((run / "summary.json").read_text())["test"]["num_samples"] == 3


def test_a_run_that_is_only_read_is_drawn_elsewhere(finished, tmp_path, monkeypatch):
    before = contents(finished)
    folders = []
    monkeypatch.setattr(measuring.drawing, "draw_run", lambda *arguments: folders.append(arguments))
    arguments = [f"--workdir={finished}", f"--output={tmp_path / 'out'}"]
    assert command(draw.main, arguments, monkeypatch) == (0, "")
    assert folders[0][-1] == tmp_path / "out"
    assert contents(finished) == before


def spoil_images(data, **changes):
    """Write the data again with some arrays replaced by a function of the old ones."""
    with np.load(data) as found:
        arrays = dict(found)
    np.savez(data, **{k: changes.get(k, lambda old: old)(v) for k, v in arrays.items()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": lambda old: 255 - old}, ["data.train_split and data.validation_split"]),
        ({"test_images": lambda old: old[:32]}, ["data.test_split", "--accept_data"]),
    ],
)
def test_a_run_goes_on_with_the_examples_that_it_began_with(
    data, finished, tmp_path, refused, changes, message, monkeypatch, caplog
):
    run, moved = tmp_path / "run", data.with_name("moved.npz")
    shutil.copytree(finished, run)
    shutil.copy(data, moved)
    try:
        spoil_images(data, **changes)
        before = contents(run)
        error = refused(train.main, tiny(data, run))
        assert all(part in error for part in message)
        if "test_images" in changes:
            assert message[0] in refused(evaluate.main, [f"--workdir={run}"])
        assert contents(run) == before
        # What writes no metrics only says so.
        assert command(draw.main, [f"--workdir={run}"], monkeypatch)[0] == 0
        assert ("data.test_split are not those" in caplog.text) == ("test_images" in changes)
        assert command(train.main, [*tiny(data, run), "--accept_data"], monkeypatch)[0] == 0
    finally:
        flags.FLAGS["accept_data"].unparse()
        shutil.move(moved, data)


@pytest.mark.parametrize("main", [evaluate.main, draw.main, train.main])
def test_test_images_of_another_size_are_refused(data, finished, tmp_path, refused, main):
    run, moved = tmp_path / "run", data.with_name("moved.npz")
    shutil.copytree(finished, run)
    shutil.copy(data, moved)
    try:
        spoil_images(data, test_images=lambda old: np.pad(old, ((0, 0), (1, 1), (1, 1))))
        arguments = tiny(data, run) if main is train.main else [f"--workdir={run}"]
        error = refused(main, arguments)
    finally:
        shutil.move(moved, data)
    assert "10, 10, 1" in error or "data.test_split are images of 10x10x1" in error


def test_a_checkpoint_is_taken_only_with_the_config_that_it_was_written_with(
    data, finished, tmp_path, refused
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "seed": 1}))
    before = contents(run)
    for main, arguments in (
        (train.main, [*tiny(data, run), "--config.seed=1"]),
        (evaluate.main, [f"--workdir={run}"]),
        (draw.main, [f"--workdir={run}"]),
    ):
        error = refused(main, arguments)
        assert f"was not written with {run / 'config.json'}" in error
    assert contents(run) == before


def test_a_digit_that_was_changed_in_a_summary_is_noticed(data, finished, tmp_path, refused):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    summary = json.loads((run / "summary.json").read_text())
    summary["test"]["elbo"] += 1
    (run / "summary.json").write_text(json.dumps(summary))
    for main, arguments in ((train.main, tiny(data, run)), (draw.main, [f"--workdir={run}"])):
        assert "summary.json was changed after it was written" in refused(main, arguments)


WRONG_JSON = ["null", "3", "[]", '{"test": null, "model": 3}', '{"a":' * 10**5]


@pytest.mark.parametrize("content", WRONG_JSON, ids=range(len(WRONG_JSON)))
@pytest.mark.parametrize("name", ["config.json", "summary.json"])
def test_json_that_is_whole_and_wrong_is_one_line(data, finished, tmp_path, refused, name, content):
    run = tmp_path / "run"
    run.mkdir()
    for path in finished.iterdir():
        (run / path.name).symlink_to(path)
    (run / name).unlink()
    (run / name).write_text(content)
    for main, arguments in ((train.main, tiny(data, run)), (draw.main, [f"--workdir={run}"])):
        error = refused(main, arguments)
        assert name in error or str(run) in error


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
def test_a_run_of_a_later_version_is_refused(data, finished, tmp_path, refused, main):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "schema": SCHEMA + 1}))
    before = contents(run)
    message = f"schema={SCHEMA + 1}, which a later version of vae_jax wrote"
    assert message in refused(main, [f"--workdir={run}"])
    assert message in refused(train.main, tiny(data, run))
    assert contents(run) == before


def test_a_checkpoint_of_a_later_version_is_refused(data, finished, tmp_path, refused):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    directory = run / "checkpoints"
    found = checkpoints.find(directory)
    later = {**found.metadata, "schema": SCHEMA + 1}
    # Its arrays are never read.
    checkpoints.save(directory, found.step + 1, {"array": np.zeros(1)}, later, max_to_keep=1)
    before = contents(run)
    message = f"has schema={SCHEMA + 1}, which a later version of vae_jax wrote"
    error = refused(train.main, tiny(data, run))
    assert error.startswith(f"error: {directory / str(found.step + 1)} {message}")
    assert message in refused(evaluate.main, [f"--workdir={run}"])
    assert contents(run) == before


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
        # The threads of a failed write may still hold files.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# Threads that write checkpoints end after a write has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
# Enough for nothing; for the config; for the first checkpoint.
@pytest.mark.parametrize("size", ["4k", "40k", "400k"])
def test_a_full_disk_is_reported_in_one_line_and_with_room_the_run_goes_on(
    data, tmp_path, monkeypatch, size
):
    disk = tmp_path / "disk"
    arguments = [*tiny(data, disk / "run"), "--config.steps_per_call=1"]
    arguments += ["--config.checkpoints.every_seconds=0", "--config.checkpoints.max_to_keep=99"]
    with small_disk(disk, size):
        if size == "4k":
            (disk / "filling").write_bytes(b"0" * 4096)
        code, error = command(train.main, arguments, monkeypatch)
        assert code == 2, error
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
    # Here, and not amid another test.
    gc.collect()
