import functools
import json
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
import short_runs
from absl import flags
from absl.testing import flagsaver
from PIL import Image
from small_data import write_bars

import vae_jax
from configs import vanilla
from experiments import evaluate, train
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import drawing
from vae_jax.training import checkpoints
from vae_jax.training.records import read_records

pytestmark = pytest.mark.usefixtures("parsed_flags")

OVERRIDES = {
    "epochs": 3,
    "batch_size": 32,
    "steps_per_call": 4,
    "data.train_split": "train[:192]",
    "data.validation_split": "train[192:]",
    "model.encoder.widths": (16,),
    "model.latent_size": 2,
    "tensorboard.images_every_epochs": 2,
    "evaluation": {"num_samples": 20},
}
PLOTS = [
    "interpolation_linear",
    "interpolation_spherical",
    "kl_by_dimension",
    "latents",
    "manifold",
    "reconstructions",
    "samples",
    "training_curves",
    "traversals",
]
DRAWN_OF_A_VAE_ONLY = {"kl_by_dimension", "samples", "traversals"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("data") / "bars.npz")


def config_of(data, **changes):
    """The experiment; `changes` by dotted name."""
    values = {"data.name": str(data), **OVERRIDES, **changes}
    return factory.resolve(factory.with_values(vanilla.get_config(), values))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory, drawing_plots):
    folder = tmp_path_factory.mktemp("runs") / "vanilla"
    with drawing_plots():
        train.train(config_of(data), folder)
    return folder


@pytest.fixture(autouse=True)
def programs_compiled_once(monkeypatch):
    short_runs.compile_once(monkeypatch)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@functools.cache
def template():
    """The shapes of the state of all runs here."""
    config = factory.resolve(factory.with_values(vanilla.get_config(), OVERRIDES))
    return factory.run_state_template(config, (8, 8, 1))


def state_of(folder):
    """The bits of the newest checkpoint, and what stands beside them but for times."""
    checkpoint = checkpoints.restore(folder / "checkpoints", template())
    is_key = [
        jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        for leaf in jax.tree.leaves(checkpoint.tree)
    ]
    leaves = [
        np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes()
        for leaf, key in zip(jax.tree.leaves(checkpoint.tree), is_key, strict=True)
    ]
    metadata = {k: v for k, v in checkpoint.metadata.items() if k != "train_seconds"}
    return checkpoint.step, leaves, metadata


def timeless_records(folder):
    return [
        {name: value for name, value in record.items() if name != "examples_per_second"}
        for record in read_records(folder / "metrics.jsonl")
    ]


def test_the_config_is_the_resolved_one(data, finished):
    stored = json.loads((finished / "config.json").read_text())
    assert stored == json.loads(json.dumps(config_of(data).to_dict()))


def test_the_metrics_have_a_record_of_every_call_and_every_validation(finished):
    records = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    kept = [(record["step"], record["split"]) for record in records]
    assert kept == [
        (step, split)
        for first in (0, 6, 12)
        for step, split in ((first + 4, "train"), (first + 6, "train"), (first + 6, "valid"))
    ]
    for record in records:
        common = {"step", "epoch", "split", "loss", "elbo", "rate", "distortion"}
        train_only = {"examples_per_second"} if record["split"] == "train" else set()
        assert set(record) == common | train_only
        assert record["epoch"] == pytest.approx(record["step"] / 6, abs=1e-4)
        assert record["elbo"] == pytest.approx(-(record["rate"] + record["distortion"]), rel=1e-5)


def test_the_summary_has_its_keys_and_its_metrics_agree(data, finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert {
        "test",
        "best_epoch",
        "epochs",
        "wall_seconds",
        "examples_per_second",
        "device",
        "versions",
        "seed",
        "config_digest",
    } <= set(summary)
    test = summary["test"]
    assert {
        "elbo",
        "rate",
        "distortion",
        "iwae_bound",
        "num_samples",
        "bits_per_dim",
        "active_units",
        "kl_by_dimension",
    } <= set(test)
    assert test["elbo"] == pytest.approx(-(test["rate"] + test["distortion"]), rel=1e-6)
    assert test["elbo"] <= test["iwae_bound"] < 0
    assert test["rate"] == pytest.approx(sum(test["kl_by_dimension"]), rel=1e-5)
    assert test["bits_per_dim"] == pytest.approx(-test["elbo"] / np.log(2) / 64)
    assert (test["num_samples"], test["num_examples"]) == (20, 70)
    assert 0 <= test["active_units"] <= 2
    assert summary["epochs"] == 3
    assert 1 <= summary["best_epoch"] <= 3
    assert summary["seed"] == 0
    assert summary["config_digest"] == factory.digest(config_of(data))
    versions = summary["versions"]
    assert {"python", "jax", "flax", "optax", "numpy"} <= set(versions)
    assert versions["vae_jax"] == vae_jax.__version__
    assert len(summary["processor"]) > 2
    assert summary["wall_seconds"] > 0
    assert summary["examples_per_second"] > 0
    assert isinstance(summary["device"], str)


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_shows_something(finished, name):
    assert {path.stem for path in (finished / "plots").iterdir()} == set(PLOTS)
    with Image.open(finished / "plots" / f"{name}.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) >= 50
    assert pixels.std() > 5
    assert len(np.unique(pixels)) > 10


def test_tensorboard_has_the_records_and_the_images(finished):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(finished))
    events.Reload()
    records = [r for r in read_records(finished / "metrics.jsonl") if r["split"] == "valid"]
    shown = [(event.step, event.value) for event in events.Scalars("valid/elbo")]
    assert shown == [(r["step"], pytest.approx(r["elbo"])) for r in records]
    assert set(events.Tags()["images"]) == {"originals", "reconstructions", "samples"}
    assert [event.step for event in events.Images("samples")] == [12]


def test_a_second_start_of_a_finished_run_leaves_everything_as_it_is(data, finished, capsys):
    before = contents(finished)
    train.train(config_of(data), finished)
    assert "is finished: test elbo" in capsys.readouterr().out
    assert contents(finished) == before


def test_the_run_loads_as_a_library(data, finished):
    model = vae_jax.load(finished)
    images = np.load(data)["test_images"][:5, ..., np.newaxis]
    assert model.encode(images).shape == (5, 2)
    assert model.reconstruct(images).shape == images.shape
    assert model.sample(jax.random.key(0), 3).shape == (3, 8, 8, 1)
    elbo = model.elbo(images, jax.random.key(1))
    assert elbo.shape == (5,)
    assert (elbo < 0).all()


def test_an_evaluation_with_more_samples_rewrites_the_summary_only_there(
    finished, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before = workdir.read_summary(folder)
    monkeypatch.setattr(sys, "argv", ["evaluate", f"--workdir={folder}", "--num_samples=50"])
    try:
        flags.FLAGS(sys.argv)
        evaluate.main()
    finally:
        flags.FLAGS["num_samples"].unparse()
        flags.FLAGS["workdir"].unparse()
    after = workdir.read_summary(folder)
    assert after["test"]["num_samples"] == 50
    assert after["test"]["iwae_bound"] != before["test"]["iwae_bound"]
    assert after["test"]["elbo"] <= after["test"]["iwae_bound"]
    for name in ("best_epoch", "epochs", "wall_seconds", "seed", "config_digest"):
        assert after[name] == before[name]
    assert state_of(folder) == state_of(finished)
    assert timeless_records(folder) == timeless_records(finished)


def test_an_evaluation_with_fewer_samples_needs_a_file_of_its_own(finished, tmp_path):
    folder, output = tmp_path / "run", tmp_path / "few.json"
    shutil.copytree(finished, folder)
    before = contents(folder)
    with (
        flagsaver.flagsaver(workdir=str(folder), num_samples=7),
        pytest.raises(UserError, match=r"would replace a bound by 20 samples in .*summary\.json"),
    ):
        evaluate.main()
    with flagsaver.flagsaver(workdir=str(folder), num_samples=7, output=str(output)):
        evaluate.main()
    assert json.loads(output.read_text())["test"]["num_samples"] == 7
    assert contents(folder) == before


def test_an_evaluation_says_that_it_passed_over_a_damaged_checkpoint(finished, tmp_path, capsys):
    folder, output = tmp_path / "run", tmp_path / "older.json"
    shutil.copytree(finished, folder)
    older, newest = checkpoints.steps(folder / "checkpoints")[-2:]
    (folder / "checkpoints" / str(newest) / "manifest.json").write_text("{")
    with flagsaver.flagsaver(workdir=str(folder), output=str(output)):
        evaluate.main()
    summary = json.loads(output.read_text())
    assert (summary["step"], summary["damaged_checkpoints"]) == (older, [newest])
    said = capsys.readouterr().out.strip()
    assert said.endswith(f"of step {older}, since the checkpoint of step {newest} is damaged")


@pytest.mark.plots
def test_a_kill_between_training_and_the_summary_is_made_up_for(data, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "plots")
    train.train(config_of(data), folder)
    assert workdir.read_summary(folder) == workdir.read_summary(finished)
    names = [path.name for path in (folder / "plots").iterdir()]
    assert sorted(names) == sorted(path.name for path in (finished / "plots").iterdir())
    assert timeless_records(folder) == timeless_records(finished)


def test_a_summary_of_an_earlier_state_does_not_pass_for_the_final_one(data, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    final = workdir.read_summary(finished)
    workdir.write_summary(folder, final | {"step": final["step"] - 1, "test": {"elbo": 0.0}})
    train.train(config_of(data), folder)
    assert workdir.read_summary(folder) == final


def test_with_no_whole_checkpoint_left_a_run_starts_anew(data, finished, tmp_path, caplog):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for manifest in folder.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    train.train(config_of(data), folder)
    assert "starting anew" in caplog.text
    assert state_of(folder) == state_of(finished)
    assert timeless_records(folder) == timeless_records(finished)


def test_the_summary_comes_after_the_plots(data, finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "summary.json").unlink()
    monkeypatch.setattr(drawing, "draw_run", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        train.train(config_of(data), folder)
    assert workdir.read_summary(folder) is None


def test_a_damaged_newest_checkpoint_costs_some_steps_and_no_bit(data, finished, tmp_path, caplog):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "summary.json").unlink()
    (folder / "checkpoints" / "18" / "metadata.json").write_text("{")
    train.train(config_of(data), folder)
    assert "18 is damaged and is passed over" in caplog.text
    assert state_of(folder) == state_of(finished)
    assert timeless_records(folder) == timeless_records(finished)
    assert workdir.read_summary(folder)["test"] == workdir.read_summary(finished)["test"]


@pytest.mark.plots
def test_a_denoising_autoencoder_has_its_own_keys_and_plots(data, tmp_path):
    folder = tmp_path / "run"
    changes = {
        "epochs": 1,
        "model": "autoencoder",
        "evaluation": {},
        "corruption": {"name": "masking", "level": 0.3},
    }
    train.train(config_of(data, **changes), folder)
    test = workdir.read_summary(folder)["test"]
    assert {"distortion", "reconstruction_error", "denoising", "num_examples"} <= set(test)
    assert not {"elbo", "rate", "iwae_bound", "active_units", "kl_by_dimension"} & set(test)
    errors = test["denoising"]
    assert len(errors["levels"]) == len(errors["noisy"]) == len(errors["denoised"]) > 1
    assert 0.3 in np.float32(errors["levels"]).round(4)
    assert "elbo" not in read_records(folder / "metrics.jsonl")[0]
    names = {path.stem for path in (folder / "plots").iterdir()}
    expected = set(PLOTS) - DRAWN_OF_A_VAE_ONLY | {"denoising", "denoising_curve"}
    assert names == expected
    model = vae_jax.load(folder)
    with pytest.raises(UserError, match="needs a model with a posterior and a prior"):
        model.sample(jax.random.key(0), 1)


LONG = {
    "epochs": 12,
    "checkpoints.every_seconds": 1e6,
    "tensorboard.images_every_epochs": 0,
    "evaluation.num_samples": 2,
}

# The command, which waits for a line once it has written four records.
WAITING = """
import sys
from experiments import command_line, train
from vae_jax.training.records import JsonLinesWriter

write, written = JsonLinesWriter.write, []

def write_and_wait(self, record):
    write(self, record)
    written.append(record)
    if len(written) == 4:
        print("waiting", flush=True)
        sys.stdin.readline()

JsonLinesWriter.write = write_and_wait
command_line.run(train.main)
"""


def test_a_run_outlives_signals_and_a_kill_bit_for_bit(data, tmp_path):
    folder, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    overrides = {**OVERRIDES, **LONG, "data.name": data}
    arguments = ["--config=configs/vanilla.py", f"--workdir={folder}"]
    arguments += [f"--config.{field}={value}" for field, value in overrides.items()]
    step, pipe = 0, subprocess.PIPE
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        command = [sys.executable, "-c", WAITING, *arguments]
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            for line in process.stdout:
                if line == "waiting\n":
                    process.send_signal(number)
                    break
            _, error = process.communicate("\n" if number != signal.SIGKILL else None)
        assert not (folder / "summary.json").exists(), error
        if number == signal.SIGKILL:
            assert process.returncode == -number
            assert read_records(folder / "metrics.jsonl")[-1]["step"] > step
            break
        assert process.returncode == 128 + number, error
        assert f"stopped by {number.name} at step " in error
        assert "Traceback" not in error
        previous, step = step, checkpoints.steps(folder / "checkpoints")[-1]
        assert f"at step {step};" in error
        assert previous < step < 6 * LONG["epochs"]
        assert read_records(folder / "metrics.jsonl")[-1]["step"] == step
    assert checkpoints.steps(folder / "checkpoints")[-1] == step
    for path in (folder, undisturbed):
        train.train(config_of(data, **LONG), path)
    assert state_of(folder) == state_of(undisturbed)
    assert timeless_records(folder) == timeless_records(undisturbed)
    resumed, reference = workdir.read_summary(folder), workdir.read_summary(undisturbed)
    assert resumed["test"] == reference["test"]
    assert resumed["best_epoch"] == reference["best_epoch"]
