"""Measure how well runs of several modalities generate one modality from others.

Measured are coherence, conditional (by the number of modalities given) and joint; for runs with
images and captions the agreement of the two, by class, attribute and word; and a linear probe of
the latents. The log likelihoods are those of the run's summary.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax import workdir
from vae_jax.applications.multimodal import caption_accuracy, coherence, report
from vae_jax.applications.multimodal import classifiers as modality_classifiers
from vae_jax.applications.multimodal.examples import (
    Examples,
    load_examples,
    load_model,
)
from vae_jax.applications.representation import probing
from vae_jax.errors import UserError
from vae_jax.evaluation import joint_drawing
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.classifier import load_by_factor
from vae_jax.evaluation.reports import Measured, Row
from vae_jax.trained import TrainedMultimodal

_NUM_PROBED = 10_000
_NUM_LABELS = 1000
_NUM_DRAWS = 10

# Keys of the "test" part of a summary.
_LIKELIHOOD = ("elbo", "log_likelihood", "conditional_log_likelihood", "num_samples")


def measure(
    folders: Sequence[Path],
    *,
    plots_folder: Path | None = None,
    kept: Sequence[Row] = (),
    classifier: str = "",
    classifiers: Sequence[str] = (),
    num_test_examples: int = 10_000,
) -> Iterator[Measured]:
    """Measure runs of several modalities; yield the results so far after each run.

    Args:
      folders: workdirs of the runs.
      plots_folder: where to plot, in a folder per run; None plots nothing.
      kept: rows of other runs in the same results file.
      classifier: directory of a classifier of the images, or of a folder with a classifier per
        modality, by name; missing ones are trained.
      classifiers: directories of classifiers of factors that captions mention; they read whether
        images that are made from captions have these factors.
      num_test_examples: test examples, at most.

    Raises:
      UserError: there is no classifier, or a run does not have several modalities.
    """
    if not classifier:
        raise UserError("--classifier is missing; name the directory of a classifier")
    # First, so that a run with images alone is refused before others are measured.
    models = [load_model(folder) for folder in folders]
    of_factors = load_by_factor(classifiers)
    rows: list[Row] = []
    for folder, model in zip(folders, models, strict=True):
        examples = load_examples(model, Path(classifier), num_test_examples, of_factors)
        name = _name(folder, model, [*kept, *rows])
        rows.append({"name": name, **measure_run(folder, model, examples)})
        print(report.line(rows[-1]), flush=True)
        if plots_folder is not None:
            joint_drawing.draw_modalities(
                model, examples.seen, examples.labels, plots_folder / name
            )
        yield {"rows": rows}


def _name(folder: Path, model: TrainedMultimodal, others: Sequence[Row]) -> str:
    """Return the name of a run, and of the folder of its plots: its workdir's, if that is free."""
    taken = any(
        row["name"] == folder.name and row["config_digest"] != model.digest for row in others
    )
    return f"{folder.name}_{model.digest[:8]}" if taken else folder.name


def measure_coherence(model: TrainedMultimodal, examples: Examples) -> dict[str, Any]:
    """Return conditional and joint coherence, and the readers' accuracy on real examples."""
    joint_key, conditional_key, *_ = _keys(model)
    by_subset = coherence.conditional(
        model, examples.seen, examples.labels, examples.readers, conditional_key
    )
    return {
        "num_examples": len(examples.labels),
        "reader_accuracy": coherence.accuracies(examples.readers, examples.stored, examples.labels),
        "conditional_coherence": {
            str(size): share for size, share in coherence.by_num_inputs(by_subset).items()
        },
        "conditional_coherence_by_subset": {
            ", ".join(subset): shares for subset, shares in by_subset.items()
        },
        "joint_coherence": coherence.joint(
            model, examples.readers, joint_key, len(examples.labels)
        ),
    }


def _keys(model: TrainedMultimodal) -> jax.Array:
    """Return keys of draws from the prior, of modalities given others, of words, and of images."""
    return jax.random.split(model.keys.prior, 4)


def measure_captions(model: TrainedMultimodal, examples: Examples) -> dict[str, Any] | None:
    """Return the agreement of captions and images; None for a run that lacks either."""
    if not {"image", "text"} <= set(model.names) or examples.grammar is None:
        return None
    grammar, attributes = examples.grammar, examples.dataset.attributes
    assert attributes is not None, "captions of a grammar describe attributes"
    _, _, words_key, images_key = _keys(model)
    image, texts = {"image": examples.seen["image"]}, examples.stored["text"]
    written = {
        "greedy": model.reconstruct(image)["text"],
        "sampled": caption_accuracy.sampled_captions(model, "text", image, words_key),
    }
    drawn = model.generate({"text": texts}, images_key)
    words = caption_accuracy.word_accuracy(
        model, "text", image, examples.dataset.modalities["text"]
    )
    return {
        "image_to_text": {
            how: caption_accuracy.agreement(
                grammar, found, examples.labels, attributes.values
            )._asdict()
            for how, found in written.items()
        },
        "words": {"accuracy": words.likeliest, "nats": words.nats},
        "text_to_image": caption_accuracy.agreement_of_images(
            grammar, texts, drawn["image"], examples.readers["image"], examples.factor_readers
        )._asdict(),
        # The same captions with the images that they describe.
        "real": caption_accuracy.agreement_of_images(
            grammar,
            texts,
            examples.stored["image"],
            examples.readers["image"],
            examples.factor_readers,
        )._asdict(),
    }


def probe(model: TrainedMultimodal, examples: Examples) -> dict[str, float]:
    """Return the accuracy of a linear probe with 1,000 labels, on all modalities and on each."""
    train = modality_classifiers.load_splits(model).train
    assert train.labels is not None, "the test set has labels"
    known = train.read(np.arange(min(_NUM_PROBED, train.num_examples)))
    assert known.labels is not None
    prepared = measuring.prepare_train_examples(model, known)
    seen = measuring.readable(model, prepared)
    sets = {"all": model.names} | {name: (name,) for name in model.names}
    found = {}
    for label, names in sets.items():
        codes, test_codes = (
            model.encode({name: values[name] for name in names}) for values in (seen, examples.seen)
        )
        found[label] = probing.accuracies(
            codes,
            known.labels,
            test_codes,
            examples.labels,
            num_labels=min(_NUM_LABELS, len(codes)),
            num_draws=_NUM_DRAWS,
            seed=model.seed,
        ).linear
    return found


def measure_run(folder: Path, model: TrainedMultimodal, examples: Examples) -> dict[str, Any]:
    """Return the row of a run, without its name.

    Args:
      folder: its workdir.
      model: its model.
      examples: of its test set.

    Raises:
      UserError: the run has not ended.
    """
    summary = workdir.read_summary(folder)
    if summary is None:
        raise UserError(f"{folder} has no summary.json yet; let the run end first")
    return {
        "data": model.data.name,
        "modalities": list(model.names),
        "joint_posterior": model.joint_posterior,
        "seed": model.seed,
        "config_digest": model.digest,
        "epochs": summary["epochs"],
        "classifiers": {name: judge.facts for name, judge in examples.classifiers.items()},
        **measure_coherence(model, examples),
        "captions": measure_captions(model, examples),
        "probe": probe(model, examples),
        "likelihood": {name: summary["test"][name] for name in _LIKELIHOOD},
    }
