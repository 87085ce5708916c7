"""Train the classifier for the metrics of samples; a finished one is kept.

    python -m experiments.classifier --data=mnist --workdir=runs/classifier_mnist
    python -m experiments.classifier --data=avatars --factor=mouth --workdir=runs/classifier_mouth

Two to three minutes on one core. Expect a test accuracy of 99.2 % on MNIST. The second one tells
the values of a factor of variation instead of the classes. Decoded images are smoother than real
ones: with `--blur=1` a classifier learns from blurred images too.
"""

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import config, data, workdir
from vae_jax.data import Dataset
from vae_jax.data.splits import overlap
from vae_jax.errors import UserError
from vae_jax.evaluation import classifier, classifier_training
from vae_jax.evaluation.classifier import Classifier

shared.define("workdir", "data_dir", "seed")

_DATA = flags.DEFINE_string("data", "mnist", "data set with labels, as data.name of a config")
_TRAIN_SPLIT = flags.DEFINE_string("train_split", "train", "split to train on")
_TEST_SPLIT = flags.DEFINE_string("test_split", "test", "split to measure accuracy on")
_FACTOR = flags.DEFINE_string("factor", None, "factor of the data to tell, in place of the labels")
_BLUR = flags.DEFINE_float(
    "blur", None, "largest standard deviation of a training image's blur, in pixels", lower_bound=0
)
_EPOCHS = flags.DEFINE_integer("epochs", 10, "passes over the training images", upper_bound=10_000)


def main() -> None:
    """Train a classifier in --workdir, or describe the one that is there."""
    folder = shared.required_workdir()
    asked = {
        "data": _DATA.value,
        "train_split": _TRAIN_SPLIT.value,
        "test_split": _TEST_SPLIT.value,
        "seed": flags.FLAGS.seed,
        "num_epochs": _EPOCHS.value,
        "factor": _FACTOR.value,
        "blur": _BLUR.value or None,
    }
    with workdir.left_as_it_was(folder):
        workdir.make_folder(folder)
        with workdir.hold(folder):
            if classifier.exists(folder):
                trained = classifier.load(folder)
                _insist(trained, asked, str(folder))
            else:
                train, test = _load()
                trained = classifier_training.train(
                    train,
                    test,
                    config.make_key(flags.FLAGS.seed),
                    num_epochs=_EPOCHS.value,
                    blur=_BLUR.value or 0.0,
                    on_epoch=lambda epoch, loss: print(f"epoch {epoch}: loss {loss:.4f} nats"),
                )
                trained.facts |= asked
                classifier.save(folder, trained)
    facts = trained.facts
    print(
        f"{folder}: test accuracy {facts['test_accuracy']:.2%} of {facts['num_test']:,} images, "
        f"trained in {facts['train_seconds']:.0f} s"
    )


def _load() -> tuple[Dataset, Dataset]:
    """Return training and test examples, which must be others."""
    splits = (_TRAIN_SPLIT.value, _TEST_SPLIT.value)
    shared_examples = overlap(*splits, data.split_sizes(_DATA.value, flags.FLAGS.data_dir))
    if shared_examples:
        raise UserError(
            f"--train_split={_TRAIN_SPLIT.value} shares {shared_examples} examples with "
            f"--test_split={_TEST_SPLIT.value}; use splits that do not overlap"
        )
    train, test = (data.load(_DATA.value, split, flags.FLAGS.data_dir) for split in splits)
    if _FACTOR.value is None:
        return train, test
    return train.labelled_by(_FACTOR.value), test.labelled_by(_FACTOR.value)


def _insist(trained: Classifier, asked: dict[str, object], folder: str) -> None:
    for name, value in asked.items():
        there = trained.facts.get(name)
        if there != value:
            raise UserError(
                f"workdir={folder!r} holds a classifier of {name}={there!r}, not {value!r}; use "
                "another workdir"
            )


if __name__ == "__main__":
    command_line.run(main)
