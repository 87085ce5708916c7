"""Drawing what a model of several modalities generates."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from vae_jax import plots
from vae_jax.data.captions.grammars import find_grammar
from vae_jax.data.random_bits import make_key
from vae_jax.plots.modalities import (
    captioned_images,
    images_of_captions,
    joint_samples,
    missing_modalities,
)
from vae_jax.trained import TrainedMultimodal

_NUM_SHOWN = 10
_NUM_SAMPLES = 8


def draw_modalities(
    model: TrainedMultimodal,
    seen: Mapping[str, np.ndarray | list[str]],
    labels: np.ndarray | None,
    out: Path,
) -> None:
    """Draw what a model generates: from the prior, and each modality from others.

    Args:
      model: of a run.
      seen: its test examples by the name of the modality, as the model takes them: prepared images,
        classes, texts.
      labels: their classes, if they have any; an example of each is shown.
      out: folder of the plots.
    """
    prior_key, given_key = jax.random.split(make_key(model.seed))
    num = len(next(iter(seen.values())))
    if labels is None:
        chosen = np.arange(min(num, _NUM_SHOWN))
    else:
        # The first example of each class.
        chosen = np.unique(labels, return_index=True)[1][:_NUM_SHOWN]
    shown = {
        name: [values[i] for i in chosen] if isinstance(values, list) else values[chosen]
        for name, values in seen.items()
    }
    images = [name for name, form in model.forms.items() if form.kind == "image"]
    others = [name for name in model.names if name not in images]
    samples = model.sample(prior_key, _NUM_SHOWN)
    if len(images) > 1:
        figure = joint_samples({name: samples[name] for name in images})
        plots.save(figure, out / "joint_samples.png")
        recovered = {
            name: model.generate(
                {other: values for other, values in shown.items() if other != name},
                jax.random.fold_in(given_key, index),
            )[name]
            for index, name in enumerate(images)
        }
        originals = {name: np.asarray(shown[name]) for name in images}
        plots.save(missing_modalities(originals, recovered), out / "missing_modality.png")
    elif images and others:
        captions = {_words(name, others): _texts(samples[name]) for name in others}
        figure = captioned_images(np.asarray(samples[images[0]]), captions)
        plots.save(figure, out / "joint_samples.png")
    for index, other in enumerate(others if images else ()):
        key = jax.random.fold_in(given_key, len(images) + index)
        _draw_pair(model, shown, images[0], other, key, out)


def _draw_pair(
    model: TrainedMultimodal,
    shown: Mapping[str, np.ndarray | list[str]],
    image: str,
    other: str,
    key: jax.Array,
    out: Path,
) -> None:
    """Draw images with their captions or classes, each generated from the other."""
    # With one modality beside images, classes are texts, too.
    has_others = len([name for name, form in model.forms.items() if form.kind != "image"]) > 1
    name = other if has_others else "text"
    generated = model.reconstruct({image: shown[image]})[other]
    plots.save(
        captioned_images(
            np.asarray(shown[image]),
            {"of the data": _texts(shown[other]), "model": _texts(generated)},
        ),
        out / f"image_to_{name}.png",
    )
    asked = shown[other]
    if other == "text" and model.data.captions.name == "written":
        asked = list(find_grammar(model.data.name).shown)
    repeated = [value for value in asked for _ in range(_NUM_SAMPLES)]
    drawn = model.generate({other: repeated}, key)[image]
    rows = drawn.reshape(len(asked), _NUM_SAMPLES, *drawn.shape[1:])
    plots.save(images_of_captions(rows, _texts(asked)), out / f"{name}_to_image.png")


def _words(name: str, others: list[str]) -> str:
    return "model" if len(others) == 1 else name.replace("_", " ")


def _texts(values: np.ndarray | list[str]) -> list[str]:
    return [str(value) for value in values]
