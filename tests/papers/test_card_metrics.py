import shutil

import jax
import pytest
import small_joint_runs
import small_runs
from small_configs import small_experiment

from configs import imputation, multimodal_label
from vae_jax import config as factory
from vae_jax.applications.imputation import measure as imputing
from vae_jax.errors import UserError
from vae_jax.papers import metrics as card_metrics
from vae_jax.papers.card import COHERENCE_METRICS, IMPUTATION_METRICS, METRICS
from vae_jax.papers.metrics import run_metrics
from vae_jax.training import checkpoints

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


def recorded(monkeypatch, name):
    """Return the list to which what a function of the metrics returns is added."""
    function, returned = getattr(card_metrics, name), []

    def recording(*arguments):
        returned.append(function(*arguments))
        return returned[-1]

    monkeypatch.setattr(card_metrics, name, recording)
    return returned


def test_coherence_is_measured_once_by_classifiers_of_the_workdir(tmp_path, monkeypatch):
    returned = recorded(monkeypatch, "measure_coherence")
    run = tmp_path / "members" / "0000"
    small_joint_runs.save(run, multimodal_label.get_config())
    asked = ["coherence_1", "joint_coherence", "reader_accuracy"]
    assert set(asked) < set(COHERENCE_METRICS)
    found = run_metrics(run, TEST, asked)
    (measured,) = returned
    assert measured["num_examples"] == 30
    expected = 100 * measured["conditional_coherence"]["1"]
    assert found["coherence_1"] == (pytest.approx(expected), None)
    assert found["joint_coherence"][0] == pytest.approx(100 * measured["joint_coherence"])
    read = measured["reader_accuracy"]
    assert found["reader_accuracy"][0] == pytest.approx(100 * min(read.values()))
    shutil.rmtree(tmp_path / "classifiers")
    assert run_metrics(run, TEST, asked) == found
    assert not (tmp_path / "classifiers").exists()


def save_on_iris(folder):
    """Write a run on iris with half of the cells hidden, of random parameters."""
    experiment = small_experiment(
        {"model.encoder.widths": (5,), "model.latent_size": 1},
        base=imputation.get_config("iris"),
    )
    splits = factory.load_examples(experiment)
    program = factory.build_program(experiment, splits.form, splits.num_examples)
    hparams = factory.build_hparams(experiment)
    state = jax.jit(program.init)(splits.mean_image, factory.make_key(0), hparams)
    with factory.hold_run(folder, experiment):
        metadata = factory.to_metadata(splits.form)
        checkpoints.save(folder / "checkpoints", 0, state, metadata, max_to_keep=1)


def test_imputation_is_measured_once(tmp_path, monkeypatch):
    monkeypatch.setattr(imputing, "_NUM_SAMPLES", 20)
    returned = recorded(monkeypatch, "measure_run")
    run = tmp_path / "run"
    save_on_iris(run)
    found = run_metrics(run, {}, list(IMPUTATION_METRICS))
    (measured,) = returned
    errors = measured["errors"]
    assert {metric: value for metric, (value, _) in found.items()} == pytest.approx(
        {
            "imputation_error": errors["model"],
            "imputation_error_of_iterative_imputer": errors["IterativeImputer"],
            "imputation_error_of_mean": errors["mean"],
            "gain_over_iterative_imputer": errors["IterativeImputer"] - errors["model"],
            "interval_coverage": 100 * measured["coverage"],
        }
    )
    assert all(error is None for _, error in found.values())
    shutil.rmtree(run / "checkpoints")
    assert run_metrics(run, {}, ["imputation_error"]) == {
        "imputation_error": found["imputation_error"]
    }


def test_the_imputation_of_a_run_without_hidden_cells_is_refused(tmp_path):
    small_runs.save(tmp_path / "run", small_runs.make_model((4, 3, 1)))
    with pytest.raises(UserError, match="run has no missing cells that are known; train on a "):
        run_metrics(tmp_path / "run", {}, ["imputation_error"])
    assert not (tmp_path / "run" / "imputation.json").exists()
