"""The accuracy of a semi-supervised model, beside a classifier that sees the same labels alone."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vae_jax.evaluation.metrics import prepare_targets
from vae_jax.trained import TrainedModel

# The hidden layer of the classifier alone, its passes, and the examples of all passes together.
_WIDTH, _MOST_EPOCHS, _MOST_EXAMPLES = 500, 100, 300_000


def accuracies(
    model: TrainedModel,
    targets: Float[np.ndarray, "examples height width channels"],
    labels: Int[np.ndarray, " examples"],
) -> dict[str, Any]:
    """Return the share of test images that the model classifies correctly, and a baseline's.

    The baseline is a network of scikit-learn with one hidden layer of 500 units, fitted to the
    training images whose labels the model saw, in one draw where it sees binarised ones.

    Args:
      model: with a classifier.
      targets: the test images as the model sees them.
      labels: their classes.
    """
    # Imported here, as every training imports this module and few have a classifier.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    right = model.classify(targets).argmax(axis=1) == labels
    seen = model.load_labelled()
    num = len(seen.images)
    images = prepare_targets(model.prepare(), seen.images, model.keys.training_targets)
    epochs = max(1, min(_MOST_EPOCHS, _MOST_EXAMPLES // num))
    alone = MLPClassifier((_WIDTH,), max_iter=epochs, random_state=0)
    with warnings.catch_warnings():
        # It stops where the passes end, which is no mistake.
        warnings.simplefilter("ignore", ConvergenceWarning)
        alone.fit(images.reshape(num, -1), seen.labels)
    predicted = alone.predict(targets.reshape(len(targets), -1))
    return {
        "accuracy": float(right.mean()),
        "num_labels": num,
        "accuracy_of_classifier_alone": float((predicted == labels).mean()),
    }
