"""Classifiers that read the classes of images that joint models generate."""

from pathlib import Path
from typing import Any

from vae_jax.data import Dataset
from vae_jax.errors import UserError
from vae_jax.evaluation import classifier, classifier_training
from vae_jax.evaluation.classifier import Classifier
from vae_jax.trained import TrainedModel, TrainedMultimodal

_NUM_EPOCHS = 5


# A cache of the latest examples, by the digest of their run without its seed.
_last_splits: dict[str, Any] = {}


def load_splits(model: TrainedModel | TrainedMultimodal) -> Any:
    """Return all examples of the modalities of a run; the latest are cached.

    Raises:
      UserError: the run does not have several modalities, or its data are missing.
    """
    if not isinstance(model, TrainedMultimodal):
        raise UserError("the run is of images alone; this measures runs of several modalities")
    if model.digest_but_seed not in _last_splits:
        _last_splits.clear()
        _last_splits[model.digest_but_seed] = model.load_splits()
    return _last_splits[model.digest_but_seed]


def of_images(model: TrainedMultimodal, folder: Path) -> dict[str, Classifier]:
    """Return a classifier per modality that is an image, by name.

    Args:
      model: of the run that is measured.
      folder: holds one classifier for all modalities, or a folder per modality with its classifier,
        which is trained on the run's training images if it is missing.

    Raises:
      UserError: a classifier is damaged, or was trained on other data than the run.
    """
    names = [name for name, form in model.forms.items() if form.kind == "image"]
    if classifier.exists(folder):
        found = dict.fromkeys(names, classifier.load(folder))
    else:
        found = {name: _loaded_or_trained(model, name, folder / name) for name in names}
    for trained in found.values():
        classifier.require_same_data(trained, f"classifier={str(folder)!r}", model.data.name)
    return found


def _loaded_or_trained(model: TrainedMultimodal, name: str, folder: Path) -> Classifier:
    def examples() -> tuple[Dataset, Dataset]:
        splits = load_splits(model)
        train, test = (
            Dataset(part.modalities[name], part.labels) for part in (splits.train, splits.test)
        )
        return train, test

    facts = {"data": model.data.name, "modality": name, "train_split": model.data.train_split}
    return classifier_training.load_or_train(folder, examples, facts, num_epochs=_NUM_EPOCHS)
