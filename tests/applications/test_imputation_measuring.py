"""The use that measures imputation on tables, on a run that was hardly trained."""

import json

import numpy as np
import pytest
import small_runs

from configs import imputation as config_of
from vae_jax import config as factory
from vae_jax.applications.imputation import measure as measuring
from vae_jax.applications.imputation import report
from vae_jax.errors import UserError


def save(folder, **changes):
    """Write a run on iris with random parameters."""
    base = config_of.get_config("iris")
    given = factory.with_values(factory.plain(base), {"batch_size": 32, **changes})
    small = {"model.latent_size": 2, "model.encoder.widths": (4,)}
    experiment = factory.resolve(factory.with_values(given, small))
    form = factory.open_examples(experiment).form
    small_runs.save(folder, small_runs.make_model(form, base=given, **small))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Workdirs of runs with two shares of missing cells."""
    folder = tmp_path_factory.mktemp("iris")
    return [save(folder / str(share), **{"data.missing_share": share}) for share in (0.5, 0.2)]


def test_runs_are_measured_drawn_and_reported(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "_NUM_SAMPLES", 10)
    monkeypatch.setattr(measuring, "_NUM_DRAWS", 20)
    folder = tmp_path / "uses" / "imputation"
    *_, found = measuring.measure(runs, num_test_examples=40)
    measuring.draw(found["rows"], folder)
    first, second = found["rows"]
    assert [first["missing_share"], second["missing_share"]] == [0.5, 0.2]
    assert (first["num_rows"], first["num_columns"]) == (40, 4)
    assert 60 < first["num_missing"] < 100
    assert 0 < first["coverage"] <= 1
    assert 1 <= first["effective_samples"] <= 10
    # That of the mean is the variance; neighbours are nearer.
    assert first["errors"]["mean"] == pytest.approx(1, abs=0.4)
    assert first["errors"]["k-NN"] < first["errors"]["mean"]
    assert np.isfinite(list(second["errors"].values())).all()
    assert "iris, 50% missing, seed 0: model " in capsys.readouterr().out
    folder.with_suffix(".json").write_text(json.dumps(found))
    text = report.section(folder.with_suffix(".json"))
    assert "| iris | 40 x 4 | 20% | 1 |" in text
    assert "](uses/imputation/iris.png)" in text
    assert (folder / "iris.png").is_file()
    with pytest.raises(UserError, match=r"none of the first 0 rows of data\.name='iris'"):
        next(measuring.measure(runs[:1], num_test_examples=0))


def test_runs_whose_missing_cells_are_not_known_are_refused_before_the_first_is_measured(
    runs, tmp_path
):
    whole = save(tmp_path / "whole", **{"data.missing_share": 0.0})
    given = save(
        tmp_path / "given",
        **{"model.condition": {"name": "columns", "columns": ("petal length (cm)",)}},
    )
    for folder, message in (
        (whole, "has no missing cells that are known; train on a table with"),
        (given, r"is of some columns given others \(model.condition='columns'\)"),
    ):
        with pytest.raises(UserError, match=f"{folder} {message}") as error:
            next(measuring.measure([runs[0], folder]))
        assert "\n" not in str(error.value)
