"""Binary and categorical latents on MNIST, trained by the Gumbel-softmax estimators.

python -m experiments.reproduce --card=gumbel_softmax --seeds=1 --budget=full

Jang, Gu, Poole 2016 (arXiv 1611.01144), Table 2.

On one of two cores without an accelerator a run of the CPU budget trains for 80 s and is measured
in two minutes. Expect an NLL of 102.3 from `soft_bernoulli`, 102.5 from `soft_categorical` and
108.4 from `straight_through_bernoulli` there, with one seed. The full budget was not measured.
"""

from configs import gumbel
from vae_jax.papers.card import Budget, Card, Check, Expected, Row

_TOLERANCE = 2.0
# Classes of a group, and the latents of all groups together.
_LATENTS = {"bernoulli": (2, 400), "categorical": (10, 200)}
_GUMBEL = {"bernoulli": 105.0, "categorical": 101.5}
_STRAIGHT_THROUGH = {"bernoulli": 111.5, "categorical": 107.8}


def get_card() -> Card:
    """Return the table: soft and straight-through draws of both kinds of latents."""

    def row(kind: str, straight_through: bool) -> Row:
        num_classes, latent_size = _LATENTS[kind]
        settings = {
            "model.latent_size": latent_size,
            "model.num_classes": num_classes,
            "objective.straight_through": straight_through,
        }
        value = (_STRAIGHT_THROUGH if straight_through else _GUMBEL)[kind]
        metrics = {"nll": Expected(value, _TOLERANCE), "negative_elbo": Expected()}
        return Row(
            f"{'straight_through' if straight_through else 'soft'}_{kind}", settings, metrics
        )

    rows = [row(kind, straight) for straight in (False, True) for kind in _LATENTS]
    return Card(
        title="Binary and categorical latents on MNIST",
        source="Jang, Gu, Poole 2016 (arXiv 1611.01144), Table 2: the bound by 1,000 samples.",
        setup="200 binary latents, or 20 groups of 10 classes, between an encoder and a decoder "
        "with a hidden layer of 200 units each; the paper's encoder has none. Dynamic "
        "binarisation, batch 100, Adam at 0.001 with cosine decay in place of momentum; the "
        "temperature decays from 1 to 0.5 by a rate of 1e-4 per step. Evaluated with exact "
        "draws of the latents. The paper names no number of epochs: the full budget has 200, "
        "the CPU budget 20.",
        base=gumbel.get_config(),
        rows=rows,
        checks=(
            Check("nll", ("soft_bernoulli", "soft_categorical")),
            Check("nll", ("straight_through_bernoulli", "soft_bernoulli")),
            Check("nll", ("straight_through_categorical", "soft_categorical")),
        ),
        budgets={"full": Budget({"epochs": 200}), "cpu": Budget({"epochs": 20})},
    )
