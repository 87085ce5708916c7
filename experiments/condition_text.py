"""The text of --condition: a class, a test example, cells of a row, or numbers."""

import csv
import re
from collections.abc import Sequence

import numpy as np

from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.trained import TrainedModel


def read(
    model: TrainedModel, chosen: str | None, num_images: int, sampler: str
) -> np.ndarray | None:
    """Return the condition that a text stands for, for each image; None for a model without.

    Args:
      model: the trained model.
      chosen: a class; the index of a test example, whose condition it then is; cells of a row,
        `age:40,sex:f`; or numbers, `0.5,-1`.
      num_images: how many to return.
      sampler: the sampler's name; only the prior takes a condition.

    Raises:
      UserError: it is missing, or there is no such condition.
    """
    if chosen is None:
        return model.checked_condition(None, num_images)
    if sampler != "prior":
        raise UserError(
            f"--sampler={sampler} is fitted to latents of images alone; with --condition use "
            "--sampler=prior"
        )
    is_number = re.fullmatch(r"-?\d{1,9}", chosen) is not None
    if model.condition_reads in ("nothing", "labels"):
        return model.checked_condition(int(chosen) if is_number else chosen, num_images)
    if model.condition_reads == "conditions" and not is_number:
        numbers = chosen.removesuffix(",").split(",")
        return model.checked_condition(numbers, num_images)
    if model.columns is not None and not is_number:
        names = [model.columns.plain_columns[index].name for index in model.given_columns]
        return model.checked_condition(_cells(chosen, names), num_images)
    test = model.load_test()
    num = len(test.images)
    if not is_number or not 0 <= int(chosen) < num:
        what = "image" if model.columns is None else "row"
        raise UserError(f"--condition={chosen} must be a test {what}, from 0 to {num - 1}")
    condition = measuring.condition_of(model, test, measuring.prepare_test(model, test))
    return model.checked_condition(condition[int(chosen)][None], num_images)


def _cells(text: str, names: Sequence[str]) -> dict[str, str]:
    """Return cells by column from `age:40,sex:f`; quotes keep a comma in a value together."""
    found: dict[str, str] = {}
    for part in next(csv.reader([text], skipinitialspace=True), []):
        known = [name for name in names if part.startswith(f"{name}:")]
        name = max(known, key=len, default=part.partition(":")[0])
        if ":" not in part or name in found:
            raise UserError(
                f"--condition={text!r} must be the number of a test row, or a value for each of "
                f"{', '.join(names)}, such as {names[0]}:VALUE"
            )
        found[name] = part[len(name) + 1 :].strip()
    return found
