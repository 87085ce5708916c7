"""The model card of a trained model: what it was trained on, how, and what was measured."""

import json
from pathlib import Path
from typing import Any

import vae_jax
from vae_jax.evaluation import reports
from vae_jax.settings import changed, name_of
from vae_jax.sharing.functions import Trained

# Units of the test metrics that a card shows, which are means over examples.
_UNITS = {
    "elbo": "nats",
    "rate": "nats",
    "distortion": "nats",
    "iwae_bound": "nats",
    "bits_per_dim": "bits/dim",
    "reconstruction_error": "squared error per pixel",
    "active_units": "latent dimensions",
    "perplexity": "codes",
}

_UNMEASURED = "The test metrics of this run have not been measured."


def render(model: Trained, address: str, summary: dict[str, Any] | None) -> str:
    """Return the card as Markdown.

    Args:
      model: the trained model.
      address: what `vae_jax.load` is given.
      summary: the content of the run's summary.json; None if the run has not been measured.
    """
    config = changed(model.config)
    # Folders of the machine that trained it say nothing elsewhere.
    config.get("data", {}).pop("dir", None)
    return reports.fill(
        Path(__file__).with_suffix(".md"),
        title=address.rpartition("/")[2],
        family=model.name,
        data=f"`{model.config.data.name}`",
        objective=name_of(model.config.objective),
        epochs=model.config.epochs if summary is None else summary["epochs"],
        version=vae_jax.__version__,
        address=address,
        metrics=_UNMEASURED if summary is None else metrics_table(summary["test"]),
        config=json.dumps(config, indent=2, default=str),
    )


def metrics_table(test: dict[str, Any]) -> str:
    """Return the metrics that have a unit, as a Markdown table; those that are null are left out.

    Log likelihoods of several modalities have a row each.
    """
    rows = [(name, test.get(name), unit) for name, unit in _UNITS.items()]
    for group in ("log_likelihood", "conditional_log_likelihood"):
        rows += [
            (f"{group} ({name})", value, "nats") for name, value in test.get(group, {}).items()
        ]
    samples = test.get("num_samples")
    table = reports.table(
        ["metric", "test set", "unit"],
        [[name, _number(value), unit] for name, value, unit in rows if value is not None],
    )
    counted = f"Means over {test['num_examples']:,} test examples"
    return (
        f"{table}\n{counted}; {samples:,} importance samples each.\n"
        if samples
        else (f"{table}\n{counted}.\n")
    )


def _number(value: float | int) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"
