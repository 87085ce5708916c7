"""A gated MLP with a standard and with a VampPrior, on Fashion-MNIST.

python -m experiments.prepare --name=fashion_mnist
python -m experiments.reproduce --card=vampprior_mlp_fashion_mnist --seeds=3 --budget=full

Tomczak, Welling 2017 (arXiv 1705.07120), as rerun for the Exemplar VAE. A run of the CPU budget
takes two minutes on one of two cores without an accelerator, seven with the VampPrior, and its NLL
up to five more. At the full budget the standard prior took 1.6 hours for 963 epochs, and ten
minutes for its NLL; the VampPrior was not measured. Expect an NLL of about 228.7 nats with the
standard prior and 227.4 with the VampPrior at the full budget, and 234 and 232 at the smaller one.
"""

import dataclasses

from configs.papers import vampprior_mlp_mnist
from vae_jax.papers.card import Card, Check, Expected, Row


def get_card() -> Card:
    """Return `vampprior_mlp_mnist` on other data."""
    card = vampprior_mlp_mnist.get_card()
    card.base.data.name = "fashion_mnist"
    return dataclasses.replace(
        card,
        title="Gated MLP with a VampPrior on Fashion-MNIST",
        source="Tomczak, Welling 2017 (arXiv 1705.07120), as rerun by Norouzi, Fleet, Norouzi 2020 "
        "for the table of the Exemplar VAE.",
        setup="As on MNIST. The data set is prepared by `python -m experiments.prepare "
        "--name=fashion_mnist`.",
        rows=(
            Row("standard", {"model.prior": "standard"}, {"nll": Expected(228.70, 1.0)}),
            Row(
                "vamp",
                {"model.prior": "vamp"},
                {"nll": Expected(227.35, 1.0)},
            ),
        ),
        checks=(Check("nll", ("standard", "vamp")),),
    )
