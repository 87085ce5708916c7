"""MIWAE on breast cancer and iris with half of the cells missing, beside scikit-learn's imputers.

python -m experiments.reproduce --card=miwae_tables --seeds=1 --budget=full

Mattei, Frellsen 2019 (arXiv 1812.02633), in the settings of the authors' notebooks.

The card takes four minutes on one of two cores, or thirty while other work shares it. Expect
squared errors of 0.27 to 0.30 on breast cancer, where IterativeImputer has 0.30 to 0.35, and of
0.28 to 0.43 on iris, where it has 0.48 to 0.60.
"""

from configs import imputation
from vae_jax.papers.card import Budget, Card, Check, Expected, Row

# Settings of iris, where they differ from those of breast cancer.
_IRIS = {
    "data.name": "iris",
    "epochs": 2001,
    "batch_size": 64,
    "model.latent_size": 1,
    "optimizer.learning_rate": 1e-3,
}
_TABLES = {
    "breast_cancer": ({}, Expected(0.2867, 0.03)),
    # The notebook prints 0.40 to 0.48.
    "iris": (_IRIS, Expected(0.44, 0.04)),
}
_MASKS = (0, 1, 2)
# In percent. Iris has 290 hidden cells, of which three standard errors are 5; breast cancer 8,400.
_COVERAGE = {"breast_cancer": (87, 93), "iris": (85, 95)}


def get_card() -> Card:
    """Return a row for each table and mask."""
    rows, checks = [], []
    for table, (settings, error) in _TABLES.items():
        least, most = _COVERAGE[table]
        for mask in _MASKS:
            name = f"{table}_mask_{mask}"
            metrics = {
                "imputation_error": error,
                "imputation_error_of_iterative_imputer": Expected(),
                "imputation_error_of_mean": Expected(),
                "gain_over_iterative_imputer": Expected(),
                "interval_coverage": Expected(),
            }
            rows.append(Row(name, {**settings, "data.missing_seed": mask}, metrics))
            checks.append(Check("gain_over_iterative_imputer", (name,)))
            checks.append(Check("interval_coverage", (name,), least, most))
    # Both budgets have the authors' numbers of epochs.
    budget = Budget({}, judged=True)
    return Card(
        title="MIWAE on tables with half of the cells missing",
        source="Mattei, Frellsen 2019 (arXiv 1812.02633); values of the authors' notebooks, which "
        "print one run on breast cancer, and 0.40 to 0.48 over runs on iris.",
        setup="Half of the cells are hidden completely at random, two hidden layers of 128 "
        "rectifiers, a Student's t likelihood, 20 importance samples, Adam. Breast cancer has 10 "
        "latents, batch 32, a rate of 2e-4 and 1,001 epochs; iris 1 latent, batch 64, a rate of "
        "0.001 and 2,001 epochs, at both budgets. The authors' decoder gives the scale and the "
        "degrees of freedom of every cell; here they are learned for each column. All but five "
        "rows, which evaluation needs, are trained on, and their hidden cells imputed by means of "
        "10,000 importance samples. An error is the mean over hidden cells, each column in units "
        "of its standard deviation; IterativeImputer and the mean are scikit-learn's, with "
        "defaults, on the same cells. The authors' masks are not known: each row has one of "
        "ours, which its seeds share. The authors' range on iris is written as 0.44 ± 0.04; a "
        "lower error is outside of it, too.",
        base=imputation.get_config(),
        rows=rows,
        checks=checks,
        findings="The error on iris depends on the mask, of 290 cells: with two of three it lies "
        "below the authors' range, and so does not speak against their result.",
        budgets={"full": budget, "cpu": budget},
    )
