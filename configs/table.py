r"""A VAE of the rows of a table: columns of mixed kinds, cells that may be empty.

    python -m examples.customers customers.csv
    python -m experiments.train --config=configs/table.py --config.data.name=customers.csv \
        --workdir=runs/table

On one of two cores, shared with others, it trains for 50 s on these 2,000 rows of 12 columns.
Expect a test ELBO of -33.0 and an IWAE bound (500 samples) of -32.7 nats per row, in the units of
the file. For a table of your own change `data.name`; docs/guide/tables.md has the kinds of columns
and what to do with the run.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return an experiment on a table, by the importance-weighted bound of its seen cells."""
    config = ConfigDict(type_safe=False)
    config.seed = 0
    config.epochs = 200
    config.batch_size = 64
    config.patience = 30
    config.data = {"name": "customers.csv"}
    config.model = {
        "name": "vae",
        "latent_size": 6,
        "encoder": {"name": "mlp", "widths": (128, 128)},
        "likelihood": {"name": "columns"},
    }
    config.objective = {"name": "iwae", "num_samples": 5}
    config.optimizer = {"name": "adam", "learning_rate": 1e-3}
    config.evaluation = {"num_samples": 500}
    return config
