"""The section on factors changed by degree in the results' README."""

from pathlib import Path
from typing import Any

from vae_jax.applications.editing.attribute_vectors import CONDITIONAL
from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, Row, grouped, mean_and_deviation

_DEGREES = (-0.5, 0.0, 0.5, 1.0, 1.5)
_PARTS = ("added", "removed")
_PLOTS = {
    "twins.png": "From a face to the same face with the value",
    "added.png": "The value added by degree",
    "removed.png": "The value removed by degree",
    "curves.png": "What classifiers read, by degree",
}


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=factor_editing` wrote."""
    rows = measured["rows"]
    first = rows[0]
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        num_images=f"{first['added']['num_images']:,}",
        num_removed=f"{first['removed']['num_images']:,}",
        data=first["data"],
        attribute=first["attribute"],
        source="without" if first["source"] is None else f"with `{first['source']}` in place of",
        num_seeds=reports.num_seeds(rows),
        accuracies=", ".join(
            f"{name} {accuracy:.1%}" for name, accuracy in measured["accuracies"].items()
        ),
        bits=_bits(rows),
        table=_table(rows),
        psnr=_psnr(rows),
        right=_right(rows),
        plots=reports.plots(path.with_suffix(""), _PLOTS, path.parents[1]),
    )


def _bits(rows: list[Row]) -> str:
    """Return the sentence on bits per dimension; empty where the likelihood has none."""
    if "bits_per_dim" not in rows[0]:
        return ""
    by_seed = {row["seed"]: row["bits_per_dim"] for row in rows}
    return (
        "By minus the ELBO, the test faces take "
        f"{mean_and_deviation(list(by_seed.values()))} bits per dimension."
    )


def _table(rows: list[Row]) -> str:
    factors = list(rows[0]["added"]["unchanged"])
    heading = ["value", "direction", "degree", "read", *(f"{name} unchanged" for name in factors)]
    lines = []
    for (method,), group in grouped(rows, "method").items():
        for part in _PARTS:
            for degree in _DEGREES:
                at = group[0]["degrees"].index(degree)
                shares = [[row[part]["read"][at] for row in group]]
                shares += [[row[part]["unchanged"][name][at] for row in group] for name in factors]
                cells = [_percent(share) for share in shares]
                lines.append([part, method.replace("_", " "), f"{degree:g}", *cells])
    return reports.table(heading, lines)


def _percent(shares: list[float]) -> str:
    return f"{mean_and_deviation([100 * share for share in shares], '.1f')} %"


def _right(rows: list[Row]) -> str:
    chosen = [row["added"] for row in rows if row["method"] == CONDITIONAL]
    zero, one = (rows[0]["degrees"].index(degree) for degree in (0.0, 1.0))
    heading = ["factor", "right when reconstructed", "right when edited"]
    has_twins = "unchanged_in_twins" in chosen[0]
    lines = []
    for name in chosen[0]["right"]:
        shares = [[found["right"][name][at] for found in chosen] for at in (zero, one)]
        if has_twins:
            shares.append([found["unchanged_in_twins"][name] for found in chosen])
        lines.append([name, *map(_percent, shares)])
    return reports.table([*heading, *(["unchanged in the twin"] if has_twins else [])], lines)


def _psnr(rows: list[dict[str, Any]]) -> str:
    if "psnr_to_twins" not in rows[0]["added"]:
        return "the data have none"
    chosen = [row for row in rows if row["method"] == CONDITIONAL]
    parts = []
    for part in _PARTS:
        edited, again = (
            mean_and_deviation([row[part][name] for row in chosen], ".1f")
            for name in ("psnr_to_twins", "psnr_of_reconstructed_twins")
        )
        parts.append(f"{part} {edited} (those faces themselves, reconstructed: {again})")
    return ", ".join(parts)
