"""The tables of docs/scaling.md, from what benchmarks/scaling.py measured."""

from typing import Any

from vae_jax.evaluation import reports


def costs_table(measured: dict[str, Any]) -> str:
    """Return FLOPs and bytes of one device in a step, by the number of devices."""
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
    """Return the time of a step on more accelerators, computed and not measured."""
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
    """Return the gradient noise scale by epoch."""
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
    """Return how far the losses are from those on one device."""
    rows = [[name, f"{apart:.2g}"] for name, apart in measured["losses_apart"].items()]
    return reports.table(["layout", "largest difference of the training loss, nats"], rows)
