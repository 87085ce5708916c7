"""Drawing the plots of a study of disentanglement."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import plots, trained, workdir
from vae_jax.applications.disentanglement import plot
from vae_jax.applications.disentanglement.study import (
    COMPARED,
    SCORES,
    Row,
    methods,
    rank_correlations,
    ranked,
)
from vae_jax.evaluation import drawing
from vae_jax.evaluation import summary as measuring


def draw(out: Path, runs: Sequence[Row]) -> None:
    """Draw the plots of all runs together, from their rows alone."""
    found = methods(runs)
    by_strength = {
        label: {method.name: method.values(name) for method in found}
        for name, label in SCORES.items()
        # Some scores are not defined for data with one factor.
        if any(run[name] is not None for run in runs)
    }
    plots.save(
        plot.scores_by_strength(
            {method.name: method.strengths for method in found},
            {method.name: method.symbol for method in found},
            by_strength,
        ),
        out / "scores_by_strength.png",
    )
    distortion = {method.name: method.values("distortion") for method in found}
    labels = [SCORES[name] for name in COMPARED if SCORES[name] in by_strength]
    shown = {label: by_strength[label] for label in labels}
    by_distortion = plot.scores_by_distortion(distortion, shown)
    plots.save(by_distortion, out / "scores_by_distortion.png")
    labels, correlations = rank_correlations(runs)
    if labels:
        plots.save(plot.rank_correlations(labels, correlations), out / "rank_correlations.png")


def draw_models(out: Path, folder: Path, runs: Sequence[Row]) -> None:
    """Draw traversals and importances of the latents of the best and the median model.

    Args:
      out: folder of the plots.
      folder: the workdir of the sweep, with its members.
      runs: of the study.
    """
    best_first = ranked(
        [run for run in runs if workdir.member_folder(folder, run["member"]).is_dir()]
    )
    if not best_first:
        return
    shown = {"best": best_first[0], "median": best_first[len(best_first) // 2]}
    importances, names = {}, ()
    for which, run in shown.items():
        model = trained.load_images(folder, run["member"])
        test = model.load_test()
        summary = workdir.read_summary(workdir.member_folder(folder, run["member"]))
        assert summary is not None, "a run that has scores has a summary"
        measured: dict[str, Any] = summary["test"]
        if measured["kl_by_dimension"] is not None:
            target = measuring.prepare_test(model, test)[0]
            kl = np.asarray(measured["kl_by_dimension"])
            drawing.draw_traversals(out / f"traversals_{which}.png", model, target, kl)
        title = f"{which}: {run['method']}, {run['symbol']} = {run['strength']:g}"
        importances[title] = np.asarray(measured["dci_importance_matrix"])
        names = measured["factors"]
    plots.save(plot.importance_matrices(importances, names), out / "importance_matrices.png")
