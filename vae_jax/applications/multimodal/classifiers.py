"""The classifiers by which the images that joint models generate are judged."""

import functools
import json
from pathlib import Path

from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.config import JointSplits
from vae_jax.config.experiment import AnyExperiment
from vae_jax.data import Dataset
from vae_jax.errors import UserError
from vae_jax.evaluation import classifier, classifier_training
from vae_jax.evaluation.classifier import Classifier
from vae_jax.models.modalities import Forms

_NUM_EPOCHS = 5


def load_splits(config: AnyExperiment) -> JointSplits:
    """All examples of the modalities of a run; the last ones asked for are kept.

    Raises:
      UserError: the run is not of several modalities; otherwise as `factory.load_examples`.
    """
    plain = {**config.to_dict(), "seed": 0}
    return _load_splits(json.dumps(plain, sort_keys=True))


@functools.lru_cache(maxsize=1)
def _load_splits(config_json: str) -> JointSplits:
    splits = factory.load_examples(AnyExperiment(json.loads(config_json)))
    if not isinstance(splits, JointSplits):
        raise UserError("the run is of images alone; this measures runs of several modalities")
    return splits


def of_images(config: AnyExperiment, forms: Forms, folder: Path) -> dict[str, Classifier]:
    """A classifier of each modality that is an image, by name.

    Args:
      config: of the run that is measured.
      forms: of its modalities.
      folder: holds one classifier, which is used for all; or one for each, in a folder of the
        modality's name, which is trained on the run's training images if it is not there.

    Raises:
      UserError: a classifier is damaged, or of other data than the run.
    """
    names = [name for name, form in forms.items() if form.kind == "image"]
    if classifier.exists(folder):
        found = dict.fromkeys(names, classifier.load(folder))
    else:
        found = {name: _loaded_or_trained(config, name, folder / name) for name in names}
    for trained in found.values():
        if trained.facts.get("data") != config.data.name:
            raise UserError(
                f"classifier={str(folder)!r} was trained on {trained.facts.get('data')!r} and the "
                f"run on data.name={config.data.name!r}; use a classifier of the same data"
            )
    return found


def _loaded_or_trained(config: AnyExperiment, name: str, folder: Path) -> Classifier:
    folder.mkdir(parents=True, exist_ok=True)
    with workdir.hold(folder):
        if classifier.exists(folder):
            return classifier.load(folder)
        splits = load_splits(config)
        trained = classifier_training.train(
            Dataset(splits.train.modalities[name], splits.train.labels),
            Dataset(splits.test.modalities[name], splits.test.labels),
            factory.make_key(0),
            num_epochs=_NUM_EPOCHS,
        )
        trained.facts |= {
            "data": config.data.name,
            "modality": name,
            "train_split": config.data.train_split,
        }
        classifier.save(folder, trained)
    print(f"{folder}: test accuracy {trained.facts['test_accuracy']:.2%}", flush=True)
    return trained
