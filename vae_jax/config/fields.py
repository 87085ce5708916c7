"""Every field that a config has, and the values it takes."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np

from vae_jax.data.captions.vocabulary import UNKNOWN_WORDS
from vae_jax.data.corruptions import CORRUPTIONS
from vae_jax.errors import UserError
from vae_jax.models.experts import JOINT_POSTERIORS
from vae_jax.models.likelihoods import LIKELIHOODS, NormalScale
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.initializers import INITIALIZERS
from vae_jax.networks.precision import COMPUTE_DTYPES
from vae_jax.objectives.kl_decomposition import Estimator

# Says what would be right, or None if the value is.
Check = Callable[[Any], str | None]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# Samples are counted in 32 bits, with room for a chunk beyond.
MAX_SAMPLES = 10**9

# What float32 holds without losing digits.
_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)


def _integer(low: int, high: int | None = None) -> Check:
    def check(value: Any) -> str | None:
        if _is_int(value) and value >= low and (high is None or value <= high):
            return None
        return f"an integer of at least {low}" + ("" if high is None else f" and at most {high}")

    return check


def _seed(value: Any) -> str | None:
    # Beyond, `jax.random.key` takes two seeds for the same or fails.
    return None if _is_int(value) and 0 <= value < 2**32 else "an integer from 0 to 2**32 - 1"


def _number(low: float, *, above: bool = False, below: float = math.inf) -> Check:
    def check(value: Any) -> str | None:
        number = (_is_int(value) or isinstance(value, float)) and math.isfinite(value)
        if number and (value > low or (value == low and not above)) and value < below:
            if value == 0 or _SMALLEST <= abs(value) <= _LARGEST:
                return None
            return f"a number that float32 holds: 0, or from {_SMALLEST:.1e} to {_LARGEST:.1e}"
        bound = f" and below {below:g}" if math.isfinite(below) else ""
        return f"a number {'above' if above else 'of at least'} {low:g}{bound}"

    return check


def _one_of(names: Sequence[str]) -> Check:
    def check(value: Any) -> str | None:
        return None if value in names else f"one of {', '.join(sorted(names))}"

    return check


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "a text"


def _nonempty_text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "a text that is not empty"


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "True or False"


def _sizes(*, empty: bool) -> Check:
    def check(value: Any) -> str | None:
        good = isinstance(value, tuple | list) and all(_is_int(v) and v >= 1 for v in value)
        if good and (value or empty):
            return None
        return f"a tuple of {'' if empty else 'one or more '}positive integers, such as (400,)"

    return check


def _caption_length(value: Any) -> str | None:
    good = _is_int(value) and (value == 0 or value >= 2)
    return None if good else "0, or an integer of at least 2"


def _names(value: Any) -> str | None:
    good = isinstance(value, tuple | list) and all(isinstance(v, str) and v for v in value)
    if good and len(set(value)) == len(value):
        return None
    return "a tuple of different names, such as ('image', 'label')"


def _weights(value: Any) -> str | None:
    good = isinstance(value, tuple | list) and all(_number(0.0)(v) is None for v in value)
    if good and (any(value) or not value):
        return None
    return "a tuple of numbers of at least 0, not all 0, such as (1.0, 50.0)"


def _shares(value: Any) -> str | None:
    above_0 = _number(0.0, above=True)
    if isinstance(value, tuple | list) and all(above_0(v) is None and v <= 1 for v in value):
        return None
    return "a tuple of numbers above 0 and at most 1, such as (1.0, 0.1)"


FIELDS: dict[str, Check] = {
    "seed": _seed,
    "epochs": _integer(1),
    "batch_size": _integer(1),
    "steps_per_call": _integer(1),
    "patience": _integer(0),
    "data.name": _nonempty_text,
    "data.dir": _text,
    "data.train_split": _nonempty_text,
    "data.validation_split": _text,
    "data.test_split": _nonempty_text,
    "data.binarization": _one_of(["dynamic", "none", "static"]),
    "data.binarization_seed": _seed,
    "data.image_size": _integer(0),
    "data.mode": _one_of(["auto", "memory", "render", "stream"]),
    "data.factors": _one_of(["continuous", "grid"]),
    "data.memory_limit": _number(0.0, above=True),
    "data.modalities": _names,
    "data.modality_shares": _shares,
    "data.modality_seed": _seed,
    "data.captions": _text,
    "data.caption_length": _caption_length,
    "data.unknown_words": _one_of(UNKNOWN_WORDS),
    "model.name": _one_of(["autoencoder", "multimodal", "vae"]),
    "model.latent_size": _integer(1),
    "model.posterior": _one_of(["diagonal", "iaf"]),
    "model.prior": _one_of(["flow", "mixture", "standard", "vamp"]),
    "model.prior_components": _integer(1),
    "model.flow_layers": _integer(1),
    "model.flow_width": _integer(1),
    "model.hierarchy": _one_of(["ladder", "markov", "none"]),
    "model.top_latent_size": _integer(0),
    "model.top_widths": _sizes(empty=True),
    "model.network": _one_of(["conv", "mlp", "resnet"]),
    "model.widths": _sizes(empty=True),
    "model.gated": _boolean,
    "model.activation": _one_of(list(ACTIVATIONS)),
    "model.initializer": _one_of(list(INITIALIZERS)),
    "model.decoder_start": _one_of(["grey", "mean_image"]),
    "model.channels": _sizes(empty=False),
    "model.kernel_size": _integer(2),
    "model.downsampling": _one_of(["pool", "stride"]),
    "model.upsampling": _one_of(["resize", "transpose"]),
    "model.blocks": _integer(1),
    "model.remat": _boolean,
    "model.compute_dtype": _one_of(list(COMPUTE_DTYPES)),
    "model.likelihood": _one_of(list(LIKELIHOODS)),
    "model.likelihood_scale": _number(0.0, above=True),
    "model.normal_scale": _one_of(get_args(NormalScale)),
    "model.num_mixture": _integer(1),
    "model.discriminator_widths": _sizes(empty=True),
    "model.joint_posterior": _one_of(JOINT_POSTERIORS),
    "model.embedding_size": _integer(1),
    "model.text_width": _integer(1),
    "corruption": _one_of(["none", *CORRUPTIONS]),
    "objective.name": _one_of(
        ["capacity", "ciwae", "dip", "elbo", "factor", "iwae", "miwae", "piwae", "tc"]
    ),
    "objective.num_samples": _integer(1),
    "objective.num_groups": _integer(1),
    "objective.gradient": _one_of(["dreg", "plain", "stl"]),
    "objective.sampled_kl": _boolean,
    "objective.tc_estimator": _one_of(get_args(Estimator)),
    "objective.dip_kind": _one_of(["i", "ii"]),
    "objective.modality_weights": _weights,
    "objective.num_subsets": _integer(0),
    "optimizer.name": _one_of(["adagrad", "adam", "sgd"]),
    "optimizer.schedule": _one_of(["constant", "cosine", "powers_of_three"]),
    "optimizer.b1": _number(0.0, below=1.0),
    "optimizer.b2": _number(0.0, below=1.0),
    "optimizer.epsilon": _number(0.0, above=True),
    "optimizer.gradient_clip_norm": _number(0.0),
    "optimizer.accumulation_steps": _integer(1),
    "hparams.learning_rate": _number(0.0, above=True),
    "hparams.beta": _number(0.0),
    "hparams.distortion_weight": _number(0.0),
    "hparams.warmup_epochs": _number(0.0),
    "hparams.warmup_cycle_epochs": _number(0.0),
    "hparams.free_nats": _number(0.0),
    "hparams.ciwae_weight": _number(0.0, below=1.0),
    "hparams.gamma": _number(0.0),
    "hparams.capacity": _number(0.0),
    "hparams.capacity_epochs": _number(0.0),
    "hparams.dip_off_diagonal": _number(0.0),
    "hparams.dip_diagonal": _number(0.0),
    "hparams.discriminator_learning_rate": _number(0.0, above=True),
    "hparams.unimodal_kl_weight": _number(0.0),
    "hparams.word_dropout": _number(0.0, below=1.0),
    "hparams.corruption_level": _number(0.0),
    "hparams.weight_decay": _number(0.0),
    "checkpoints.every_seconds": _number(0.0),
    "checkpoints.max_to_keep": _integer(1),
    "tensorboard.images_every_epochs": _integer(0),
    "evaluation.num_samples": _integer(1, MAX_SAMPLES),
    "evaluation.batch_size": _integer(1),
    "evaluation.seed": _seed,
    "evaluation.disentanglement": _boolean,
}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested sections by dotted field name."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        nested = isinstance(value, Mapping)
        flat.update(flatten(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value})
    return flat


def with_fields(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested sections in which the fields of `values`, by dotted name, have those values.

    Raises:
      KeyError: a field that is not there.
    """
    changed = {name: dict(v) if isinstance(v, Mapping) else v for name, v in config.items()}
    for field, value in values.items():
        *sections, name = field.split(".")
        section = changed
        for part in sections:
            section = section[part]
        if name not in section:
            raise KeyError(field)
        section[name] = value
    return changed


def unknown_field_message(field: str) -> str:
    """One line on a field that no config has, with the nearest one that there is."""
    close = difflib.get_close_matches(field, FIELDS, n=1)
    return f"{field} is not a field of the config" + (
        f"; did you mean {close[0]}?" if close else ""
    )


def check_fields(flat: Mapping[str, Any]) -> None:
    """Refuse a field that is unknown, missing, of the wrong type or out of its range.

    Args:
      flat: values by dotted field name.

    Raises:
      UserError: names the field, its value, and what would be right.
    """
    for field in flat:
        if field not in FIELDS:
            raise UserError(unknown_field_message(field))
    for field, check in FIELDS.items():
        if field not in flat:
            raise UserError(f"{field} is missing from the config; see configs/vanilla.py")
        expected = check(flat[field])
        if expected is not None:
            raise UserError(f"{field}={flat[field]!r} must be {expected}")
