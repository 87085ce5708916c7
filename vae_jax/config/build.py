"""Build an experiment's likelihood, model, networks and players."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax import settings
from vae_jax.config.datasets import build_prepare
from vae_jax.config.experiment import AnyExperiment
from vae_jax.config.forms import DataForm
from vae_jax.data.columns import RowShape
from vae_jax.data.multimodal import PRESENT
from vae_jax.data.pixels import (
    CONDITION,
    IMAGE,
    LABEL,
    LABELLED_IMAGE,
    LABELLED_LABEL,
    StoredExamples,
    StoredPictures,
)
from vae_jax.models.conditions import given_columns, reads_of
from vae_jax.models.likelihoods import unaccepted
from vae_jax.models.missing_pixels import may_miss_pixels, of_seen
from vae_jax.models.rows import build_likelihood as likelihood_of
from vae_jax.objectives import Batch, Objective
from vae_jax.objectives.base import LabelledBatch
from vae_jax.objectives.multimodal import Batch as JointBatch
from vae_jax.training.players import Batches, Hparams, Metrics, Params, Player, Scalar


def build_likelihood(experiment: AnyExperiment, form: DataForm | None = None) -> Any:
    """Return the likelihood that an experiment names, as it starts; that of rows needs a form."""
    model = experiment.model
    return of_seen(likelihood_of(model.likelihood, form, given_columns(model, form)), model)


def refused_values(experiment: AnyExperiment, form: DataForm, images: np.ndarray) -> str | None:
    """Return what the likelihood does not accept of images; None if it accepts all."""
    if isinstance(form, RowShape):
        return form.problem(images)
    if may_miss_pixels(experiment.model):
        images = images[~np.isnan(images)]
        if images.size == 0:
            return None
    return unaccepted(build_likelihood(experiment, form).accepts, images)


def build_model(
    experiment: AnyExperiment, form: DataForm, key: Key[Array, ""], mean_image: Any = None
) -> Any:
    """Return the model with fresh parameters.

    Args:
      experiment: an experiment.
      form: height, width, channels; or the forms of several modalities.
      key: of the initial parameters.
      mean_image: mean of the training images in the unit interval, where the pseudo-inputs of a
        VampPrior start, and the decoder as the settings say; of several modalities, by name.
    """
    # A weakly typed mean would give weakly typed parameters, and a step that is compiled anew for
    # those that it returns.
    mean_image = jax.tree.map(lambda mean: jnp.asarray(mean, jnp.float32), mean_image)
    return experiment.model.build(form, mean_image, rngs=nnx.Rngs(key))


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """Return a model's graph, its parameters, and its state that is learned without a gradient."""
    graphdef, *states = nnx.split(model, nnx.Param, ...)
    params, extra = states
    return graphdef, params, extra


def abstract_model(
    experiment: AnyExperiment, form: DataForm
) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """Return what `split_model` does of a model with shapes in place of arrays.

    A training asks for it half a dozen times, and to build a large model takes seconds.
    """
    joint = isinstance(form, dict)
    key = tuple(form.items()) if isinstance(form, dict) else form
    try:
        graphdef, *states = _abstract_model(experiment.model, key, joint)
    except TypeError:
        # A part from outside may have settings without a hash.
        graphdef, *states = _abstract_model.__wrapped__(experiment.model, key, joint)
    # Its own states: a caller may change them.
    params, extra = jax.tree.map(lambda leaf: leaf, states)
    return graphdef, params, extra


# Typed: the shape of rows equals that of images.
@functools.lru_cache(maxsize=32, typed=True)
def _abstract_model(
    model: Any, form: Any, joint: bool
) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    built = nnx.eval_shape(
        lambda: model.build(dict(form) if joint else form, None, rngs=nnx.Rngs(jax.random.key(0)))
    )
    return split_model(built)


def build_graphdef(experiment: AnyExperiment, form: DataForm) -> nnx.GraphDef:
    """Return the model without its state, for `nnx.merge`."""
    return abstract_model(experiment, form)[0]


def build_networks(
    experiment: AnyExperiment, form: DataForm, key: Key[Array, ""]
) -> dict[str, nnx.Module]:
    """Return the objective's own networks with fresh parameters, by name."""
    return experiment.objective.networks(experiment.model, form, rngs=nnx.Rngs(key))


class _Game:
    """The losses of an experiment's players, as functions of parameters and stored examples."""

    def __init__(
        self, experiment: AnyExperiment, form: DataForm, num_examples: int, num_steps: int
    ) -> None:
        self._experiment = experiment
        self._num_examples = num_examples
        self._num_steps = num_steps
        self._graphdef, params, _ = abstract_model(experiment, form)
        self._parts = tuple(f"model.{part}" for part in params)
        shapes = nnx.eval_shape(lambda: build_networks(experiment, form, jax.random.key(0)))
        self._graphdefs = {name: nnx.split(network)[0] for name, network in shapes.items()}
        self._prepare_images = build_prepare(experiment)

    def players(self) -> tuple[Player, ...]:
        """Return the player that minimises the objective, and its opponents."""
        objective = self._experiment.objective
        opponents = objective.opponents()
        taken = {part for opponent in opponents for part in opponent.owns}
        left = tuple(part for part in self._parts if part not in taken)
        first = Player(
            "model",
            self._loss,
            left if taken else ("model",),
            self._make_optimizer,
            measures_gradient=objective.measures_gradients,
            finish=objective.finish,
        )
        others = [
            Player(
                opponent.name,
                functools.partial(self._opponent_loss, index),
                tuple(part for part in self._parts if part in opponent.owns) or (opponent.name,),
                functools.partial(self._opponent_optimizer, index),
                opponent.every,
                opponent.num_batches,
                opponent.updates,
                objective.measures_gradients,
            )
            for index, opponent in enumerate(opponents)
        ]
        return (first, *others)

    def _make_optimizer(self, hparams: Hparams) -> Any:
        optimizer = settings.substitute(self._experiment.optimizer, hparams, "optimizer")
        return optimizer.build(self._num_steps, self._experiment.epochs)

    def _opponent_optimizer(self, index: int, hparams: Hparams) -> Any:
        return self._objective(hparams).opponents()[index].optimizer

    def _objective(self, hparams: Hparams) -> Objective:
        objective: Objective = settings.substitute(self._experiment.objective, hparams, "objective")
        return objective

    def _model(self, params: Params, extra: nnx.State) -> Any:
        # A copy: the model changes in place what it learns without a gradient.
        return nnx.merge(self._graphdef, params["model"], extra, copy=True)

    def _networks(self, params: Params) -> dict[str, nnx.Module]:
        return {
            name: nnx.merge(graphdef, params[name]) for name, graphdef in self._graphdefs.items()
        }

    def _prepare(
        self,
        model: Any,
        examples: StoredExamples,
        hparams: Hparams,
        epoch: Scalar,
        prepare_key: Key[Array, ""],
        corrupt_key: Key[Array, ""],
    ) -> Batch | LabelledBatch | JointBatch:
        """Return stored examples as targets and what the encoder sees, or as values."""
        if not isinstance(examples, dict):
            return self._corrupted(examples, hparams, prepare_key, corrupt_key)
        if self._experiment.model.takes == "images":
            batch = self._corrupted(examples[IMAGE], hparams, prepare_key, corrupt_key)
            if not self._experiment.objective.takes_labels:
                return batch
            # In validation all labels are known: there they tell the accuracy, and the bound is
            # that of unknown ones.
            if LABELLED_IMAGE not in examples:
                labels = examples[LABEL]
                return LabelledBatch(*batch, jnp.full_like(labels, -1), *batch, labels)
            own = (jax.random.fold_in(key, 1) for key in (prepare_key, corrupt_key))
            labelled = self._corrupted(examples[LABELLED_IMAGE], hparams, *own)
            return LabelledBatch(*batch, examples[LABEL], *labelled, examples[LABELLED_LABEL])
        keys = jax.random.split(prepare_key, len(model.names))
        values: dict[str, Array] = {}
        for name, key in zip(model.names, keys, strict=True):
            array = examples[name]
            values[name] = self._prepare_images(key, array) if array.ndim == 4 else array
        present = model.presence(values, examples.get(PRESENT))
        prepared: JointBatch = self._objective(hparams).prepare(
            model, JointBatch(values, present), corrupt_key, epoch=epoch
        )
        return prepared

    def _corrupted(
        self,
        images: StoredPictures,
        hparams: Hparams,
        prepare_key: Key[Array, ""],
        corrupt_key: Key[Array, ""],
    ) -> Batch:
        targets = self._prepare_images(prepare_key, images)
        corruption = settings.substitute(self._experiment.corruption, hparams, "corruption")
        return Batch(corruption.corrupt(corrupt_key, targets), targets)

    def _given(self, model: Any, examples: StoredExamples, batch: Any) -> Any:
        """Return the model with the condition of each example of a batch, if it has conditions."""
        if self._experiment.objective.takes_labels:
            return model
        reads = reads_of(self._experiment.model)
        if reads == "nothing":
            return model
        if reads == "images":
            return model.given(batch.targets)
        return model.given(examples[LABEL if reads == "labels" else CONDITION])

    def _loss(
        self,
        params: Params,
        extra: nnx.State,
        batches: Batches,
        hparams: Hparams,
        epoch: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Scalar, tuple[Metrics, nnx.State]]:
        prepare_key, corrupt_key, sample_key = jax.random.split(key, 3)
        model = self._model(params, extra)
        batch = self._prepare(model, batches[0], hparams, epoch, prepare_key, corrupt_key)
        loss, metrics = self._objective(hparams).loss(
            self._given(model, batches[0], batch),
            batch,
            sample_key,
            epoch=epoch,
            num_examples=self._num_examples,
            **self._networks(params),
        )
        return loss, (metrics, split_model(model)[2])

    def _opponent_loss(
        self,
        index: int,
        params: Params,
        extra: nnx.State,
        batches: Batches,
        hparams: Hparams,
        epoch: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Scalar, tuple[Metrics, nnx.State]]:
        model = self._model(params, extra)
        loss_key, *keys = jax.random.split(key, 1 + 2 * len(batches))
        prepared = tuple(
            self._prepare(model, examples, hparams, epoch, keys[2 * i], keys[2 * i + 1])
            for i, examples in enumerate(batches)
        )
        opponent = self._objective(hparams).opponents()[index]
        loss, metrics = opponent.loss(
            model,
            prepared,
            loss_key,
            epoch=epoch,
            num_examples=self._num_examples,
            **self._networks(params),
        )
        return loss, (metrics, extra)


def build_players(
    experiment: AnyExperiment, form: DataForm, num_examples: int
) -> tuple[Player, ...]:
    """Return the players that an experiment trains; the first player's loss is the run's.

    Args:
      experiment: an experiment.
      form: height, width, channels; or the forms of several modalities.
      num_examples: size of the training set.
    """
    num_steps = experiment.epochs * (num_examples // experiment.batch_size)
    return _Game(experiment, form, num_examples, num_steps).players()
