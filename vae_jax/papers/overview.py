"""The README's table of model families: paper, config, and our value beside the paper's."""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import reports
from vae_jax.papers import results as card_results
from vae_jax.papers.card import BUDGETS, METRICS, Card, Row


class Use(NamedTuple):
    """A value of a use, measured without a card.

    Attributes:
      name: of the results file.
      rows: content by field of the rows that stand for the family, one per seed.
      value: returns our value, given a row.
      label: of the value in the table.
      digits: after the point.
      theirs: the paper's value.
    """

    name: str
    rows: Mapping[str, Any]
    value: Callable[[reports.Row], float]
    label: str
    digits: int
    theirs: float


class Family(NamedTuple):
    """A line of the table.

    Attributes:
      name: of the family.
      paper: authors, year and arXiv number.
      choice: the config, or the settings, that choose it.
      measured: name of the card, its row and its metric that stand for the family, or a use; None
        without either.
    """

    name: str
    paper: str
    choice: str
    measured: tuple[str, str, str] | Use | None = None


FAMILIES = (
    Family(
        "VAE",
        "Kingma, Welling 2013 (1312.6114)",
        "configs/vanilla.py",
        ("aevb_latent_sizes", "size_20", "negative_elbo"),
    ),
    Family(
        "IWAE, one sample",
        "Burda et al. 2015 (1509.00519)",
        "objective=iwae",
        ("iwae_mnist_1layer", "vae_1", "nll"),
    ),
    Family(
        "IWAE, five samples",
        "Burda et al. 2015 (1509.00519)",
        "objective=iwae",
        ("iwae_mnist_1layer", "iwae_5", "nll"),
    ),
    Family("MIWAE, PIWAE, CIWAE", "Rainforth et al. 2018 (1802.04537)", "objective=piwae"),
    Family(
        "two stochastic layers",
        "Burda et al. 2015 (1509.00519)",
        "model=markov",
        ("iwae_mnist_2layer", "vae_5", "nll"),
    ),
    Family("ladder VAE", "Sønderby et al. 2016 (1602.02282)", "model=ladder"),
    Family(
        "convolutional ladder, six layers",
        "Sønderby et al. 2016 (1602.02282), Child 2021 (2011.10650)",
        "configs/ladder.py",
        ("ladder_mnist", "layers_6", "negative_elbo"),
    ),
    Family(
        "VampPrior",
        "Tomczak, Welling 2017 (1705.07120)",
        "model.prior=vamp",
        ("vampprior_mlp_mnist", "vamp", "nll"),
    ),
    Family("inverse autoregressive flow", "Kingma et al. 2016 (1606.04934)", "model.posterior=iaf"),
    Family(
        "hyperspherical VAE",
        "Davidson et al. 2018 (1804.00891)",
        "configs/hyperspherical.py",
        ("hyperspherical", "sphere_10", "nll"),
    ),
    Family(
        "Gumbel-softmax, categorical",
        "Jang et al. 2016 (1611.01144)",
        "configs/gumbel.py",
        ("gumbel_softmax", "soft_categorical", "nll"),
    ),
    Family("denoising VAE", "Im et al. 2015 (1511.06406)", "configs/denoising.py"),
    Family("β-VAE", "Higgins et al. 2017", "configs/beta.py"),
    Family("annealed capacity", "Burgess et al. 2018 (1804.03599)", "objective=capacity"),
    Family("FactorVAE", "Kim, Mnih 2018 (1802.05983)", "objective=factor"),
    Family("β-TCVAE", "Chen et al. 2018 (1802.04942)", "objective=tc"),
    Family("DIP-VAE I and II", "Kumar et al. 2017 (1711.00848)", "objective=dip"),
    Family("InfoVAE", "Zhao et al. 2017 (1706.02262)", "objective=info"),
    Family("WAE-MMD", "Tolstikhin et al. 2017 (1711.01558)", "configs/wae.py"),
    Family("RAE-L2, RAE-GP", "Ghosh et al. 2019 (1903.12436)", "configs/rae.py"),
    Family("adversarial autoencoder", "Makhzani et al. 2015 (1511.05644)", "configs/aae.py"),
    Family("VAE-GAN", "Larsen et al. 2015 (1512.09300)", "configs/vae_gan.py"),
    Family("VQ-VAE, and a prior", "van den Oord et al. 2017 (1711.00937)", "configs/vq_vae.py"),
    Family("FSQ", "Mentzer et al. 2023 (2309.15505)", "model.quantizer=fsq"),
    Family(
        "conditional VAE",
        "Sohn et al. 2015",
        "configs/cvae.py",
        ("cvae_quadrants", "seen_1", "negative_elbo"),
    ),
    Family(
        "M2, 100 labels",
        "Kingma et al. 2014 (1406.5298), value of Pyro",
        "configs/m2.py",
        ("m2_mnist", "labels_100", "accuracy"),
    ),
    Family(
        "M1+M2, 100 labels",
        "Kingma et al. 2014 (1406.5298)",
        "configs/m1_m2.py",
        Use(
            "few_labels",
            {"data": "latents.npz", "model": "m2", "num_labels": 100},
            lambda row: 100 * row["accuracy"],
            METRICS["accuracy"].label,
            METRICS["accuracy"].digits,
            # Table 1.
            theirs=96.67,
        ),
    ),
    Family(
        "MIWAE, missing values",
        "Mattei, Frellsen 2019 (1812.02633)",
        "configs/imputation.py",
        Use(
            "imputation",
            {"data": "breast_cancer", "missing_share": 0.5},
            lambda row: float(row["errors"]["model"]),
            "squared error",
            3,
            # The authors' notebook: one draw of the missing cells.
            theirs=0.287,
        ),
    ),
    Family(
        "JMVAE",
        "Suzuki et al. 2016 (1611.01891)",
        "configs/multimodal_label.py",
        ("jmvae_mnist", "jmvae", "image_nll"),
    ),
    Family("MVAE", "Wu, Goodman 2018 (1802.05335)", "objective=mvae"),
    Family("MMVAE", "Shi et al. 2019 (1911.03393)", "objective=mmvae"),
    Family("MoPoE", "Sutter et al. 2021 (2105.02470)", "configs/multimodal_renderings.py"),
)


def table(folder: Path, load: Callable[[str], Card]) -> str:
    """Return the table, with the values of the largest budget that is measured.

    Args:
      folder: of the cards' results files; those of uses are in `uses`.
      load: returns a card by its name.

    Raises:
      UserError: a results file cannot be trusted.
    """
    rows = [
        [family.name, family.paper, f"`{family.choice}`", *_values(family, folder, load)]
        for family in FAMILIES
    ]
    return reports.table(["family", "paper (arXiv)", "chosen by", "theirs", "ours"], rows)


def _values(family: Family, folder: Path, load: Callable[[str], Card]) -> tuple[str, str]:
    """Return the paper's value and ours; both empty where none is measured."""
    if family.measured is None:
        return "", ""
    if isinstance(family.measured, Use):
        return _values_of_use(family.measured, folder / "uses" / f"{family.measured.name}.json")
    name, row_name, metric = family.measured
    card = load(name)
    row = next(row for row in card.rows if row.name == row_name)
    label, digits = METRICS[metric].label, METRICS[metric].digits
    expected = row.metrics[metric]
    theirs = ""
    if expected.value is not None and expected.verified:
        theirs = f"{label} {expected.value:.{digits}f}"
    measured = card_results.read(card, folder)[row_name]
    for budget in reversed(BUDGETS):
        found = measured[budget]
        if found is not None and metric in found["figures"]:
            mean = statistics.fmean(found["figures"][metric]["by_seed"])
            return theirs, f"{mean:.{digits}f} ({_share(card, row, budget)})"
    return theirs, "not measured"


def _values_of_use(use: Use, path: Path) -> tuple[str, str]:
    """Return the paper's value, and the mean of ours over seeds."""
    form = f".{use.digits}f"
    theirs = f"{use.label} {use.theirs:{form}}"
    if not path.is_file():
        return theirs, "not measured"
    try:
        rows = workdir.read_json(path)["rows"]
        values = [
            use.value(row)
            for row in rows
            if all(row[field] == content for field, content in use.rows.items())
        ]
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error!r}") from error
    if not values:
        return theirs, "not measured"
    seeds = "one seed" if len(values) == 1 else f"{len(values)} seeds"
    return theirs, f"{reports.mean_and_deviation(values, form)} ({seeds})"


def _share(card: Card, row: Row, budget: str) -> str:
    """Return how much of the full budget a row was trained for, in epochs where they differ."""
    ours, full = (card.config(row, name)["epochs"] for name in (budget, "full"))
    return f"{budget} budget" if ours == full else f"{ours:,} of {full:,} epochs"
