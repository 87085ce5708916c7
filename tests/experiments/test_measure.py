"""The command that measures the uses of trained runs."""

import importlib
import inspect
import json
import tarfile
from pathlib import Path

import pytest
import small_runs
from absl.testing import flagsaver
from small_configs import small_experiment

from experiments import measure
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.applications import USES, anomaly, few_labels, generation
from vae_jax.errors import UserError
from vae_jax.evaluation.classifier import Classifier

pytestmark = pytest.mark.usefixtures("parsed_flags")

RESULTS = Path(__file__).parents[2] / "results" / "uses"


AREA = {"estimate": 0.5}


def command(**given):
    with flagsaver.flagsaver(**given):
        measure.main()


@pytest.mark.parametrize(("use", "name"), USES.items())
def test_every_use_is_measured_by_the_command_and_has_a_section_of_the_report(use, name):
    folder = f"vae_jax.applications.{use}"
    parameters = inspect.signature(importlib.import_module(f"{folder}.measure").measure).parameters
    assert next(iter(parameters)) == "folders"
    assert set(parameters) <= {"folders", "plots_folder", "kept", *measure._OPTIONS}
    section = importlib.import_module(f"{folder}.report").section
    path = RESULTS / f"{name}.json"
    # A use without measurements has no section yet.
    assert section(path).startswith("## ") if path.is_file() else section(path) == ""


def write_config(folder, **changes):
    """Write the config of a run that is not there otherwise; return its workdir."""
    folder.mkdir(exist_ok=True)
    workdir.write_json(folder / "config.json", factory.plain(small_experiment(changes)))
    return str(folder)


def test_a_mistake_is_refused_in_a_line(tmp_path):
    with pytest.raises(UserError, match="--workdirs is missing"):
        command(use="recovery")
    with pytest.raises(UserError, match="--use is missing; name one of compression"):
        command(workdirs=["a"])
    with pytest.raises(UserError, match="--num_draws has no effect with --use=recovery; drop it"):
        command(use="recovery", workdirs=["a"], num_draws=3)
    with pytest.raises(UserError, match="--classifier is missing"):
        command(use="generation", workdirs=[write_config(tmp_path / "a")])
    output = tmp_path / "other.json"
    output.write_text('{"rows": 3}')
    with pytest.raises(UserError, match=r"other\.json has no rows of runs"):
        command(use="anomaly", workdirs=["a"], output=str(output))


def test_samples_and_a_classifier_of_other_data_are_not_compared(tmp_path, monkeypatch):
    module = importlib.import_module(f"{generation.__name__}.measure")
    judge = Classifier((8, 8, 1), 4, {}, {"data": "fashion_mnist"})
    monkeypatch.setattr(module, "load_classifier", lambda folder: judge)
    splits = iter(["train[:90%]", "train[:90%]", "train"])

    def load_images(folder):
        changes = {"data.name": folder.name, "data.train_split": next(splits)}
        return small_runs.make_model((8, 8, 1), **changes)

    monkeypatch.setattr(module, "load_images", load_images)
    with pytest.raises(UserError, match="classifier=c was trained on 'fashion_mnist', and the run"):
        next(module.measure([Path("mnist")], classifier="c"))
    runs = [Path("fashion_mnist")] * 2
    with pytest.raises(
        UserError, match=r"runs of data.train_split='train\[:90%\]' and 'train'; me"
    ):
        next(module.measure(runs, classifier="c"))


@pytest.fixture
def measured(monkeypatch):
    """Numbered measurements of anomaly detection, and their runs."""
    seen = []

    def measure_run(folder, num_images, plots_folder):
        seen.append((folder.name, num_images, plots_folder))
        digest = factory.digest(workdir.read_config(folder))
        area = {"estimate": 0.1 * len(seen)}
        return [{"config_digest": digest, "outliers": "mnist", "score": "elbo", "auroc": area}]

    module = importlib.import_module(f"{anomaly.__name__}.measure")
    monkeypatch.setattr(module, "measure_run", measure_run)
    return seen


def areas(output):
    """The rows of a results file as digests and areas."""
    rows = json.loads(output.read_text())["rows"]
    return [(row["config_digest"], row["auroc"]["estimate"]) for row in rows]


def test_a_run_that_is_measured_again_replaces_its_rows_and_the_others_stay(tmp_path, measured):
    output = tmp_path / "anomaly.json"
    first, second = (write_config(tmp_path / name, seed=seed) for seed, name in enumerate("ab"))
    for workdirs in ([first, second], [first]):
        command(use="anomaly", workdirs=workdirs, num_test_examples=7, output=str(output))
    assert measured == [(name, 7, tmp_path / "anomaly") for name in "aba"]
    content = json.loads(output.read_text())
    assert content["command"] == "python -m experiments.measure --use=anomaly"
    digests = [factory.digest(workdir.read_config(Path(run))) for run in (second, first)]
    assert areas(output) == list(zip(digests, (0.2, pytest.approx(0.3)), strict=True))


def test_the_runs_of_a_call_at_the_same_time_stay(tmp_path, measured, monkeypatch):
    output = tmp_path / "anomaly.json"
    module = importlib.import_module(f"{anomaly.__name__}.measure")
    measure_run = module.measure_run

    def beside_another(*given):
        workdir.write_json(output, {"rows": [{"config_digest": "another", "auroc": AREA}]})
        return measure_run(*given)

    monkeypatch.setattr(module, "measure_run", beside_another)
    run = write_config(tmp_path / "a")
    command(use="anomaly", workdirs=[run], output=str(output))
    now = factory.digest(workdir.read_config(Path(run)))
    assert areas(output) == [("another", 0.5), (now, 0.1)]


def test_plots_show_the_runs_of_earlier_calls_too(tmp_path, monkeypatch):
    output = tmp_path / "few_labels.json"
    workdir.write_json(output, {"rows": [{"config_digest": "another"}]})
    module = importlib.import_module(f"{few_labels.__name__}.measure")
    run, drawn = write_config(tmp_path / "a"), []
    digest = factory.digest(workdir.read_config(Path(run)))
    rows = [{"config_digest": digest}]
    monkeypatch.setattr(module, "measure", lambda folders: [{"rows": rows}])
    monkeypatch.setattr(module, "draw", lambda *given: drawn.append(given))
    command(use="few_labels", workdirs=[run], output=str(output))
    assert drawn == [([{"config_digest": "another"}, *rows], tmp_path / "few_labels")]


def test_a_run_of_a_flat_config_replaces_the_rows_that_it_had_then(tmp_path, measured):
    output = tmp_path / "anomaly.json"
    with tarfile.open("tests/old_runs/vanilla.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    folder = tmp_path / "vanilla" / "finished"
    # Results files of that version have the digest of its summary.
    was = workdir.read_summary(folder)["config_digest"]
    row = {"outliers": "mnist", "score": "elbo", "auroc": AREA}
    rows = [{**row, "config_digest": digest} for digest in (was, "another")]
    workdir.write_json(output, {"rows": rows})
    command(use="anomaly", workdirs=[str(folder)], output=str(output))
    now = factory.digest(workdir.read_config(folder))
    assert now != was
    assert areas(output) == [("another", 0.5), (now, 0.1)]


def test_two_runs_of_one_experiment_are_no_two_seeds(tmp_path, measured):
    runs = [write_config(tmp_path / name, seed=3) for name in "ab"]
    with pytest.raises(UserError, match="have the same experiment and seed; name one of them"):
        command(use="anomaly", workdirs=runs)
    assert not measured
