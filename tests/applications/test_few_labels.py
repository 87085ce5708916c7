"""The use that measures how well runs classify with few labels."""

import json

import numpy as np
import pytest
import small_runs
from small_data import write_bars

from vae_jax import plots
from vae_jax.applications.few_labels import measure as measuring
from vae_jax.applications.few_labels import report
from vae_jax.errors import UserError

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Workdirs of untrained runs with 4 and 8 labels."""
    folder = tmp_path_factory.mktemp("few")
    changes = {
        "data.name": str(write_bars(folder / "bars.npz")),
        "data.train_split": "train",
        "data.validation_split": "",
        "data.binarization": "none",
        "data.labelled_seed": 5,
        "model": {"name": "m2", "condition": {"name": "label", "classes": 4}},
        "model.classifier.widths": (4,),
        "objective": "m2",
        "batch_size": 32,
    }
    for num in (4, 8):
        model = small_runs.make_model(SHAPE, **changes, **{"data.labelled": num})
        small_runs.save(folder / str(num), model)
    return folder


def test_runs_are_measured_drawn_and_reported(runs, tmp_path, capsys):
    folder = tmp_path / "uses" / "few_labels"
    folders = [runs / "8", runs / "4"]
    *_, found = measuring.measure(folders, num_test_examples=50)
    measuring.draw(found["rows"], folder)
    first, second = found["rows"]
    assert [first["num_labels"], second["num_labels"]] == [8, 4]
    assert first["labelled_seed"] == 5
    assert first["num_test_examples"] == 50
    # The classifier alone is trained, the model is not.
    assert first["accuracy_of_classifier_alone"] > max(0.5, first["accuracy"])
    assert "bars.npz, 8 labels, seed 0: m2 " in capsys.readouterr().out
    folder.with_suffix(".json").write_text(json.dumps(found))
    text = report.section(folder.with_suffix(".json"))
    assert "| bars | m2 | 4 | 1 |" in text
    assert "on the 50 test images" in text
    assert "](uses/few_labels/accuracy_by_labels.png)" in text


def test_a_run_without_a_classifier_is_refused_before_the_first_is_measured(runs, tmp_path):
    changes = {"data.name": str(runs / "bars.npz"), "batch_size": 32}
    small_runs.save(tmp_path / "vae", small_runs.make_model(SHAPE, **changes))
    with pytest.raises(UserError, match=r"vae holds a run of model='vae', which has no classifier"):
        next(measuring.measure([runs / "4", tmp_path / "vae"]))


def row(num, seed, accuracy, labelled_seed=0):
    return {
        "data": "latents.npz",
        "model": "m2",
        "seed": seed,
        "labelled_seed": labelled_seed,
        "num_labels": num,
        "accuracy": accuracy,
        "accuracy_of_classifier_alone": accuracy / 2,
        "num_test_examples": 10_000,
    }


def test_lines_are_of_all_seeds_that_a_number_of_labels_has(tmp_path):
    rows = [row(100, 1, 0.92), row(100, 0, 0.9), row(10, 0, 0.5)]
    assert report.panels(rows[:2]) == {}
    ((name, lines),) = report.panels(rows).items()
    assert name == "m2 on latents.npz"
    numbers, accuracies = lines["model"]
    assert numbers == [10, 100]
    np.testing.assert_array_equal(accuracies, [[0.5, 0.9], [np.nan, 0.92]])
    of_two_draws = report.panels([*rows, row(100, 0, 0.8, labelled_seed=1)])[name]["model"][1]
    np.testing.assert_array_equal(of_two_draws, [[0.5, 0.9], [np.nan, 0.8], [np.nan, 0.92]])
    np.testing.assert_array_equal(lines[report.ALONE][1], [[0.25, 0.45], [np.nan, 0.46]])
    drawn, _ = plots.accuracy_by_labels({name: lines}, [report.ALONE]).axes[0].containers
    np.testing.assert_allclose(drawn.lines[0].get_xydata(), [[10, 50], [100, 91]])
    (bars,) = drawn.lines[2]
    low, high = np.array(bars.get_segments())[:, :, 1].T
    np.testing.assert_allclose(high - low, [0, 2 * np.std([90, 92], ddof=1)], atol=1e-9)
    path = tmp_path / "few_labels.json"
    assert report.section(path) == ""
    path.write_text(json.dumps({"rows": rows}))
    assert "| latents | m2 | 100 | 2 | 91.0 ± 1.4 | 45.5 ± 0.7 |" in report.section(path)
