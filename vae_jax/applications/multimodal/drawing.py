"""Drawing the plots of a run with several modalities."""

from pathlib import Path

import jax
import numpy as np

from vae_jax import plots
from vae_jax.applications.multimodal.examples import Examples
from vae_jax.applications.multimodal.plot import (
    captioned_images,
    images_of_captions,
    joint_samples,
    missing_modalities,
)
from vae_jax.data.random_bits import make_key
from vae_jax.trained import TrainedMultimodal

_NUM_SHOWN = 10
_NUM_SAMPLES = 8
# Captions from which images are generated, by data set.
_CAPTIONS = {
    "mnist": (
        "a thin upright four",
        "a bold four leaning to the right",
        "a left-leaning seven",
        "a slender three leaning to the right",
        "a thick upright zero",
        "small two, thin strokes",
        "a large two with thick strokes",
        "a nine",
    ),
    "fashion_mnist": (
        "a dark pullover",
        "a light dress, narrow in shape",
        "a pair of wide trousers",
        "a tall ankle boot",
        "a flat sneaker",
        "a dark bag",
        "a pale shirt",
        "a sandal",
    ),
}


def draw_run(model: TrainedMultimodal, examples: Examples, out: Path) -> None:
    """Draw every plot that the modalities of a run allow.

    Args:
      model: of the run.
      examples: of its test set.
      out: folder of the plots.
    """
    prior_key, given_key = jax.random.split(make_key(model.seed))
    # The first example of each class.
    chosen = np.unique(examples.labels, return_index=True)[1][:_NUM_SHOWN]
    seen = {
        name: [values[i] for i in chosen] if isinstance(values, list) else values[chosen]
        for name, values in examples.seen.items()
    }
    image_names = [name for name, form in model.forms.items() if form.kind == "image"]
    samples = model.sample(prior_key, _NUM_SHOWN)
    if len(image_names) > 1:
        plots.save(
            joint_samples({name: samples[name] for name in image_names}),
            out / "joint_samples.png",
        )
        recovered = {
            name: model.generate(
                {other: values for other, values in seen.items() if other != name},
                jax.random.fold_in(given_key, index),
            )[name]
            for index, name in enumerate(image_names)
        }
        originals = {name: np.asarray(seen[name]) for name in image_names}
        plots.save(missing_modalities(originals, recovered), out / "missing_modality.png")
    if "image" in model.names and len(model.names) == 2:
        (other,) = set(model.names) - {"image"}
        _draw_pair(model, seen, samples, other, given_key, out)


def _draw_pair(
    model: TrainedMultimodal,
    seen: dict[str, np.ndarray | list[str]],
    samples: dict[str, np.ndarray | list[str]],
    other: str,
    key: jax.Array,
    out: Path,
) -> None:
    """Draw images with their captions or classes, each generated from the other and jointly."""
    generated = model.reconstruct({"image": seen["image"]})[other]
    plots.save(
        captioned_images(
            np.asarray(seen["image"]),
            {"of the data": _texts(seen[other]), "model": _texts(generated)},
        ),
        out / "image_to_text.png",
    )
    plots.save(
        captioned_images(np.asarray(samples["image"]), {"model": _texts(samples[other])}),
        out / "joint_samples.png",
    )
    asked = seen[other]
    if other == "text" and model.data.captions.name == "written":
        asked = list(_CAPTIONS[Path(model.data.name).name])
    repeated = [value for value in asked for _ in range(_NUM_SAMPLES)]
    drawn = model.generate({other: repeated}, key)["image"]
    rows = drawn.reshape(len(asked), _NUM_SAMPLES, *drawn.shape[1:])
    plots.save(images_of_captions(rows, _texts(asked)), out / "text_to_image.png")


def _texts(values: np.ndarray | list[str]) -> list[str]:
    return [str(value) for value in values]
