"""Writes data sets as TFDS does, in array_record format and without TensorFlow."""

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data import prepared
from vae_jax.errors import UserError


class Prepared(NamedTuple):
    """The data set that `prepare_once` made or found.

    Attributes:
        folder: where the data set is.
        sizes: the number of examples in each split.
        num_bytes: the size of all its files.
        was_there: whether it existed before, so that nothing was done.
    """

    folder: Path
    sizes: dict[str, int]
    num_bytes: int
    was_there: bool


class Description(NamedTuple):
    """The description of a data set to write.

    Attributes:
        name: of the data set; with a config it is read as `name/config`.
        config: "" for none.
        version: such as "1.0.0".
        text: a description.
        homepage: its URL.
        citation: its authors.
    """

    name: str
    config: str
    version: str
    text: str
    homepage: str = ""
    citation: str = ""


def prepare_once(
    described: Description, data_dir: str, write_into: Callable[[Path], None]
) -> Prepared:
    """Write a data set unless it exists.

    It appears once it is complete: an interrupted call leaves nothing that could be taken for it.

    Args:
        described: the data set.
        data_dir: where to write; "" is TFDS's default.
        write_into: calls `write`, given the folder of all data sets.

    Raises:
        UserError: TFDS is not installed, or the folder cannot be written.
    """
    prepared.import_tfds()
    import filelock

    root = prepared.resolve_data_dir(data_dir)
    folder = root / described.name / described.config / described.version
    try:
        root.mkdir(parents=True, exist_ok=True)
        # A second process waits and then finds the data set.
        with filelock.FileLock(root / f".{described.name}.lock"):
            was_there = (folder / "dataset_info.json").exists()
            if not was_there:
                for left_over in folder.parent.glob("incomplete.*"):
                    shutil.rmtree(left_over)
                write_into(root)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error}") from None
    num_bytes = sum(file.stat().st_size for file in folder.iterdir())
    return Prepared(folder, prepared.sizes(folder), num_bytes, was_there)


def write(
    root: Path,
    described: Description,
    features: Mapping[str, Any],
    splits: Mapping[str, Iterator[dict[str, Any]]],
    metadata: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """Write examples in the order given.

    Args:
        root: the folder of all data sets.
        described: the data set.
        features: TFDS's features, by name.
        splits: the examples of each split; images are encoded by `encode_png`.
        metadata: returns facts for metadata.json, called after the last example; None writes none.
            A `prepared.WARNING` among them is logged by every process that reads the data set.
    """
    tfds: Any = prepared.import_tfds()

    class Metadata(tfds.core.MetadataDict):
        """Facts that are known once the examples are written."""

        def save_metadata(self, data_dir: Any) -> None:
            assert metadata is not None
            self.update(metadata())
            super().save_metadata(data_dir)

    # Defined here, since TFDS is imported only when needed. Not registered, since TFDS registers
    # builders of its own under some of these names.
    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """A builder with the three methods that TFDS calls; see its documentation."""

        name = described.name
        VERSION = tfds.core.Version(described.version)
        if described.config:
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=described.config)]

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description=described.text,
                features=tfds.features.FeaturesDict(dict(features)),
                homepage=described.homepage,
                citation=described.citation,
                supervised_keys=("image", "label") if "label" in features else None,
                disable_shuffling=True,
                metadata=None if metadata is None else Metadata(),
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {split: enumerate(examples) for split, examples in splits.items()}

        def _generate_examples(self) -> Any:
            raise NotImplementedError

    tfds.disable_progress_bar()
    builder = Builder(data_dir=root, file_format="array_record")
    # TFDS prints that sizes are unknown.
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(download_dir=root / "downloads")


def encode_png(image: np.ndarray) -> bytes:
    """Return an image as PNG bytes. TFDS would encode pixels with TensorFlow.

    Args:
        image: [height, width] or [height, width, 3].
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    return file.getvalue()
