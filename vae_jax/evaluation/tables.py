"""The tables of the documentation: metrics of runs, and results of benchmarks."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from vae_jax.errors import UserError
from vae_jax.evaluation import reports
from vae_jax.evaluation import summary as measuring

Table = TypeVar("Table")


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a results file; a missing value raises an error that names the file."""

    class Named(dict[str, Any]):
        def __missing__(self, name: str) -> NoReturn:
            raise UserError(f"{path} has no {name!r}; measure it again")

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=Named)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object")
    return content


def _of_folder(table: Callable[[Path], Table]) -> Callable[[Path], Table]:
    """Wrap a table of a folder of results, so that an unusable value names the folder."""

    @functools.wraps(table)
    def checked(folder: Path) -> Table:
        try:
            return table(folder)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"a file in {folder} holds an unusable value: {error}") from error

    return checked


@_of_folder
def runs_table(folder: Path) -> str:
    """Return a table with a row per run, by test ELBO; runs without one come last."""
    summaries = {path.stem: _read(path) for path in folder.glob("*.json")}
    order = sorted(summaries, key=lambda name: (-summaries[name]["test"].get("elbo", -1e9), name))
    return measuring.table({name: summaries[name] for name in order})


@_of_folder
def speed_table(folder: Path) -> str:
    """Return a table of training speed, start-up, memory and resuming."""
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
        f"samples each | {likelihood['seconds']:.0f} s, where the matrix products alone "
        f"take {likelihood['seconds_of_products_at_peak']:.0f} s at the peak; "
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
        f"| peak memory of training, evaluation and plots | {costs['peak_memory_gib']:.2f} GiB |",
        f"| SIGKILLs survived, final state bitwise equal | {kills['kills']} of {kills['kills']} |"
        if kills["equal"]
        else f"| SIGKILLs, final state not equal | {kills['kills']} |",
        *_mishaps(folder / "mishaps_cpu.json"),
    ]
    return "\n".join(rows) + "\n"


_MISHAPS = {
    "files": "damaged files, taken or refused in one line",
    "signals": "SIGINT, SIGTERM and SIGHUP that ended a training without traceback or loss",
    "rotations": "loads of a run while its only checkpoint is replaced",
}


def _mishaps(file: Path) -> list[str]:
    """Return a row per part of the campaign, if it has been run."""
    if not file.is_file():
        return []
    parts = _read(file)
    tried = {name: parts[name]["tried"] for name in _MISHAPS}
    well = {name: tried[name] - len(parts[name]["not_answered_well"]) for name in _MISHAPS}
    return [f"| {what} | {well[name]} of {tried[name]} |" for name, what in _MISHAPS.items()]


@_of_folder
def sweeps_table(folder: Path) -> str:
    """Return a table of sweeps: speed, best trials of searches and survived kills, if measured."""
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


@_of_folder
def suite_table(folder: Path) -> str:
    """Return a table of the files of tests that take longest, if measured."""
    path = folder / "suite_times_cpu.json"
    if not path.is_file():
        return "Not measured.\n"
    measured = _read(path)
    costs = ("tests", "seconds", "programs", "compile_seconds", "processes")
    files = measured["files"]
    every = {cost: sum(own[cost] for own in files.values()) for cost in costs}
    rows = [
        [name, *(f"{own[cost]:,.0f}" for cost in costs)]
        for name, own in (
            *((f"`{file}`", own) for file, own in [*files.items()][:15]),
            (f"all {len(files)} files", every),
        )
    ]
    seconds = (
        f"The whole run took {measured['wall_seconds']:.0f} s on {measured['num_cores']} cores."
    )
    header = ["file", "tests", "seconds", "programs", "seconds for them", "processes"]
    return reports.table(header, rows) + f"\n{seconds}\n"


@_of_folder
def faces_tables(folder: Path) -> dict[str, str]:
    """Return the tables of docs/guide/faces.md by name, as far as they are measured."""
    found = {
        "cost": (_faces_cost, folder / "faces_cost_cpu.json"),
        "cost_on_device": (_faces_cost, folder / "accelerator" / "faces.json"),
        "likelihoods": (_face_likelihoods, folder / "face_likelihoods_cpu.json"),
    }
    return {
        name: write(_read(path)) if path.is_file() else "Not measured.\n"
        for name, (write, path) in found.items()
    }


@_of_folder
def table_speed(folder: Path) -> str:
    """Return a table of the speed of training on rows and on images, if it is measured."""
    path = folder / "table_speed_cpu.json"
    if not path.is_file():
        return "Not measured.\n"
    measured = _read(path)
    rows = [
        [
            name,
            f"{measured[part]['examples_per_second']:,.0f}",
            f"{measured[part]['bound']:,.0f}",
            f"{measured[part]['share_of_bound']:.0%}",
        ]
        for name, part in (
            (f"rows of {measured['num_columns']} columns", "table"),
            ("images of 784 pixels", "images"),
        )
    ]
    heading = ["trained on", "examples/s", "bound by matrix products, examples/s", "share"]
    text = (
        f"Training on the {measured['num_rows']:,} rows is {measured['times_bound_on_images']:.1f} "
        "times as fast as the matrix products alone would be on images; `experiments.train` takes "
        f"{measured['peak_memory_gib']:.2f} GiB at most."
    )
    return f"{reports.table(heading, rows)}\n{text}\n"


@_of_folder
def face_runs_table(folder: Path) -> str:
    """Return a table of the runs of configs/faces.py, whose summaries the folder has."""
    runs = [_read(path) for path in sorted(folder.glob("*.json"))]
    rows = [
        [
            str(run["seed"]),
            f"{run['test']['bits_per_dim']:.3f}",
            f"{run['test']['elbo']:,.0f}",
            f"{run['test']['rate']:.0f}",
            f"{run['test']['reconstruction_error']:.4f}",
            f"{run['wall_seconds'] / 60:.0f} on {run['num_cores']} core",
        ]
        for run in runs
    ]
    heading = ["seed", "bits per dimension", "ELBO, nats", "rate, nats", "squared error"]
    return reports.table([*heading, "minutes of training"], rows)


def _faces_cost(measured: dict[str, Any]) -> str:
    variants = measured["variants"]
    # The CPU has no memory but the host's.
    on_device = all("peak_device_memory_gib" in own for own in variants.values())
    memories = {"peak memory, GiB": "peak_memory_gib"}
    if on_device:
        of_device = f"peak memory of {measured['device']}, GiB"
        memories = {of_device: "peak_device_memory_gib", "of the host, GiB": "peak_memory_gib"}
    rows = [
        [
            name,
            f"{own['images_per_second']:,.0f}",
            *(f"{own[memory]:.2f}" for memory in memories.values()),
        ]
        for name, own in variants.items()
    ]
    return reports.table(["run", "images/s", *memories], rows)


def _face_likelihoods(measured: dict[str, Any]) -> str:
    def mean(rows: list[dict[str, Any]], name: str, form: str) -> str:
        return reports.mean_and_deviation([row[name] for row in rows], form)

    rows = [
        [
            name,
            f"{own[0]['images_seen']:,}",
            str(reports.num_seeds(own)),
            mean(own, "bits_per_dim", ".3f"),
            mean(own, "reconstruction_error", ".4f"),
            mean(own, "images_per_second", ".0f"),
        ]
        for name, own in measured["likelihoods"].items()
    ]
    heading = ["network and likelihood", "images seen", "seeds", "bits per dimension"]
    table = reports.table([*heading, "squared error", "images/s"], rows)
    codecs = " and ".join(f"{rate:.2f} ({name})" for name, rate in measured["codecs"].items())
    return (
        f"{table}\nFiles without loss of the same test images take {codecs} bits per dimension.\n"
    )


@_of_folder
def scaling_tables(folder: Path) -> dict[str, str]:
    """Return the tables of docs/scaling.md by name."""
    measured = _read(folder / "scaling_cpu.json")
    return {
        "layouts": layouts_table(measured),
        "costs": costs_table(measured),
        "projections": projections_table(measured),
        "noise": noise_table(measured),
    }


def costs_table(measured: dict[str, Any]) -> str:
    """Return a table of FLOPs and bytes per device and step, by the number of devices."""
    rows = [
        [
            name,
            str(entry["devices"]),
            f"{entry['flops'] / 1e9:.2f}",
            f"{entry['bytes_accessed'] / 1e6:.0f}",
            f"{entry['bytes_reduced'] / 1e6:.2f}",
            str(entry["collectives"]),
        ]
        for name, entries in measured["step_costs"].items()
        for entry in entries
    ]
    header = ["network", "devices", "GFLOP per device", "MB accessed per device"]
    return reports.table([*header, "MB reduced", "operations between devices"], rows)


def projections_table(measured: dict[str, Any]) -> str:
    """Return a table of the time of a step on more accelerators, computed and not measured."""
    rows = []
    for name, by_batch in measured["projected"].items():
        for batch, entries in by_batch.items():
            for entry in entries:
                products, sums = entry["compute_seconds"], entry["reduce_seconds"]
                rows.append(
                    [
                        name,
                        batch.removeprefix("batch of ").removesuffix(" a device"),
                        str(entry["devices"]),
                        f"{1e6 * products:,.0f}",
                        f"{1e6 * sums:,.0f}",
                        f"{products / (products + sums):.0%}",
                    ]
                )
    header = ["network", "batch per device", "devices", "products, us", "sum of gradients, us"]
    return reports.table([*header, "share of products"], rows)


def noise_table(measured: dict[str, Any]) -> str:
    """Return a table of the gradient noise scale by epoch."""
    rows = [
        [
            str(entry["epoch"]),
            f"{entry['noise_scale']:,.0f}",
            f"{entry['lowest_of_draws']:,.0f} to {entry['highest_of_draws']:,.0f}",
        ]
        for entry in measured["gradient_noise_scale"]
    ]
    return reports.table(["epochs trained", "noise scale, examples", "range of the draws"], rows)


def layouts_table(measured: dict[str, Any]) -> str:
    """Return a table of the losses' differences from those on one device."""
    rows = [[name, f"{apart:.2g}"] for name, apart in measured["losses_apart"].items()]
    return reports.table(["layout", "largest difference of the training loss, nats"], rows)
