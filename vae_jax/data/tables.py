"""Tables: CSV, Parquet, or NumPy's .npz with `rows` `[num, columns]`; some of scikit-learn's.

A file of a single part is divided into `train`, `validation` and `test`, a seeded draw of 80, 10
and 10 % of its rows. An .npz file with `train_rows`, `test_rows` and so on has those splits; it may
name its `columns`. Empty cells, NaN, NA and null are cells that were not seen.
"""

import contextlib
import csv
import functools
import io
import itertools
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from jaxtyping import Bool, Float

from vae_jax.data import columns as kinds_of
from vae_jax.data import csv_style
from vae_jax.data.columns import KINDS, Column, Kind
from vae_jax.data.csv_style import CsvStyle
from vae_jax.data.dataset import Dataset, Ranges, concatenate
from vae_jax.errors import UserError, first_line, numpy_file_errors

SUFFIXES = (".csv", ".parquet", ".npz")
# Tables that come with scikit-learn.
BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
_TARGET = "target"
_SEPARATORS = ",;\t|"
_DRAWN = ("train", "validation", "test")
_HELD_OUT_SHARE = 0.1
# Lines in which a decimal point is looked for.
_LINES_SEEN = 1000
# Bytes of the last line that an error may show.
_LINE_SHOWN = 1000
# Cells as a file has them: numbers, NaN where there is none, or texts, None where there is none.
_Content = np.ndarray | list[str | None]
_PLAIN = CsvStyle()


class TableOptions(NamedTuple):
    """How a file becomes a table.

    Attributes:
        kinds: given kinds by column; the others are inferred.
        numbers: "inferred", or "real" for all columns of numbers without a given kind.
        split_seed: seed of the draw of the splits.
        missing_share: share of the cells that are made empty, completely at random.
        missing_seed: seed of their draw.
    """

    kinds: tuple[tuple[str, str], ...] = ()
    numbers: str = "inferred"
    split_seed: int = 0
    missing_share: float = 0.0
    missing_seed: int = 0


def is_table(name: str) -> bool:
    """Return whether a file holds a table by its name; an .npz file may hold images, too."""
    return Path(name).suffix in (".csv", ".parquet")


def sizes(path: str, options: TableOptions) -> dict[str, int]:
    """Return the number of rows in each split.

    Raises:
        UserError: as `read`.
    """
    return {name: len(part.images) for name, part in _splits(path, options).items()}


def given_kinds(path: str, options: TableOptions) -> dict[str, str]:
    """Return the kinds of columns that are not inferred from their values."""
    return {**({_TARGET: "label"} if path in BUNDLED else {}), **dict(options.kinds)}


def read(path: str, options: TableOptions, ranges: Ranges) -> Dataset:
    """Read ranges of a file's rows, `[num, 1, columns, 1]`, float32, with their columns.

    Raises:
        UserError: the file is missing, damaged or no table; a column is not of the kind that it is
            given to be, or its kind cannot be inferred.
    """
    splits = _splits(path, options)
    return concatenate([splits[name].read(np.arange(start, stop)) for name, start, stop in ranges])


def from_arrays(rows: Float[np.ndarray, "num columns"], columns: Sequence[Column]) -> Dataset:
    """Return a table of encoded rows, with NaN where a cell was not seen.

    Raises:
        UserError: a cell is none of its column, or float32 does not tell numbers apart.
    """
    for index, column in enumerate(columns):
        problem = kinds_of.unfit(column, rows[:, index])
        if problem is None:
            problem = kinds_of.merged(column, rows[:, index].astype(np.float64))
        if problem is not None:
            raise UserError(problem)
    return Dataset(rows.astype(np.float32)[:, None, :, None], None, columns=tuple(columns))


class Cells(NamedTuple):
    """A user's table to score or to fill.

    Attributes:
        rows: encoded by the columns of a run, `[num, 1, columns, 1]`.
        table: the whole file, an Arrow table.
    """

    rows: Float[np.ndarray, "num 1 columns 1"]
    table: Any


def read_like(
    path: Path,
    columns: Sequence[Column],
    kinds: Mapping[str, str],
    scales: Sequence[float] | None = None,
) -> Cells:
    """Read a file whose rows have the columns of a run, in any order.

    Args:
        path: a .csv, .parquet or .npz file.
        columns: of the run.
        kinds: given kinds of the run; skipped columns and labels may be there or not.
        scales: standard deviations of the columns in the run's training rows, after
            `columns.transformed`; None does not ask whether float32 tells numbers apart.

    Raises:
        UserError: the file is missing, damaged, has other columns, a cell is none of its column, or
            float32 does not tell numbers apart.
    """
    described = {**{column.name: column.kind for column in columns}, **kinds}
    return encode_like(path, _open(path, described), columns, kinds, scales)


def encode_like(
    where: object,
    table: Any,
    columns: Sequence[Column],
    kinds: Mapping[str, str],
    scales: Sequence[float] | None,
) -> Cells:
    """Encode an Arrow table whose rows have the columns of a run, in any order.

    Args:
        where: the table's name, for errors.
        table: the whole table.
        columns: of the run.
        kinds: given kinds of the run; skipped columns and labels may be there or not.
        scales: as `read_like` takes them.

    Raises:
        UserError: it has other columns, a cell is none of its column, or float32 does not tell
            numbers apart.
    """
    names = table.column_names
    ignored = {name for name, kind in kinds.items() if kind in ("skip", "label")}
    missing = [column.name for column in columns if column.name not in names]
    others = [n for n in names if n not in {c.name for c in columns} and n not in ignored]
    if missing or others:
        parts = [f"lacks {', '.join(missing[:5])}"] if missing else []
        parts += [f"has {', '.join(others[:5])}"] if others else []
        raise UserError(
            f"{where} {' and '.join(parts)}, unlike the table of the run; give its "
            f"{len(columns)} columns, and no others"
        )
    if table.num_rows == 0:
        raise UserError(f"{where} has no rows")
    encoded = [_named(where, c, _content(where, table, c.name, c.kind)) for c in columns]
    for column, cells, scale in zip(columns, encoded, scales or (), strict=False):
        problem = kinds_of.merged(column, cells, scale)
        if problem is not None:
            raise UserError(f"{where}: {problem}")
    return Cells(np.stack(encoded, axis=-1).astype(np.float32)[:, None, :, None], table)


def _named(where: object, column: Column, content: _Content) -> np.ndarray:
    try:
        return kinds_of.encode(column, content)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def write(
    path: Path,
    columns: Sequence[Column],
    rows: Float[np.ndarray, "num 1 columns 1"],
    style: CsvStyle = _PLAIN,
) -> None:
    """Write rows as a .csv or .parquet file like the one that the columns are of.

    Numbers are rounded to the digits of the column; NaN is an empty cell.

    Args:
        path: the file.
        columns: of the rows.
        rows: encoded.
        style: of a .csv file.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    import pyarrow

    require_suffix(path)
    arrays = {}
    for index, column in enumerate(columns):
        values = rows[:, 0, index, 0]
        if path.suffix == ".csv":
            arrays[column.name] = pyarrow.array(texts_of(column, values, style), pyarrow.string())
            continue
        array = decode(column, values)
        if column.values == csv_style.TRUTH:
            array = array.cast(pyarrow.bool_())
        arrays[column.name] = array
    write_table(path, pyarrow.table(arrays), style)


def original(cells: Cells, source: Path, target: Path) -> Any:
    """Return the Arrow table to fill for a file: of a CSV file the texts of its cells.

    Args:
        cells: of the source.
        source: the user's file.
        target: the file to write.
    """
    if source.suffix != ".csv" or target.suffix != ".csv":
        return cells.table
    texts = csv_style.read_texts(source, csv_style.style_of(cells.table).separator)
    return texts.rename_columns(cells.table.column_names)


def fill(
    table: Any,
    columns: Sequence[Column],
    missing: Bool[np.ndarray, "num 1 columns 1"],
    rows: Float[np.ndarray, "num 1 columns 1"],
    style: CsvStyle = _PLAIN,
) -> Any:
    """Return an Arrow table whose missing cells have the values of rows; all others stay.

    Args:
        table: as `original` returns it.
        columns: of the rows.
        missing: the cells to fill; one that is NaN in rows, too, stays.
        rows: encoded.
        style: of the texts of numbers.
    """
    import pyarrow
    import pyarrow.compute

    for index, column in enumerate(columns):
        place, values = table.column_names.index(column.name), rows[:, 0, index, 0]
        mask = missing[:, 0, index, 0] & ~np.isnan(values)
        if not mask.any():
            continue
        there = table.column(column.name)
        if pyarrow.types.is_dictionary(there.type):
            there = there.cast(there.type.value_type)
        if pyarrow.types.is_string(there.type) or pyarrow.types.is_large_string(there.type):
            filled = pyarrow.array(texts_of(column, values[mask], style), there.type)
        else:
            filled = decode(column, values[mask])
            kind = _type_of_both(there.type, filled)
            there, filled = there.cast(kind), filled.cast(kind)
        whole = pyarrow.compute.replace_with_mask(
            there.combine_chunks(), pyarrow.array(mask), filled
        )
        table = table.set_column(place, column.name, whole)
    return table


def _type_of_both(there: Any, filled: Any) -> Any:
    """Return the Arrow type of a column with its holes filled: its own if that holds the values."""
    import pyarrow

    is_number = pyarrow.types.is_floating(there) or pyarrow.types.is_integer(there)
    is_whole = pyarrow.types.is_integer(there) and pyarrow.types.is_integer(filled.type)
    if pyarrow.types.is_null(there):
        return filled.type
    if is_number and pyarrow.types.is_floating(filled.type) > pyarrow.types.is_floating(there):
        return pyarrow.float64()
    try:
        filled.cast(there)
    except pyarrow.ArrowInvalid:
        return pyarrow.int64() if is_whole else pyarrow.float64()
    return there


def texts_of(
    column: Column, values: Float[np.ndarray, " num"], style: CsvStyle = _PLAIN
) -> list[str | None]:
    """Return the cells of a column as texts, None where one is NaN."""
    if column.values:
        texts = style.values(column.name, column.values)
        return [None if math.isnan(value) else texts[round(value)] for value in values.tolist()]
    numbers = decode(column, values).to_pylist()
    if column.decimals == 0:
        # Not 1e+20, which few readers take for a whole number.
        return [None if number is None else format(number, ".0f") for number in numbers]
    return [None if number is None else style.number(number) for number in numbers]


def decode(column: Column, values: Float[np.ndarray, " num"]) -> Any:
    """Return the cells of a column as an Arrow array: texts, or rounded numbers; NaN is null.

    Whole numbers are integers up to the largest that float64 tells from the next, else floats.
    """
    import pyarrow

    missing = np.isnan(values)
    filled = np.where(missing, 0, values).astype(np.float64)
    if column.values:
        texts = np.array(column.values, object)[np.round(filled).astype(int)]
        # Not 01234, which is no number.
        whole = all(re.fullmatch(r"0|-?[1-9]\d{0,14}", value) for value in column.values)
        return pyarrow.array(
            [int(text) if whole else text for text in texts],
            mask=missing,
            type=pyarrow.int64() if whole else pyarrow.string(),
        )
    if column.decimals == 0:
        # Minus 0 is 0.
        filled = np.round(filled) + 0
        is_exact = np.abs(filled).max(initial=0) <= kinds_of.LARGEST_WHOLE
        return pyarrow.array(filled.astype(np.int64) if is_exact else filled, mask=missing)
    if column.decimals > 0:
        filled = np.round(filled, column.decimals)
    else:
        # The digits that float32 has.
        filled = np.array([float(f"{value:.7g}") for value in filled])
    return pyarrow.array(filled, mask=missing)


def write_table(path: Path, table: Any, style: CsvStyle = _PLAIN) -> None:
    """Write an Arrow table as a .csv or .parquet file; a kill leaves the old or the new file.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    import pyarrow.parquet

    # Imported here, since it imports JAX.
    from vae_jax.workdir import written_at_once

    require_suffix(path)
    with written_at_once(path) as file:
        if path.suffix == ".parquet":
            pyarrow.parquet.write_table(csv_style.detach(table), file)
            return
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        csv_style.write(text, table, style)
        text.flush()
        text.detach()


def require_suffix(path: Path) -> None:
    """Refuse a path with another suffix than a table to write has.

    Raises:
        UserError: it ends in neither .csv nor .parquet.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path} must end in .csv or .parquet")


def _splits(path: str, options: TableOptions) -> dict[str, Dataset]:
    if path in BUNDLED:
        return _read_splits(path, options, 0, 0)
    try:
        status = Path(path).stat()
    except OSError:
        raise UserError(f"data.name={path!r} does not exist; give a file that does") from None
    return _read_splits(path, options, status.st_mtime_ns, status.st_size)


# A run opens each of its splits, and asks for their sizes before.
@functools.lru_cache(maxsize=2)
def _read_splits(path: str, options: TableOptions, _: int, __: int) -> dict[str, Dataset]:
    given = given_kinds(path, options)
    for name, kind in given.items():
        if kind not in KINDS:
            raise UserError(f"data.columns.{name}={kind!r} must be one of {', '.join(KINDS)}")
    tables = _open_parts(Path(path), given)
    names = next(iter(tables.values())).column_names
    for name in given:
        if name not in names:
            from vae_jax.settings import nearest

            hint = nearest(name, names) or f"; it has {', '.join(names[:10])}"
            raise UserError(f"data.columns.{name}: {path} has no column {name!r}{hint}")
    contents = {
        name: {part: _content(path, table, name, given.get(name)) for part, table in tables.items()}
        for name in names
        if given.get(name) != "skip"
    }
    labels = [name for name in contents if given.get(name) == "label"]
    if len(labels) > 1:
        raise UserError(f"data.columns: {labels[0]!r} and {labels[1]!r} are labels; say one")
    columns = [
        _column(path, name, _joined([*parts.values()]), given.get(name), options.numbers)
        for name, parts in contents.items()
        if name not in labels
    ]
    modelled = [column for column in columns if column.kind != "exposure"]
    exposures = [column.name for column in columns if column.kind == "exposure"]
    if not modelled:
        raise UserError(f"{path} has no column to model")
    if len(exposures) > 1:
        raise UserError(f"data.columns: {' and '.join(exposures)} are exposures; say one")
    parts = {part: _dataset(path, columns, contents, labels, part) for part in tables}
    parts = {n: d._replace(csv_style=csv_style.style_of(tables[n])) for n, d in parts.items()}
    for name, part in parts.items():
        where = path if name == "all" else f"{path}, {name}"
        warn_of_empty_rows(where, part.images, "a model learns nothing from them")
        warn_of_empty_exposures(where, columns, part.images)
    parts = {name: _with_holes(part, options) for name, part in parts.items()}
    return _drawn(parts["all"], options.split_seed) if "all" in parts else parts


def warn_of_empty_rows(
    where: object, rows: Float[np.ndarray, "num 1 columns 1"], consequence: str
) -> None:
    """Warn of rows without a cell that was seen.

    Args:
        where: the file, and perhaps its split.
        rows: encoded, NaN where a cell is empty.
        consequence: what follows from it, for the warning.
    """
    empty = np.isnan(rows).all(axis=(1, 2, 3))
    if empty.any():
        logging.warning(
            "%s: %d rows have nothing but empty cells, first row %d; %s",
            where,
            np.count_nonzero(empty),
            int(empty.argmax()) + 1,
            consequence,
        )


def warn_of_empty_exposures(
    where: object, columns: Sequence[Column], rows: Float[np.ndarray, "num 1 columns 1"]
) -> None:
    """Warn of rows whose exposure was not seen.

    Args:
        where: the file, and perhaps its split.
        columns: of the rows.
        rows: encoded, NaN where a cell is empty.
    """
    for index, column in enumerate(columns):
        empty = np.isnan(rows[:, 0, index, 0])
        if column.kind == "exposure" and empty.any():
            logging.warning(
                "%s: %d rows have no exposure %r, first row %d; their counts are taken for those "
                "of a typical one",
                where,
                np.count_nonzero(empty),
                column.name,
                int(empty.argmax()) + 1,
            )


def _with_holes(dataset: Dataset, options: TableOptions) -> Dataset:
    """Return rows with cells made empty, completely at random."""
    if options.missing_share == 0:
        return dataset
    uniform = np.random.default_rng(options.missing_seed).random(dataset.images.shape)
    exposed = np.array([c.kind == "exposure" for c in dataset.columns or ()])
    missing = (uniform < options.missing_share) & ~exposed[None, None, :, None]
    rows = np.where(missing, np.float32(np.nan), dataset.images)
    return dataset._replace(images=rows)


def _joined(parts: Sequence[_Content]) -> _Content:
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts):
        return np.concatenate(arrays)
    return [text for part in parts for text in kinds_of.as_texts(part)]


def _is_empty(content: _Content) -> bool:
    if isinstance(content, np.ndarray):
        return bool(np.isnan(content).all())
    return all(text is None for text in content)


def _column(path: str, name: str, content: _Content, given: str | None, numbers: str) -> Column:
    if _is_empty(content):
        raise UserError(
            f"{path}: column {name!r} is empty; leave it out by data.columns.{name}=skip"
        )
    kind: Kind
    if given is None and numbers == "real" and isinstance(content, np.ndarray):
        kind = "real"
    elif given is None:
        kind, problem = kinds_of.infer(name, content)
        if problem is not None:
            raise UserError(
                f"{path}: {problem}; leave it out by data.columns.{name}=skip, or say category, "
                "label or the kind of its numbers"
            )
    else:
        kind = "category" if given == "label" else given  # type: ignore[assignment]
    try:
        return kinds_of.column_of(name, content, kind, f"data.columns.{name}")
    except UserError as error:
        whose = f"data.columns.{name}={given!r}: " if given else ""
        raise UserError(f"{path}: {whose}{error}") from None


def _dataset(
    path: str,
    columns: Sequence[Column],
    contents: Mapping[str, Mapping[str, _Content]],
    labels: Sequence[str],
    part: str,
) -> Dataset:
    encoded = [kinds_of.encode(column, contents[column.name][part]) for column in columns]
    rows = np.stack(encoded, axis=-1).astype(np.float32)
    classes = None
    for name in labels:
        column = _column(path, name, _joined([*contents[name].values()]), "label", "inferred")
        label = kinds_of.encode(column, contents[name][part])
        if np.isnan(label).any():
            row = int(np.isnan(label).argmax()) + 1
            raise UserError(f"{path}: the label {name!r} is empty in row {row}; each row needs one")
        classes = label.astype(np.int32)
    return Dataset(rows[:, None, :, None], classes, columns=tuple(columns))


def _drawn(dataset: Dataset, seed: int) -> dict[str, Dataset]:
    """Return training, validation and test rows, drawn by a seed."""
    num = len(dataset.images)
    order = np.random.default_rng(seed).permutation(num)
    num_held_out = max(1, round(num * _HELD_OUT_SHARE))
    if num < 3:
        raise UserError(f"a table of {num} rows has no training, validation and test set; add rows")
    ends = [0, num - 2 * num_held_out, num - num_held_out, num]
    return {
        name: dataset.read(order[start:stop])
        for name, start, stop in zip(_DRAWN, ends[:-1], ends[1:], strict=True)
    }


def _open_parts(path: Path, kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return Arrow tables by split; a file of a single part has the split "all"."""
    if str(path) in BUNDLED:
        return {"all": _bundled(str(path))}
    if path.suffix != ".npz":
        return {"all": _open(path, kinds)}
    import pyarrow

    with numpy_file_errors(path, f"{path} does not exist"), np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    parts = {
        "all" if name == "rows" else name.removesuffix("_rows"): array
        for name, array in arrays.items()
        if name == "rows" or name.endswith("_rows")
    }
    widths = {array.shape[1:] for array in parts.values()}
    if not parts or ("all" in parts and len(parts) > 1) or len(widths) > 1:
        raise UserError(
            f"{path} holds {sorted(arrays)}; a table is 'rows' [num, columns], or 'train_rows' and "
            "so on of as many columns, and perhaps 'columns', their names"
        )
    for name, array in parts.items():
        if array.ndim != 2 or array.dtype.kind not in "biuf" or 0 in array.shape:
            raise UserError(
                f"{path}: the rows of {name!r} have shape {list(array.shape)} and type "
                f"{array.dtype}; a table is real numbers [num, columns]"
            )
    (width,) = next(iter(widths))
    given = arrays.get("columns", np.array([f"column_{i}" for i in range(width)]))
    if given.ndim != 1:
        raise UserError(
            f"{path}: 'columns' has shape {list(given.shape)}; it must be the {width} names of the "
            "columns"
        )
    names = [*map(str, given)]
    check_names(path, names)
    if len(names) != width:
        raise UserError(f"{path} names {len(names)} columns, and its rows have {width}")
    dtype = _stored_dtype(np.result_type(*parts.values()))
    return {
        part: pyarrow.table({n: array[:, i].astype(dtype) for i, n in enumerate(names)})
        for part, array in parts.items()
    }


def _stored_dtype(dtype: np.dtype) -> np.dtype:
    """Return the type in which numbers of an .npz file keep their digits.

    In float64 a 0.1 of float32 would be 0.10000000149, and large whole numbers would be rounded.
    """
    if dtype.kind in "iu":
        return dtype.newbyteorder("=")
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


def _bundled(name: str) -> Any:
    """Return a table of scikit-learn's, with its classes as the column `target`."""
    import pyarrow
    import sklearn.datasets

    found = getattr(sklearn.datasets, f"load_{name}")()
    cells = {str(n): found.data[:, i] for i, n in enumerate(found.feature_names)}
    return pyarrow.table({**cells, _TARGET: found.target})


def check_names(where: object, names: Sequence[str]) -> None:
    """Refuse columns of which one has no name, or two have the same.

    Args:
        where: the table's name, for errors.
        names: of its columns.

    Raises:
        UserError: there are such.
    """
    for name in names:
        if not name or names.count(name) > 1:
            what = f"{name!r} {names.count(name)} times" if name else "one without a name"
            raise UserError(f"{where} has the column {what}; each column needs a name of its own")


def _open(path: Path, kinds: Mapping[str, str]) -> Any:
    """Return a file as an Arrow table.

    Raises:
        UserError: it is missing, damaged or no table.
    """
    import pyarrow
    import pyarrow.parquet

    if path.suffix == ".npz":
        parts = _open_parts(path, kinds)
        if "all" not in parts:
            raise UserError(f"{path} holds several parts; it must hold 'rows' alone")
        return parts["all"]
    try:
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
        elif path.suffix == ".csv":
            table = _open_csv(path, kinds)
        else:
            raise UserError(f"{path} must end in {', '.join(SUFFIXES)}")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give a file that does") from None
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no whole table: {first_line(error)}") from None
    check_names(path, table.column_names)
    if table.num_rows == 0:
        raise UserError(f"{path} has no rows")
    return table


def _open_csv(path: Path, kinds: Mapping[str, str]) -> Any:
    import pyarrow
    import pyarrow.compute
    import pyarrow.csv

    with open(path, encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        separator = max(_SEPARATORS, key=header.count)
        decimal_point = _decimal_point(file) if separator == ";" else "."
    _warn_of_torn_end(path)
    header_names = next(csv.reader([header], delimiter=separator), [])
    is_number = re.compile(r"-?[\d.]+(e-?\d+)?").fullmatch
    if header_names and all(is_number(name.strip()) for name in header_names):
        raise UserError(
            f"{path} begins with the numbers {', '.join(header_names[:3])}; its first line must "
            "name the columns"
        )

    def read_as_texts(names: Sequence[str], only: Sequence[str] = ()) -> Any:
        return pyarrow.csv.read_csv(
            path,
            # One thread, which names the row of an error.
            pyarrow.csv.ReadOptions(use_threads=False),
            csv_style.parse_options(separator, len(header_names)),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pyarrow.string()),
                include_columns=only,
                strings_can_be_null=True,
                decimal_point=decimal_point,
            ),
        )

    table = read_as_texts([n for n, k in kinds.items() if k in ("skip", "label", "category")])
    check_names(path, table.column_names)
    whole = [
        field.name
        for field in table.schema
        if pyarrow.types.is_integer(field.type) and kinds.get(field.name, "binary") == "binary"
    ]
    truth = [field.name for field in table.schema if pyarrow.types.is_boolean(field.type)]
    again = [*whole, *truth]
    texts = read_as_texts(again, again) if again else table
    spelt = csv_style.spellings(table.select(truth), texts)
    for name in whole:
        # Digits after a zero, as in zip codes, are a name, which a number would cut.
        if _any_matches(texts.column(name), r"^\s*0\d+\s*$"):
            trimmed = pyarrow.compute.utf8_trim_whitespace(texts.column(name))
            table = table.set_column(table.column_names.index(name), name, trimmed)
    style = CsvStyle(separator, decimal_point, spelt, *csv_style.line_end_and_mark(path))
    return csv_style.attach(table, style)


def _any_matches(texts: Any, pattern: str) -> bool:
    import pyarrow.compute

    found = pyarrow.compute.match_substring_regex(texts, pattern)
    return bool(pyarrow.compute.any(found).as_py())


def _decimal_point(file: TextIO) -> str:
    """Return a comma if more numbers have one than a point, in the first lines of semicolon cells.

    A single line may have none but whole numbers.
    """
    is_fraction = re.compile(r"[-+]?\d*([.,])\d+([eE][-+]?\d+)?").fullmatch
    found = []
    # A cell that is too long for this reader has no decimal point.
    with contextlib.suppress(csv.Error):
        for record in itertools.islice(csv.reader(file, delimiter=";"), _LINES_SEEN):
            matches = (is_fraction(cell.strip()) for cell in record)
            found += [match[1] for match in matches if match is not None]
    return "," if found.count(",") > found.count(".") else "."


def _warn_of_torn_end(path: Path) -> None:
    """Warn of a file without a line break at its end, whose last cell may have been cut."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _LINE_SHOWN))
        end = file.read()
    if end and not end.endswith((b"\n", b"\r")):
        line = end.splitlines()[-1].decode(errors="replace")
        logging.warning(
            "%s does not end in a line break, but in %r: if it was cut, its last cell is wrong",
            path,
            line[-20:],
        )


def _content(where: object, table: Any, name: str, kind: str | None) -> _Content:
    """Return a column of an Arrow table as numbers or texts.

    Whole numbers that float64 would round are texts, and so are dates that are categories.

    Args:
        where: the table's name, for errors.
        table: the whole table.
        name: of the column.
        kind: of the column, if it is given.

    Raises:
        UserError: it is neither.
    """
    import pyarrow
    import pyarrow.compute

    column = table.column(name)
    if pyarrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    stored = column.type
    if pyarrow.types.is_null(stored):
        return np.full(len(column), math.nan)
    if pyarrow.types.is_floating(stored):
        return column.to_numpy(zero_copy_only=False)
    if pyarrow.types.is_integer(stored):
        ends = pyarrow.compute.min_max(column).as_py()
        if max(abs(end or 0) for end in ends.values()) > kinds_of.LARGEST_WHOLE:
            return [None if v is None else str(v) for v in column.to_pylist()]
        return column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    if pyarrow.types.is_decimal(stored):
        return column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    if pyarrow.types.is_boolean(stored):
        return [None if v is None else str(v).lower() for v in column.to_pylist()]
    if pyarrow.types.is_string(stored) or pyarrow.types.is_large_string(stored):
        found: list[str | None] = column.to_pylist()
        return found
    ways = f"leave it out by data.columns.{name}=skip"
    types = pyarrow.types
    if types.is_date(stored) or types.is_time(stored) or types.is_timestamp(stored):
        if kind in ("category", "label"):
            dates: list[str | None] = column.cast(pyarrow.string()).to_pylist()
            return dates
        ways += ", or say category"
    raise UserError(
        f"{where}: column {name!r} is of type {stored}, which is neither number nor text; {ways}"
    )
