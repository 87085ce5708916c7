"""A small table of invented customers, configs of small networks for it, and commands on a run."""

import csv

import numpy as np
from absl.testing import flagsaver

from configs import table as table_config
from examples import customers
from vae_jax import config as factory

SMALL = {
    "epochs": 4,
    "patience": 0,
    "model.latent_size": 2,
    "model.encoder.widths": (8,),
    "objective.num_samples": 2,
    "evaluation.num_samples": 5,
}


def config_of(path, **changes):
    """Return configs/table.py on a file, with small networks and changed settings."""
    small = {"data.name": str(path), **SMALL, **changes}
    return factory.with_values(factory.plain(table_config.get_config()), small)


def write_customers(folder):
    """Write 300 customers into a folder; return the file's path."""
    path = folder / "customers.csv"
    customers.write(path, num=300)
    return path


def write_single_cells(path, num=200):
    """Write counts of genes, proportional to the library size of each cell, which is a column.

    The file has semicolons, decimal commas and the truth values of Python.
    """
    rng = np.random.default_rng(0)
    sizes = np.exp(7 + 0.6 * rng.normal(size=num))
    counts = rng.poisson(sizes[:, None] * np.array([0.002, 0.01, 0.004]))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\n")
        writer.writerow(["library", "gene_a", "gene_b", "gene_c", "treated"])
        for size, row in zip(sizes, counts, strict=True):
            treated = bool(row[1] % 3)
            writer.writerow([f"{size:.1f}".replace(".", ","), *row, treated])


def read(path, separator=","):
    """Return the rows of a CSV file, as dicts."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=separator))


def run_command(module, output, separator=",", **given):
    """Run a command on the run in `run`; return the rows that it writes, as dicts."""
    with flagsaver.flagsaver(workdir="run", output=output, **given):
        module.main()
    return read(output, separator)
