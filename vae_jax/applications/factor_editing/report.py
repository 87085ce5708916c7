"""What the results' README and README.md say of factors changed by degree."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vae_jax.applications.editing.attribute_vectors import CONDITIONAL
from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, Row, grouped, mean_and_deviation

Classifiers = Mapping[str, Mapping[str, Any]]

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
    rows, classifiers = measured["rows"], _classifiers(measured)
    first = rows[0]
    factor, value = first["attribute"].split(":")
    source = first["source"]
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        tested=_tested(first),
        num_images=f"{first['added']['num_images']:,}",
        num_removed=f"{first['removed']['num_images']:,}",
        data=first["data"],
        factor=factor,
        value=value,
        source=f"without `{value}`" if source is None else f"with `{source}`",
        left_out="" if source is None else "; faces with other values are left out",
        seeds=reports.counted(reports.num_seeds(rows), "seed"),
        accuracies=_accuracies(classifiers),
        blurred=_blurred(classifiers),
        bits=_bits(rows),
        table=_table(rows),
        psnr=_psnr(rows),
        right=_right(rows),
        plots=reports.plots(path.with_suffix(""), _PLOTS, path.parents[1]),
    )


@reports.of_results_file
def success(measured: Measured, path: Path) -> str:
    """Return how often the value is read in edited images, given the same file as `section`."""
    rows = [row for row in measured["rows"] if row["method"] == CONDITIONAL]
    one = rows[0]["degrees"].index(1.0)
    added, removed = (_percent([row[part]["read"][one] for row in rows]) for part in _PARTS)
    return reports.fill(Path(__file__).with_name("success.md"), added=added, removed=removed)


def _tested(row: Row) -> str:
    """Return which test images were edited; rows of earlier versions lack their number."""
    if "num_test_images" not in row:
        return "test images"
    return f"first {row['num_test_images']:,} test images"


def _classifiers(measured: Measured) -> Classifiers:
    """Return what is known of the classifiers, by factor."""
    if "classifiers" in measured:
        return measured["classifiers"]
    # Of a version in which none learned from blurred images.
    accuracies = measured["accuracies"]
    return {name: {"test_accuracy": share, "blur": None} for name, share in accuracies.items()}


def _accuracies(classifiers: Classifiers) -> str:
    return ", ".join(
        f"{name} {100 * known['test_accuracy']:.1f} %" for name, known in classifiers.items()
    )


def _blurred(classifiers: Classifiers) -> str:
    """Return the clause on the classifiers that learned from blurred images too."""
    by_blur: dict[float, list[str]] = {}
    for name, known in classifiers.items():
        if known["blur"]:
            by_blur.setdefault(known["blur"], []).append(name)
    parts = []
    for blur, names in by_blur.items():
        readers = "all" if len(names) == len(classifiers) else f"those of {' and '.join(names)}"
        deviation = f"{reports.counted(blur, 'pixel')} of standard deviation"
        parts.append(f"{readers} also on images blurred by up to {deviation}")
    return "; ".join(parts) or "none on blurred ones"


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
    chosen = [row for row in rows if row["method"] == CONDITIONAL]
    zero, one = (rows[0]["degrees"].index(degree) for degree in (0.0, 1.0))
    heading = ["value", "factor", "right when reconstructed", "right when edited"]
    heading.append("unchanged when edited")
    has_twins = "unchanged_in_twins" in chosen[0]["added"]
    lines = []
    for part in _PARTS:
        of_part = [row[part] for row in chosen]
        for name in of_part[0]["right"]:
            shares = [[found["right"][name][at] for found in of_part] for at in (zero, one)]
            shares.append([found["unchanged"][name][one] for found in of_part])
            if has_twins:
                shares.append([found["unchanged_in_twins"][name] for found in of_part])
            lines.append([part, name, *map(_percent, shares)])
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
        parts.append(f"{part} {edited} (the twins' own reconstructions: {again})")
    return ", ".join(parts)
