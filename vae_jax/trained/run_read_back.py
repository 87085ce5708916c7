"""A run read back: its settings, its digests and its data."""

import logging
from pathlib import Path
from typing import Any

from vae_jax.config.data_digests import (
    DataDigests,
    Examples,
    by_field,
    digest_of_split,
    other_data,
    refuse_other_data,
    refuse_other_shape,
)
from vae_jax.config.datasets import (
    TEST,
    VALIDATION,
    build_prepare,
    build_simulator,
    load_labelled,
    load_validation,
)
from vae_jax.config.experiment import AnyExperiment, digest
from vae_jax.config.forms import DataForm
from vae_jax.config.keys import EvaluationKeys, build_evaluation_keys
from vae_jax.config.modalities import load_examples, load_test_examples, open_examples
from vae_jax.config.upgrades import is_flat
from vae_jax.data import Dataset
from vae_jax.data.multimodal import MultimodalDataset
from vae_jax.data.pixels import Prepare
from vae_jax.data.simulators import Simulator
from vae_jax.settings import name_of
from vae_jax.training.checkpoints import Found


class RunReadBack:
    """The settings and the data of the run that a model is of.

    Attributes:
      config: the run's experiment.
      form: height, width, channels; for several modalities, their forms by name.
    """

    # The config as it is in the run's directory, of any schema; None for a model without a run.
    written_config: dict[str, Any] | None = None
    # The checkpoint that the model was read from; None for a model without a run.
    checkpoint: Found | None = None

    def __init__(self, config: AnyExperiment, form: DataForm) -> None:
        self.config = config
        self.form = form

    @property
    def name(self) -> str:
        """The name of the model's family."""
        return name_of(self.config.model)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config.seed)

    @property
    def data(self) -> Any:
        """The settings of the data."""
        return self.config.data

    @property
    def evaluation(self) -> Any:
        """The settings of evaluation."""
        return self.config.evaluation

    @property
    def corruption(self) -> Any:
        """The corruption of the encoder's input."""
        return self.config.corruption

    @property
    def keys(self) -> EvaluationKeys:
        """The keys of evaluation, one per purpose and the same for every run."""
        return build_evaluation_keys(self.config)

    @property
    def is_convolutional(self) -> bool:
        """True if the encoder has convolutions, so that images are slow to encode."""
        return bool(getattr(self.config.model, "smallest_side", lambda: 1)() > 1)

    @property
    def binarizes(self) -> bool:
        """True if the model's input is zeros and ones drawn from grey values."""
        return bool(self.config.data.binarization.name != "none")

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that identify the run's experiment."""
        return digest(self.config)

    @property
    def digest_but_seed(self) -> str:
        """The digest without the seed, the same for runs that differ in nothing else."""
        return digest({**self.config.to_dict(), "seed": 0})

    @property
    def flat_config(self) -> dict[str, Any] | None:
        """The run's config if it is flat, as in early versions; None if not."""
        written = self.written_config
        return written if written is not None and is_flat(written) else None

    def prepare(self) -> Prepare:
        """Return `prepare(key, images)`, from stored images to the model's input."""
        return build_prepare(self.config)

    def load_test(self) -> Any:
        """Read the run's test set into memory.

        Raises:
          UserError: the data are missing or damaged.
        """
        return self._fitting(TEST, load_test_examples(self.config))

    def load_labelled(self) -> Dataset:
        """Read the training images whose labels the run saw, with these labels.

        Raises:
          UserError: the data are missing or damaged.
        """
        return load_labelled(self.config)

    def load_validation(self) -> Dataset:
        """Read the run's validation set into memory.

        Raises:
          UserError: there is none, or the data are missing or damaged.
        """
        dataset: Dataset = self._fitting(VALIDATION, load_validation(self.config))
        return dataset

    def open_splits(self) -> Any:
        """Open the run's data; a large training set is read on demand.

        Raises:
          UserError: the data are missing or damaged.
        """
        splits = open_examples(self.config)
        for field, examples in by_field(splits).items():
            self._fitting(field, examples)
        return splits

    def load_splits(self) -> Any:
        """Read all of the run's data into memory: `train`, `validation` and `test`.

        Raises:
          UserError: the data are missing, damaged or too large.
        """
        splits = load_examples(self.config)
        for field, examples in by_field(splits).items():
            self._fitting(field, examples)
        return splits

    @property
    def data_digests(self) -> DataDigests:
        """The digests of the data that the run began with; empty for runs that do not know."""
        metadata = {} if self.checkpoint is None else self.checkpoint.metadata
        digests: DataDigests = metadata.get("data", {})
        return digests

    def require_test(
        self, folder: Path, test: Dataset | MultimodalDataset, *, accept: bool
    ) -> None:
        """Refuse a test set that is not the one that the run in `folder` began with.

        Raises:
          UserError: its images have another shape, or it differs and `accept` is False.
        """
        refuse_other_shape(self.form, test, TEST)
        ours = {TEST: digest_of_split(self.config, test)}
        refuse_other_data(folder, self.data_digests, ours, accept=accept)

    def _fitting(self, field: str, examples: Examples) -> Any:
        """Return the examples of a split; warn if they are not those that the run began with.

        Raises:
          UserError: they have another shape.
        """
        refuse_other_shape(self.form, examples, field)
        if field in self.data_digests:
            problem = other_data(self.data_digests, {field: digest_of_split(self.config, examples)})
            if problem is not None:
                logging.warning(problem)
        return examples

    def simulator(self) -> Simulator:
        """Return the simulator of the run's data, which draws examples of chosen factors.

        Raises:
          UserError: the run's data have no known factors.
        """
        return build_simulator(self.config)
