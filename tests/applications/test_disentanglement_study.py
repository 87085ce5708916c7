import json

import numpy as np
import pytest

from configs import disentanglement as disentanglement_config
from configs.sweeps import disentanglement as disentanglement_sweep
from experiments.disentanglement import check_study
from vae_jax import plots
from vae_jax.applications.disentanglement import plot, study_plots
from vae_jax.applications.disentanglement import report as disentanglement_report
from vae_jax.applications.disentanglement import study as disentanglement_results
from vae_jax.applications.disentanglement.study import (
    NATS,
    SCORES,
    comparisons,
    methods,
    rank_correlations,
    ranked,
    study_run,
)
from vae_jax.config import resolve, with_values
from vae_jax.errors import UserError
from vae_jax.evaluation import seed_statistics
from vae_jax.settings import to_dict
from vae_jax.sweeps import checks, fields
from vae_jax.sweeps import space as search_space


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Bootstrap draws enough for the intervals of these gains."""
    monkeypatch.setattr(seed_statistics, "_NUM_DRAWS", 200)


def run(method, strength, seed, score, distortion=50.0, **others):
    """A run all of whose scores are the same, as a study keeps it."""
    metrics = dict.fromkeys(SCORES, score) | dict.fromkeys(NATS, -distortion)
    about = {"member": 0, "method": method, "symbol": "β", "strength": strength, "seed": seed}
    return {
        **about,
        "status": "finished",
        "train_seconds": 1.0,
        **metrics,
        "distortion": distortion,
        **others,
    }


def study(shift=0.0, noise=0.01):
    """Two methods whose scores rise with distortion, the second one `shift` above the first."""
    rng = np.random.default_rng(0)
    runs = []
    for name, gain in (("β-VAE", 0.0), ("β-TCVAE", shift)):
        for strength in (1.0, 4.0, 8.0):
            for seed in range(5):
                score = 0.3 + 0.05 * strength + gain + noise * rng.normal()
                runs.append(run(name, strength, seed, score, 40 + 2 * strength))
    return runs


def test_a_members_row_is_described_by_method_and_strength():
    row = {"member": 7, "seed": 3, "status": "finished", "train_seconds": 2.5, "test_mig": 0.25}
    row |= {"objective": {"name": "dip", "kind": "ii", "off_diagonal": 5, "diagonal": 50.0}}
    kept = study_run(row)
    assert (kept["method"], kept["symbol"], kept["strength"]) == ("DIP-VAE-II", "λ", 5.0)
    assert (kept["mig"], kept["elbo"], kept["seed"]) == (0.25, None, 3)


def test_methods_have_their_runs_by_strength_and_seed():
    runs = study()
    first, second = methods(runs)
    assert (first.name, second.name) == ("β-VAE", "β-TCVAE")
    assert first.strengths == [1.0, 4.0, 8.0]
    assert first.values("mig").shape == (3, 5)
    np.testing.assert_array_equal(
        second.values("mig")[1], [r["mig"] for r in runs if r["strength"] == 4][5:]
    )


def test_a_sweep_that_has_not_ended_is_refused():
    with pytest.raises(UserError, match="the strengths of β-TCVAE have different seeds"):
        methods(study()[:-1])


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.1, "holds"), (0.0, "undecided"), (-0.1, "the opposite holds")]
)
def test_a_claim_holds_where_its_interval_is_above_zero(shift, verdict):
    found = comparisons(methods(study(shift, noise=0.02 if shift else 0.05)))
    pressure, against = found[:2], found[2:]
    assert {comparison.verdict for comparison in pressure} == {"holds"}
    assert pressure[0].gain.estimate == pytest.approx(0.05 * 5, abs=0.05)
    assert len(against) == 2
    assert {comparison.verdict for comparison in against} == {verdict}
    assert against[0].gain.estimate == pytest.approx(shift, abs=0.05)


def test_diverged_runs_are_left_out_and_counted(tmp_path):
    runs = study(0.1)
    runs[0] |= dict.fromkeys([*SCORES, *NATS], None) | {"status": "diverged"}
    assert comparisons(methods(runs))[0].verdict == "holds"
    assert len(ranked(runs)) == len(runs) - 1
    labels, correlations = rank_correlations(runs)
    assert len(labels) == len(SCORES) + 3
    assert correlations[0, 1] == pytest.approx(1)
    plots.save(plot.rank_correlations(labels, correlations), tmp_path / "ranks.png")


def test_each_pair_of_metrics_is_drawn_once_in_the_unit_of_the_bar():
    correlations = np.array([[1.0, 0.9, -0.4], [0.9, 1.0, 0.1], [-0.4, 0.1, 1.0]])
    axes, bar = plot.rank_correlations(["a", "b", "c"], correlations).axes
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0.5, 0.5): "90", (0.5, 1.5): "\N{MINUS SIGN}40", (1.5, 1.5): "10"}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c"]
    assert bar.get_ylim() == (-100, 100)
    assert bar.get_ylabel() == "rank correlation (%)"


def a_study_file(folder, network="model.encoder.name"):
    config = {"data.name": "sprites", "data.image_size": 32, network: "mlp"}
    config |= {"model.latent_size": 10, "batch_size": 64}
    content = {"command": "python", "config": config, "steps": 100, "device": "1 x cpu"}
    content |= {"num_cores": 2, "versions": {}, "runs": study(0.1)}
    return disentanglement_results.write(folder, content)


# In this schema, and in the flat one.
@pytest.mark.parametrize("network", ["model.encoder.name", "model.network"])
def test_the_document_states_every_setting_and_every_claim(tmp_path, network):
    a_study_file(tmp_path, network)
    text = disentanglement_report.render(tmp_path)
    assert text.count("| β-TCVAE | β = ") == 3
    assert "| β-VAE | β = 8 | 5 |" in text
    assert "FactorVAE score: β from 4 to 8 above β = 1 | +0.2" in text
    assert "100 steps with\na batch size of 64" in text
    # Only plots that exist are shown.
    assert ".png" not in text


def test_a_study_edited_by_hand_is_refused(tmp_path):
    path = a_study_file(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["runs"][0]["mig"] = 1.0
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match="edited by hand"):
        disentanglement_report.render(tmp_path)


def test_the_plots_of_a_study_are_drawn(tmp_path):
    found = methods(study())
    scores = {"MIG": {method.name: method.values("mig") for method in found}}
    strengths = {method.name: method.strengths for method in found}
    symbols = {method.name: method.symbol for method in found}
    figure = plot.scores_by_strength(strengths, symbols, scores)
    panels = figure.axes
    assert [axes.get_title() for axes in panels] == ["β-VAE", "β-TCVAE"]
    means = panels[1].lines[-1].get_ydata()
    np.testing.assert_allclose(means, scores["MIG"]["β-TCVAE"].mean(axis=1))
    distortion = {method.name: method.values("distortion") for method in found}
    plots.save(plot.scores_by_distortion(distortion, scores), tmp_path / "distortion.png")
    with pytest.raises(ValueError, match="no run has a finite MIG"):
        plot.scores_by_strength(
            strengths, symbols, {"MIG": {name: np.full((3, 5), np.nan) for name in strengths}}
        )


def test_latents_are_drawn_in_the_order_of_their_importance(tmp_path):
    matrix = np.array([[0.1, 0.0], [0.0, 0.9], [0.5, 0.1]])
    figure = plot.importance_matrices({"best": matrix}, ["scale", "x"])
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == [
        "$z_{1}$",
        "$z_{2}$",
        "$z_{0}$",
    ]
    drawn = figure.axes[0].collections[0].get_array()
    np.testing.assert_allclose(drawn.reshape(2, 3), matrix[[1, 2, 0]].T)


def test_the_study_that_comes_with_the_project_can_be_run():
    config, sweep = resolve(disentanglement_config.get_config()), disentanglement_sweep.get_sweep()
    check_study(config, sweep)
    base = fields.resolved(config)
    checks.check(sweep, base)
    objectives = [
        to_dict(resolve(fields.with_values(base, setting)).objective)
        for setting in search_space.settings(sweep)
    ]
    about = {"member": 0, "seed": 0, "status": "finished", "train_seconds": 1.0}
    found = methods([study_run({"objective": objective, **about}) for objective in objectives])
    assert len(found) == 6
    assert {len(method.strengths) for method in found} == {4}
    assert len(sweep.seeds) == 5


def test_a_study_of_nothing_is_refused_before_it_is_trained():
    config, sweep = resolve(disentanglement_config.get_config()), disentanglement_sweep.get_sweep()
    unmeasured = resolve(with_values(config, {"evaluation.disentanglement": False}))
    with pytest.raises(UserError, match=r"evaluation.disentanglement=False .* use True"):
        check_study(unmeasured, sweep)
    bounds = search_space.grid({"objective": ("elbo", "iwae")})
    with pytest.raises(UserError, match=r"objective='iwae' .* elbo, capacity, factor"):
        check_study(config, bounds)


def test_a_study_of_one_run_has_no_correlations_and_its_other_plots(tmp_path):
    lone = run("β-VAE", 4.0, 0, 0.5, beta_vae_score=None)
    assert rank_correlations([lone])[0] == []
    study_plots.draw(tmp_path, [lone])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"scores_by_strength.png", "scores_by_distortion.png"}
