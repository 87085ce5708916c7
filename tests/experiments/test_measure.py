"""The command that measures the uses of trained runs."""

import importlib
import inspect
import json
from pathlib import Path

import pytest
from absl.testing import flagsaver

from experiments import measure
from vae_jax.applications import USES, anomaly
from vae_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("parsed_flags")

RESULTS = Path(__file__).parents[2] / "results" / "uses"


def command(**given):
    with flagsaver.flagsaver(**given):
        measure.main()


@pytest.mark.parametrize(("use", "name"), USES.items())
def test_every_use_is_measured_by_the_command_and_has_a_section_of_the_report(use, name):
    folder = f"vae_jax.applications.{use}"
    parameters = inspect.signature(importlib.import_module(f"{folder}.measure").measure).parameters
    assert list(parameters)[:2] == ["folders", "plots_folder"]
    assert set(list(parameters)[2:]) <= set(measure._OPTIONS)
    section = importlib.import_module(f"{folder}.report").section
    assert section(RESULTS / f"{name}.json").startswith("## ")


def test_a_mistake_is_told_in_a_line(tmp_path):
    with pytest.raises(UserError, match="--workdirs is missing"):
        command(use="recovery")
    with pytest.raises(UserError, match="--use is missing; name one of compression"):
        command(workdirs=["a"])
    with pytest.raises(UserError, match="--num_draws has no effect with --use=recovery; drop it"):
        command(use="recovery", workdirs=["a"], num_draws=3)
    with pytest.raises(UserError, match="--classifier is missing"):
        command(use="generation", workdirs=["a"])
    output = tmp_path / "other.json"
    output.write_text('{"rows": 3}')
    with pytest.raises(UserError, match=r"other\.json has no rows of runs"):
        command(use="anomaly", workdirs=["a"], output=str(output))


def test_a_run_that_is_measured_again_replaces_its_rows_and_the_others_stay(tmp_path, monkeypatch):
    seen = []

    def measured(folder, num_images, pictures):
        seen.append((folder.name, num_images, pictures))
        area = {"estimate": 0.1 * len(seen)}
        row = {"config_digest": folder.name, "outliers": "mnist", "score": "elbo", "auroc": area}
        return [row]

    monkeypatch.setattr(
        importlib.import_module(f"{anomaly.__name__}.measure"), "measure_run", measured
    )
    output = tmp_path / "anomaly.json"
    for workdirs in (["a", "b"], ["a"]):
        command(use="anomaly", workdirs=workdirs, num_test_examples=7, output=str(output))
    assert seen == [(name, 7, tmp_path / "anomaly") for name in "aba"]
    content = json.loads(output.read_text())
    assert content["command"] == "python -m experiments.measure --use=anomaly"
    assert [(row["config_digest"], row["auroc"]["estimate"]) for row in content["rows"]] == [
        ("b", 0.2),
        ("a", pytest.approx(0.3)),
    ]
