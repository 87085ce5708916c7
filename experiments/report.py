"""Write the tables of the documents from the checked-in results; --check only compares them.

    python -m experiments.report
    python -m experiments.report --check

README.md is written from the cards' `results/CARD.json` and results/uses/factor_editing.json;
docs/guide/export.md from models.json of the bundled models; docs/guide/first_run.md from
`results/experiments/*.json`, each the summary.json of a run; docs/guide/sweeps.md,
speed.md and tables.md, docs/scaling.md and docs/testing.md from `benchmarks/results/*.json`;
results/README.md from the cards' files and `results/uses/*.json`; results/disentanglement/README.md
from the study.json beside it; results/zoo.md from results/zoo.json, if that is there.
"""

import importlib
from pathlib import Path

from absl import flags

from experiments import command_line
from vae_jax import bundled
from vae_jax.applications import USES
from vae_jax.applications.disentanglement import report as disentanglement_report
from vae_jax.applications.factor_editing import report as factor_editing_report
from vae_jax.errors import UserError
from vae_jax.evaluation import reports, tables
from vae_jax.papers import card as cards
from vae_jax.papers import overview
from vae_jax.papers import report as card_report
from vae_jax.sharing import bundling
from vae_jax.workdir import write_atomically
from vae_jax.zoo import report as zoo_report
from vae_jax.zoo import results as zoo_results

_CHECK = flags.DEFINE_boolean("check", False, "fail if a document disagrees, and write nothing")

ROOT = Path(__file__).parents[1]


def render_results() -> str:
    """Return the README of the results: all cards and all uses."""
    folder = ROOT / "results"
    uses = (
        importlib.import_module(f"vae_jax.applications.{use}.report").section(
            folder / "uses" / f"{name}.json"
        )
        for use, name in USES.items()
    )
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        papers=card_report.render(
            [cards.load(name) for name in cards.names()], folder, others=[zoo_results.NAME]
        ),
        uses="\n".join(filter(None, uses)),
    )


def documents() -> dict[str, str]:
    """Return the documents by name, with their tables written from the results."""
    measured, results = ROOT / "benchmarks" / "results", ROOT / "results"
    sunglasses = factor_editing_report.success(results / "uses" / "factor_editing.json")
    has_zoo = zoo_results.path_of(results).is_file()
    with_tables = {
        "README.md": {"models": overview.table(results, cards.load), "sunglasses": sunglasses},
        "docs/guide/export.md": {"bundled": bundling.table(bundled.records())},
        "docs/guide/faces.md": {
            **tables.faces_tables(measured),
            "runs": tables.face_runs_table(results / "faces"),
        },
        "docs/guide/first_run.md": {"results": tables.runs_table(results / "experiments")},
        "docs/guide/sweeps.md": {"sweeps": tables.sweeps_table(measured)},
        "docs/guide/speed.md": {"speed": tables.speed_table(measured)},
        "docs/guide/tables.md": {"speed": tables.table_speed(measured)},
        "docs/scaling.md": tables.scaling_tables(measured),
        "docs/testing.md": {"slowest": tables.suite_table(measured)},
    }
    return {
        **{
            name: reports.between_marks((ROOT / name).read_text(encoding="utf-8"), name, its_tables)
            for name, its_tables in with_tables.items()
        },
        "results/README.md": render_results(),
        "results/disentanglement/README.md": disentanglement_report.render(
            results / "disentanglement"
        ),
        **({"results/zoo.md": zoo_report.render(results)} if has_zoo else {}),
    }


def main() -> None:
    """Write or check the documents."""
    for name, text in documents().items():
        path = ROOT / name
        if not _CHECK.value:
            write_atomically(path, text)
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise UserError(f"{name} disagrees with the results; run experiments.report")


if __name__ == "__main__":
    command_line.run(main)
