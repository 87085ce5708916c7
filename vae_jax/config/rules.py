"""Rules between parts of an experiment, checked in one line before compilation."""

from typing import Any

from vae_jax import settings
from vae_jax.data import multimodal
from vae_jax.data.sprites.variants import VARIANTS
from vae_jax.errors import UserError
from vae_jax.models.conditions import condition_of, has_guess, reads_of
from vae_jax.models.missing_pixels import may_miss_pixels
from vae_jax.models.rows import takes_rows
from vae_jax.settings import name_of


def check(experiment: Any) -> None:
    """Refuse an experiment that cannot work, before anything is read or compiled.

    Raises:
      UserError: names the setting, its value, and what would be right.
    """
    _check_parts(experiment)
    _check_run(experiment)
    if experiment.model.takes == "images":
        _check_images(experiment)
    else:
        _check_modalities(experiment)


def unfinished(experiment: Any) -> list[str]:
    """Return a line per ramp of the objective that the run is too short for."""
    flat = settings.flatten(settings.to_dict(experiment.objective))
    ramps = {name: value for name, value in flat.items() if name.endswith("_epochs")}
    return [
        f"objective.{name}={value:g} is longer than the run of epochs={experiment.epochs}, which "
        f"ends at {experiment.epochs / value:.0%} of it"
        for name, value in ramps.items()
        if experiment.epochs < value
    ]


def _check_parts(experiment: Any) -> None:
    """Ask each part about itself, and the objective about the model."""
    for path, chosen in settings.walk(experiment):
        # The objective is asked about the model, below.
        problem = getattr(chosen, "problem", None)
        if problem is not None and chosen is not experiment.objective:
            found = problem()
            if found is not None:
                raise UserError(f"{path}.{found}")
        if path.split(".")[0] == "model" and settings.traced_values(chosen):
            first = next(iter(settings.traced_values(chosen, path)))
            raise UserError(
                f"{first} is declared as traced, which settings of a model cannot be; declare it "
                "static"
            )
    model, objective = experiment.model, experiment.objective
    name = name_of(objective)
    if objective.takes != model.takes:
        what = {"images": "images alone", "modalities": "several modalities"}
        raise UserError(
            f"objective={name!r} is defined for models of {what[objective.takes]}, and "
            f"model={name_of(model)!r} is of {what[model.takes]}; use another objective"
        )
    if objective.needs_density and not model.has_density:
        raise UserError(
            f"objective={name!r} needs a posterior and a prior, which model={name_of(model)!r} "
            f"does not have; use {getattr(model, 'default_objective', 'reconstruction')!r}"
        )
    if objective.needs_differentiable_draws and getattr(model, "has_discrete_latents", False):
        raise UserError(
            f"objective={name!r} differentiates draws of the posterior, and those of "
            f"model={name_of(model)!r} are discrete; use "
            f"{getattr(model, 'default_objective', 'gumbel')!r}"
        )
    problem = objective.problem(model)
    if problem is not None:
        raise UserError(problem)


def _check_run(experiment: Any) -> None:
    parts = experiment.optimizer.accumulation_steps
    if experiment.batch_size % parts:
        raise UserError(
            f"optimizer.accumulation_steps={parts} must divide batch_size={experiment.batch_size}"
        )
    least = experiment.objective.least_batch
    if experiment.batch_size < least:
        raise UserError(
            f"batch_size={experiment.batch_size} is too few examples to compare with each other by "
            f"objective={name_of(experiment.objective)!r}; use at least {least}"
        )
    if parts > 1:
        refuse_parts(experiment, f"optimizer.accumulation_steps={parts}", "1")
    if experiment.patience > 0 and not experiment.data.validation_split:
        raise UserError(
            f"patience={experiment.patience} needs a validation set; name one in "
            "data.validation_split"
        )
    problem = getattr(experiment.model, "unfit_data", lambda data: None)(experiment.data)
    if problem is not None:
        raise UserError(problem)
    likelihood = getattr(experiment.model, "likelihood", None)
    binarization = experiment.data.binarization.name
    if experiment.objective.compares_means and binarization != "none":
        raise UserError(
            f"data.binarization={binarization!r} draws zeros and ones, which "
            f"objective={name_of(experiment.objective)!r} cannot compare with means of p(x|z); use "
            "data.binarization='none'"
        )
    if takes_rows(likelihood):
        _check_rows(experiment)
    if likelihood is None or binarization == "none":
        return
    if likelihood.build().support != "zeros and ones":
        raise UserError(
            f"data.binarization={binarization!r} does not fit model.likelihood="
            f"{name_of(likelihood)!r}; use data.binarization='none', or "
            "model.likelihood='bernoulli'"
        )


def _check_rows(experiment: Any) -> None:
    """Refuse parts that are defined for images, of an experiment on the rows of a table."""
    if not getattr(experiment.model, "takes_rows", True):
        raise UserError(
            f"model={name_of(experiment.model)!r} is a model of images, and "
            "model.likelihood='columns' is for rows of a table; use model='vae'"
        )
    if experiment.objective.compares_means:
        raise UserError(
            f"objective={name_of(experiment.objective)!r} compares images with means of p(x|z), "
            "which rows of model.likelihood='columns' have not; use another objective, such as "
            "'elbo'"
        )
    condition = condition_of(experiment.model)
    if condition.reads != "nothing" and not getattr(condition, "takes_rows", False):
        raise UserError(
            f"model.condition={name_of(condition)!r} is a condition of images, and "
            "model.likelihood='columns' is for rows of a table; use model='vae' with "
            "model.condition='none' or 'columns'"
        )
    _refuse_corruption(experiment, "images", "model.likelihood='columns' is for rows of a table")
    if experiment.evaluation.disentanglement:
        raise UserError(
            "evaluation.disentanglement=True needs known factors, which a table has not; use False"
        )


def _refuse_corruption(experiment: Any, of: str, chosen: str) -> None:
    corruption = getattr(experiment, "corruption", None)
    if corruption is not None and name_of(corruption) != "none":
        raise UserError(
            f"corruption={name_of(corruption)!r} is one of {of}, and {chosen}; use "
            "corruption='none'"
        )


def refuse_parts(experiment: Any, cause: str, remedy: str) -> None:
    """Refuse an objective that compares the examples of a batch, where each batch is parted.

    Args:
      experiment: an experiment.
      cause: what parts batches.
      remedy: what would not.

    Raises:
      UserError: the experiment has such an objective.
    """
    if experiment.objective.compares_examples:
        raise UserError(
            f"{cause} parts each batch, whose examples "
            f"objective={name_of(experiment.objective)!r} compares with each other; use {remedy}"
        )


def _check_images(experiment: Any) -> None:
    data = experiment.data
    mode = data.mode.name
    _check_condition(experiment)
    _check_missing_pixels(experiment)
    if mode in ("render", "stream") and data.binarization.name == "static":
        raise UserError(
            f"data.binarization='static' keeps a draw of every image, which data.mode={mode!r} "
            "does not; use data.binarization='dynamic', or data.mode='memory'"
        )
    if mode == "render" and data.name not in VARIANTS:
        raise UserError(
            f"data.mode='render' draws images from their factors, which data.name={data.name!r} "
            f"cannot; use data.mode='auto', or data.name={' or '.join(map(repr, VARIANTS))}"
        )


def _check_missing_pixels(experiment: Any) -> None:
    """Refuse parts that compare all pixels, where some were not seen."""
    if not may_miss_pixels(experiment.model):
        return
    data, objective = experiment.data, experiment.objective
    if data.binarization.name == "static":
        raise UserError(
            "data.binarization='static' is kept as zeros and ones, which leave no room for pixels "
            "that were not seen (model.missing_pixels=True); use 'dynamic' or 'none'"
        )
    _refuse_corruption(experiment, "whole images", "model.missing_pixels=True")
    if objective.compares_means or objective.opponents():
        raise UserError(
            f"objective={name_of(objective)!r} compares whole images, and "
            "model.missing_pixels=True; use another objective, such as 'iwae'"
        )
    if experiment.evaluation.disentanglement:
        raise UserError(
            "evaluation.disentanglement=True draws whole images, and model.missing_pixels=True; "
            "use False"
        )


def _check_condition(experiment: Any) -> None:
    model, objective, data = experiment.model, experiment.objective, experiment.data
    name, reads = name_of(objective), reads_of(model)
    if objective.takes_labels and data.labelled == 0:
        raise UserError(
            f"data.labelled=0 names no training examples whose labels objective={name!r} may see; "
            "use a number, such as data.labelled=100, or that of all examples"
        )
    if data.labelled > 0 and not objective.takes_labels:
        raise UserError(
            f"data.labelled={data.labelled} hides labels, which objective={name!r} cannot do "
            "without; use data.labelled=0, or model='m2' with objective='m2'"
        )
    if reads == "nothing":
        return
    chosen = f"model.condition={name_of(model.condition)!r}"
    if getattr(model.condition, "takes_rows", False) and not takes_rows(model.likelihood):
        raise UserError(
            f"{chosen} is one of the rows of a table, and model.likelihood="
            f"{name_of(model.likelihood)!r} is for images; use 'columns', or "
            "model.condition='label' or 'quadrants'"
        )
    if objective.opponents():
        raise UserError(
            f"objective={name!r} trains an opponent, which sees no condition, and {chosen}; use "
            "another objective"
        )
    if has_guess(model) and model.default_objective != name:
        raise UserError(
            f"objective={name!r} does not train the guess of {chosen}; use "
            f"{model.default_objective!r}, or model.condition.guess_widths=()"
        )
    if objective.compares_examples and model.condition.conditional_prior:
        raise UserError(
            f"objective={name!r} compares the latents of a batch with one prior, and "
            f"{chosen} has one for each condition; use model.condition.conditional_prior=False"
        )
    if getattr(model, "classifies", False) and not objective.takes_labels:
        raise UserError(
            f"objective={name!r} does not train the classifier of model={name_of(model)!r}; use "
            f"{model.default_objective!r}, or model='vae'"
        )
    if experiment.evaluation.disentanglement:
        raise UserError(
            f"evaluation.disentanglement=True measures latents of images alone, and {chosen}; use "
            "False"
        )


def _check_modalities(experiment: Any) -> None:
    data, objective = experiment.data, experiment.objective
    names, kind = tuple(data.modalities), getattr(experiment.model, "joint_posterior", None)
    num = len(names)
    if num < 2:
        raise UserError(
            f"data.modalities={names!r} must name at least two with model='multimodal', such as "
            "('image', 'label')"
        )
    multimodal.check_names(names)
    if kind == "joint" and num != 2:
        raise UserError(
            f"model.joint_posterior='joint' has an encoder of two modalities, and data.modalities="
            f"{names!r} are {num}; use 'product', 'mixture' or 'mixture_of_products'"
        )
    weights = tuple(getattr(objective, "modality_weights", ()))
    by_modality = {
        "objective.modality_weights": weights,
        "data.modality_shares": tuple(data.modality_shares),
    }
    for field, values in by_modality.items():
        if values and len(values) != num:
            raise UserError(
                f"{field}={values!r} must have a number for each of the {num} "
                f"data.modalities={names!r}, or be ()"
            )
    if weights and not any(weights):
        raise UserError(f"objective.modality_weights={weights!r} must not all be 0")
    if kind == "joint" and any(share < 1 for share in data.modality_shares):
        raise UserError(
            f"data.modality_shares={by_modality['data.modality_shares']!r} leaves examples without "
            "a modality, and model.joint_posterior='joint' is trained on examples that have both; "
            "use (), or 'product', 'mixture' or 'mixture_of_products'"
        )
    subsets = getattr(objective, "num_subsets", 0)
    if subsets > 0 and num < 3:
        raise UserError(
            f"objective.num_subsets={subsets} draws subsets of at least two modalities and fewer "
            f"than all, and data.modalities={names!r} has no such subset; use 0"
        )
    if "text" in names:
        return
    unread = {
        "data.captions": (data.captions.name, "written"),
        "data.unknown_words": (data.unknown_words, "refuse"),
        "objective.word_dropout": (getattr(objective, "word_dropout", 0), 0),
    }
    for field, (value, without) in unread.items():
        if value != without:
            raise UserError(
                f"{field}={value!r} needs the modality 'text', which is not among "
                f"data.modalities={names!r}; use {without!r}"
            )
