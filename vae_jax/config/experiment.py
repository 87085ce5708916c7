"""An experiment and its parts, each with settings of its own."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ml_collections import ConfigDict

from vae_jax import settings, workdir
from vae_jax.config import rules
from vae_jax.config.data_settings import ImageData, JointData, TableData
from vae_jax.config.forms import from_metadata
from vae_jax.config.upgrades import SCHEMA, is_flat, upgrade
from vae_jax.data.corruptions import CORRUPTIONS, CorruptionPart
from vae_jax.errors import UserError, first_line
from vae_jax.models.code_prior import FirstStage
from vae_jax.models.interfaces import MODELS, ModelPart
from vae_jax.models.rows import takes_rows
from vae_jax.objectives import OBJECTIVES, Objective
from vae_jax.settings import Setting, bounded, flag, integer, name_of, part, section, seed, text
from vae_jax.training import checkpoints as saving
from vae_jax.training.optimizers import OPTIMIZERS, Optimizer

# Samples are counted in 32 bits, with room for one chunk more.
MAX_SAMPLES = 10**9


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """When checkpoints are written."""

    every_seconds: float = bounded(
        30.0, "Seconds between two checkpoints; 0 writes one after every call.", at_least=0.0
    )
    max_to_keep: int = integer(3, "How many of the newest stay.", at_least=1)


@dataclasses.dataclass(frozen=True)
class TensorBoard:
    """The settings of what TensorBoard gets beside scalars."""

    images_every_epochs: int = integer(
        10, "Epochs between two writings of samples and reconstructions; 0 is never.", at_least=0
    )


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    batch_size: int = integer(500, "Images per batch.", at_least=1)
    seed: int = seed(0, "Seed of the binarisation of the test set and of all samples there.")


@dataclasses.dataclass(frozen=True)
class Evaluation(_Evaluation):
    """The settings of evaluation for a model of images with a density."""

    num_samples: int = integer(
        1000,
        "Importance samples per image of the bound on the test set.",
        at_least=1,
        at_most=MAX_SAMPLES,
    )
    disentanglement: bool = flag(
        False, "Whether to measure how single latents hold single factors, of data that have them."
    )


@dataclasses.dataclass(frozen=True)
class ReconstructionEvaluation(_Evaluation):
    """The settings of evaluation for a model of images whose code is a function of the image."""

    num_samples: ClassVar[int] = 1

    disentanglement: bool = flag(
        False, "Whether to measure how single latents hold single factors, of data that have them."
    )


@dataclasses.dataclass(frozen=True)
class JointEvaluation(_Evaluation):
    """The settings of evaluation for a model of several modalities."""

    disentanglement: ClassVar[bool] = False

    num_samples: int = integer(
        1000,
        "Importance samples per example of the bounds on the test set.",
        at_least=1,
        at_most=MAX_SAMPLES,
    )


@dataclasses.dataclass(frozen=True)
class InitFrom:
    """A run whose model a new run starts from. A config names its workdir; the rest is read there.

    Attributes:
      is_read: True, since a user does not give these settings one by one.
    """

    is_read: ClassVar[bool] = True

    workdir: str = text("", "Workdir of the run, or empty; read once, before the first step.")
    step: int = integer(0, "Step of its checkpoint.", at_least=0)
    digest: str = text("", "Digest of the files of its checkpoint.")


@dataclasses.dataclass(frozen=True)
class _Run:
    seed: int = seed(0, "Seed of the initial parameters, the order of the data and all noise.")
    epochs: int = integer(60, "Passes over the training set.", at_least=1)
    batch_size: int = integer(128, "Examples per step.", at_least=1)
    steps_per_call: int = integer(
        1000,
        "Most steps of one compiled call, between which signals and losses are looked at.",
        at_least=1,
    )
    patience: int = integer(
        0, "Epochs without a better validation score before stopping; 0 is never.", at_least=0
    )
    model: ModelPart = part("vae", MODELS, ModelPart, "The model.")
    objective: Objective = part("elbo", OBJECTIVES, Objective, "What is minimised.")
    optimizer: Optimizer = part("adam", OPTIMIZERS, Optimizer, "How it is minimised.")
    checkpoints: Checkpoints = section(Checkpoints, "When checkpoints are written.")
    init_from: InitFrom = section(
        InitFrom, "The run whose model this one starts from, named by its workdir."
    )

    @property
    def hparams(self) -> dict[str, float]:
        """The traced settings by dotted name."""
        return settings.traced_values(self)

    def to_dict(self) -> dict[str, Any]:
        """Return every setting, nested, and the schema that they are of.

        A run that starts from no other has no `init_from` there.
        """
        content = {"schema": SCHEMA, **settings.to_dict(self)}
        if not self.init_from.workdir:
            del content["init_from"]
        return content


@dataclasses.dataclass(frozen=True)
class Experiment(_Run):
    """An experiment on images, or on the rows of a table."""

    data: Any = section(ImageData, "The data.")
    corruption: CorruptionPart = part(
        "none", CORRUPTIONS, CorruptionPart, "What the encoder sees in place of the image."
    )
    tensorboard: TensorBoard = section(TensorBoard, "What TensorBoard gets beside scalars.")
    evaluation: Any = section(Evaluation, "How the model is measured.")


@dataclasses.dataclass(frozen=True)
class JointExperiment(_Run):
    """An experiment on several modalities."""

    data: JointData = section(JointData, "The data.")
    evaluation: JointEvaluation = section(JointEvaluation, "How the model is measured.")


# An `Experiment` or a `JointExperiment`; its choices decide which settings it has.
AnyExperiment = Any
# A user's config: a ConfigDict, nested mappings, or the experiment that they resolve to.
Config = Any


def plain(config: Config) -> dict[str, Any]:
    """Return a config as nested dicts of the present schema.

    Raises:
      UserError: it holds no settings, a value fails, or it is of a later schema.
    """
    if isinstance(config, Experiment | JointExperiment):
        return config.to_dict()
    if not isinstance(config, ConfigDict | Mapping):
        raise UserError(
            f"the config is {settings.shown(config)}; it must be a ConfigDict, or nested dicts"
        )
    if isinstance(config, Mapping):
        return upgrade(config)
    try:
        content = config.to_dict()
    # References are computed only here.
    except Exception as error:
        raise UserError(
            f"the config has a value that fails: {type(error).__name__}: {first_line(error)}"
        ) from None
    return upgrade(content)


def shape_of(content: Mapping[str, Any]) -> tuple[type, dict[str, type], Any]:
    """Return the class of a config's experiment, the classes of its sections, and its model.

    A first stage that is named by its workdir has its default settings here.
    """
    chosen = content.get("model", {})
    named = _named_run(chosen)
    if named is not None:
        chosen = {name: value for name, value in chosen.items() if name != named[0]}
    model = settings.resolve(_model_setting(), chosen, "model")
    if model.takes == "modalities":
        return JointExperiment, {}, model
    samples = model.has_density and not getattr(model, "has_exact_posterior", False)
    sections: dict[str, type] = {"evaluation": Evaluation if samples else ReconstructionEvaluation}
    if takes_rows(getattr(model, "likelihood", None)):
        sections["data"] = TableData
    return Experiment, sections, model


def _model_setting() -> Setting:
    return settings.settings_of(_Run)["model"]


def resolve(config: Config, folder: Path | None = None) -> Any:
    """Return the experiment that a config describes, checked.

    Settings that the config leaves out have their defaults. A first stage, or a run to start from,
    that is named by its workdir is replaced by its settings.

    Args:
      config: nested settings, of this schema or an earlier one; an experiment is returned as it is.
      folder: the directory of the experiment's run or sweep, which may exist; what was copied there
        from another run is not read again.

    Raises:
      UserError: names the setting, its value, and what would be right.
    """
    if isinstance(config, Experiment | JointExperiment):
        return config
    content = plain(config)
    content.pop("schema", None)
    named = _named_run(content.get("model", {}))
    if named is not None:
        setting, run = named
        known = None if folder is None else _copied_run(folder, f"model.{setting}", run)
        first_stage = read_first_stage(run) if known is None else known
        content["model"] = {**content["model"], setting: first_stage}
    if isinstance(content.get("init_from"), str):
        content["init_from"] = _resolved_init_from(content["init_from"], folder)
    cls, sections, model = shape_of(content)
    content["model"] = model
    objective = content.get("objective", {})
    if isinstance(objective, Mapping) and "name" not in objective:
        default = getattr(model, "default_objective", "elbo")
        content["objective"] = {"name": default, **objective}
    experiment = settings.resolve_part(cls, content, "", sections)
    rules.check(experiment)
    return experiment


def _named_run(model: Any) -> tuple[str, str] | None:
    """Return the setting by which a model's section names a run, and the run's workdir."""
    if not isinstance(model, Mapping):
        return None
    cls = settings.chosen_class(_model_setting(), "model", model.get("name"))
    for name, setting in settings.settings_of(cls).items():
        if setting.section is FirstStage and isinstance(model.get(name), str):
            return name, model[name]
    return None


def _copied_run(folder: Path, setting: str, run: str) -> Any:
    """Return the section of a setting in the config of a directory, if it is of a run; else None.

    Args:
      folder: the directory of a run or sweep, which may exist.
      setting: the dotted name of the setting that names the other run.
      run: the workdir of that other run.
    """
    sweep = workdir.read_sweep(folder)
    try:
        found: Any = workdir.read_config(folder) if sweep is None else sweep["config"]
    except (UserError, KeyError):
        return None
    for name in setting.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) and found.get("workdir") == run else None


def _resolved_init_from(run: str, folder: Path | None) -> Any:
    """Return the section of a run to start from, which a begun run has in its config already."""
    if not run:
        return {}
    if folder is not None:
        if Path(run).resolve() == folder.resolve():
            raise UserError(
                f"init_from={run!r} is the workdir of this run; name the finished run to start "
                "from, and use another workdir for this one"
            )
        known = _copied_run(folder, "init_from", run)
        if known is not None:
            return known
    return read_init_from(run)


def _open_named(where: str, run: str, advice: str) -> tuple[Path, Any]:
    """Return the directory and the experiment of a run that a setting names by its workdir.

    Args:
      where: the setting and its value, for messages.
      run: the workdir.
      advice: what to do if it does not exist.

    Raises:
      UserError: there is no such run, or its config cannot be used.
    """
    if not Path(run).is_dir():
        raise UserError(f"{where}: there is no such workdir; {advice}")
    try:
        folder = workdir.run_folder(Path(run), None)
        return folder, resolve(workdir.read_config(folder))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def read_init_from(run: str) -> InitFrom:
    """Return the run in a workdir, with its newest checkpoint, as one to start from.

    Raises:
      UserError: there is no run, or it has no checkpoint.
    """
    where = f"init_from={run!r}"
    folder, _ = _open_named(where, run, "name the workdir of a finished run")
    found = saving.find(folder / "checkpoints")
    if found is None:
        raise UserError(f"{where} has no checkpoint; train it first, or name another run")
    return InitFrom(run, found.step, saving.digest(folder / "checkpoints", found.step))


def first_stage_of(model: Any) -> tuple[str, FirstStage] | None:
    """Return the name and the settings of a model's first stage; None if it has none."""
    for name, setting in settings.settings_of(type(model)).items():
        if setting.section is FirstStage:
            return name, getattr(model, name)
    return None


def read_first_stage(run: str) -> FirstStage:
    """Return the first stage that the run in a workdir is.

    Raises:
      UserError: there is no finished run, or its model has no codes, or a prior over them already.
    """
    where, other = f"model.first_stage={run!r}", "name a finished run of model='vq_vae'"
    folder, experiment = _open_named(where, run, other)
    whose = f"{where} holds a run of model={name_of(experiment.model)!r}"
    if not getattr(experiment.model, "has_codes", False):
        raise UserError(f"{whose}, which has no codes; {other}")
    if experiment.model.has_density:
        raise UserError(f"{whose}, which has a prior over its codes already; {other}")
    found, summary = saving.find(folder / "checkpoints"), workdir.read_summary(folder)
    if found is None:
        raise UserError(f"{where} has no checkpoint; train it first")
    if summary is None or summary.get("step") != found.step:
        raise UserError(f"{where} is not finished; train it to its end first")
    image_shape = from_metadata(found.metadata)
    assert isinstance(image_shape, tuple), "models with codes are of images"
    return FirstStage(
        workdir=run,
        step=found.step,
        digest=digest(experiment),
        data_name=experiment.data.name,
        binarization=name_of(experiment.data.binarization),
        image_shape=image_shape,
        model=experiment.model,
    )


def digest(config: Config) -> str:
    """Return 16 hexadecimal digits that identify an experiment by what its result depends on.

    Only settings that differ from their defaults count, so that a new setting changes no digest.
    Folders of data and of other runs, and how often files are written, do not count.
    """
    experiment = resolve(config)
    somewhere = experiment.data
    if "dir" in settings.settings_of(type(somewhere)):
        somewhere = dataclasses.replace(somewhere, dir=type(somewhere)().dir)
    content = settings.changed(dataclasses.replace(experiment, data=somewhere))
    for name in ("checkpoints", "tensorboard", "steps_per_call"):
        content.pop(name, None)
    first_stage = first_stage_of(experiment.model)
    if first_stage is not None:
        content["model"][first_stage[0]].pop("workdir")
    content.get("init_from", {}).pop("workdir", None)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def digests(written: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the digests that name a run in results files, today's first.

    Results from the time of flat configs name a run by a digest of every field.

    Args:
      written: the config as the run's directory has it.
    """
    if is_flat(written):
        return digest(written), workdir.config_digest(dict(written))
    return (digest(written),)
