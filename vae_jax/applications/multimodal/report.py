"""The tables of what models of several modalities make of one from others."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from vae_jax.evaluation import markdown
from vae_jax.evaluation.measured_section import (
    Measured,
    Row,
    grouped,
    mean_and_deviation,
    of_results,
)

# Of `config.model.joint_posterior`.
_MODELS = {
    "product": "MVAE",
    "mixture": "MMVAE",
    "mixture_of_products": "MoPoE",
    "joint": "JMVAE",
}


@of_results
def section(measured: Measured, path: Path) -> str:
    """The section of a document.

    Args:
      measured: what `benchmarks.multimodal` wrote.
      path: where it stands; its pictures lie in a folder of its name beside it.
    """
    rows = [{**row, "modalities": tuple(row["modalities"])} for row in measured["rows"]]
    # Runs of one model of the same data.
    groups = list(grouped(rows, "data", "modalities", "joint_posterior").values())
    parts = [_coherence_table(groups), _captions_text(groups), _likelihood_table(groups)]
    pictures = [
        f"![{name}, {picture.stem.replace('_', ' ')}]({path.parent.name}/{path.stem}/{name}/"
        f"{picture.name})\n"
        for name in dict.fromkeys(group[0]["name"] for group in groups)
        for picture in sorted((path.with_suffix("") / name).glob("*.png"))
    ]
    return "\n".join(
        [
            "## Several modalities\n",
            "One latent space with an encoder and a decoder for each modality (`configs/"
            "multimodal.py`, images and\ncaptions of what is measured of them; "
            "`configs/multimodal_renderings.py`, five renderings of a digit).\nTest examples, mean "
            "± standard deviation over seeds. Coherence is the share in per cent of generated\n"
            "examples in which a classifier, or the reading of a caption, finds the class of what "
            "they were generated\nfrom; joint coherence the share of draws from the prior whose "
            'modalities all show one class. "Real" is\nthe share of real examples that are read '
            "right. The probe knows 1,000 labels.\n",
            *(part for part in parts if part),
            *pictures,
        ]
    )


def line(row: Row) -> str:
    """A run in a line."""
    conditional = ", ".join(
        f"{size} given {share:.1%}" for size, share in row["conditional_coherence"].items()
    )
    told = f"{row['name']}, seed {row['seed']}: coherence {conditional}, "
    told += f"joint {row['joint_coherence']:.1%}; probe {row['probe']['all']:.1%}"
    found = row["captions"]
    if found is not None:
        for name, agreement in (
            ("image to text, greedy", found["image_to_text"]["greedy"]),
            ("sampled", found["image_to_text"]["sampled"]),
            ("text to image", found["text_to_image"]),
        ):
            told += f"; {name}: class {agreement['label']:.1%}, said and measured " + ", ".join(
                f"{attribute} {_percent(share)}"
                for attribute, share in agreement["attributes"].items()
            )
    return told


def _percent(share: float | None) -> str:
    return "never said" if share is None else f"{share:.1%}"


def _heading(group: Sequence[Row]) -> list[str]:
    row = group[0]
    names = row["modalities"]
    told = f"{len(names)} renderings" if len(names) > 2 else " and ".join(names)
    return [_MODELS[row["joint_posterior"]], f"{row['data']}, {told}", str(len(group))]


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
    return markdown.table([*heading, "joint", "real, worst", "probe"], lines)


def _captions_text(groups: Sequence[Sequence[Row]]) -> str:
    lines = []
    for group in groups:
        if any(row["captions"] is None for row in group):
            continue
        ways = {
            "image to caption, likeliest words": [
                row["captions"]["image_to_text"]["greedy"] for row in group
            ],
            "image to caption, drawn words": [
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
        f"{_cell([row['captions']['words']['told'] for row in group])} % at "
        f"{statistics.fmean(row['captions']['words']['nats'] for row in group):.2f} nats a word"
        for group in groups
        if group[0]["captions"] is not None
    )
    heading = ["model", "modalities", "what", "class", "all attributes", "by attribute"]
    return (
        "What is said and what is shown, per cent: captions that name the class of their image, "
        "and of the\nattributes that captions name those that are measured so.\n\n"
        f"{markdown.table(heading, lines)}\n"
        "Words of the reference that are the likeliest, given the image and the words before: "
        f"{words}.\n"
    )


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
    return "Nats an example, by importance sampling:\n\n" + markdown.table(
        [*heading, "log p(first given the others)", "samples"], lines
    )


def _cell(shares: Sequence[float | None]) -> str:
    known = [100 * share for share in shares if share is not None]
    return mean_and_deviation(known, ".1f") if known else ""


def _nats(values: Sequence[float]) -> str:
    return mean_and_deviation(values, ".2f")
