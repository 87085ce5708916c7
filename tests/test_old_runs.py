"""Runs of earlier versions of the code can be read, measured and continued.

`old_runs/make.py` made them and the expected numbers.
"""

import json
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags

import vae_jax
from experiments import sweep, train
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.applications.compression import Compressor, dependence, unpack
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.sweeps import results as sweep_results
from vae_jax.trained import TrainedMultimodal
from vae_jax.training import checkpoints

pytestmark = pytest.mark.usefixtures("parsed_flags")

HERE = Path("tests/old_runs")
STEPS = 10
RELATIVE, ABSOLUTE = 1e-5, 1e-5

# Metrics of a summary that earlier versions did not have.
_NEW_METRICS = (
    "nats_of",
    "rate_by_layer",
    "mutual_information_cap",
    "mutual_information_at_cap",
    "mutual_information_upper_bound",
)

# Experiments with a finished run, and one that was stopped ten steps before its end.
WHOLE = (
    "autoencoder",
    "denoising",
    "factor",
    "iaf",
    "multimodal",
    "two_layers",
    "vamp",
    "vanilla",
)
# Experiments with a stopped run, all in one archive.
EXTRAS = "extras"
STOPPED = (
    "capacity",
    "dip",
    "flow_prior",
    "jmvae",
    "ladder",
    "logistic_mixture",
    "miwae",
    "mixture_of_experts",
    "mixture_prior",
    "resnet",
    "subsets",
    "tc",
)


def _load(folder, member=None):
    return vae_jax.load(folder, member)


def _examples(model):
    """Return the test examples, prepared for the model."""
    test = model.load_test()
    return measuring.prepare_examples(model, test)


def _evaluate(model):
    """Return the test part of the summary, measured again."""
    num_samples = model.config.evaluation.num_samples
    return measuring.measure(model, _examples(model), num_samples, show_progress=False)


def _continue_ten_steps(folder):
    """Return the metrics of ten steps from the newest checkpoint, and sums of the parameters."""
    config = factory.resolve(workdir.read_config(folder))
    splits = factory.load_examples(config)
    directory = folder / "checkpoints"
    found = checkpoints.find(directory)
    state = factory.read_run_state(directory, found.step, found.metadata, config, splits.form).train
    program = factory.build_program(config, splits.form, splits.num_examples)
    run_steps = jax.jit(program.run_steps, static_argnums=2)
    # All on one device by choice, as what a step returns is: the next would compile it again.
    state, examples = jax.device_put((state, splits.train_examples), jax.devices()[0])
    steps = []
    for _ in range(STEPS):
        # One at a time: a longer scan takes longer to compile.
        state, metrics = run_steps(state, examples, 1)
        steps.append({name: float(values[0]) for name, values in metrics.items()})
    return {
        "step": int(state.step),
        "metrics": {name: [step[name] for step in steps] for name in steps[0]},
        **_sums(state.params),
    }


def _sums(params):
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]
    return {
        "sum_of_params": float(sum(leaf.sum() for leaf in leaves)),
        "sum_of_absolute_params": float(sum(abs(leaf).sum() for leaf in leaves)),
    }


def _continue_to_the_end(folder, patch):
    """Run `experiments.train` without plots; return its summary."""
    patch.setattr(measuring.drawing, "draw_run", lambda *_: None)
    train.train(workdir.read_config(folder), folder)
    return workdir.read_summary(folder)


def _continue_sweep(folder, file, patch):
    """Run `experiments.sweep` without plots; return its results.json."""
    patch.setattr(flags.FLAGS["sweep"], "value", str(file))
    patch.setattr(sweep_results, "draw", lambda *_: None)
    patch.setattr(sweep_results, "write_tensorboard", lambda *_: None)
    sweep.run_sweep(workdir.read_sweep(folder)["config"], sweep.named_sweep(), folder)
    return workdir.read_json(folder / "results.json")


def _decompress(model, file):
    return Compressor(model).decompress(unpack(file.read_bytes(), str(file)))


def observe(model):
    """Return codes of three test images, decoded latents, samples and other results of a model."""
    latents = np.linspace(-1, 1, 3 * model.latent_size).reshape(3, -1)
    found = {"decode": model.decode(latents)}
    if isinstance(model, TrainedMultimodal):
        given = {name: values[:3] for name, values in _examples(model).items()}
        if "text" in given:
            given["text"] = ["a thick 3", "a thin 0", "thin"]
        found |= {f"encode_{name}": model.encode({name: given[name]}) for name in given}
        found["encode"] = model.encode(given)
        found["generate"] = model.generate(given, jax.random.key(2))
    else:
        images = _examples(model)[:3]
        found["encode"] = model.encode(images)
        if not model.has_density:
            found["reconstruction"] = model.reconstruction_log_likelihood(images)
            return plain(found)
        found["elbo"] = model.elbo(images, jax.random.key(2))
    found["sample"] = model.sample(jax.random.key(1), 3)
    return plain(found)


def members(folder):
    """Return sums of the parameters of a sweep's members, and results of the first one."""
    models = [_load(folder, number) for number in range(4)]
    sums = [{**_sums(m.params), "beta": m.config.objective.beta} for m in models]
    return plain({"sums": sums, "first": observe(models[0])})


def table(results):
    """Return the rows of a sweep, without times and paths, and the best setting."""
    left_out = ("train_seconds", "workdir", *(f"test_{name}" for name in _NEW_METRICS))

    def known(entry):
        return {name: value for name, value in entry.items() if name not in left_out}

    rows, settings = list(map(known, results["members"])), results["settings"]
    best = max(settings, key=lambda entry: entry["mean"]["valid_elbo"])
    parts = ("mean", "std")
    settings = [entry | {part: known(entry[part]) for part in parts} for entry in settings]
    return plain({"rows": rows, "settings": settings, "best": best["setting"]})


def plain(value):
    """Return the value as read back from JSON, floats with eight digits."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return float(f"{value:.8g}") if isinstance(value, float) else value


def assert_close(found, expected, where=""):
    """Assert that numbers are equal to five digits, and all else exactly."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name in expected:
            assert_close(found[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for index, item in enumerate(expected):
            assert_close(found[index], item, f"{where}[{index}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=RELATIVE, abs=ABSOLUTE), where
    else:
        assert found == expected, where


def expected_of(name):
    text = (HERE / "expected" / f"{name}.json").read_text()
    # The present name of the KL's weight in a sweep's table.
    return json.loads(text.replace('"hparams.beta"', '"objective.beta"'))


def known_then(test):
    """Return the metrics of a summary without those that earlier versions did not have."""
    return {name: value for name, value in plain(test).items() if name not in _NEW_METRICS}


def finished_results(folder):
    """Return the results of a finished run that are compared."""
    model = _load(folder)
    return {"test": known_then(_evaluate(model)), "model": observe(model)}


def stopped_results(folder, *, with_model):
    """Return the results of a stopped run that are compared."""
    results = {"next": plain(_continue_ten_steps(folder))}
    return {**results, "model": observe(_load(folder))} if with_model else results


def unpacked(archive, folder):
    with tarfile.open(HERE / f"{archive}.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def extras(tmp_path_factory):
    return unpacked(EXTRAS, tmp_path_factory.mktemp(EXTRAS))


@pytest.mark.parametrize("name", WHOLE)
def test_runs_are_measured_and_continued_as_before(name, tmp_path):
    expected, folder = expected_of(name), unpacked(name, tmp_path) / name
    summary = workdir.read_summary(folder / "finished")
    assert_close(plain(summary["test"]), expected["finished"]["test"])
    assert_close(finished_results(folder / "finished"), expected["finished"])
    continued = stopped_results(folder / "stopped", with_model=False)
    if name != "factor":
        assert_close(continued, expected["stopped"])
        return
    # The discriminator now gets other examples: the run continues with other numbers.
    assert continued["next"]["step"] == expected["stopped"]["next"]["step"]
    metrics = continued["next"]["metrics"]
    assert metrics.keys() == expected["stopped"]["next"]["metrics"].keys()
    assert np.isfinite(list(metrics.values())).all()


@pytest.mark.parametrize("name", STOPPED)
def test_a_stopped_run_is_read_and_continued_as_before(name, extras):
    found = stopped_results(extras / name / "stopped", with_model=True)
    assert_close(found, expected_of(name)["stopped"])


def test_a_stopped_run_ends_as_the_finished_one_did(tmp_path, monkeypatch, capsys):
    expected, folder = expected_of("vanilla"), unpacked("vanilla", tmp_path) / "vanilla"
    _continue_to_the_end(folder / "finished", monkeypatch)
    assert "is finished: test elbo" in capsys.readouterr().out
    summary = _continue_to_the_end(folder / "stopped", monkeypatch)
    assert_close(known_then(summary["test"]), expected["finished"]["test"])


def test_a_compressed_file_gives_its_images_back_or_names_the_other_processor(tmp_path):
    model = _load(unpacked("vanilla", tmp_path) / "vanilla" / "finished")
    expected = np.load(HERE / "expected" / "vanilla_vae.npz")["images"]
    refusal = ""
    try:
        found = _decompress(model, HERE / "vanilla.vae")
    except UserError as error:
        refusal = str(error)
    if refusal:
        # Where the file is from; others give the networks other last bits.
        here = dependence.platform_name().split(", ")
        assert here[-2:] != ["x86_64 avx512f", "2 cores"]
        assert "another processor" in refusal
    else:
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("name", ["grid", "search"])
def test_a_finished_sweep_is_read_as_before(name, tmp_path, monkeypatch, capsys):
    expected, folder = expected_of(name), unpacked(name, tmp_path) / name / "finished"
    assert_close(members(folder), expected["models"])
    results = _continue_sweep(folder, HERE / f"{name}.py", monkeypatch)
    assert "batch" not in capsys.readouterr().out
    assert_close(table(results), expected["table"])


def test_a_stopped_sweep_continues_as_before(tmp_path, monkeypatch):
    folder = unpacked("search", tmp_path) / "search" / "stopped"
    results = _continue_sweep(folder, HERE / "search.py", monkeypatch)
    assert_close(table(results), expected_of("search")["table"])
