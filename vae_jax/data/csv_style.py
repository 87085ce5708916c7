"""How a CSV file writes its cells: separator, decimal mark, line ends, spelling of truth values."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

# The key of a style among the metadata of an Arrow table.
_KEY = b"csv_style"
# The values of a column that Arrow reads as truth values.
TRUTH = ("false", "true")
_TRUE = ("1", "True", "TRUE", "true")
_BYTE_ORDER_MARK = "\ufeff"
# Rows that are Python objects at a time.
_ROWS_AT_ONCE = 65_536


@dataclasses.dataclass(frozen=True)
class CsvStyle:
    """How a CSV file writes its cells.

    Attributes:
        separator: between the cells of a row.
        decimal: the decimal mark.
        spellings: by column of truth values its name and the texts of false and true, where they
            are others than `false` and `true`.
        line_end: what ends a row, LF or CRLF.
        byte_order_mark: whether the file begins with one, as Excel writes and expects it.
    """

    separator: str = ","
    decimal: str = "."
    spellings: tuple[tuple[str, str, str], ...] = ()
    line_end: str = "\n"
    byte_order_mark: bool = False

    def values(self, name: str, values: tuple[str, ...]) -> tuple[str, ...]:
        """Return the texts of a column's values as the file spells them."""
        for column, false, true in self.spellings:
            if column == name and values == TRUTH:
                return false, true
        return values

    def number(self, value: float | int) -> str:
        """Return the text of a number, which is as short as it can be read back from."""
        return str(value).replace(".", self.decimal)

    def to_metadata(self) -> dict[str, Any]:
        """Return what JSON holds of the style."""
        return dataclasses.asdict(self)

    @classmethod
    def from_metadata(cls, described: Mapping[str, Any]) -> "CsvStyle":
        """Return the inverse of `to_metadata`."""
        spellings = tuple((name, false, true) for name, false, true in described["spellings"])
        # Styles of earlier versions have fewer fields.
        return cls(**{**described, "spellings": spellings})


def attach(table: Any, style: CsvStyle) -> Any:
    """Return an Arrow table that knows the style of its file."""
    return table.replace_schema_metadata({_KEY: json.dumps(style.to_metadata())})


def detach(table: Any) -> Any:
    """Return an Arrow table without the style that `attach` gave it."""
    others = {k: v for k, v in (table.schema.metadata or {}).items() if k != _KEY}
    return table.replace_schema_metadata(others or None)


def style_of(table: Any) -> CsvStyle:
    """Return the style of the file that an Arrow table was read from, if that was a CSV file."""
    found = (table.schema.metadata or {}).get(_KEY)
    return CsvStyle() if found is None else CsvStyle.from_metadata(json.loads(found))


def parse_options(separator: str, num_columns: int) -> Any:
    """Return how Arrow divides a CSV file of a number of columns into cells."""
    import pyarrow.csv

    # A blank line is an empty cell of a single column.
    return pyarrow.csv.ParseOptions(delimiter=separator, ignore_empty_lines=num_columns != 1)


def read_texts(path: Path, separator: str) -> Any:
    """Return an Arrow table of a CSV file's cells as they are written, empty ones as ""."""
    import pyarrow
    import pyarrow.csv

    with open(path, encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file, delimiter=separator))
    return pyarrow.csv.read_csv(
        path,
        pyarrow.csv.ReadOptions(use_threads=False),
        parse_options(separator, len(header)),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pyarrow.string()), strings_can_be_null=False
        ),
    )


def line_end_and_mark(path: Path) -> tuple[str, bool]:
    """Return the end of a file's first line, and whether the file begins with a byte order mark."""
    with open(path, encoding="utf-8", newline="") as file:
        line = file.readline()
    return ("\r\n" if line.endswith("\r\n") else "\n"), line.startswith(_BYTE_ORDER_MARK)


def spellings(truths: Any, texts: Any) -> tuple[tuple[str, str, str], ...]:
    """Return how a CSV file spells its truth values, the first spelling of each.

    Args:
        truths: an Arrow table of its columns of truth values.
        texts: one of these columns, and perhaps others, as texts.
    """
    found = []
    for name in truths.column_names:
        known = texts.column(name).filter(truths.column(name).is_valid()).unique().to_pylist()
        true = next((text for text in known if text in _TRUE), TRUTH[1])
        false = next((text for text in known if text not in _TRUE), TRUTH[0])
        if (false, true) != TRUTH:
            found.append((name, false, true))
    return tuple(found)


def write(file: io.TextIOWrapper, table: Any, style: CsvStyle) -> None:
    """Write an Arrow table as CSV; None and NaN are empty cells."""
    if style.byte_order_mark:
        file.write(_BYTE_ORDER_MARK)
    # Arrow would put quotes around every text.
    writer = csv.writer(file, delimiter=style.separator, lineterminator=style.line_end)
    writer.writerow(table.column_names)
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        cells = zip(table.column_names, batch.columns, strict=True)
        writer.writerows(zip(*(_texts(n, c.to_pylist(), style) for n, c in cells), strict=True))


def _texts(name: str, cells: Iterable[Any], style: CsvStyle) -> Iterator[Any]:
    truth = style.values(name, TRUTH)
    for cell in cells:
        if isinstance(cell, bool):
            yield truth[cell]
        elif isinstance(cell, float):
            yield None if math.isnan(cell) else style.number(cell)
        else:
            yield cell
