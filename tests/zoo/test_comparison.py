"""A small zoo, trained, measured and reported."""

import json
import shutil
from unittest import mock

import pytest
import small_zoo as small_zoo_file
from absl.testing import flagsaver
from small_data import write_bars
from small_zoo import small_zoo

import vae_jax
from experiments import zoo as command
from vae_jax import workdir
from vae_jax.applications.generation import samplers
from vae_jax.errors import UserError
from vae_jax.sweeps.executors import LocalExecutor
from vae_jax.zoo import comparison, measure, report, results, shown_images
from vae_jax.zoo.families import Family

COMMAND = "python -m experiments.zoo"


def compare(zoo, data, folder, *, names=(), seeds=2, draw=False):
    # The plots of each command take as long as its training.
    with mock.patch.object(comparison, "_draw", comparison._draw if draw else lambda *_: None):
        comparison.compare(
            zoo,
            names=names,
            datasets=[data],
            seeds=range(seeds),
            folder=folder / "runs",
            out=folder / "results",
            executor=LocalExecutor(),
            command=COMMAND,
        )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_bars(tmp_path_factory.mktemp("data") / "bars.npz"))


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def compared(data, patch, tmp_path_factory):
    """The folder of a zoo whose VAE was trained first, and its other family later."""
    # A flow compiles for seconds, and its fit has tests of its own.
    patch.setattr(
        samplers, "fit_flow", lambda latents, key, steps: samplers.fit_mixture(latents, key)
    )
    patch.setattr(measure, "_CLASSIFIER_EPOCHS", 2)
    folder = tmp_path_factory.mktemp("zoo")
    compare(small_zoo(), data, folder, names=["vae"], seeds=1)
    compare(small_zoo(), data, folder, names=["staged"], seeds=1, draw=True)
    return folder


def rows_of(folder):
    return results.read(folder / "results")["rows"]


def test_every_seed_of_every_family_has_a_row(compared, data):
    rows = rows_of(compared)
    found = [(row["data"], row["family"], row["label"], row["seed"]) for row in rows]
    expected = [("vae", "VAE", 0), ("staged", "staged", 0)]
    assert found == [(data, *row) for row in expected]
    for row in rows:
        summary = workdir.read_summary(stage_of(compared, row))
        assert row["device"] == summary["device"]
        assert 0 < row["squared_error"] < 1
        assert 0 <= row["linear_accuracy"] <= 1
        assert not row["diverged"]


def stage_of(folder, row):
    index = {"vae": 0, "staged": 100}[row["family"]]
    inner = folder / "runs" / "bars" / ("second_stages" if index else "")
    return workdir.member_folder(inner, index + row["seed"])


def test_a_metric_without_meaning_is_null(compared):
    vae, staged = rows_of(compared)
    summary = workdir.read_summary(stage_of(compared, vae))
    assert vae["nll"] == -summary["test"]["iwae_bound"]
    assert staged["nll"] is None
    for metric in measure.QUALITY:
        assert staged[f"prior_{metric}"] is None
        for sampler in measure.SAMPLERS[1:]:
            assert staged[f"{sampler}_{metric}"] >= 0
        assert vae[f"prior_{metric}"] >= 0


def test_a_second_stage_follows_the_first_one_of_its_seed(compared):
    runs = compared / "runs" / "bars"
    second = vae_jax.load(runs / "second_stages", member=100).config
    assert second.objective.first_stage == str(runs / "members" / "0100")
    seconds = [
        workdir.read_json(workdir.member_folder(folder, 100) / "member.json")["train_seconds"]
        for folder in (runs, runs / "second_stages")
    ]
    assert rows_of(compared)[-1]["train_seconds"] == sum(seconds)
    assert len(list((runs / "second_stages" / "members").iterdir())) == 1


def test_the_same_command_again_measures_nothing(compared, data, monkeypatch):
    before = (compared / "results" / "zoo.json").read_bytes()
    monkeypatch.setattr(measure, "measure_run", None)
    compare(small_zoo(), data, compared, names=["staged"], seeds=1)
    assert (compared / "results" / "zoo.json").read_bytes() == before


def test_the_page_is_what_the_report_writes_and_shows_the_plots(compared):
    page = report.path_of(compared / "results").read_text()
    assert page == report.render(compared / "results")
    assert COMMAND in page
    assert "| staged | 1 |  | " in page
    assert "| training images |" in page
    for name in ("images", "plane"):
        assert f"(zoo/bars_{name}.png)" in page
        assert (compared / "results" / "zoo" / f"bars_{name}.png").stat().st_size > 1000


def test_another_workdir_adds_to_results_whose_own_is_gone(compared, data, tmp_path):
    shutil.copytree(compared / "results", tmp_path / "results")
    vae, staged = rows_of(compared)
    images = tmp_path / "results" / "zoo" / "bars_images.npz"
    # As if the other family alone had been measured.
    found = workdir.read_json(tmp_path / "results" / "zoo.json")
    del found["digest"]
    found["rows"] = [staged]
    workdir.write_json(
        tmp_path / "results" / "zoo.json", {**found, "digest": workdir.config_digest(found)}
    )
    kept = {name: part for name, part in shown_images.read(images).items() if "vae/" not in name}
    shown_images.write(images, kept)
    compare(small_zoo(), data, tmp_path, names=["vae"], seeds=1, draw=True)
    again, unchanged = rows_of(tmp_path)
    assert unchanged == staged
    assert {**again, "train_seconds": 0} == {**vae, "train_seconds": 0}
    now = shown_images.read(images)
    assert set(now) == set(kept) | {"vae/reconstructions", "vae/samples"}
    # Both are measured with one classifier.
    parameters = "bars_classifier/parameters.npz"
    assert (tmp_path / "runs" / "bars" / "classifier" / "parameters.npz").read_bytes() == (
        compared / "results" / "zoo" / parameters
    ).read_bytes()


def test_rows_of_another_budget_are_not_added(compared, data, tmp_path):
    shutil.copytree(compared / "results", tmp_path / "results")
    longer = small_zoo().with_overrides([("epochs", "9")])
    with pytest.raises(UserError, match=r"has rows of another budget: epochs=\d there and 9 here"):
        compare(longer, data, tmp_path)
    assert not (tmp_path / "runs").exists()


def test_the_best_of_a_column_is_bold():
    rows = [
        {"label": label, "seed": seed, "nll": nll, "squared_error": error}
        for label, nll, error in (("a", 90.0, 0.02), ("b", 95.0, 0.01), ("c", None, 0.03))
        for seed in (0, 1)
    ]
    columns = report._QUALITY[:2]
    assert report._table(columns, rows, {}).splitlines()[2:5] == [
        "| a | 2 | **90.00 ± 0.00** | 0.0200 ± 0.0000 |",
        "| b | 2 | 95.00 ± 0.00 | **0.0100 ± 0.0000** |",
        "| c | 2 |  | 0.0300 ± 0.0000 |",
    ]


def test_a_diverged_run_is_reported_and_left_out(compared, data, tmp_path):
    wild = {"objective": {"name": "elbo", "beta": 1e38, "free_nats": 1e38}}
    zoo = small_zoo(wild=Family("wild", wild))
    compare(zoo, data, tmp_path, names=["wild"], seeds=1, draw=True)
    (row,) = rows_of(tmp_path)
    assert row["diverged"]
    page = report.path_of(tmp_path / "results").read_text()
    assert "Diverged: wild, seed 0." in page


def test_results_that_were_edited_by_hand_are_refused(compared, data, tmp_path):
    content = json.loads((compared / "results" / "zoo.json").read_text())
    content["rows"][0]["nll"] = 1.0
    (tmp_path / "results").mkdir()
    workdir.write_json(tmp_path / "results" / "zoo.json", content)
    with pytest.raises(UserError, match="was edited by hand"):
        compare(small_zoo(), data, tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_mistake_on_the_command_line_is_refused_in_a_line(tmp_path, parsed_flags):
    given = {
        "config": small_zoo_file.__file__,
        "workdir": str(tmp_path / "runs"),
        "results": str(tmp_path),
    }
    for changed, message in (
        ({"families": ["vea"]}, "--families=vea is not a family"),
        ({"seeds": 0}, "--seeds=0 must be at least 1"),
        ({"datasets": []}, "--datasets is empty"),
        ({"datasets": ["nothing.npz"]}, "nothing.npz"),
    ):
        with flagsaver.flagsaver(**given, **changed), pytest.raises(UserError, match=message):
            command.main()
    assert not (tmp_path / "runs").exists()
