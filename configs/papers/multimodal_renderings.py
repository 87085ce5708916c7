"""MVAE, MMVAE and MoPoE on five renderings of a digit: coherence against likelihood.

python -m experiments.reproduce --card=multimodal_renderings --seeds=3

In the manner of Sutter, Daunhawer, Vogt 2021 (arXiv 2105.02470), on renderings of our own. Time on
one of two cores: 22 minutes per seed at the CPU budget; the full one is not measured. Expect
mixtures to be more coherent and the product to be likelier, as in the paper. Coherence rises with
the number of modalities given, except for the plain mixture.
"""

from configs import multimodal_renderings
from vae_jax.papers.card import COHERENCE_METRICS, Budget, Card, Expected, Row

_METRICS = {
    **dict.fromkeys(COHERENCE_METRICS, Expected()),
    "joint_nll": Expected(),
    "negative_elbo": Expected(),
}

# Dense layers, a third of the images and of the epochs: three models in half an hour.
_CPU = {
    "epochs": 10,
    "model.encoder": {"name": "mlp", "widths": (400,)},
    "data.train_split": "train[:20000]",
    "data.validation_split": "train[58000:]",
    "data.test_split": "test[:2000]",
}


def get_card() -> Card:
    """Return a row per way to join the posteriors of single modalities."""
    return Card(
        title="Five renderings of a digit",
        source="In the manner of PolyMNIST: Sutter, Daunhawer, Vogt 2021 (arXiv 2105.02470).",
        setup="Five images in colour that share their class and nothing else "
        "(`vae_jax/data/renderings.py`); their numbers do not compare with those of PolyMNIST. 64 "
        "latents, pixels with a Laplace likelihood of scale 0.75, every modality of weight 1; MVAE "
        "trains on all modalities, on each alone and on two random subsets per example. "
        "Convolutions at the full budget; at the CPU budget dense layers of 400 units, 20,000 "
        "training and 2,000 test examples. NLL by 10 samples of the joint posterior. Coherence is "
        "on 2,000 test examples, judged by classifiers that are trained on the same training "
        "images; the table also has their accuracy on real images, for the rendering where it is "
        "lowest.",
        base=multimodal_renderings.get_config(),
        rows=(
            Row(
                "mvae",
                {
                    "model.joint_posterior": "product",
                    "objective": {"name": "mvae", "num_subsets": 2},
                },
                _METRICS,
            ),
            Row(
                "mmvae",
                {"model.joint_posterior": "mixture", "objective": {"name": "mmvae"}},
                _METRICS,
            ),
            Row(
                "mopoe",
                {"model.joint_posterior": "mixture_of_products", "objective": {"name": "mopoe"}},
                _METRICS,
            ),
        ),
        budgets={"full": Budget({"epochs": 30}), "cpu": Budget(_CPU)},
    )
