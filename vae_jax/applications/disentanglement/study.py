"""Results of a disentanglement study: one row per run, and methods compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation.seed_statistics import Interval, difference_of_means, gain_at_equal_cost

Row = dict[str, Any]

_STUDY = "study.json"

# Scores of disentanglement, from 0 to 1, by their name in a run's summary.
SCORES = {
    "beta_vae_score": "β-VAE score",
    "factor_vae_score": "FactorVAE score",
    "mig": "MIG",
    "dci_disentanglement": "DCI",
    "sap": "SAP",
    "modularity": "modularity",
}
# The other metrics of every run, in nats.
NATS = {
    "elbo": "ELBO",
    "rate": "rate",
    "distortion": "distortion",
    "total_correlation": "total correlation",
    "mutual_information": "mutual information",
    "dimensionwise_kl": "dimension-wise KL",
}
# The score by which models are ranked.
JUDGE = "factor_vae_score"
# The scores by which methods are compared: the first rewards factors that any latents predict, the
# second factors that one latent alone predicts.
COMPARED = (JUDGE, "mig")
# The metrics in nats that scores are correlated with; the others go up and down with these.
_CORRELATED = ("elbo", "distortion", "total_correlation")

_BETA_VAE = "β-VAE"
_METHODS = {"elbo": _BETA_VAE, "capacity": "annealed", "factor": "FactorVAE", "tc": "β-TCVAE"}
# The setting that is the strength of an objective, and its symbol.
_STRENGTHS = {
    "elbo": ("beta", "β"),
    "capacity": ("capacity", "C (nats)"),
    "factor": ("gamma", "γ"),
    "dip": ("off_diagonal", "λ"),
    "tc": ("beta", "β"),
}


class Method(NamedTuple):
    """The runs of one objective.

    Attributes:
      name: in the literature.
      symbol: of its strength in the literature.
      strengths: from weak to strong.
      runs: by strength and seed.
    """

    name: str
    symbol: str
    strengths: list[float]
    runs: list[list[Row]]

    def values(self, name: str) -> np.ndarray:
        """Return a metric, [strengths, seeds]; NaN where a run lacks it."""
        values = [[_number(run.get(name)) for run in runs] for runs in self.runs]
        return np.array(values, float)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def check_objectives(names: Sequence[str]) -> None:
    """Refuse objectives that a study cannot compare.

    Raises:
      UserError: names such an objective.
    """
    for name in names:
        if name not in _STRENGTHS:
            raise UserError(
                f"objective={name!r} is not among the objectives that a study compares; they "
                f"are {', '.join(_STRENGTHS)}"
            )


def _described(row: Row) -> tuple[str, str, float]:
    """Return the method, symbol and strength of a member's objective."""
    section = row["objective"]
    setting, symbol = _STRENGTHS[section["name"]]
    name = _METHODS.get(section["name"]) or f"DIP-VAE-{section['kind'].upper()}"
    return name, symbol, float(section[setting])


def study_run(row: Row) -> Row:
    """Return the row of a member: method, strength, seed, status and metrics.

    Args:
      row: a row of the sweep's results, with the member's whole objective.
    """
    method, symbol, strength = _described(row)
    run = {"member": row["member"], "method": method, "symbol": symbol, "strength": strength}
    run |= {name: row[name] for name in ("seed", "status", "train_seconds")}
    return {**run, **{name: row.get(f"test_{name}") for name in (*SCORES, *NATS)}}


def methods(runs: Sequence[Row]) -> list[Method]:
    """Return the runs by method, in the order in which they first come.

    Raises:
      UserError: the strengths of a method have different seeds.
    """
    found = []
    for name in dict.fromkeys(run["method"] for run in runs):
        own = [run for run in runs if run["method"] == name]
        strengths = sorted({run["strength"] for run in own})
        by_strength = [[run for run in own if run["strength"] == value] for value in strengths]
        if len({tuple(sorted(run["seed"] for run in group)) for group in by_strength}) > 1:
            raise UserError(
                f"the strengths of {name} have different seeds; let the sweep end first"
            )
        found.append(Method(name, own[0]["symbol"], strengths, by_strength))
    return found


def ranked(runs: Sequence[Row]) -> list[Row]:
    """Return the runs that have the score `JUDGE`, the best first."""
    scored = [run for run in runs if run[JUDGE] is not None]
    return sorted(scored, key=lambda run: (-run[JUDGE], run["member"]))


class Comparison(NamedTuple):
    """A claim, and the gain that it claims; None where methods cannot be compared."""

    claim: str
    gain: Interval | None

    @property
    def verdict(self) -> str:
        """The conclusion that 95 % of the bootstrap draws support."""
        if self.gain is None:
            return "not comparable"
        if self.gain.low > 0:
            return "holds"
        return "the opposite holds" if self.gain.high < 0 else "undecided"


def comparisons(found: Sequence[Method]) -> list[Comparison]:
    """Return comparisons of beta from 4 to 8 with 1, and of two methods with the beta-VAE."""
    by_name = {method.name: method for method in found}
    if _BETA_VAE not in by_name:
        return []
    plain = by_name[_BETA_VAE]
    strengths = np.array(plain.strengths)
    claims = []
    for score in COMPARED:
        values = plain.values(score)
        pressed = values[(strengths >= 4) & (strengths <= 8)].ravel()
        not_pressed = values[strengths == 1].ravel()
        pressed, not_pressed = (v[np.isfinite(v)] for v in (pressed, not_pressed))
        if pressed.size and not_pressed.size:
            gain = difference_of_means(not_pressed, pressed)
            claims.append(Comparison(f"{SCORES[score]}: β from 4 to 8 above β = 1", gain))
    for name in ("β-TCVAE", "FactorVAE"):
        for score in COMPARED if name in by_name else ():
            claim = f"{SCORES[score]}: {name} above {_BETA_VAE} at equal distortion"
            first, second = (_cost_and_score(method, score) for method in (plain, by_name[name]))
            gain_at = gain_at_equal_cost(first, second) if len(first) and len(second) else None
            claims.append(Comparison(claim, gain_at))
    return claims


def _cost_and_score(method: Method, score: str) -> np.ndarray:
    """Return distortion and score, [strengths, seeds, 2], of strengths without diverged runs."""
    runs = np.stack([method.values("distortion"), method.values(score)], axis=-1)
    return runs[np.isfinite(runs).all(axis=(1, 2))]


def rank_correlations(runs: Sequence[Row]) -> tuple[list[str], np.ndarray]:
    """Return Spearman's correlations over all runs, of the scores and some metrics in nats.

    Returns:
      The labels of the metrics that vary among the runs, and their correlations; both empty if
      fewer than two vary.
    """
    labels = {**SCORES, **{name: NATS[name] for name in _CORRELATED}}
    columns = {name: np.array([_number(run[name]) for run in runs]) for name in labels}
    whole = np.isfinite(list(columns.values())).all(axis=0)
    varying = {n: v[whole] for n, v in columns.items() if whole.any() and np.ptp(v[whole]) > 0}
    if len(varying) < 2:
        return [], np.zeros((0, 0))
    ranks = np.array([rankdata(values) for values in varying.values()])
    return [labels[name] for name in varying], np.corrcoef(ranks)


def write(folder: Path, study: Mapping[str, Any]) -> Path:
    """Write study.json with a digest of its content."""
    path = folder / _STUDY
    folder.mkdir(parents=True, exist_ok=True)
    workdir.write_json(path, {**study, "digest": workdir.config_digest(dict(study))})
    return path


def read(folder: Path) -> dict[str, Any]:
    """Return the content of study.json.

    Raises:
      UserError: it cannot be read, or was edited by hand.
    """
    path = folder / _STUDY
    study = workdir.read_json(path)
    digest = study.pop("digest", None)
    if digest != workdir.config_digest(study):
        raise UserError(
            f"{path} was edited by hand: its content does not have its digest; restore it"
        )
    return study
