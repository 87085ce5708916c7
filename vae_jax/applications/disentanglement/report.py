"""The tables of a study of disentanglement, from its results file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.applications.disentanglement.study import SCORES, Method, comparisons, methods, read
from vae_jax.evaluation import markdown

_INTRODUCTION = """# Disentanglement

Written by `python -m experiments.report` from `study.json`, which the command of
`configs/sweeps/disentanglement.py` writes; `--check` fails where the two disagree. Scores go from 0
to 1, more is better; mean ± standard deviation over seeds. Nats an image, on the test set; total
correlation is that of the aggregate posterior of the test images.
"""

_PICTURES = {
    "scores_by_strength.png": "Scores by method and strength; a dot is a run",
    "scores_by_distortion.png": "What disentanglement costs in distortion",
    "rank_correlations.png": "Rank correlations over all runs, in per cent",
    "importance_matrices.png": "What each latent tells of each factor, in the best and the median "
    "model by FactorVAE score",
    "traversals_best.png": "Traversals of the best model",
    "traversals_median.png": "Traversals of the median model",
}


def render(folder: Path) -> str:
    """The README of the folder of the study.

    Raises:
      UserError: its results file cannot be trusted.
    """
    study = read(folder)
    found = methods(study["runs"])
    parts = [
        _INTRODUCTION,
        _conditions(study),
        _comparison_table(found),
        _table(found),
        *(
            f"![{caption}]({name})\n"
            for name, caption in _PICTURES.items()
            if (folder / name).is_file()
        ),
    ]
    return "\n".join(parts)


def _conditions(study: Mapping[str, Any]) -> str:
    config, runs, cores = study["config"], study["runs"], study["num_cores"]
    diverged = sum(run["status"] == "diverged" for run in runs)
    hours = sum(run["train_seconds"] for run in runs) / 3600
    return (
        f"{len(runs)} runs{f', {diverged} diverged' if diverged else ''}; `{study['command']}`; "
        f"{config['data.name']} at {config['data.image_size']}x{config['data.image_size']}, "
        f"{config['model.network']}, {config['model.latent_size']} latents, "
        f"{study['steps']:,} steps of {config['batch_size']}; {study['device']}, "
        f"{cores} core{'s'[: cores > 1]} a run, {hours:.1f} h of training.\n"
    )


def _comparison_table(found: Sequence[Method]) -> str:
    lines = []
    for comparison in comparisons(found):
        gain = comparison.gain
        told = (
            ["", ""]
            if gain is None
            else [f"{gain.estimate:+.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}"]
        )
        lines.append([comparison.claim, *told, comparison.verdict])
    return markdown.table(["claim", "gain", "95 % interval over seeds", "verdict"], lines)


def _table(found: Sequence[Method]) -> str:
    nats = {"elbo": "ELBO", "rate": "rate", "distortion": "distortion", "total_correlation": "TC"}
    lines = []
    for method in found:
        columns = {name: method.figures(name) for name in (*nats, *SCORES)}
        for index, strength in enumerate(method.strengths):
            whole = int(np.isfinite(columns["elbo"][index]).sum())
            cells = [
                _mean_and_deviation(values[index], 1 if name in nats else 2)
                for name, values in columns.items()
            ]
            lines.append([method.name, f"{method.symbol} = {strength:g}", str(whole), *cells])
    return markdown.table(["method", "strength", "seeds", *nats.values(), *SCORES.values()], lines)


def _mean_and_deviation(values: np.ndarray, digits: int) -> str:
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    mean = f"{values.mean():.{digits}f}"
    return f"{mean} ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else mean
