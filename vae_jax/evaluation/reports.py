"""Markdown reports: templates filled with the content of results files.

A template is a Markdown file beside the module that fills it; `{{name}}` stands for a number, a
table or plots. A block of a template, the text between two blank lines, is left out if it comes out
empty, as where a plot has not been drawn.
"""

import functools
import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.errors import UserError

Measured = dict[str, Any]
Row = dict[str, Any]
Number = float | int

_NAME = re.compile(r"{{(\w+)}}")


def fill(template: Path, /, **values: object) -> str:
    """Return the text of a template with its names replaced by values.

    Raises:
      UserError: the template has a name without a value, or lacks the name of a value.
    """
    text = template.read_text(encoding="utf-8")
    names = set(_NAME.findall(text))
    for problem, odd in (("unknown", names - values.keys()), ("unused", values.keys() - names)):
        if odd:
            raise UserError(f"{template} has {problem} names: {', '.join(sorted(odd))}")
    blocks = [
        _NAME.sub(lambda name: str(values[name[1]]), block).strip("\n")
        for block in text.split("\n\n")
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with one line per row."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def plots(folder: Path, captions: Mapping[str, str], document: Path) -> str:
    """Return links to the plots that have been drawn.

    Args:
      folder: where the plots are.
      captions: by the plots' file names.
      document: folder of the document that shows them: `folder` or one above it.
    """
    return "\n\n".join(
        f"![{caption}]({(folder / name).relative_to(document).as_posix()})"
        for name, caption in captions.items()
        if (folder / name).is_file()
    )


def mean_and_deviation(values: Sequence[Number], form: str = ".3f") -> str:
    """Return the mean over seeds, and the standard deviation if there are several: 0.12 ± 0.03.

    Args:
      values: one per seed; none gives an empty text.
      form: format of both numbers; a sign, as in +.3f, applies to the mean only.
    """
    mean = f"{statistics.fmean(values):{form}}" if values else ""
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values):{form.removeprefix('+')}}"


def grouped(rows: Sequence[Row], *fields: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows by their values of some fields, groups in the order of their first rows."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[field] for field in fields), []).append(row)
    return groups


def num_seeds(rows: Sequence[Row]) -> int:
    """Return the number of different seeds; rows without a seed count as one."""
    return len({row.get("seed") for row in rows})


def counted(num: Number, noun: str) -> str:
    """Return a number and its noun, as in "1 seed" and "2 seeds"."""
    return f"{num:g} {noun}{'s'[: num != 1]}"


def of_results_file(render: Callable[[Measured, Path], str]) -> Callable[[Path], str]:
    """Turn a function of measurements into a function of the file that holds them.

    Args:
      render: returns a section, given the content of the file and its path.

    Returns:
      A function of the path. It returns an empty section while the file does not exist, and raises
      UserError if the file cannot be read or holds something else.
    """

    @functools.wraps(render)
    def section(path: Path) -> str:
        if not path.is_file():
            return ""
        try:
            return render(json.loads(path.read_text(encoding="utf-8")), path)
        # JSON may hold anything, nested too deep for its parser as well.
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise UserError(f"{path} cannot be read: {error!r}") from error

    return section


def between_marks(text: str, name: str, tables: Mapping[str, str]) -> str:
    """Return a document with its tables replaced, each between marks with its name.

    Args:
      text: the document.
      name: of the document, for errors.
      tables: by name.

    Raises:
      UserError: the document has no marks for a table.
    """
    for table_name, table in tables.items():
        begin, end = f"<!-- {table_name}: begin -->\n", f"<!-- {table_name}: end -->"
        if begin not in text or end not in text:
            raise UserError(f"{name} has no marks for the table {table_name!r}: {begin.strip()}")
        head, rest = text.split(begin)
        text = head + begin + table + end + rest.split(end)[1]
    return text
