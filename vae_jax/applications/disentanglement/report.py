"""The page on a study of disentanglement, from its results file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vae_jax.applications.disentanglement.study import SCORES, Method, comparisons, methods, read
from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import mean_and_deviation

_PLOTS = {
    "scores_by_strength.png": "Scores by method and strength; a dot is a run",
    "scores_by_distortion.png": "What disentanglement costs in distortion",
    "rank_correlations.png": "Rank correlations over all runs, in per cent",
    "importance_matrices.png": "Importance of each latent for each factor, in the best and the "
    "median model by FactorVAE score",
    "traversals_best.png": "Traversals of the best model",
    "traversals_median.png": "Traversals of the median model",
}


def render(folder: Path) -> str:
    """Return the README of the study's folder.

    Raises:
      UserError: its results file cannot be trusted.
    """
    study = read(folder)
    config, runs, num_cores = study["config"], study["runs"], study["num_cores"]
    diverged = sum(run["status"] == "diverged" for run in runs)
    found = methods(runs)
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_runs=f"{len(runs)} runs" + (f", {diverged} diverged" if diverged else ""),
        command=study["command"],
        data=config["data.name"],
        image_size=config["data.image_size"],
        network=config.get("model.network") or config["model.encoder.name"],
        latent_size=config["model.latent_size"],
        num_steps=f"{study['steps']:,}",
        batch_size=config["batch_size"],
        device=study["device"],
        cores=f"{num_cores} core{'s'[: num_cores > 1]}",
        hours=f"{sum(run['train_seconds'] for run in runs) / 3600:.1f}",
        comparisons=_comparison_table(found),
        methods=_table(found),
        plots=reports.plots(folder, _PLOTS, folder),
    )


def _comparison_table(found: Sequence[Method]) -> str:
    lines = []
    for comparison in comparisons(found):
        gain = comparison.gain
        interval = (
            ["", ""]
            if gain is None
            else [f"{gain.estimate:+.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}"]
        )
        lines.append([comparison.claim, *interval, comparison.verdict])
    return reports.table(["claim", "gain", "95 % interval over seeds", "verdict"], lines)


def _table(found: Sequence[Method]) -> str:
    nats = {"elbo": "ELBO", "rate": "rate", "distortion": "distortion", "total_correlation": "TC"}
    lines = []
    for method in found:
        columns = {name: method.values(name) for name in (*nats, *SCORES)}
        for index, strength in enumerate(method.strengths):
            whole = int(np.isfinite(columns["elbo"][index]).sum())
            cells = [
                mean_and_deviation(
                    values[index][np.isfinite(values[index])].tolist(),
                    ".1f" if name in nats else ".2f",
                )
                for name, values in columns.items()
            ]
            lines.append([method.name, f"{method.symbol} = {strength:g}", str(whole), *cells])
    return reports.table(["method", "strength", "seeds", *nats.values(), *SCORES.values()], lines)
