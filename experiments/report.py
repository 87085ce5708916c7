"""Write the tables of the documents from the checked-in results; with --check only compare.

    python -m experiments.report
    python -m experiments.report --check

README.md is written from `results/experiments/*.json`, each the summary.json of a run, and
`benchmarks/results/*.json`, as docs/scaling.md is; results/README.md from the cards'
`results/CARD.json` and `results/uses/*.json`; results/disentanglement/README.md from the study.json
beside it.
"""

import functools
import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from absl import flags

from experiments import command_line
from vae_jax.applications import USES
from vae_jax.applications.disentanglement import report as disentanglement_report
from vae_jax.errors import UserError
from vae_jax.evaluation import reports, scaling_report
from vae_jax.evaluation import summary as measuring
from vae_jax.papers import card as cards
from vae_jax.papers import report as card_report
from vae_jax.workdir import write_atomically

_CHECK = flags.DEFINE_boolean("check", False, "fail if a document disagrees, and write nothing")

ROOT = Path(__file__).parents[1]


def _read(path: Path) -> dict[str, Any]:
    """What a results file holds, which names the file where something is asked for in vain."""

    class Named(dict[str, Any]):
        def __missing__(self, name: str) -> NoReturn:
            raise UserError(f"{path} has no {name!r}; measure it again")

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=Named)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object")
    return content


def _of_folder(table: Callable[[Path], str]) -> Callable[[Path], str]:
    """The table of a folder of results, which names the folder where a value is of no use."""

    @functools.wraps(table)
    def told(folder: Path) -> str:
        try:
            return table(folder)
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(f"a file in {folder} holds a value of no use: {error}") from error

    return told


@_of_folder
def results_table(folder: Path) -> str:
    """One row a run, in the order of the test ELBO, runs without one last."""
    summaries = {path.stem: _read(path) for path in folder.glob("*.json")}
    order = sorted(summaries, key=lambda name: (-summaries[name]["test"].get("elbo", -1e9), name))
    return measuring.table({name: summaries[name] for name in order})


@_of_folder
def speed_table(folder: Path) -> str:
    """Training speed, start-up, memory and resuming, as measured."""
    throughput = _read(folder / "train_throughput_cpu.json")
    costs = _read(folder / "run_costs_cpu.json")
    kills = _read(folder / "kill_resume_cpu.json")
    likelihood = _read(folder / "likelihood_cpu.json")
    streaming = _read(folder / "streaming_cpu.json")
    sprites = _read(folder / "sprites_cpu.json")
    modalities = _read(folder / "multimodal_throughput_cpu.json")
    rows = ["| what | measured |", "| --- | --- |"]
    for name, measured in throughput["experiments"].items():
        rows.append(
            f"| training, {name} | {measured['examples_per_second']:,.0f} images/s, "
            f"{measured['share_of_matmul_peak']:.0%} of the peak |"
        )
    for name, measured in modalities["experiments"].items():
        if name != "image alone":
            rows.append(
                f"| training, {name} | {measured['examples_per_second']:,.0f} examples/s, "
                f"{measured['times_image_alone']:.1f} times the time of the image alone |"
            )
    rows += [
        f"| log likelihood of {likelihood['num_images']:,} images, {likelihood['num_samples']:,} "
        f"samples each | {likelihood['seconds']:.0f} s, of which matrix products "
        f"at the peak {likelihood['seconds_of_products_at_peak']:.0f} s; "
        f"{likelihood['peak_memory_gib']:.2f} GiB |",
        f"| streaming {streaming['image_size']}x{streaming['image_size']} PNG files, no training | "
        f"{streaming['stream_images_per_second']:,.0f} images/s, "
        f"{streaming['stream_share_of_decode']:.0%} of decoding alone |",
        f"| streaming, a step slower than decoding | waits for data "
        f"{streaming['train']['data_wait_share']:.1%} of the time |",
        f"| streaming {streaming['decoded_mib']:.0f} MiB, limit {streaming['memory_limit_mib']} "
        f"MiB | {streaming['peak_memory_mib']:.0f} MiB in memory |",
        *(
            f"| rendering {name} | {measured['rendered_per_second']:,.0f} images/s, "
            f"{measured['rendered_to_trained']:.0f} times the training |"
            for name, measured in sprites["experiments"].items()
        ),
        f"| the loop around the compiled epochs | {costs['loop_share']:.1%} of the time |",
        f"| from the second start to the first step | {costs['second_start_seconds']:.1f} s |",
        f"| peak memory of training, evaluation and figures | {costs['peak_memory_gib']:.2f} GiB |",
        f"| SIGKILLs survived, final state bitwise equal | {kills['kills']} of {kills['kills']} |"
        if kills["equal"]
        else f"| SIGKILLs, final state not equal | {kills['kills']} |",
    ]
    return "\n".join(rows) + "\n"


@_of_folder
def sweeps_table(folder: Path) -> str:
    """Speed of many members, what the searches found, and kills survived, as far as measured."""
    rows = ["| what | measured |", "| --- | --- |"]
    throughput = folder / "sweep_throughput_cpu.json"
    if not throughput.is_file():
        rows.append("| members against runs one after the other | not measured |")
    for entry in _read(throughput)["members"] if throughput.is_file() else []:
        rows.append(
            f"| {entry['num_members']} members {entry['how']} | "
            f"{entry['examples_per_second']:,.0f} images/s, "
            f"{entry['share_of_sequential']:.2f} of one after the other |"
        )
    search = folder / "search_quality_cpu.json"
    if search.is_file():
        measured = _read(search)
        for method, found in measured["best_valid_elbo"].items():
            searches = measured["searches"][method]
            rows.append(
                f"| best validation ELBO of {searches[0]['num_trials']} trials by {method}, "
                f"{len(searches)} searches | {found['mean']:.2f} ± {found['std']:.2f} nats |"
            )
    else:
        rows.append("| TPE against random search | not measured |")
    kill = folder / "kill_sweep_cpu.json"
    if kill.is_file():
        kills = _read(kill)
        total = kills["kills"]
        survived = total if kills["equal"] else 0
        rows.append(
            f"| SIGKILLs survived, members bitwise equal | {survived} of {kills['kills']} |"
        )
    return "\n".join(rows) + "\n"


def render(text: str, name: str, tables: Mapping[str, str]) -> str:
    """A document with its tables, each between marks that bear its name, written anew."""
    for table_name, table in tables.items():
        begin, end = f"<!-- {table_name}: begin -->\n", f"<!-- {table_name}: end -->"
        if begin not in text or end not in text:
            raise UserError(f"{name} has no place for the table {table_name!r}: {begin.strip()}")
        head, rest = text.split(begin)
        text = head + begin + table + end + rest.split(end)[1]
    return text


def _tables() -> dict[str, dict[str, str]]:
    """The tables of each document that has text around them."""
    measured = ROOT / "benchmarks" / "results"
    scaling = _read(measured / "scaling_cpu.json")
    return {
        "README.md": {
            "results": results_table(ROOT / "results" / "experiments"),
            "sweeps": sweeps_table(measured),
            "speed": speed_table(measured),
        },
        "docs/scaling.md": {
            "layouts": scaling_report.layouts_table(scaling),
            "costs": scaling_report.costs_table(scaling),
            "projections": scaling_report.projections_table(scaling),
            "noise": scaling_report.noise_table(scaling),
        },
    }


def render_results() -> str:
    """Return the README of the results: all cards, and the uses of trained models."""
    folder = ROOT / "results"
    uses = (
        importlib.import_module(f"vae_jax.applications.{use}.report").section(
            folder / "uses" / f"{name}.json"
        )
        for use, name in USES.items()
    )
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        papers=card_report.render([cards.load(name) for name in cards.names()], folder),
        uses="\n".join(filter(None, uses)),
    )


def documents() -> dict[str, str]:
    """The documents with tables, by name, as they should be."""
    rendered = {
        name: render((ROOT / name).read_text(encoding="utf-8"), name, tables)
        for name, tables in _tables().items()
    }
    study = disentanglement_report.render(ROOT / "results" / "disentanglement")
    return {
        **rendered,
        "results/README.md": render_results(),
        "results/disentanglement/README.md": study,
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
