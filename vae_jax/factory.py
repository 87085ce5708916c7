"""From a config to plain objects. With `experiments/`, the only place that sees a config."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

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
from vae_jax.models import (
    VAE,
    Autoencoder,
    AutoregressiveFlow,
    ConditionalNormal,
    DiagonalNormal,
    FlowPrior,
    LadderVAE,
    MarkovVAE,
    MixturePrior,
    StandardNormalPrior,
    VampPrior,
)
from vae_jax.models.interfaces import Decoder, Encoder, Likelihood, PriorNetwork
from vae_jax.models.likelihoods import LEARNED_SCALE_RANGE, LIKELIHOODS, unaccepted
from vae_jax.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.initializers import INITIALIZERS
from vae_jax.optimizers import scale_by_adam
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

# What some likelihoods read, the value that the others need, and the likelihoods that read it.
_LIKELIHOOD_FIELDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "likelihood_scale": (1.0, ("laplace", "normal")),
    "normal_scale": ("fixed", ("normal",)),
    "num_mixture": (10, ("discretized_logistic_mixture",)),
}

# What neither a deterministic autoencoder nor a bound of several samples reads, and the value that
# says so.
_VAE_ONLY = {
    "beta": 1.0,
    "distortion_weight": 1.0,
    "warmup_epochs": 0.0,
    "warmup_cycle_epochs": 0.0,
    "free_nats": 0.0,
}

# The objectives whose samples come in groups.
_GROUPED = ("miwae", "piwae")

ImageShape = tuple[int, int, int]
Images = Float[Array, "batch height width channels"]
# objective(model, inputs, targets, key, hparams, epoch) -> (loss, metrics)
Objective = Callable[
    [VAE, Images, Images, Key[Array, ""], Hyperparameters, Float[Array, ""]],
    tuple[Float[Array, ""], Metrics],
]


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
    _validate_latents(config)
    _validate_objective(config)
    cycle, ramp = config.hparams.warmup_cycle_epochs, config.hparams.warmup_epochs
    if 0 < cycle < ramp or (cycle > 0 and ramp == 0):
        raise UserError(
            f"hparams.warmup_cycle_epochs={cycle} must be at least hparams.warmup_epochs={ramp}, "
            "and that above 0"
        )
    if config.patience > 0 and not config.data.validation_split:
        raise UserError(
            f"patience={config.patience} needs a validation set; name one in data.validation_split"
        )
    if config.model.network == "mlp" and not config.model.widths:
        raise UserError("model.widths=() must name at least one hidden layer of an mlp network")
    _validate_likelihood(config)


def _validate_objective(config: ConfigDict) -> None:
    section = config.objective
    if config.model.name == "autoencoder":
        defaults = {"name": "elbo", "num_samples": 1, "gradient": "plain", "sampled_kl": False}
        for field, neutral in defaults.items():
            if section[field] != neutral:
                raise UserError(
                    f"objective.{field}={section[field]!r} has no effect with "
                    f"model.name='autoencoder'; use {neutral!r}"
                )
    if section.gradient == "dreg" and section.name != "iwae":
        raise UserError(
            f"objective.gradient='dreg' is an estimator for objective.name='iwae', not "
            f"{section.name!r}"
        )
    if section.gradient == "stl" and section.name == "piwae":
        raise UserError("objective.gradient='stl' is not defined for objective.name='piwae'")
    if section.gradient != "plain" and config.model.posterior == "iaf":
        raise UserError(
            f"objective.gradient={section.gradient!r} needs the posterior's density at given "
            "latents, which model.posterior='iaf' does not have; use objective.gradient='plain'"
        )
    if section.num_groups > 1 and section.name not in _GROUPED:
        raise UserError(
            f"objective.num_groups={section.num_groups} has no effect with objective.name="
            f"{section.name!r}; use 1, or one of {', '.join(_GROUPED)}"
        )
    if config.hparams.ciwae_weight > 0 and section.name != "ciwae":
        raise UserError(
            f"hparams.ciwae_weight={config.hparams.ciwae_weight} has no effect with "
            f"objective.name={section.name!r}; use 0.0, or objective.name='ciwae'"
        )
    if not _is_plain_elbo(config):
        # These weigh the terms of the elbo, which a bound over several samples does not have.
        for field, neutral in _VAE_ONLY.items():
            if config.hparams[field] != neutral:
                raise UserError(
                    f"hparams.{field}={config.hparams[field]} has no effect with objective.name="
                    f"{section.name!r} and objective.gradient={section.gradient!r}; use {neutral}"
                )
        if section.sampled_kl:
            raise UserError(
                f"objective.sampled_kl=True has no effect with objective.name={section.name!r} "
                f"and objective.gradient={section.gradient!r}, which sample it anyway; use False"
            )


def _validate_latents(config: ConfigDict) -> None:
    model = config.model
    if model.name == "autoencoder":
        neutral_values = {"posterior": "diagonal", "prior": "standard", "hierarchy": "none"}
        for field, neutral in neutral_values.items():
            if model[field] != neutral:
                raise UserError(
                    f"model.{field}={model[field]!r} has no effect with model.name='autoencoder'; "
                    f"use {neutral!r}"
                )
    if model.hierarchy == "none":
        for field in ("top_latent_size", "top_widths"):
            if model[field]:
                raise UserError(
                    f"model.{field}={model[field]} has no effect with model.hierarchy='none'; use "
                    f"{type(model[field])()}, or another model.hierarchy"
                )
    else:
        if model.top_latent_size == 0:
            raise UserError(
                "model.top_latent_size=0 must be at least 1 with model.hierarchy="
                f"{model.hierarchy!r}; Burda et al. 2015 use 50"
            )
        if model.posterior == "iaf":
            raise UserError(
                f"model.posterior='iaf' does not fit model.hierarchy={model.hierarchy!r}; use "
                "'diagonal', or model.hierarchy='none'"
            )
    for field, neutral in (("posterior", "diagonal"), ("hierarchy", "none")):
        if model.prior == "vamp" and model[field] != neutral:
            raise UserError(
                f"model.prior='vamp' mixes independent normals, which model.{field}="
                f"{model[field]!r} does not give; use {neutral!r}, or another prior"
            )
    size = "latent_size" if model.hierarchy == "none" else "top_latent_size"
    for field, name in (("posterior", "iaf"), ("prior", "flow")):
        if model[field] == name and model[size] < 2:
            raise UserError(
                f"model.{size}={model[size]} must be at least 2 with model.{field}={name!r}, where "
                "one dimension depends on another"
            )


def _validate_likelihood(config: ConfigDict) -> None:
    section = config.model
    for field, (neutral, readers) in _LIKELIHOOD_FIELDS.items():
        if section.likelihood not in readers and section[field] != neutral:
            raise UserError(
                f"model.{field}={section[field]!r} has no effect with model.likelihood="
                f"{section.likelihood!r}; use {neutral!r}, or model.likelihood="
                f"{' or '.join(map(repr, readers))}"
            )
    low, high = LEARNED_SCALE_RANGE
    if section.normal_scale != "fixed" and not low <= section.likelihood_scale <= high:
        raise UserError(
            f"model.likelihood_scale={section.likelihood_scale} must lie in [{low:g}, {high:g}] "
            f"with model.normal_scale={section.normal_scale!r}, which is bounded there"
        )
    if config.data.binarization != "none" and build_likelihood(config).support != "zeros and ones":
        raise UserError(
            f"data.binarization={config.data.binarization!r} does not fit model.likelihood="
            f"{section.likelihood!r}; use data.binarization='none', or model.likelihood='bernoulli'"
        )


def build_likelihood(config: ConfigDict) -> Likelihood:
    """The likelihood that the config names, as it starts."""
    section = config.model
    options: dict[str, dict[str, Any]] = {
        "discretized_logistic_mixture": {"num_components": section.num_mixture},
        "laplace": {"scale": section.likelihood_scale},
        "normal": {"scale": section.likelihood_scale, "kind": section.normal_scale},
    }
    return LIKELIHOODS[section.likelihood](**options.get(section.likelihood, {}))


def refused_values(config: ConfigDict, images: np.ndarray) -> str | None:
    """What is wrong with finite floating images for the likelihood; None if it accepts them."""
    return unaccepted(build_likelihood(config).accepts, images)


def _check_images(config: ConfigDict, field: str, dataset: Dataset) -> None:
    images = dataset.images
    if images.dtype == np.uint8:
        return
    problem = refused_values(config, images)
    if problem is not None:
        raise UserError(
            f"{field}: pixels of {config.data.name!r} {problem}; change them, or use "
            "model.likelihood='normal' with data.binarization='none'"
        )
    problem = unaccepted("unit interval", images) if config.model.prior == "vamp" else None
    if problem is not None:
        raise UserError(
            f"{field}: pixels of {config.data.name!r} {problem}, where the learned images of "
            "model.prior='vamp' lie; rescale them, or use another prior"
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
    config: ConfigDict, image_shape: ImageShape, outputs_per_channel: int, rngs: nnx.Rngs
) -> tuple[Encoder, Decoder]:
    model = config.model
    widths = list(model.widths)
    options: dict[str, Any] = {
        "activation": ACTIVATIONS[model.activation],
        "kernel_init": INITIALIZERS[model.initializer],
        "rngs": rngs,
    }
    if model.network == "mlp":
        options["gated"] = model.gated
        return (
            MLPEncoder(image_shape, widths, **options),
            MLPDecoder(
                model.latent_size,
                image_shape,
                widths[::-1],
                outputs_per_channel=outputs_per_channel,
                **options,
            ),
        )
    channels = list(model.channels)
    options["kernel_size"] = model.kernel_size
    return (
        ConvEncoder(image_shape, channels, widths, downsampling=model.downsampling, **options),
        ConvDecoder(
            model.latent_size,
            image_shape,
            channels,
            widths,
            upsampling=model.upsampling,
            outputs_per_channel=outputs_per_channel,
            **options,
        ),
    )


def _build_vae(
    config: ConfigDict,
    encoder: Encoder,
    decoder: Decoder,
    likelihood: Likelihood,
    mean_image: Float[Array, "height width channels"],
    rngs: nnx.Rngs,
) -> VAE:
    model = config.model
    dense: dict[str, Any] = {"kernel_init": INITIALIZERS[model.initializer], "rngs": rngs}
    hidden: dict[str, Any] = {"activation": ACTIVATIONS[model.activation], **dense}
    flow = {"num_layers": model.flow_layers, "width": model.flow_width, **hidden}
    # The prior belongs to the layer that is farthest from the image.
    prior_size = model.latent_size if model.hierarchy == "none" else model.top_latent_size
    priors: dict[str, Callable[[], PriorNetwork]] = {
        "flow": lambda: FlowPrior(prior_size, **flow),
        "mixture": lambda: MixturePrior(prior_size, model.prior_components, rngs=rngs),
        "standard": lambda: StandardNormalPrior(prior_size),
        "vamp": lambda: VampPrior(mean_image, model.prior_components, rngs=rngs),
    }
    if model.posterior == "iaf":
        posterior = AutoregressiveFlow(encoder.num_features, model.latent_size, **flow)
        return VAE(encoder, decoder, likelihood, posterior, priors[model.prior]())
    bottom = DiagonalNormal(encoder.num_features, model.latent_size, **dense)
    if model.hierarchy == "none":
        return VAE(encoder, decoder, likelihood, bottom, priors[model.prior]())
    hidden["gated"] = model.gated
    ladder, widths = model.hierarchy == "ladder", list(model.top_widths)
    top = ConditionalNormal(
        encoder.num_features if ladder else model.latent_size, widths, prior_size, **hidden
    )
    generative = ConditionalNormal(prior_size, widths[::-1], model.latent_size, **hidden)
    model_class = LadderVAE if ladder else MarkovVAE
    parts = encoder, decoder, likelihood, bottom, top, generative
    return model_class(*parts, priors[model.prior]())


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
      mean_image: mean of the training images in the unit interval, where the decoder starts, and
        the pseudo-inputs of a VampPrior.
    """
    section = config.model
    rngs = nnx.Rngs(key)
    likelihood = build_likelihood(config)
    encoder, decoder = _build_bodies(config, image_shape, likelihood.outputs_per_channel, rngs)
    if mean_image is not None:
        decoder.set_output_bias(mean_image, likelihood.output_for_mean)
    if section.name == "autoencoder":
        kernel_init = INITIALIZERS[section.initializer]
        return Autoencoder(
            encoder, decoder, likelihood, section.latent_size, kernel_init=kernel_init, rngs=rngs
        )
    start = jnp.full(image_shape, 0.5) if mean_image is None else mean_image
    return _build_vae(config, encoder, decoder, likelihood, start, rngs)


def latent_size(config: ConfigDict) -> int:
    """Number of latent dimensions, those of both layers where there are two."""
    top = config.model.top_latent_size if config.model.hierarchy != "none" else 0
    return int(config.model.latent_size + top)


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


def _is_plain_elbo(config: ConfigDict) -> bool:
    """Whether the objective keeps its two terms apart, so that they can be weighted."""
    return bool(config.objective.name == "elbo" and config.objective.gradient == "plain")


def _build_elbo(config: ConfigDict) -> Objective:
    section = config.objective

    def objective(
        model: VAE,
        inputs: Images,
        targets: Images,
        key: Key[Array, ""],
        hparams: Hyperparameters,
        epoch: Float[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        terms = objectives.elbo_terms(
            model,
            inputs,
            targets,
            key,
            num_samples=section.num_samples,
            sampled_kl=section.sampled_kl,
        )
        ramp = objectives.warmup(epoch, hparams.warmup_epochs, hparams.warmup_cycle_epochs)
        loss = objectives.negative_elbo(
            terms,
            distortion_weight=hparams.distortion_weight,
            kl_weight=hparams.beta * ramp,
            free_nats=hparams.free_nats,
        )
        return loss, terms.means()

    return objective


def _build_bound(config: ConfigDict) -> Objective:
    section = config.objective
    groups = section.num_groups if section.name in _GROUPED else 1

    def objective(
        model: VAE,
        inputs: Images,
        targets: Images,
        key: Key[Array, ""],
        hparams: Hyperparameters,
        epoch: Float[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        del epoch
        if section.gradient == "dreg":
            bound, terms = objectives.doubly_reparameterized(
                model, inputs, targets, key, num_samples=section.num_samples
            )
        elif section.name == "piwae":
            bound, terms = objectives.piwae_bound(
                model, inputs, targets, key, num_samples=section.num_samples, num_groups=groups
            )
        else:
            terms = objectives.log_weight_terms(
                model,
                inputs,
                targets,
                key,
                num_samples=groups * section.num_samples,
                sticking=section.gradient == "stl",
            )
            bounds: dict[str, Callable[[Array], Array]] = {
                "elbo": objectives.elbo,
                "iwae": objectives.iwae_bound,
                "miwae": lambda weights: objectives.miwae_bound(weights, groups),
                "ciwae": lambda weights: objectives.ciwae_bound(weights, hparams.ciwae_weight),
            }
            bound = bounds[section.name](terms.log_weights)
        return -bound.mean(), {**terms.means(), "bound": bound.mean()}

    return objective


def build_loss(config: ConfigDict, graphdef: nnx.GraphDef) -> LossFn:
    """The objective as a function of parameters and stored images."""
    prepare, corrupt = build_prepare(config), build_corrupt(config)
    objective = _build_elbo(config) if _is_plain_elbo(config) else _build_bound(config)

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
        return objective(model, inputs, targets, sample_key, hparams, epoch)

    return loss_fn


def _powers_of_three(steps_per_epoch: int, epochs: int) -> optax.Schedule:
    """3^i epochs at 10^(-i/7), i = 0, 1, ... (Burda et al. 2015, section 5)."""
    ends, stage = [], 0
    while (3 ** (stage + 1) - 1) // 2 < epochs:
        stage += 1
        ends.append((3**stage - 1) // 2 * steps_per_epoch)
    return optax.piecewise_constant_schedule(1.0, dict.fromkeys(ends, 10 ** (-1 / 7)))


def build_optimizer(config: ConfigDict, num_steps: int) -> MakeOptimizer:
    """The optimiser as a function of the hyperparameters, which may be traced.

    Args:
      config: a validated config.
      num_steps: steps of the whole run, over which the schedule runs.
    """
    section = config.optimizer
    schedules: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(1.0),
        "cosine": lambda: optax.cosine_decay_schedule(1.0, num_steps),
        "powers_of_three": lambda: _powers_of_three(num_steps // config.epochs, config.epochs),
    }
    schedule = schedules[section.schedule]()
    scalings = {
        "adagrad": lambda: optax.scale_by_rss(initial_accumulator_value=0.1),
        "adam": lambda: scale_by_adam(section.b1, section.b2, section.epsilon),
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
