"""The section on several modalities in the results' README."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from vae_jax.evaluation import reports
from vae_jax.evaluation.reports import Measured, Row, grouped, mean_and_deviation

# By `config.model.joint_posterior`.
_MODELS = {
    "product": "MVAE",
    "mixture": "MMVAE",
    "mixture_of_products": "MoPoE",
    "joint": "JMVAE",
}


@reports.of_results_file
def section(measured: Measured, path: Path) -> str:
    """Return the section, given what `experiments.measure --use=multimodal` wrote."""
    rows = [{**row, "modalities": tuple(row["modalities"])} for row in measured["rows"]]
    # One group per model and data set.
    groups = list(grouped(rows, "data", "modalities", "joint_posterior").values())
    captions = {
        f"{name}/{plot.name}": f"{name}, {plot.stem.replace('_', ' ')}"
        for name in dict.fromkeys(group[0]["name"] for group in groups)
        for plot in sorted((path.with_suffix("") / name).glob("*.png"))
    }
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        coherence=_coherence_table(groups),
        captions=_captions(groups),
        likelihoods=_likelihood_table(groups),
        plots=reports.plots(path.with_suffix(""), captions, path.parents[1]),
    )


def line(row: Row) -> str:
    """Return a run in one line."""
    conditional = ", ".join(
        f"{size} given {share:.1%}" for size, share in row["conditional_coherence"].items()
    )
    text = f"{row['name']}, seed {row['seed']}: coherence {conditional}, "
    text += f"joint {row['joint_coherence']:.1%}; probe {row['probe']['all']:.1%}"
    found = row["captions"]
    if found is not None:
        for name, agreement in (
            ("image to text, greedy", found["image_to_text"]["greedy"]),
            ("sampled", found["image_to_text"]["sampled"]),
            ("text to image", found["text_to_image"]),
        ):
            text += f"; {name}: class {agreement['label']:.1%}, said and measured " + ", ".join(
                f"{attribute} {_percent(share)}"
                for attribute, share in agreement["attributes"].items()
            )
    return text


def _percent(share: float | None) -> str:
    return "never said or not read" if share is None else f"{share:.1%}"


def _heading(group: Sequence[Row]) -> list[str]:
    row = group[0]
    names = row["modalities"]
    listed = f"{len(names)} renderings" if len(names) > 2 else " and ".join(names)
    return [
        _MODELS[row["joint_posterior"]],
        f"{row['data']}, {listed}",
        str(reports.num_seeds(group)),
    ]


def _coherence_table(groups: Sequence[Sequence[Row]]) -> str:
    most = max(len(group[0]["modalities"]) for group in groups) - 1
    lines = []
    for group in groups:
        by_size = [
            [row["conditional_coherence"].get(str(size)) for row in group]
            for size in range(1, most + 1)
        ]
        real = [min(row["reader_accuracy"].values()) for row in group]
        joint = [row["joint_coherence"] for row in group]
        probes = [row["probe"]["all"] for row in group]
        cells = [_cell(values) for values in (*by_size, joint, real, probes)]
        lines.append([*_heading(group), *cells])
    heading = ["model", "modalities", "seeds"]
    heading += [f"{size} given" for size in range(1, most + 1)]
    return reports.table([*heading, "joint", "real, worst", "probe"], lines)


def _captions(groups: Sequence[Sequence[Row]]) -> str:
    lines = []
    for group in groups:
        if any(row["captions"] is None for row in group):
            continue
        ways = {
            "image to caption, likeliest words": [
                row["captions"]["image_to_text"]["greedy"] for row in group
            ],
            "image to caption, sampled words": [
                row["captions"]["image_to_text"]["sampled"] for row in group
            ],
            "caption to image": [row["captions"]["text_to_image"] for row in group],
            "real captions and images": [row["captions"]["real"] for row in group],
        }
        for way, found in ways.items():
            attributes = [
                f"{name} {_cell([one['attributes'][name] for one in found])}"
                for name in found[0]["attributes"]
            ]
            all_attributes = _cell([one["all_attributes"] for one in found])
            label = _cell([one["label"] for one in found])
            lines.append([*_heading(group)[:2], way, label, all_attributes, "; ".join(attributes)])
    if not lines:
        return ""
    words = "; ".join(
        f"{_heading(group)[0]} on {group[0]['data']} "
        f"{_cell([row['captions']['words']['accuracy'] for row in group])} % at "
        f"{statistics.fmean(row['captions']['words']['nats'] for row in group):.2f} nats per word"
        for group in groups
        if group[0]["captions"] is not None
    )
    heading = ["model", "modalities", "task", "class", "all attributes", "by attribute"]
    table = reports.table(heading, lines)
    return reports.fill(Path(__file__).with_name("captions.md"), table=table, words=words)


def _likelihood_table(groups: Sequence[Sequence[Row]]) -> str:
    lines = []
    for group in groups:
        found = [row["likelihood"] for row in group]
        first = group[0]["modalities"][0]
        lines.append(
            [
                *_heading(group),
                _nats([one["elbo"] for one in found]),
                _nats([one["log_likelihood"]["joint"] for one in found]),
                _nats([one["log_likelihood"][first] for one in found]),
                _nats([one["conditional_log_likelihood"][first] for one in found]),
                str(found[0]["num_samples"]),
            ]
        )
    heading = ["model", "modalities", "seeds", "ELBO", "log p(all)", "log p(first)"]
    return reports.table([*heading, "log p(first given the others)", "samples"], lines)


def _cell(shares: Sequence[float | None]) -> str:
    return mean_and_deviation([100 * share for share in shares if share is not None], ".1f")


def _nats(values: Sequence[float]) -> str:
    return mean_and_deviation(values, ".2f")
