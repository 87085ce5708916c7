"""From a config to plain objects. With `experiments/`, the only place that sees a config."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from vae_jax import data, objectives
from vae_jax.config_fields import check_fields, flatten
from vae_jax.corruptions import CORRUPTIONS, MAX_LEVEL, Corruption
from vae_jax.data import Dataset, splits
from vae_jax.data.pixels import Prepare, StoredImages, binarize, to_unit_interval
from vae_jax.errors import UserError
from vae_jax.models import VAE, Autoencoder, BernoulliLikelihood, NormalLikelihood
from vae_jax.models.interfaces import Decoder, Encoder
from vae_jax.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.training import (
    Hyperparameters,
    LossFn,
    MakeOptimizer,
    Metrics,
    TrainState,
    evaluate,
    init_state,
    train_epoch,
    train_step,
)
from vae_jax.training_loop import Plan, RunState

_LIKELIHOODS: dict[str, type[BernoulliLikelihood] | type[NormalLikelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "normal": NormalLikelihood,
}

# What a deterministic autoencoder does not read, and the value that says so.
_VAE_ONLY = {"beta": 1.0, "distortion_weight": 1.0, "warmup_epochs": 0.0, "free_nats": 0.0}

ImageShape = tuple[int, int, int]


class Splits(NamedTuple):
    """The three parts of a data set; no validation set where the config names none."""

    train: Dataset
    validation: Dataset | None
    test: Dataset


class EvaluationKeys(NamedTuple):
    """One key for each thing that evaluation draws, none used twice."""

    validation: Key[Array, ""]
    targets: Key[Array, ""]
    samples: Key[Array, ""]
    corruption: Key[Array, ""]
    prior: Key[Array, ""]


def make_key(seed: int) -> Key[Array, ""]:
    """The key of a seed, of the one kind that gives the same bits on every platform."""
    return jax.random.key(seed, impl="threefry2x32")


def build_evaluation_keys(config: ConfigDict) -> EvaluationKeys:
    """The keys that `evaluation.seed` gives, the same for every run."""
    keys = jax.random.split(make_key(config.evaluation.seed), len(EvaluationKeys._fields))
    return EvaluationKeys(*keys)


def validate(config: ConfigDict) -> None:
    """Refuse a config that cannot work, before anything is read or compiled.

    Raises:
      UserError: names the field, its value, and what would be right.
    """
    check_fields(flatten(config.to_dict()))
    level, corruption = config.hparams.corruption_level, config.corruption
    if corruption == "none" and level > 0:
        raise UserError(
            f"hparams.corruption_level={level} needs a corruption; set corruption to one of "
            f"{', '.join(CORRUPTIONS)}"
        )
    if corruption != "none" and level > MAX_LEVEL[corruption]:
        raise UserError(
            f"hparams.corruption_level={level} must be at most {MAX_LEVEL[corruption]:g} for "
            f"corruption={corruption!r}"
        )
    if corruption != "none" and level == 0:
        raise UserError(
            f"hparams.corruption_level={level} leaves corruption={corruption!r} without effect; "
            "raise it, or use corruption='none'"
        )
    if config.model.gated and config.model.network == "conv":
        raise UserError("model.gated=True has no effect with model.network='conv'; use 'mlp'")
    if config.model.name == "autoencoder":
        for field, neutral in _VAE_ONLY.items():
            if config.hparams[field] != neutral:
                raise UserError(
                    f"hparams.{field}={config.hparams[field]} has no effect with "
                    f"model.name='autoencoder'; use {neutral}"
                )
    if config.patience > 0 and not config.data.validation_split:
        raise UserError(
            f"patience={config.patience} needs a validation set; name one in data.validation_split"
        )
    if config.model.network == "mlp" and not config.model.widths:
        raise UserError("model.widths=() must name at least one hidden layer of an mlp network")
    if config.data.binarization != "none" and config.model.likelihood == "normal":
        raise UserError(
            f"data.binarization={config.data.binarization!r} does not fit "
            "model.likelihood='normal'; use data.binarization='none'"
        )


def accepted_range(config: ConfigDict) -> tuple[float, float]:
    """Smallest and largest value that the likelihood accepts."""
    return _LIKELIHOODS[config.model.likelihood].accepts


def _check_images(config: ConfigDict, field: str, dataset: Dataset) -> None:
    images = dataset.images
    if images.dtype == np.uint8:
        return
    low, high = float(images.min()), float(images.max())
    accepted_low, accepted_high = accepted_range(config)
    if low < accepted_low or high > accepted_high:
        raise UserError(
            f"{field}: pixels of {config.data.name!r} lie in [{low:g}, {high:g}], outside [0, 1]; "
            "rescale them, or use model.likelihood='normal' with data.binarization='none'"
        )


def _check_image_shape(config: ConfigDict, image_shape: ImageShape) -> None:
    if image_shape[2] not in (1, 3):
        raise UserError(
            f"data.name={config.data.name!r} has images of {image_shape[2]} channels; use 1 (grey) "
            "or 3 (colour)"
        )
    levels = len(config.model.channels)
    if config.model.network == "conv" and min(image_shape[:2]) < 2**levels:
        raise UserError(
            f"images of {image_shape[0]}x{image_shape[1]} pixels are too small for "
            f"model.channels={tuple(config.model.channels)}, which halves them {levels} times; "
            f"use images of at least {2**levels}x{2**levels} or name fewer channels"
        )


def load_splits(config: ConfigDict) -> Splits:
    """Read the training, validation and test sets; a static binarisation is drawn here.

    Raises:
      UserError: unknown, damaged or unfit data; splits that overlap; a batch larger than the data.
    """
    section = config.data
    sizes = data.split_sizes(section.name, section.dir)
    names = {"data.train_split": section.train_split, "data.test_split": section.test_split}
    if section.validation_split:
        names["data.validation_split"] = section.validation_split
    for field, name in names.items():
        try:
            splits.parse(name, sizes)
        except UserError as error:
            raise UserError(f"{field}: {error}") from None
    fields = list(names)
    for i, field in enumerate(fields):
        for other in fields[i + 1 :]:
            shared = splits.overlap(names[field], names[other], sizes)
            if shared:
                raise UserError(
                    f"{field}={names[field]!r} shares {shared} examples with "
                    f"{other}={names[other]!r}; use splits that do not overlap"
                )
    loaded = {field: data.load(section.name, name, section.dir) for field, name in names.items()}
    shapes = {field: dataset.images.shape[1:] for field, dataset in loaded.items()}
    if len(set(shapes.values())) > 1:
        described = ", ".join(f"{field} {shape}" for field, shape in shapes.items())
        raise UserError(f"data.name={section.name!r} has images of several shapes: {described}")
    for field, dataset in loaded.items():
        _check_images(config, field, dataset)
    _check_image_shape(config, shapes["data.train_split"])
    num_train = loaded["data.train_split"].images.shape[0]
    if config.batch_size > num_train:
        raise UserError(
            f"batch_size={config.batch_size} is larger than the {num_train} images of "
            f"data.train_split={section.train_split!r}; use at most {num_train}"
        )
    if section.binarization == "static":
        loaded = {
            field: dataset._replace(images=_static_draw(dataset.images, index, config))
            for index, (field, dataset) in enumerate(sorted(loaded.items()))
        }
    return Splits(
        train=loaded["data.train_split"],
        validation=loaded.get("data.validation_split"),
        test=loaded["data.test_split"],
    )


def _static_draw(images: np.ndarray, index: int, config: ConfigDict) -> np.ndarray:
    key = jax.random.fold_in(make_key(config.data.binarization_seed), index)
    # Zeros and ones kept as bytes: a quarter of the memory of floats.
    drawn = np.asarray(binarize(key, jnp.asarray(images)))
    return (drawn * 255).astype(np.uint8)


def _build_bodies(
    config: ConfigDict, image_shape: ImageShape, rngs: nnx.Rngs
) -> tuple[Encoder, Decoder]:
    model = config.model
    activation = ACTIVATIONS[model.activation]
    widths = list(model.widths)
    if model.network == "mlp":
        options = {"activation": activation, "gated": model.gated, "rngs": rngs}
        return (
            MLPEncoder(image_shape, widths, **options),
            MLPDecoder(model.latent_size, image_shape, widths[::-1], **options),
        )
    channels = list(model.channels)
    options = {"kernel_size": model.kernel_size, "activation": activation, "rngs": rngs}
    return (
        ConvEncoder(image_shape, channels, widths, downsampling=model.downsampling, **options),
        ConvDecoder(
            model.latent_size, image_shape, channels, widths, upsampling=model.upsampling, **options
        ),
    )


def build_model(
    config: ConfigDict,
    image_shape: ImageShape,
    key: Key[Array, ""],
    mean_image: Float[Array, "height width channels"] | None = None,
) -> VAE | Autoencoder:
    """The model with fresh parameters.

    Args:
      config: a validated config.
      image_shape: height, width, channels.
      key: of the initial parameters.
      mean_image: mean of the training images in the unit interval, where the decoder starts.
    """
    section = config.model
    rngs = nnx.Rngs(key)
    encoder, decoder = _build_bodies(config, image_shape, rngs)
    likelihood = (
        BernoulliLikelihood()
        if section.likelihood == "bernoulli"
        else NormalLikelihood(section.likelihood_scale, learn_scale=section.learn_scale)
    )
    if mean_image is not None:
        decoder.set_output_bias(mean_image, likelihood.output_for_mean)
    model_class = VAE if section.name == "vae" else Autoencoder
    return model_class(encoder, decoder, likelihood, section.latent_size, rngs=rngs)


def build_graphdef(config: ConfigDict, image_shape: ImageShape) -> nnx.GraphDef:
    """The model without its parameters, for `nnx.merge`."""
    model = nnx.eval_shape(lambda: build_model(config, image_shape, jax.random.key(0)))
    return nnx.split(model)[0]


def build_hparams(config: ConfigDict) -> Hyperparameters:
    """The scalars that enter the compiled program."""
    values = {name: jnp.float32(value) for name, value in config.hparams.items()}
    return Hyperparameters(**values)


def build_prepare(config: ConfigDict) -> Prepare:
    """How stored images become targets: `prepare(key, images)` in the unit interval."""
    if config.data.binarization == "dynamic":
        return binarize
    return lambda key, images: to_unit_interval(images)


def build_corrupt(config: ConfigDict) -> Corruption | None:
    """What happens to the encoder's input; None where it sees the target itself."""
    return CORRUPTIONS.get(config.corruption)


def build_loss(config: ConfigDict, graphdef: nnx.GraphDef) -> LossFn:
    """The objective as a function of parameters and stored images."""
    prepare, corrupt = build_prepare(config), build_corrupt(config)

    def loss_fn(
        params: nnx.State,
        images: StoredImages,
        hparams: Hyperparameters,
        epoch: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        prepare_key, corrupt_key, sample_key = jax.random.split(key, 3)
        model = nnx.merge(graphdef, params)
        targets = prepare(prepare_key, images)
        inputs = targets
        if corrupt is not None:
            inputs = corrupt(corrupt_key, targets, hparams.corruption_level)
        if isinstance(model, Autoencoder):
            return objectives.autoencoder_loss(model, inputs, targets)
        terms = objectives.elbo_terms(model, inputs, targets, sample_key)
        loss = objectives.negative_elbo(
            terms,
            distortion_weight=hparams.distortion_weight,
            kl_weight=hparams.beta * objectives.warmup(epoch, hparams.warmup_epochs),
            free_nats=hparams.free_nats,
        )
        return loss, terms.means()

    return loss_fn


def build_optimizer(config: ConfigDict, num_steps: int) -> MakeOptimizer:
    """The optimiser as a function of the hyperparameters, which may be traced.

    Args:
      config: a validated config.
      num_steps: steps of the whole run, over which the schedule runs.
    """
    section = config.optimizer
    schedule = (
        optax.cosine_decay_schedule(1.0, num_steps)
        if section.schedule == "cosine"
        else optax.constant_schedule(1.0)
    )
    scalings = {
        "adagrad": lambda: optax.scale_by_rss(initial_accumulator_value=0.1),
        "adam": optax.scale_by_adam,
        "sgd": optax.identity,
    }

    def make_optimizer(hparams: Hyperparameters) -> optax.GradientTransformation:
        clip = section.gradient_clip_norm
        return optax.chain(
            optax.clip_by_global_norm(clip) if clip > 0 else optax.identity(),
            scalings[section.name](),
            # Decay pulls weights towards zero; a bias or a scale has no reason to be near it.
            optax.add_decayed_weights(
                hparams.weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
            ),
            optax.scale_by_learning_rate(lambda count: hparams.learning_rate * schedule(count)),
        )

    return make_optimizer


def mean_image(train: Dataset) -> Float[Array, "height width channels"]:
    """Mean of the training images in the unit interval, where the decoder starts."""
    scale = 255 if train.images.dtype == np.uint8 else 1
    return jnp.asarray(train.images.mean(axis=0) / scale, jnp.float32)


def build_plan(config: ConfigDict, num_examples: int) -> Plan:
    """How long to train on so many examples, and when to look up."""
    return Plan(
        epochs=config.epochs,
        steps_per_epoch=num_examples // config.batch_size,
        steps_per_call=config.steps_per_call,
        batch_size=config.batch_size,
        patience=config.patience,
        checkpoint_seconds=config.checkpoints.every_seconds,
        max_checkpoints=config.checkpoints.max_to_keep,
        warmup_epochs=config.hparams.warmup_epochs,
    )


class Program(NamedTuple):
    """What a run executes: pure functions, not yet compiled, and its initial state.

    Attributes:
      graphdef: the model without its parameters.
      init: `init(mean_image, key, hparams)` makes the state before the first step.
      run_steps: `run_steps(state, images, num_steps)` trains.
      validate: `validate(state, images)` measures the objective on other images.
    """

    graphdef: nnx.GraphDef
    init: Callable[
        [Float[Array, "height width channels"], Key[Array, ""], Hyperparameters], RunState
    ]
    run_steps: Callable[..., tuple[TrainState, dict[str, Float[Array, " steps"]]]]
    validate: Callable[[TrainState, StoredImages], Metrics]


def build_program(config: ConfigDict, image_shape: ImageShape, num_examples: int) -> Program:
    """Everything that a run executes.

    Args:
      config: a validated config.
      image_shape: height, width, channels.
      num_examples: size of the training set.
    """
    steps_per_epoch = num_examples // config.batch_size
    graphdef = build_graphdef(config, image_shape)
    loss_fn = build_loss(config, graphdef)
    make_optimizer = build_optimizer(config, config.epochs * steps_per_epoch)
    step_fn = functools.partial(train_step, loss_fn=loss_fn, make_optimizer=make_optimizer)
    # The same draw for every epoch and every seed: validation scores can be compared.
    validation_key = build_evaluation_keys(config).validation

    def init(
        mean_image: Float[Array, "height width channels"],
        key: Key[Array, ""],
        hparams: Hyperparameters,
    ) -> RunState:
        model_key, run_key = jax.random.split(key)
        params = nnx.split(build_model(config, image_shape, model_key, mean_image))[1]
        state = init_state(params, hparams, make_optimizer, run_key)
        return RunState(train=state, best_params=jax.tree.map(jnp.copy, params))

    def run_steps(
        state: TrainState, images: StoredImages, num_steps: int
    ) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
        return train_epoch(
            state, images, step_fn=step_fn, batch_size=config.batch_size, num_steps=num_steps
        )

    def validate(state: TrainState, images: StoredImages) -> Metrics:
        return evaluate(
            state.params,
            images,
            state.hparams,
            # After any warm-up: epochs are compared by the objective that training ends with.
            jnp.float32(jnp.inf),
            validation_key,
            loss_fn=loss_fn,
            batch_size=config.evaluation.batch_size,
        )

    return Program(graphdef, init, run_steps, validate)


def run_state_template(config: ConfigDict, image_shape: ImageShape) -> RunState:
    """The shapes of a run's state, to restore a checkpoint into."""
    program = build_program(config, image_shape, num_examples=config.batch_size)
    image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
    return jax.eval_shape(program.init, image, make_key(config.seed), build_hparams(config))
