"""The form of a run's examples: images of one shape, rows of a table, or several modalities."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.config.upgrades import SCHEMA, check_schema
from vae_jax.data.columns import RowShape
from vae_jax.data.condition_arrays import ConditionedShape
from vae_jax.data.csv_style import CsvStyle
from vae_jax.data.dataset import count_classes
from vae_jax.data.multimodal import MultimodalDataset
from vae_jax.data.pixels import CONDITION, IMAGE, LABEL, StoredExamples
from vae_jax.errors import UserError
from vae_jax.models.conditions import Reads
from vae_jax.models.modalities import Form, Forms

ImageShape = tuple[int, int, int]
DataForm = ImageShape | Forms


def forms_of(dataset: MultimodalDataset) -> Forms:
    """Return the form of every modality, from a training set that shows every class.

    Raises:
      UserError: labels do not number classes from 0.
    """
    forms: Forms = {}
    for name, array in dataset.modalities.items():
        if array.ndim == 4:
            forms[name] = Form("image", array.shape[1:])
        elif array.ndim == 1:
            num_classes = count_classes(array, f"data.train_split: {name} values")
            forms[name] = Form("class", (num_classes,))
        else:
            assert dataset.vocabulary is not None, "texts have one"
            forms[name] = Form("text", array.shape[1:], dataset.vocabulary.words)
    return forms


def refuse_other_form(forms: Forms, dataset: MultimodalDataset, field: str) -> None:
    """Refuse examples that a model of these modalities cannot take.

    Raises:
      UserError: another shape, or a class that the training set does not have.
    """
    for name, form in forms.items():
        array = dataset.modalities[name]
        unknown = (array < 0) | (array >= form.shape[0]) if form.kind == "class" else None
        if unknown is not None and unknown.any():
            wrong = int(array[unknown.argmax()])
            raise UserError(
                f"{field}: {name} {wrong} is none of the {form.shape[0]} classes of "
                "data.train_split; use a training set that has every class, from 0"
            )
        if array.shape[1:] != form.array_shape:
            raise UserError(
                f"{field}: {name} has shape {array.shape[1:]}, in data.train_split "
                f"{form.array_shape}; use data of one shape"
            )


def described(form: DataForm) -> str:
    """Return a form in words."""
    if isinstance(form, RowShape):
        return f"rows of {len(form.columns)} columns"
    if not isinstance(form, dict):
        return f"images of {'x'.join(map(str, form))} (height, width, channels)"
    parts = [f"{name} of {'x'.join(map(str, part.shape))}" for name, part in form.items()]
    return f"{', '.join(parts)}"


def to_metadata(form: DataForm) -> dict[str, Any]:
    """Return a description of the form, which is stored beside a checkpoint's arrays."""
    described: dict[str, Any] = {"schema": SCHEMA}
    if isinstance(form, dict):
        described["modalities"] = {name: part._asdict() for name, part in form.items()}
    elif isinstance(form, RowShape):
        described["columns"] = form.to_metadata()
        described["csv_style"] = form.csv_style.to_metadata()
    else:
        described["image_shape"] = form
        if isinstance(form, ConditionedShape):
            described["condition"] = form.to_metadata()
    return described


def from_metadata(metadata: Mapping[str, Any]) -> DataForm:
    """Return the form that `to_metadata` described.

    Raises:
      UserError: a later version of vae_jax wrote the metadata.
    """
    check_schema(metadata.get("schema", 1), "the checkpoint")
    if "modalities" in metadata:
        return {
            name: Form(part["kind"], tuple(part["shape"]), tuple(part["words"]))
            for name, part in metadata["modalities"].items()
        }
    if "columns" in metadata:
        # Absent in the first runs on tables.
        style = metadata.get("csv_style")
        return RowShape.from_metadata(
            metadata["columns"], None if style is None else CsvStyle.from_metadata(style)
        )
    height, width, channels = metadata["image_shape"]
    shape = (int(height), int(width), int(channels))
    if "condition" in metadata:
        return ConditionedShape.from_metadata(shape, metadata["condition"])
    return shape


def mean_template(form: DataForm) -> Any:
    """Return the shapes of a model's mean images: one array, or one by modality."""
    if not isinstance(form, dict):
        return jax.ShapeDtypeStruct(form, jnp.float32)
    return {
        name: jax.ShapeDtypeStruct(part.shape, jnp.float32)
        for name, part in form.items()
        if part.kind == "image"
    }


def blank_examples(form: DataForm, num: int, *, reads: Reads = "nothing") -> StoredExamples:
    """Return `num` examples of zeros, as they are stored, with what conditions are made from."""
    if not isinstance(form, dict):
        images = jnp.zeros((num, *form), jnp.uint8)
        if reads == "labels":
            return {IMAGE: images, LABEL: jnp.zeros(num, jnp.int32)}
        if isinstance(form, ConditionedShape):
            return {IMAGE: images, CONDITION: jnp.zeros((num, form.num_features))}
        return images
    return {
        name: jnp.zeros((num, *part.array_shape), jnp.uint8 if part.kind == "image" else jnp.int32)
        for name, part in form.items()
    }


def mean_images(dataset: MultimodalDataset) -> dict[str, np.ndarray]:
    """Return the mean of every modality of images, in the unit interval."""
    means = {}
    for name, array in dataset.modalities.items():
        if array.ndim == 4:
            scale = 255 if array.dtype == np.uint8 else 1
            means[name] = (array.mean(axis=0, dtype=np.float64) / scale).astype(np.float32)
    return means
