"""Digests of a run's examples, by which its data are recognised when it goes on or is measured."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.config.datasets import TEST, TRAIN, VALIDATION, Splits, StreamedSplits
from vae_jax.config.experiment import AnyExperiment
from vae_jax.config.forms import DataForm, described, refuse_other_form
from vae_jax.config.modalities import JointSplits
from vae_jax.data.columns import RowShape, refuse_other
from vae_jax.data.condition_arrays import ConditionedShape
from vae_jax.data.dataset import Dataset, LazyDataset, evenly_spaced
from vae_jax.data.multimodal import PRESENT, MultimodalDataset
from vae_jax.data.sprites.dataset import SpritesDataset
from vae_jax.data.sprites.variants import VARIANTS
from vae_jax.errors import UserError
from vae_jax.models.conditions import reads_of

# By the setting that names the split.
DataDigests = Mapping[str, str]
Examples = LazyDataset | MultimodalDataset

# Examples that are read of a set that is not in memory.
_MOST_READ = 1000


def data_digests(config: AnyExperiment, splits: Splits | StreamedSplits | JointSplits) -> Any:
    """Return the digest of each split's examples, by the setting that names the split."""
    parts = by_field(splits)
    return {field: digest_of_split(config, examples) for field, examples in parts.items()}


def by_field(splits: Splits | StreamedSplits | JointSplits) -> dict[str, Examples]:
    """Return the examples of the splits that there are, by the setting that names the split."""
    parts = {TRAIN: splits.train, VALIDATION: splits.validation, TEST: splits.test}
    return {field: examples for field, examples in parts.items() if examples is not None}


def digest_of_split(config: AnyExperiment, examples: Examples) -> str:
    """Return 16 hexadecimal digits of the examples of a split, as they are stored.

    Of images that are not in memory 1,000, evenly spaced, stand for all. Of rendered images the
    factors count, since the last bit of a pixel depends on the device that renders it. Labels, and
    numbers beside images, count only where a model sees them.
    """
    if isinstance(examples, MultimodalDataset):
        num, arrays = examples.num_examples, dict(examples.modalities)
        if examples.present is not None:
            arrays[PRESENT] = examples.present
    else:
        num, arrays = examples.shape[0], _arrays_of_images(config, examples)
    digest = hashlib.sha256(str(num).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _arrays_of_images(config: AnyExperiment, examples: LazyDataset) -> dict[str, np.ndarray]:
    if config.data.name in VARIANTS:
        if isinstance(examples, SpritesDataset):
            return {"factors": examples.factor_rows.astype(np.int32)}
        assert isinstance(examples, Dataset)
        assert examples.factors is not None, "a renderer knows them"
        return {"factors": examples.factors.values}
    if isinstance(examples, Dataset):
        arrays = {"images": examples.images}
        if reads_of(config.model) == "labels":
            assert examples.labels is not None, "they are checked when they are read"
            arrays["labels"] = examples.labels
        if reads_of(config.model) == "conditions":
            assert examples.conditions is not None, "they are checked when they are read"
            arrays["conditions"] = examples.conditions
        return arrays
    return {"images": examples.read(evenly_spaced(examples.shape[0], _MOST_READ)).images}


def other_data(recorded: DataDigests, ours: DataDigests) -> str | None:
    """Return a line on the splits whose examples are not those of a run; None if all are.

    Args:
      recorded: the run's digests; splits that are not among them are not compared.
      ours: those of the data that are there now.
    """
    differing = [field for field, digest in ours.items() if recorded.get(field, digest) != digest]
    if not differing:
        return None
    return f"the examples of {' and '.join(differing)} are not those that the run began with"


def refuse_other_data(
    folder: Path, recorded: DataDigests, ours: DataDigests, *, accept: bool
) -> None:
    """Refuse to go on with other examples than those that a run began with.

    Args:
      folder: the run's or the sweep's directory.
      recorded: its digests.
      ours: those of the data that are there now.
      accept: whether the user knows that they differ.

    Raises:
      UserError: they differ, and `accept` is False.
    """
    problem = other_data(recorded, ours)
    if problem is not None and not accept:
        raise UserError(
            f"workdir={str(folder)!r}: {problem}; bring those back, use another workdir, or accept "
            "the new ones with --accept_data"
        )


def refuse_other_shape(form: DataForm, examples: Examples, field: str) -> None:
    """Refuse examples of another shape than those that a run was trained on.

    Raises:
      UserError: their shape differs, or they have a class that the training set does not have.
    """
    if isinstance(examples, MultimodalDataset):
        assert isinstance(form, dict)
        refuse_other_form(form, examples, field)
    elif isinstance(form, RowShape):
        refuse_other(form, getattr(examples, "columns", None), field)
    elif examples.shape[1:] != form:
        raise UserError(
            f"the examples of {field} are {described(examples.shape[1:])}; this run was trained on "
            f"{described(form)}"
        )
    elif isinstance(form, ConditionedShape):
        conditions = getattr(examples, "conditions", None)
        num = 0 if conditions is None else conditions.shape[1]
        if num != form.num_features:
            raise UserError(
                f"the examples of {field} have conditions of {num} numbers; this run was trained "
                f"on {form.num_features}"
            )
