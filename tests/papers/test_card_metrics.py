import shutil

import pytest
import small_joint_runs

from configs import multimodal_label
from vae_jax.applications.multimodal.examples import load_examples, load_model
from vae_jax.applications.multimodal.measure import measure_coherence
from vae_jax.papers.card import COHERENCE_METRICS, METRICS
from vae_jax.papers.metrics import run_metrics

TEST = {
    "elbo": -90.0,
    "elbo_standard_error": 0.5,
    "log_likelihood": {"joint": -88.0, "image": -87.0, "label": -2.5},
    "log_likelihood_standard_error": {"joint": 0.25, "image": 0.375, "label": 0.0},
    "conditional_log_likelihood": {"image": -85.5, "label": -1.0},
    "conditional_standard_error": {"image": 0.75, "label": 0.0},
}


def test_a_summary_of_several_modalities_has_the_metrics_of_the_image(tmp_path):
    found = run_metrics(tmp_path, TEST, [])
    assert found == {
        "negative_elbo": (90.0, 0.5),
        "joint_nll": (88.0, 0.25),
        "image_nll": (87.0, 0.375),
        "image_nll_given_others": (85.5, 0.75),
        "gain_for_image": (1.5, None),
    }
    assert set(found) <= set(METRICS)
    # With renderings alone there is no image.
    of_renderings = {**TEST, "log_likelihood": {"joint": -9.0}, "conditional_log_likelihood": {}}
    assert "gain_for_image" not in run_metrics(tmp_path, of_renderings, [])
    assert "joint_nll" not in run_metrics(tmp_path, {"elbo": -1.0}, [])


def test_coherence_is_measured_once_by_classifiers_of_the_workdir(tmp_path):
    run = tmp_path / "members" / "0000"
    small_joint_runs.save(run, multimodal_label.get_config())
    asked = ["coherence_1", "joint_coherence", "reader_accuracy"]
    assert set(asked) < set(COHERENCE_METRICS)
    found = run_metrics(run, TEST, asked)
    model = load_model(run)
    examples = load_examples(model, tmp_path / "classifiers", 2000, {})
    measured = measure_coherence(model, examples)
    assert measured["num_examples"] == 30
    expected = 100 * measured["conditional_coherence"]["1"]
    assert found["coherence_1"] == (pytest.approx(expected), None)
    assert found["joint_coherence"][0] == pytest.approx(100 * measured["joint_coherence"])
    read = measured["reader_accuracy"]
    assert found["reader_accuracy"][0] == pytest.approx(100 * min(read.values()))
    shutil.rmtree(tmp_path / "classifiers")
    assert run_metrics(run, TEST, asked) == found
    assert not (tmp_path / "classifiers").exists()
