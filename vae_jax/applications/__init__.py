"""Uses of trained models, one folder per use: computing, measuring, plotting, reporting."""

# The uses that `experiments.measure` measures and `experiments.report` shows, in the order of
# results/README.md: the folder here with modules `measure` and `report`, and the name of the
# results file in results/uses/.
USES = {
    "compression": "compression",
    "lossy_compression": "lossy_compression",
    "recovery": "recovery",
    "imputation": "imputation",
    "anomaly": "anomaly",
    "representation": "representation",
    "few_labels": "few_labels",
    "multimodal": "multimodal",
    "editing": "latent_arithmetic",
    "factor_editing": "factor_editing",
    "generation": "generation",
}
