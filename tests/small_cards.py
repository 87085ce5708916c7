"""A card that is reproduced quickly, on the images of small_data.py."""

from ml_collections import ConfigDict
from small_configs import small_config

from vae_jax.papers.card import Budget, Card, Check, Expected, Row

_CONFIG = {
    "batch_size": 32,
    "steps_per_call": 4,
    "data.train_split": "train[:192]",
    "data.validation_split": "train[192:]",
    "evaluation.num_samples": 5,
}


def small_card(data: str, **changes: object) -> Card:
    """Return a card of two rows of one program, and a third that the cpu budget leaves out."""
    config = small_config({"data.name": data, **_CONFIG}, widths=(16,), latent_size=2)
    parts = {
        "title": "Bars",
        "source": "Nobody 2000, Table 1.",
        "setup": "Bars.",
        "base": ConfigDict(config),
        "rows": (
            Row("weak", {"objective.beta": 1.0}, {"nll": Expected(30.0, 1.0), "rate": Expected()}),
            Row(
                "strong",
                {"objective.beta": 4.0},
                {"nll": Expected(31.0, verified=False), "knn_accuracy_100": Expected(90.0)},
            ),
            Row("wide", {"model.latent_size": 3}, {"nll": Expected(29.5)}),
        ),
        "checks": (Check("nll", ("strong", "weak"), least=0.5),),
        "budgets": {
            "full": Budget({"epochs": 6}),
            "cpu": Budget({"epochs": 3}, left_out=("wide",)),
        },
        "manifold": "weak",
        "name": "bars",
    }
    return Card(**{**parts, **changes})


def write_card(path, data) -> str:
    """Write a file of the card; return its path."""
    path.write_text(
        "from small_cards import small_card\n\n\n"
        f"def get_card():\n    return small_card({str(data)!r})\n"
    )
    return str(path)
