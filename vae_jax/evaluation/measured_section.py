"""A section of a document that is rendered from one results file, and what its tables hold."""

import functools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.errors import UserError

Measured = dict[str, Any]
Row = dict[str, Any]


def of_results(render: Callable[[Measured, Path], str]) -> Callable[[Path], str]:
    """Make of a function of what was measured one of the file that it stands in.

    Args:
      render: the section, given what the file holds and the file's path.

    Returns:
      The section by the path alone; it is empty while nothing has been measured, and raises
      UserError where the file cannot be read or holds something else.
    """

    @functools.wraps(render)
    def section(path: Path) -> str:
        if not path.is_file():
            return ""
        try:
            return render(json.loads(path.read_text(encoding="utf-8")), path)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path} cannot be read: {error!r}") from error

    return section


def grouped(rows: Sequence[Row], *fields: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows with the same values of these fields, in the order in which they first come."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[field] for field in fields), []).append(row)
    return groups


def mean_and_deviation(values: Sequence[float], form: str = ".3f") -> str:
    """The mean over seeds, and where there are several the standard deviation: 0.123 ± 0.004.

    Args:
      values: one a seed.
      form: how both are written; a sign, as in +.3f, is the mean's alone.
    """
    mean = f"{statistics.fmean(values):{form}}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values):{form.removeprefix('+')}}"


def pictures(path: Path, texts: Mapping[str, str]) -> str:
    """Links to the pictures that are there, as seen from the folder above the results'.

    Args:
      path: of the results; its pictures lie in a folder of its name beside it.
      texts: what each file shows.
    """
    folder = path.with_suffix("")
    return "".join(
        f"\n![{text}]({path.parent.name}/{folder.name}/{name})\n"
        for name, text in texts.items()
        if (folder / name).is_file()
    )
