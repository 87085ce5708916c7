"""A VAE to detect images of another kind: of Fashion-MNIST, against MNIST.

    python -m experiments.train --config=configs/anomaly.py --workdir=runs/anomaly
    python -m experiments.detect --workdir=runs/anomaly --input=new.npy --output=scores.csv

The scores depend on the likelihood: beside the normal of one learned scale here, try
`--config.model.likelihood=bernoulli` on grey values, or categorical in place of bernoulli, as Xiao
et al. 2020 (arXiv 2003.02977) have it, with `--config.model.encoder=conv`.
`--config.data.name=mnist` is the reverse, against Fashion-MNIST, and

    python -m experiments.prepare --name=mnist --without_label=4

prepares `--config.data.name=data/mnist_without_4.npz`, whose outliers are the fours of the test
set. `experiments.measure --use=anomaly` measures all scores. After two minutes of training on one
core expect an AUROC of the ELBO of 0.99 against MNIST, and of 0.27 by the Bernoulli likelihood.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` on grey values with a normal likelihood, and splits of any data set."""
    config = vanilla.get_config()
    config.epochs = 30
    config.data.name = "fashion_mnist"
    config.data.train_split = "train[:90%]"
    config.data.validation_split = "train[90%:]"
    config.data.binarization = "none"
    config.model.likelihood = {"name": "normal", "scale_kind": "learned"}
    config.optimizer.learning_rate = 1e-3
    # The samples of every score that is an estimate.
    config.evaluation = {"num_samples": 100}
    return config
