"""Uses of trained models, a folder per use: what it computes, measures, plots and reports."""

# What `experiments.measure` measures and `experiments.report` shows, in the order of
# results/README.md: modules `measure` and `report` of a folder here, and the name of the results
# file in results/uses/.
USES = {
    "compression": "compression",
    "lossy_compression": "lossy_compression",
    "recovery": "recovery",
    "anomaly": "anomaly",
    "representation": "representation",
    "multimodal": "multimodal",
    "editing": "latent_arithmetic",
    "generation": "generation",
}
