"""The models that come with the package: written in half precision, measured, and listed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from vae_jax import bundled, trained
from vae_jax.errors import UserError
from vae_jax.evaluation import reports
from vae_jax.evaluation import summary as measuring
from vae_jax.workdir import write_atomically

# Importance samples per example, which are the draws of the ELBO as well.
NUM_SAMPLES = 10
# Megabytes of all models together.
MOST_MEGABYTES = 8.0


def bundle(
    run: Path, name: str, config: str, out: Path, num_samples: int = NUM_SAMPLES
) -> dict[str, Any]:
    """Write the best model of a run into a folder, measure the file, and return the record.

    The record, which models.json in the folder keeps, has the test ELBO of the file ("elbo") and
    that of the run ("elbo_of_run") on the same draws, in nats.

    Args:
      run: its workdir.
      name: of the model.
      config: what it was trained by, for readers.
      out: the folder.
      num_samples: draws per test example.

    Raises:
      UserError: there is no model, it has no ELBO, or its data are missing.
    """
    model = trained.load(run)
    assert model.checkpoint is not None, "a run has one"
    test = model.load_test()
    targets = measuring.prepare_examples(model, test)
    condition = measuring.condition_of(model, test, targets)
    of_run = measuring.measure(model, targets, num_samples, condition)
    if "elbo" not in of_run:
        raise UserError(
            f"{run} holds a run without an ELBO, by which a bundled model is described; bundle a "
            "VAE"
        )
    content = model.to_bytes(half_precision=True)
    path = out / f"{name}.safetensors"
    write_atomically(path, content)
    of_file = measuring.measure(trained.load(path), targets, num_samples, condition)
    record = {
        "config": config,
        "epochs": model.checkpoint.metadata["epoch"],
        "elbo": of_file["elbo"],
        "elbo_standard_error": of_file["elbo_standard_error"],
        "rate": of_file["rate"],
        "distortion": of_file["distortion"],
        "elbo_of_run": of_run["elbo"],
        "num_samples": num_samples,
        "num_examples": of_file["num_examples"],
        "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    records = {**bundled.records(out), name: record}
    write_atomically(out / bundled.RECORDS, json.dumps(records, indent=1) + "\n")
    return record


def describe(name: str, record: Mapping[str, Any]) -> str:
    """Return a record in a line."""
    return (
        f"{name}: {record['bytes']:,} bytes, test elbo {record['elbo']:.3f} nats, that of the run "
        f"{record['elbo_of_run']:.3f}"
    )


def table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the models as a Markdown table, in the order of the records."""
    rows = [
        [
            f"`{name}`",
            record["config"],
            str(record["epochs"]),
            f"{record['elbo']:.2f} ± {record['elbo_standard_error']:.2f}",
            f"{record['elbo'] - record['elbo_of_run']:+.4f}",
            f"{record['num_parameters'] / 1e6:.2f} million",
            f"{record['bytes'] / 1e6:.2f} MB",
        ]
        for name, record in records.items()
    ]
    heading = ["name", "config", "epochs", "test ELBO, nats", "by rounding", "parameters", "size"]
    return reports.table(heading, rows)
