"""A trained model for notebooks and other programs: NumPy in, NumPy out, explicit keys."""

import copy
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key
from numpy.typing import ArrayLike

from vae_jax import arguments, bundled, hub, workdir
from vae_jax.arguments import Given
from vae_jax.config import model_file
from vae_jax.config.build import (
    build_graphdef,
    build_likelihood,
    build_model,
    refused_values,
)
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
    load_complete,
    load_labelled,
    load_validation,
)
from vae_jax.config.experiment import AnyExperiment, Experiment, JointExperiment, digest
from vae_jax.config.forms import DataForm
from vae_jax.config.keys import EvaluationKeys, build_evaluation_keys
from vae_jax.config.modalities import load_examples, load_test_examples, open_examples
from vae_jax.config.stored import Stored, best_model, read_experiment
from vae_jax.config.upgrades import is_flat
from vae_jax.data import Dataset
from vae_jax.data.captions.vocabulary import Vocabulary
from vae_jax.data.columns import RowShape
from vae_jax.data.image_shapes import advice
from vae_jax.data.multimodal import MultimodalDataset
from vae_jax.data.pixels import Prepare, to_unit_interval
from vae_jax.data.simulators import Simulator
from vae_jax.distributions import Normal
from vae_jax.errors import UserError
from vae_jax.models import DensityModel, Model, latent_paths
from vae_jax.models.conditions import Reads, condition_of, has_guess, reads_of
from vae_jax.models.imputation import Imputed, impute, rows_at_once
from vae_jax.models.interfaces import Accepted, Prior
from vae_jax.models.missing_pixels import may_miss_pixels
from vae_jax.models.modalities import Form, Forms, placeholder
from vae_jax.models.multimodal import MultimodalVAE
from vae_jax.models.vae import ConditionalVAE
from vae_jax.networks.precision import full_precision
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.settings import changed, name_of
from vae_jax.training.checkpoints import Found

_BATCH_SIZE = 1000
_JOINT_BATCH_SIZE = 500
# Most outputs of a decoder in one call: a categorical likelihood has 256 per channel and pixel.
_MAX_OUTPUTS = 2**25

# Settings that do not change the function that given parameters compute.
_NOT_OF_THE_NETWORK = ("decoder_start", "initializer", "remat", "workdir", "step", "digest")

# A class, one per image, or images of which a part is seen.
Conditions = ArrayLike | int


class _Trained:
    """A model's state, and functions of the model compiled once per batch shape.

    Attributes:
      config: the run's experiment.
      form: height, width, channels; for several modalities, their forms by name.
      params: the model's parameters.
      extra: the model's state that is learned without a gradient.
      graphdef: the model without its state.
      has_density: whether log p(x) has a bound, from a posterior and a prior.
      has_codes: whether `encode` returns discrete codes.
      latent_size: number of latent dimensions.
    """

    _batch_size: int
    # The config as it is in the run's directory, of any schema; None for a model without a run.
    written_config: dict[str, Any] | None = None
    # The checkpoint that the model was read from; None for a model without a run.
    checkpoint: Found | None = None

    def __init__(
        self,
        config: AnyExperiment,
        form: DataForm,
        params: nnx.State,
        extra: nnx.State | None = None,
    ) -> None:
        self.config = config
        self.form = form
        self.params = params
        self.extra = nnx.State({}) if extra is None else extra
        self._shape = nnx.eval_shape(lambda: build_model(config, form, jax.random.key(0)))
        self.graphdef = build_graphdef(config, form)
        self.has_density = bool(self._shape.has_density)
        self.has_codes = bool(getattr(self._shape, "has_codes", False))
        self.latent_size = int(self._shape.latent_size)
        self._compiled: dict[str, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        data = getattr(self.data, "name", "")
        return f"<{type(self).__name__} {self.name} of {data}, {self.latent_size} latents>"

    def with_params(
        self, config: AnyExperiment, params: nnx.State, extra: nnx.State | None = None
    ) -> Any:
        """Return the same network with the parameters of another run, without compiling again."""
        other = copy.copy(self)
        other.config, other.params = config, params
        other.extra = self.extra if extra is None else extra
        return other

    @property
    def state(self) -> nnx.State:
        """The model's parameters and extra state, for `nnx.merge`."""
        return nnx.merge_state(self.params, self.extra)

    @property
    def named_arrays(self) -> dict[str, np.ndarray]:
        """Parameters and extra state by their names in a file, in the order of the trees."""
        named = model_file.named_arrays(self.params, self.extra)
        return {name: np.asarray(jax.device_get(leaf)) for name, leaf in named}

    def to_bytes(self, *, half_precision: bool = False) -> bytes:
        """Return the content of a .safetensors file that `load` reads.

        Args:
          half_precision: whether to store the arrays as float16.

        Raises:
          UserError: a value is too large for float16.
        """
        assert self.written_config is not None, "a run has a config"
        return model_file.to_bytes(
            self.written_config, self.form, self.params, self.extra, half_precision=half_precision
        )

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

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that identify the run's experiment."""
        return digest(self.config)

    @property
    def flat_config(self) -> dict[str, Any] | None:
        """The run's config if it is flat, as in early versions; None if not."""
        written = self.written_config
        return written if written is not None and is_flat(written) else None

    @property
    def digest_but_seed(self) -> str:
        """The digest without the seed, the same for runs that differ in nothing else."""
        return digest({**self.config.to_dict(), "seed": 0})

    def _run(self, name: str, function: Callable[..., Any], *batched: Any) -> Any:
        """Return `function(model, *trees)`, compiled and computed in batches."""
        if name not in self._compiled:

            @full_precision
            def apply(params: nnx.State, extra: nnx.State, *trees: Any) -> Any:
                return function(nnx.merge(self.graphdef, params, extra), *trees)

            self._compiled[name] = jax.jit(apply)
        # JAX arrays stay as they are, keys among them.
        batched = jax.tree.map(
            lambda leaf: leaf if isinstance(leaf, jax.Array) else np.asarray(leaf), batched
        )
        parts = []
        for first in range(0, len(jax.tree.leaves(batched)[0]), self._batch_size):
            rows = slice(first, first + self._batch_size)
            part = jax.tree.map(lambda array, rows=rows: array[rows], batched)
            parts.append(self._compiled[name](self.params, self.extra, *part))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def _latents(self, latents: ArrayLike) -> Float[np.ndarray, "num latents"]:
        array = np.asarray(latents, np.float32)
        if array.ndim != 2 or array.shape[1] != self.latent_size or len(array) == 0:
            raise UserError(
                f"latents have shape {array.shape}; this model takes (num, {self.latent_size})"
            )
        return array


class TrainedModel(_Trained):
    """A model and its parameters. Images are `[num, height, width, channels]`.

    So are the rows of a table, `[num, 1, columns, 1]`, in the units of its file (see
    `vae_jax.data.columns`), with NaN where a cell was not seen. Images may be 8-bit, or floating
    point in the unit interval; they are not binarised. Grey ones may be `[num, height, width]`.
    Results are NumPy arrays. Functions are compiled once per batch shape.

    Attributes:
      image_shape: height, width, channels.
      likelihood: p(x|z) with fresh parameters.
    """

    def __init__(
        self,
        config: Experiment,
        image_shape: tuple[int, int, int],
        params: nnx.State,
        extra: nnx.State | None = None,
    ) -> None:
        super().__init__(config, image_shape, params, extra)
        self.image_shape = image_shape
        self.likelihood = build_likelihood(config, image_shape)
        outputs = math.prod(image_shape) * self.likelihood.outputs_per_channel
        self._batch_size = max(1, min(_BATCH_SIZE, _MAX_OUTPUTS // outputs))

    @property
    def columns(self) -> RowShape | None:
        """The columns of the rows of a table, `[num, 1, columns, 1]`; None for images."""
        return self.image_shape if isinstance(self.image_shape, RowShape) else None

    @property
    def network(self) -> dict[str, Any]:
        """The nested settings that decide on the function that given parameters compute."""
        return _without(changed(self.config.model), _NOT_OF_THE_NETWORK)

    @property
    def beta(self) -> float:
        """The weight of the KL in the objective; 1 if it has none."""
        return float(getattr(self.config.objective, "beta", 1.0))

    @property
    def encoder_name(self) -> str:
        """The name of the encoder's choice, or of the model if it has no choice."""
        return name_of(getattr(self.config.model, "encoder", self.config.model))

    @property
    def likelihood_name(self) -> str:
        """The name of the likelihood's choice."""
        return name_of(self.config.model.likelihood)

    def load_complete(self) -> Float[np.ndarray, "num height width channels"]:
        """Read the training rows of a table without the holes that `data.missing_share` made.

        Raises:
          UserError: the data are missing or damaged.
        """
        return load_complete(self.config)

    @property
    def may_miss_pixels(self) -> bool:
        """True if pixels of images may be NaN, which were not seen."""
        return may_miss_pixels(self.config.model)

    @property
    def condition_reads(self) -> Reads:
        """What the condition of p(x|c) is made from: labels, images, or nothing for p(x)."""
        return reads_of(self.config.model)

    @property
    def has_conditional_prior(self) -> bool:
        """True if the prior is p(z|c)."""
        return bool(condition_of(self.config.model).conditional_prior)

    @property
    def has_guess(self) -> bool:
        """True if a network without latents guesses what a condition leaves open."""
        return has_guess(self.config.model)

    def guess(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        """Return images completed by the network without latents, from the part that is seen."""
        x = self._images(images)
        assert self.has_guess, "asked before"
        return self._run_given("guess", lambda model: model.guess().mean, x)

    def seen(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        """Return the part of images that is a condition; the rest is grey."""
        x, blocks = self._images(images), self._shape.condition.blocks
        grey = np.full((len(x), 1, blocks.num_pixels, x.shape[-1]), 0.5, np.float32)
        return np.asarray(blocks.fill(jnp.asarray(x), jnp.asarray(grey)))

    def guess_log_likelihood(self, images: ArrayLike) -> Float[np.ndarray, " num"]:
        """Return log p(x|c) in nats of the network without latents, for each image."""
        x = self._targets(images)
        log_prob = lambda model, x: model.guess().log_prob(x)  # noqa: E731
        return self._run_given("guess_log_likelihood", log_prob, x, x)

    @property
    def num_values(self) -> int:
        """The number of values of an image that the model is of, those not seen in a condition."""
        if self.condition_reads != "images":
            return math.prod(self.image_shape)
        return int(self._shape.condition.blocks.num_pixels * self.image_shape[2])

    @property
    def classifies(self) -> bool:
        """True if the model has a classifier q(class|x)."""
        return bool(getattr(self.config.model, "classifies", False))

    @property
    def num_classes(self) -> int | None:
        """The number of classes that are conditions; None if conditions are no classes."""
        return (
            int(self.config.model.condition.classes) if self.condition_reads == "labels" else None
        )

    def condition_of(self, images: Any, labels: np.ndarray | None) -> np.ndarray | None:
        """Return the condition of each image of a data set; None for a model without conditions."""
        condition: np.ndarray | None = {"nothing": None, "labels": labels, "images": images}[
            self.condition_reads
        ]
        return condition

    def checked_condition(
        self, condition: Conditions | None, num: int, images: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return `num` conditions; None for a model without.

        Args:
          condition: as a user gave it: a class or classes, or images of which a part is seen.
          num: number of examples.
          images: the examples, which stand for a missing condition if that is a part of them.

        Raises:
          UserError: it is missing, there is no such condition, or a wrong number of them.
        """
        reads = self.condition_reads
        if condition is None and reads == "images":
            condition = images
        if condition is None and reads == "nothing":
            return None
        if condition is None:
            known = f"a class from 0 to {(self.num_classes or 1) - 1}, or one per image"
            raise UserError(
                "condition is missing: this model is of p(x|condition); give "
                f"{known if reads == 'labels' else 'images, of which a part is seen'}"
            )
        chosen = condition_of(self.config.model)
        if reads == "images":
            given = self._images(condition)
            return np.asarray(chosen.checked(given, num, self.image_shape))
        return np.asarray(chosen.checked(condition, num, self.image_shape))

    def _run_given(
        self,
        name: str,
        function: Callable[..., Any],
        condition: np.ndarray | None,
        *batched: Any,
    ) -> Any:
        """Return `function(model, *trees)` as `_run` does, of the model given its conditions."""
        if condition is None:
            return self._run(name, function, *batched)

        def given(model: ConditionalVAE, condition: Array, *trees: Any) -> Any:
            return function(model.given(condition), *trees)

        return self._run(name, given, condition, *batched)

    def classify(self, images: ArrayLike) -> Float[np.ndarray, "num classes"]:
        """Return q(class|x) of each image, the probabilities of all classes.

        Raises:
          UserError: the model has no classifier.
        """
        if not self.classifies:
            raise UserError(
                f"model={self.name!r} has no classifier; model='m2' has one (configs/m2.py)"
            )
        return self._run("classify", lambda model, x: model.classify(x).mean, self._images(images))

    def _images(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        array = np.asarray(images)
        *sides, channels = self.image_shape
        if channels == 1 and array.ndim == 3 and array.shape[1:] == tuple(sides):
            array = array[..., None]
        if array.shape == self.image_shape:
            array = array[None]
        if array.shape[1:] != self.image_shape or len(array) == 0:
            raise UserError(
                f"images have shape {array.shape}; this model takes (num, "
                f"{', '.join(map(str, self.image_shape))}) with num at least 1{advice(array.shape)}"
            )
        # Noise takes the images that a denoising model restores out of the unit interval.
        is_clean = name_of(self.corruption) == "none"
        accepts: Accepted = self.likelihood.accepts if is_clean else "any finite"
        arguments.refuse_values("images", array, accepts, may_miss=self.may_miss_pixels)
        stored = array if array.dtype == np.uint8 else array.astype(np.float32)
        return np.asarray(to_unit_interval(jnp.asarray(stored)))

    def refused_values(self, images: np.ndarray) -> str | None:
        """Return why the likelihood does not accept these finite images; None if it does."""
        return refused_values(self.config, self.image_shape, images)

    def _targets(self, images: ArrayLike) -> Float[np.ndarray, "num height width channels"]:
        targets = self._images(images)
        problem = self.refused_values(targets)
        if problem is not None:
            chosen = name_of(self.config.model.likelihood)
            raise UserError(f"images {problem}; model.likelihood={chosen!r} refuses them")
        return targets

    def _require_density(self, what: str) -> None:
        if not self.has_density:
            raise UserError(
                f"{what} needs a model with a posterior and a prior, which model={self.name!r} "
                "does not have"
            )

    def encode(self, images: ArrayLike, condition: Conditions | None = None) -> np.ndarray:
        """Return the codes of each image, integers `[num, *code_shape]`; if it has none, `latents`.

        See `has_codes`.
        """
        if not self.has_codes:
            return self.latents(images, condition)
        return self._run("codes", lambda model, x: model.codes(x), self._images(images))

    def latents(
        self, images: ArrayLike, condition: Conditions | None = None
    ) -> Float[np.ndarray, "num latents"]:
        """Return the latent vector of each image; for a VAE the posterior mean.

        Args:
          images: the images.
          condition: for a model of p(x|c) (see `condition_reads`): a class, one per image, or
            images of which a part is seen, by default the same images.

        Raises:
          UserError: images or conditions do not fit the model.
        """
        x = self._images(images)
        given = self.checked_condition(condition, len(x), x)
        return self._run_given("encode", lambda model, x: model.latents(x), given, x)

    @property
    def num_codes(self) -> int | None:
        """The number of discrete codes; None if the model has none."""
        return int(self._shape.num_codes) if self.has_codes else None

    @property
    def has_normal_posterior(self) -> bool:
        """True if q(z|x) is a diagonal normal over all latents, given by a mean and a scale."""
        return bool(self._shape.has_normal_posterior)

    @property
    def has_posterior_density(self) -> bool:
        """True if q(z|x) has a density at given latents."""
        return bool(self._shape.has_posterior_density)

    @property
    def has_standard_prior(self) -> bool:
        """True if p(z) is N(0, I)."""
        return bool(self._shape.has_standard_prior)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The number of latents of each stochastic layer, from the one nearest to the image up."""
        return tuple(self._shape.layer_sizes)

    @property
    def has_discrete_latents(self) -> bool:
        """True if latents are one of finitely many vectors."""
        return bool(self._shape.has_discrete_latents)

    @property
    def has_spherical_latents(self) -> bool:
        """True if latents are points on the unit sphere."""
        return bool(self._shape.has_spherical_latents)

    @property
    def has_samples(self) -> bool:
        """True if there is a p(z) to draw from: the model's, or one that codes were matched to."""
        return self.has_density or bool(self.config.objective.matches_codes)

    @property
    def prior(self) -> Prior:
        """p(z) over `[latents]`: the model's, or the N(0, I) that its codes were matched to.

        Raises:
          UserError: there is none.
        """
        if self.has_density:
            prior: Prior = nnx.merge(self.graphdef, self.state).prior
            return prior
        if not self.has_samples:
            self._require_density("a prior")
        return Normal(jnp.zeros(self.latent_size), jnp.zeros(self.latent_size))

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of the code that `encode` returns for one image."""
        return tuple(self._shape.code_shape)

    def posterior(self, images: ArrayLike, condition: Conditions | None = None) -> Normal:
        """Return q(z|x) over `[num, latents]`, with JAX arrays; see `latents` for conditions."""
        self._require_density("a posterior")
        if not self.has_normal_posterior:
            raise UserError(
                "the posterior of this run is not a diagonal normal; use encode or elbo"
            )

        def parameters(model: DensityModel, x: Array) -> tuple[Array, Array]:
            posterior = model.encode(x)
            assert isinstance(posterior, Normal)
            return posterior.mean, posterior.log_scale

        x = self._images(images)
        given = self.checked_condition(condition, len(x), x)
        mean, log_scale = self._run_given("posterior", parameters, given, x)
        return Normal(jnp.asarray(mean), jnp.asarray(log_scale))

    def decode(
        self, latents: ArrayLike, condition: Conditions | None = None
    ) -> Float[np.ndarray, "num height width channels"]:
        """Return the mean image of each latent vector, or of integer codes if the model has such.

        Vectors are normalised if latents are points on the sphere. See `latents` for conditions.

        Raises:
          UserError: the shape is neither that of latents nor of codes, or there is no such code, or
            no such condition.
        """
        if self.has_codes and np.issubdtype(np.asarray(latents).dtype, np.integer):
            codes = self._codes(latents)
            return self._run(
                "decode_codes", lambda model, c: model.decode(model.embed(c)).mean, codes
            )
        z = self._latents(latents)
        return self._run_given(
            "decode",
            lambda model, z: model.decode(model.project(z)).mean,
            self.checked_condition(condition, len(z)),
            z,
        )

    def _codes(self, codes: ArrayLike) -> np.ndarray:
        array, num_codes = np.asarray(codes), self.num_codes
        assert num_codes is not None
        if array.shape[1:] != self.code_shape or len(array) == 0:
            raise UserError(
                f"codes have shape {array.shape}; this model takes (num, "
                f"{', '.join(map(str, self.code_shape))})"
            )
        if not arguments.are_below(array, num_codes):
            raise UserError(
                f"codes lie from {array.min()} to {array.max()}; this model's are 0 to "
                f"{num_codes - 1}"
            )
        return array.astype(np.int32)

    def reconstruct(
        self, images: ArrayLike, condition: Conditions | None = None
    ) -> Float[np.ndarray, "num height width channels"]:
        """Return `decode(encode(images))`; a denoising model restores corrupted images."""
        x = self._images(images)
        return self._run_given(
            "reconstruct",
            lambda model, x: model.decode(model.latents(x)).mean,
            self.checked_condition(condition, len(x), x),
            x,
        )

    def reconstruction_log_likelihood(self, images: ArrayLike) -> Float[np.ndarray, " num"]:
        """Return log p(x|z) of each image at its own latent vector, in nats."""
        return self._run(
            "reconstruction_log_likelihood",
            lambda model, x: model.decode(model.latents(x)).log_prob(x),
            self._targets(images),
        )

    def sample(
        self, key: Key[Array, ""], num: int, condition: Conditions | None = None
    ) -> Float[np.ndarray, "num height width channels"]:
        """Return mean images of `num` draws from the prior; see `latents` for conditions."""
        given = self.checked_condition(condition, num)
        return self.decode(self.sample_latents(key, num, given), given)

    def sample_latents(
        self, key: Key[Array, ""], num: int, condition: np.ndarray | None = None
    ) -> Float[np.ndarray, "num latents"]:
        """Return `num` draws from the prior, of conditions as `checked_condition` returns them."""
        if not self.has_samples:
            self._require_density("sampling")
        arguments.require_key(key)
        if num < 1:
            raise UserError(f"num={num} must be at least 1")
        if condition is not None and self.has_conditional_prior:
            return np.asarray(self.prior_given(condition).sample(key))
        keys = jax.random.split(key, num)
        if not self.has_density:
            return np.asarray(jax.jit(jax.vmap(self.prior.sample))(keys))
        draw = jax.vmap(lambda model, key: model.prior.sample(key), in_axes=(None, 0))
        latents: np.ndarray = self._run("sample", draw, keys)
        return latents

    def draw_rows(
        self, key: Key[Array, ""], num: int
    ) -> Float[np.ndarray, "num height width channels"]:
        """Return `num` draws of p(x): of the prior, then of p(x|z)."""
        latents_key, draw_key = jax.random.split(key)
        return self.draw(self.sample_latents(latents_key, num), draw_key)

    def draw(
        self, latents: ArrayLike, key: Key[Array, ""]
    ) -> Float[np.ndarray, "num height width channels"]:
        """Return one draw of p(x|z) at each latent vector."""
        array = self._latents(latents)
        keys = jax.random.split(key, len(array))

        def each(model: Model, latents: Array, keys: Array) -> Array:
            return jax.vmap(lambda z, key: model.decode(model.project(z)).sample(key))(
                latents, keys
            )

        return self._run("draw", each, array, keys)

    def impute(
        self,
        rows: ArrayLike,
        key: Key[Array, ""],
        *,
        num_samples: int = 10_000,
        num_draws: int = 200,
        on_batch: Callable[[int], None] = lambda num: None,
    ) -> Imputed:
        """Return rows of a table, or images, with what is missing filled (`models.imputation`).

        Args:
          rows: `[num, 1, columns, 1]`, with NaN where a cell was not seen; or images with NaN.
          key: of the samples.
          num_samples: importance samples per row.
          num_draws: draws per row, all of which are in memory.
          on_batch: called with the number of rows done.

        Raises:
          UserError: the run is on whole images, has no density, or a cell is none of its column.
        """
        self._require_density("imputation")
        if self.columns is None and not self.may_miss_pixels:
            raise UserError(
                "imputation needs a run on a table, or one with model.missing_pixels=True, and "
                "this one is on whole images"
            )
        given = self._targets(rows)
        keys = jax.random.split(key, len(given))
        at_once = rows_at_once(num_samples, self.latent_size)

        def each(model: DensityModel, rows: Array, keys: Array) -> Imputed:
            found = impute(model, rows, keys, num_samples=num_samples, num_draws=num_draws)
            return found._replace(draws=jnp.moveaxis(found.draws, 0, 1))

        parts = []
        for first in range(0, len(given), at_once):
            # All calls have as many rows, so that one program serves them.
            indices = np.minimum(np.arange(first, first + at_once), len(given) - 1)
            name = f"impute {num_samples} {num_draws}"
            found = self._run(name, each, given[indices], keys[indices])
            num = min(at_once, len(given) - first)
            parts.append(jax.tree.map(lambda leaf, num=num: leaf[:num], found))
            on_batch(num)
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        return Imputed(joined.point, np.moveaxis(joined.draws, 1, 0), joined.effective_samples)

    def prior_given(self, condition: np.ndarray) -> Normal:
        """Return p(z|c) over `[num, latents]` of conditions as `checked_condition` returns them."""

        def parameters(model: ConditionalVAE, condition: Array) -> tuple[Array, Array]:
            prior = model.given(condition).prior
            assert isinstance(prior, Normal), "a conditional prior is one"
            return prior.mean, prior.log_scale

        mean, log_scale = self._run("prior", parameters, condition)
        return Normal(jnp.asarray(mean), jnp.asarray(log_scale))

    def interpolate(
        self,
        start: ArrayLike,
        end: ArrayLike,
        degrees: ArrayLike = (0.0, 0.25, 0.5, 0.75, 1.0),
        *,
        path: Literal["linear", "spherical"] | None = None,
    ) -> Float[np.ndarray, "num steps height width channels"]:
        """Return images between reconstructions of `start` (degree 0) and `end` (degree 1).

        Args:
          start: images.
          end: the same number of images.
          degrees: positions on the path, any numbers.
          path: a straight line through latent space, or an arc around its origin; by default the
            arc if latents are points on the sphere, else the line.
        """
        if path is None:
            path = "spherical" if self.has_spherical_latents else "linear"
        paths = {
            "linear": latent_paths.linear_interpolation,
            "spherical": latent_paths.spherical_interpolation,
        }
        if path not in paths:
            raise UserError(f"path={path!r} must be one of {', '.join(paths)}")
        first, last = self.latents(start), self.latents(end)
        if first.shape != last.shape:
            raise UserError(f"{len(first)} images cannot be interpolated to {len(last)}")
        steps = np.atleast_1d(np.asarray(degrees, np.float32))
        latents = np.moveaxis(np.asarray(paths[path](first, last, steps)), 0, 1)
        images = self.decode(latents.reshape(-1, self.latent_size))
        return images.reshape(len(first), len(steps), *self.image_shape)

    def elbo(
        self, images: ArrayLike, key: Key[Array, ""], condition: Conditions | None = None
    ) -> Float[np.ndarray, " num"]:
        """Return a one-sample estimate of each image's evidence lower bound, in nats.

        That of a model of p(x|c) bounds log p(x|c); see `latents` for conditions.

        For a model trained on binarised images, binarise them first: grey values give a
        cross-entropy, which is no bound on a log probability.

        Raises:
          UserError: the likelihood does not accept a value.
        """
        self._require_density("the ELBO")
        arguments.require_key(key)
        prepared = self._targets(images)
        keys = jax.random.split(key, len(prepared))

        given = self.checked_condition(condition, len(prepared), prepared)

        def each(model: Any, x: Array, keys: Array, *conditions: Array) -> Array:
            def single(image: Array, key: Array, *condition: Array) -> Array:
                own = model.given(condition[0][None]) if condition else model
                return elbo_terms(own, image[None], image[None], key).elbo[0]

            return jax.vmap(single)(x, keys, *conditions)

        return self._run("elbo", each, prepared, keys, *([] if given is None else [given]))


class TrainedMultimodal(_Trained):
    """A model of several modalities and its parameters.

    Examples are given as a dict with any of the modalities by name: images, 8-bit or floating point
    in the unit interval; classes, whole numbers; texts. Decoded images are means, decoded classes
    the likeliest ones, and decoded texts the likeliest words one after another.

    Attributes:
      forms: forms of the modalities by name.
      names: names of the modalities.
    """

    _batch_size = _JOINT_BATCH_SIZE

    def __init__(
        self,
        config: JointExperiment,
        forms: Forms,
        params: nnx.State,
        extra: nnx.State | None = None,
    ) -> None:
        super().__init__(config, forms, params, extra)
        self.forms = forms
        self.names = tuple(forms)

    @property
    def joint_posterior(self) -> str:
        """The name of the way in which posteriors of single modalities become one."""
        return str(self.config.model.joint_posterior)

    def encode(self, given: Mapping[str, Given]) -> Float[np.ndarray, "num latents"]:
        """Return the mean of q(z|given modalities) of each example.

        Raises:
          UserError: a modality or a word is unknown, or examples have a wrong shape or different
            numbers.
        """
        values, present = self._values(given)
        mean = lambda model, values, present: model.encode(values, present).mean  # noqa: E731
        return self._run("encode", mean, values, present)

    def generate(self, given: Mapping[str, Given], key: Key[Array, ""]) -> dict[str, Any]:
        """Return all modalities of a draw from q(z|given modalities) of each example.

        Raises:
          UserError: as `encode`.
        """
        values, present = self._values(given)
        keys = jax.random.split(key, len(present))

        def draw(model: MultimodalVAE, values: Any, present: Array, keys: Array) -> Array:
            posterior = model.encode(values, present)
            pairs = jax.vmap(jax.random.split)(keys)
            noise = jax.vmap(lambda key: jax.random.normal(key, (self.latent_size,)))(pairs[:, 0])
            chosen = posterior.at(jax.vmap(jax.random.uniform)(pairs[:, 1]))
            return posterior.of(chosen).draw(noise).latents

        return self.decode(self._run("generate", draw, values, present, keys))

    def reconstruct(self, given: Mapping[str, Given]) -> dict[str, Any]:
        """Return all modalities at the mean of q(z|given modalities) of each example.

        Raises:
          UserError: as `encode`.
        """
        return self.decode(self.encode(given))

    def sample(self, key: Key[Array, ""], num: int) -> dict[str, Any]:
        """Return all modalities of `num` draws from the prior."""
        if num < 1:
            raise UserError(f"num={num} must be at least 1")
        return self.decode(np.asarray(jax.random.normal(key, (num, self.latent_size))))

    def decode(self, latents: ArrayLike) -> dict[str, Any]:
        """Return all modalities of each latent vector: images, classes, texts, by name.

        Raises:
          UserError: the latents have a wrong shape.
        """
        array = self._latents(latents)

        def means(model: MultimodalVAE, latents: Array) -> dict[str, Array]:
            return {name: model.decode(name, latents).mean for name in self.names}

        return {
            name: self._shown(self.forms[name], mean)
            for name, mean in self._run("decode", means, array).items()
        }

    def _shown(self, form: Form, mean: np.ndarray) -> Any:
        if form.kind == "text":
            return Vocabulary(form.words).decode(mean)
        return mean.argmax(axis=-1).astype(np.int32) if form.kind == "class" else mean

    def _values(self, given: Mapping[str, Given]) -> tuple[dict[str, Any], np.ndarray]:
        """Return values of every modality, blank if it is not given, and the mask of given ones."""
        if not given:
            raise UserError(f"nothing is given; give any of the modalities {', '.join(self.names)}")
        for name in given:
            if name not in self.forms:
                raise UserError(
                    f"the modality {name!r} is not known; this model has {', '.join(self.names)}"
                )
        unknown_words = self.config.data.unknown_words
        arrays = {
            name: arguments.encoded_texts(name, self.forms[name], value, unknown_words)
            if self.forms[name].kind == "text"
            else arguments.stored_array(name, self.forms[name], value)
            for name, value in given.items()
        }
        numbers = {name: len(array) for name, array in arrays.items()}
        num = next(iter(numbers.values()))
        if len(set(numbers.values())) > 1 or num == 0:
            described = ", ".join(f"{name} {number}" for name, number in numbers.items())
            raise UserError(f"examples must be equally many and at least one, not {described}")
        values = {
            name: arrays.get(name, np.asarray(placeholder(form, num)))
            for name, form in self.forms.items()
        }
        present = np.array([name in given for name in self.names])
        return values, np.tile(present, (num, 1))


def _without(nested: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return nested settings without those of some names, and without empty sections."""
    found = {
        name: _without(value, names) if isinstance(value, dict) else value
        for name, value in nested.items()
        if name not in names
    }
    return {name: value for name, value in found.items() if value != {}}


def load(path: str | Path, member: int | None = None) -> Any:
    """Return the best model of a finished or unfinished run, or one that somebody exported.

    Args:
      path: the run's workdir, or that of a sweep, or a file of `experiments.export`; the address
        of a model on the Hugging Face Hub, "hf://USER/NAME"; or the name of a bundled model. A
        folder or a file that exists goes before a bundled model of its name.
      member: index of the sweep's member.

    Returns:
      A `TrainedModel`, or a `TrainedMultimodal` for a run of several modalities.

    Raises:
      UserError: there is no run or no such member, it has no checkpoint yet, a file is damaged, or
        the hub has no such model or is not reached.
    """
    file = _file_of(path)
    if file is not None:
        if member is not None:
            raise UserError(f"{path} holds one model, so it has no member {member}")
        written, *read = model_file.read(file)
        model = from_form(*read)
        model.written_config = written
        return model
    folder = workdir.run_folder(Path(path), member)
    config = read_experiment(folder)
    stored = best_model(folder, config)
    return _of_run(folder, from_form(config, stored.form, stored.params, stored.extra), stored)


def _file_of(path: str | Path) -> Path | None:
    """Return the file with the model that `load` is given; None for a folder."""
    if str(path).startswith(hub.PREFIX):
        return hub.download(str(path))
    if Path(path).suffix == model_file.SUFFIX:
        return Path(path)
    is_name = isinstance(path, str) and Path(path).name == path
    return bundled.path_of(str(path)) if is_name and not Path(path).exists() else None


def load_images(path: str | Path, member: int | None = None, *, rows: bool = False) -> TrainedModel:
    """Return the best model of a run of images, as `load` does.

    Args:
      path: the run's workdir, or that of a sweep.
      member: index of the sweep's member.
      rows: whether the rows of a table, and images with missing pixels, will do, too.

    Raises:
      UserError: as `load`, or the run has several modalities, is on a table, or on images of which
        pixels were not seen.
    """
    folder = workdir.run_folder(Path(path), member)
    config = read_experiment(folder)
    if config.model.takes == "modalities":
        raise UserError(
            f"workdir={str(folder)!r} holds a run of model={name_of(config.model)!r}, which has no "
            "images alone; `vae_jax.load` loads it, and experiments.evaluate measures it"
        )
    stored = best_model(folder, config)
    assert isinstance(stored.form, tuple), "a model of images has one shape"
    if isinstance(stored.form, RowShape) and not rows:
        raise UserError(
            f"workdir={str(folder)!r} holds a run on a table, and this is for images; its rows are "
            "for experiments.impute, sample, detect, map and evaluate"
        )
    if may_miss_pixels(config.model) and not rows:
        raise UserError(
            f"workdir={str(folder)!r} holds a run with model.missing_pixels=True, and this is for "
            "whole images; it is for experiments.impute, sample, detect, map and evaluate"
        )
    model = TrainedModel(config, stored.form, stored.params, stored.extra)
    return _of_run(folder, model, stored)


def _of_run(folder: Path, model: Any, stored: Stored) -> Any:
    model.written_config = workdir.read_config(folder)
    model.checkpoint = stored.checkpoint
    return model


def from_form(
    config: AnyExperiment, form: DataForm, params: nnx.State, extra: nnx.State | None = None
) -> Any:
    """Return the model of images, or of several modalities, with these parameters."""
    if isinstance(form, dict):
        return TrainedMultimodal(config, form, params, extra)
    return TrainedModel(config, form, params, extra)
