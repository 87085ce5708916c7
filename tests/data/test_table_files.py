"""Tables in files: kinds, splits, cells that were not seen, and what is refused."""

import json
from decimal import Decimal

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from vae_jax import data
from vae_jax.config.forms import from_metadata, to_metadata
from vae_jax.data import columns, csv_style, tables
from vae_jax.data.columns import Column, RowShape
from vae_jax.data.csv_style import CsvStyle
from vae_jax.data.tables import TableOptions
from vae_jax.errors import UserError

HEADER = "size,income,visits,member,plan,code"
LINES = [
    f"{170 + i % 7}.5,{10 ** (i % 5)},{i * i % 11},{['no', 'yes'][i % 2]},{'abc'[i % 3]},{i % 2}"
    for i in range(50)
]


@pytest.fixture
def table(tmp_path):
    """Write a table; return its path."""

    def write(*lines, name="table.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return write


def load(path, split="train+validation+test", **options):
    kinds = tuple(options.pop("kinds", {}).items())
    return data.load(path, split, "", 0, TableOptions(kinds, **options))


def test_kinds_are_inferred_from_the_values(table):
    found = load(table(HEADER, *LINES))
    assert {column.name: column.kind for column in found.columns} == {
        "size": "real",
        "income": "count",
        "visits": "count",
        "member": "binary",
        "plan": "category",
        "code": "binary",
    }
    assert found.images.shape == (50, 1, 6, 1)
    assert found.images.dtype == np.float32


def test_a_given_kind_goes_before_the_inferred_one(table):
    kinds = {"income": "positive", "visits": "category", "code": "label", "plan": "skip"}
    found = load(table(HEADER, *LINES), kinds=kinds)
    assert [column.name for column in found.columns] == ["size", "income", "visits", "member"]
    assert found.columns[1].kind == "positive"
    # Numbers by size.
    assert found.columns[2].values == ("0", "1", "3", "4", "5", "9")
    assert set(found.labels) == {0, 1}


def test_wide_positive_numbers_and_years_have_kinds_of_their_own():
    rng = np.random.default_rng(0)
    assert columns.infer("a", np.exp(rng.normal(size=200)))[0] == "positive"
    assert columns.infer("a", rng.integers(1990, 2020, 200).astype(float))[0] == "real"
    assert columns.infer("a", rng.normal(size=200))[0] == "real"
    assert columns.infer("a", rng.poisson(3.0, 200).astype(float))[0] == "count"


def test_the_splits_are_drawn_by_a_seed_and_share_no_row(table):
    path = table("id,x", *(f"{i}.5,{i % 2}" for i in range(100)))
    sizes = data.split_sizes(path, "", TableOptions())
    assert sizes == {"train": 80, "validation": 10, "test": 10}
    parts = [load(path, split).images[:, 0, 0, 0] for split in sizes]
    assert sorted(np.concatenate(parts)) == [i + 0.5 for i in range(100)]
    other = load(path, "train", split_seed=1).images[:, 0, 0, 0]
    assert not np.array_equal(other, parts[0])


def test_empty_cells_and_their_names_are_not_seen(table):
    found = load(table("x,y,word", "1.5,,a", "NA,2.5,b", "2.5,nan,", "0.5,1.5,a"))
    assert np.isnan(found.images).sum() == 4


def test_an_end_that_may_be_cut_and_empty_rows_are_warned_of(tmp_path, caplog):
    path = tmp_path / "table.csv"
    lines = ["size,plan", *(f"{i}.5,{'ab'[i % 2]}" for i in range(20))]
    path.write_text("\n".join([*lines, ",", "1.5,b"]))
    load(str(path))
    assert "table.csv does not end in a line break, but in '1.5,b': if it was cut" in caplog.text
    assert "table.csv: 1 rows have nothing but empty cells, first row 21" in caplog.text
    caplog.clear()
    path.write_text("\n".join(lines) + "\n")
    load(str(path))
    assert not caplog.text


def test_kinds_are_listed():
    kinds = ["real", "count", *["real"] * 5]
    listed = columns.in_words([Column(f"c{i}", kind) for i, kind in enumerate(kinds)])
    assert listed == "6 real (c0, c2, c3, c4, c5, ...), 1 count (c1)"


def test_separators_and_decimal_commas_are_found(table):
    for separator in ",;\t|":
        path = table(*(line.replace(",", separator) for line in (HEADER, *LINES)))
        assert len(load(path).columns) == 6
    path = table("x;y", *(f"{i},5;{i},25" for i in range(4)))
    assert sorted(load(path).images[:, 0, 0, 0]) == [0.5, 1.5, 2.5, 3.5]


def test_parquet_and_npz_hold_the_same_table(table, tmp_path):
    path = table(HEADER, *LINES)
    whole = tables._open(tmp_path / "table.csv", {})
    tables.write_table(tmp_path / "table.parquet", whole)
    read = load(str(tmp_path / "table.parquet"))
    np.testing.assert_array_equal(read.images, load(path).images)
    rows = np.random.default_rng(0).normal(size=(20, 2))
    np.savez(tmp_path / "a.npz", train_rows=rows[:15], test_rows=rows[15:], columns=["a", "b"])
    sizes = data.split_sizes(str(tmp_path / "a.npz"), "", TableOptions())
    assert sizes == {"train": 15, "test": 5}
    found = load(str(tmp_path / "a.npz"), "test")
    np.testing.assert_array_equal(found.images[:, 0, :, 0], rows[15:].astype(np.float32))


def test_a_written_table_is_read_back(table, tmp_path):
    found = load(table(HEADER, *LINES))
    rows = found.images.copy()
    rows[3, 0, 4, 0] = rows[4, 0, 0, 0] = np.nan
    tables.write(tmp_path / "again.csv", found.columns, rows)
    again = tables.read_like(tmp_path / "again.csv", found.columns, {})
    np.testing.assert_array_equal(again.rows, rows)
    assert (tmp_path / "again.csv").read_text().startswith(HEADER)


def test_filling_leaves_what_was_there_and_columns_that_are_not_modelled(tmp_path):
    path = tmp_path / "holes.csv"
    path.write_text("zip,x,n,plan\n01234,1.123456789,3,a\n00007,,,\n", encoding="utf-8")
    described = (Column("x", "real", (), 1), Column("n", "count", (), 0))
    described += (Column("plan", "category", ("a", "b")),)
    cells = tables.read_like(path, described, {"zip": "skip"})
    fill_by(path, tmp_path / "filled.csv", described, cells, [2.25, 3.7, 1])
    lines = (tmp_path / "filled.csv").read_text().splitlines()
    assert lines[1:] == ["01234,1.123456789,3,a", "00007,2.2,4,b"]


def fill_by(source, target, described, cells, values):
    """Fill the empty cells of each column by one value, and write the table."""
    missing = np.isnan(cells.rows)
    rows = np.where(missing, np.float32(values)[None, :, None], cells.rows)
    style = csv_style.style_of(cells.table)
    table = tables.original(cells, source, target)
    tables.write_table(target, tables.fill(table, described, missing, rows, style), style)


MARKED = "id;price;big;vip;code\nNA;1,50;2e3;True;01234\n7;;1,0;False;00007\n'8';2,25;;;\n"
MARKED_COLUMNS = (
    Column("price", "real", (), 2),
    Column("big", "real", (), 0),
    Column("vip", "binary", ("false", "true")),
    Column("code", "category", ("00007", "01234")),
)


def test_filling_a_csv_file_changes_no_letter_of_what_was_there(tmp_path):
    path, target = tmp_path / "holes.csv", tmp_path / "filled.csv"
    path.write_text(MARKED, encoding="utf-8")
    cells = tables.read_like(path, MARKED_COLUMNS, {"id": "skip"})
    fill_by(path, target, MARKED_COLUMNS, cells, [3.14, 5, 1, 0])
    expected = MARKED.replace("7;;", "7;3,14;").replace("2,25;;;", "2,25;5;True;00007")
    assert target.read_text() == expected
    # A Parquet file has types, and no letters.
    fill_by(path, tmp_path / "filled.parquet", MARKED_COLUMNS, cells, [3.14, 5, 1, 0])
    found = pyarrow.parquet.read_table(tmp_path / "filled.parquet")
    assert found.column("vip").to_pylist() == [True, False, True]
    assert found.schema.metadata is None


def test_filling_keeps_line_ends_and_the_byte_order_mark(tmp_path):
    path, target = tmp_path / "holes.csv", tmp_path / "filled.csv"
    path.write_bytes("\ufeffid;size;plan\r\n1;2,5;'é'\r\n2;;\r\n".encode())
    described = (Column("size", "real", (), 1), Column("plan", "category", ("'é'", "b")))
    cells = tables.read_like(path, described, {"id": "skip"})
    fill_by(path, target, described, cells, [3.5, 1])
    assert target.read_bytes() == "\ufeffid;size;plan\r\n1;2,5;'é'\r\n2;3,5;b\r\n".encode()
    plain = csv_style.style_of(tables.read_like(target, described, {"id": "skip"}).table)
    assert (plain.line_end, plain.byte_order_mark) == ("\r\n", True)
    early = {"separator": ";", "decimal": ",", "spellings": [["vip", "no", "yes"]]}
    assert CsvStyle.from_metadata(early) == CsvStyle(";", ",", (("vip", "no", "yes"),), "\n", False)


def test_a_blank_line_is_an_empty_cell_of_a_single_column(tmp_path):
    path, target = tmp_path / "holes.csv", tmp_path / "filled.csv"
    path.write_text("x\n1.5\n\n2.5\n")
    described = (Column("x", "real", (), 1),)
    cells = tables.read_like(path, described, {})
    np.testing.assert_array_equal(cells.rows.ravel(), [1.5, np.nan, 2.5])
    fill_by(path, target, described, cells, [3.5])
    assert target.read_text() == "x\n1.5\n3.5\n2.5\n"
    # Of several columns they hold nothing.
    path.write_text("x,y\n1.5,2\n\n2.5,3\n")
    assert len(tables.read_like(path, (*described, Column("y", "real")), {}).rows) == 2


def test_drawn_rows_are_written_as_the_file_of_the_training_rows_is(tmp_path):
    path = tmp_path / "table.csv"
    lines = [f"{i}{i % 7},5;{bool(i % 3)};{i % 4:03}" for i in range(20)]
    path.write_text("\n".join(["price;vip;code", *lines]) + "\n")
    found = load(str(path), kinds={"code": "category"})
    shape = columns.fit(found.columns, found.images, "rows", found.csv_style)
    again = from_metadata(json.loads(json.dumps(to_metadata(shape))))
    assert again.csv_style == CsvStyle(";", ",", (("vip", "False", "True"),))
    rows = np.float32([[1.5, 1, 2], [np.nan, 0, 3]])[:, None, :, None]
    tables.write(tmp_path / "drawn.csv", again.plain_columns, rows, again.csv_style)
    text = (tmp_path / "drawn.csv").read_text()
    assert text == "price;vip;code\n1,5;True;002\n;False;003\n"
    tables.write(tmp_path / "drawn.parquet", again.plain_columns, rows)
    written = pyarrow.parquet.read_table(tmp_path / "drawn.parquet")
    assert written.column("vip").to_pylist() == [True, False]


def test_columns_of_an_early_run_are_those_of_a_plain_csv_file():
    found = load("iris", numbers="real")
    shape = columns.fit(found.columns, found.images, "rows", CsvStyle(";", ","))
    early = {k: v for k, v in to_metadata(shape).items() if k != "csv_style"}
    assert from_metadata(early) == shape
    assert from_metadata(early).csv_style == CsvStyle()


def test_narrow_types_of_a_parquet_file_take_what_is_filled_in(tmp_path):
    path, target = tmp_path / "holes.parquet", tmp_path / "filled.parquet"
    small = pyarrow.array([1, None, 3], pyarrow.int8())
    whole = {
        "fits": small,
        "large": small,
        "real": small,
        "plan": pyarrow.array(["a", None, "b"]).dictionary_encode(),
        "price": pyarrow.array([Decimal("1.50"), None, Decimal("9.99")], pyarrow.decimal128(3, 2)),
    }
    pyarrow.parquet.write_table(pyarrow.table(whole), path)
    described = (
        Column("fits", "count", (), 0),
        Column("large", "count", (), 0),
        Column("real", "real", (), 1),
        Column("plan", "category", ("a", "b")),
        Column("price", "real", (), 2),
    )
    cells = tables.read_like(path, described, {})
    fill_by(path, target, described, cells, [2, 200, 2.5, 1, 12345])
    found = pyarrow.parquet.read_table(target)
    assert [found.column(name).to_pylist()[1] for name in whole] == [2, 200, 2.5, "b", 12345]
    assert found.schema.field("fits").type == pyarrow.int8()
    assert found.schema.field("large").type == pyarrow.int64()


def test_holes_are_made_by_share_and_seed():
    options = {"kinds": {}, "numbers": "real"}
    whole = load("iris", **options)
    holes = load("iris", missing_share=0.5, **options)
    missing = np.isnan(holes.images)
    assert 0.4 < missing.mean() < 0.6
    np.testing.assert_array_equal(holes.images[~missing], whole.images[~missing])
    assert set(whole.labels) == {0, 1, 2}
    other = load("iris", missing_share=0.5, missing_seed=1, **options)
    assert not np.array_equal(np.isnan(other.images), missing)


def shape_of(path, **options):
    found = load(path, **options)
    return columns.fit(found.columns, found.images, "data.train_split"), found


def test_statistics_travel_as_json_and_tell_tables_apart(table):
    shape, _ = shape_of(table(HEADER, *LINES))
    again = RowShape.from_metadata(shape.to_metadata())
    assert again == shape == (1, 6, 1)
    assert hash(again) == hash(shape)
    other, _ = shape_of(table(HEADER, *LINES[:40], name="other.csv"))
    assert other != shape


def fitted(values, kind="real"):
    """Return a column of values with its statistics."""
    rows = np.array(values, np.float64)[:, None, None, None]
    return columns.fit((Column("x", kind),), rows, "rows").columns[0]


def test_centers_lie_in_the_middle_of_columns_far_from_0():
    rng = np.random.default_rng(0)
    for values in (
        12345649 + rng.integers(0, 10, 500),
        -5.2e6 + 3 * rng.normal(size=500),
        1e7 + 1e4 * rng.normal(size=500),
        1e-3 + 1e-9 * rng.normal(size=500),
    ):
        column = fitted(values)
        assert abs((np.mean(values) - column.center) / column.scale) < 0.01
        assert column.mean == column.center
    # Six digits are enough.
    assert fitted([2001.123456789, 2002.0, 2009.5]).center == 2004.21


def test_a_constant_exposure_has_the_scale_1():
    for value in (10_000, 7, 0.3):
        column = fitted([value] * 1000, "exposure")
        assert column.scale == 1
        assert column.center == pytest.approx(np.log(value), rel=1e-5)


@pytest.mark.parametrize(
    ("lines", "kinds", "message"),
    [
        (["a,b", "1.5,2.5", "3.5"], {}, r"no whole table: CSV parse error.*Expected 2 columns"),
        (["a;b;c", "1,2,3", "4,5,6"], {}, r"no whole table: CSV parse error"),
        (
            ["a,b,c", *["1.5,2.5,3.5"] * 20, *["1.5;2.5;3.5"] * 20],
            {},
            r"no whole table: CSV parse error.*Expected 3 columns, got 1: 1\.5;2\.5;3\.5",
        ),
        # As many commas in every line: what is left of another separator is no number.
        (
            ["a,b,c", *(f"{i}.5,{i}.25,3.5" for i in range(12)), "1,5;2,5;3"],
            {},
            "'b' holds 12 different numbers among texts, such as '0.25' and '5;2'; leave it",
        ),
        (["1.5,2.5", "3.5,4.5"], {}, "begins with the numbers 1.5, 2.5; its first line must name"),
        (["a,a", "1.5,2.5"], {}, "has the column 'a' 2 times"),
        (["a,b", "-1,2.5", "3,1.5"], {"a": "count"}, r"data.columns.a='count': .*-1, where values"),
        (["a,b", "0,2.5", "3,1.5"], {"a": "positive"}, "values of kind positive are numbers above"),
        (["a,b", "x,2.5", "3,1.5"], {"a": "real"}, "'a' holds 'x' in row 1, where values of kind"),
        (["a,b", "1,2.5", "2,2.5", "3,1"], {"a": "binary"}, "has 3 different values"),
        (
            ["a,b", "1.5,2.5", "3,1.5"],
            {"c": "real"},
            "data.columns.c: .* has no column 'c'; it has",
        ),
        (["a,b", "1.5,", "3,"], {}, "column 'b' is empty; leave it out by data.columns.b=skip"),
        (["a,b", "1.5,1e99", "3,2.5"], {}, r"'b': 1e\+99, where .* the largest of float32"),
        (["a"], {}, "has no rows"),
        (["a,b", *(f"n{i},1.5" for i in range(99))], {}, "'a' holds 99 different texts in 99 rows"),
        (
            ["a;b", *(f"{i},5;x" for i in range(9)), "9.5;x", "8,5;y"],
            {},
            "'a' holds 10 different numbers among texts, such as '9.5' and '0,5'; leave it",
        ),
        (
            ["a,b", *(f"{i}.5,x" for i in range(12)), "high,y"],
            {},
            "'a' holds 12 different numbers among texts, such as '0.5' and 'high'; leave it",
        ),
    ],
)
def test_bad_tables_are_refused_in_a_line(table, lines, kinds, message):
    with pytest.raises(UserError, match=message) as error:
        load(table(*lines), kinds=kinds)
    assert "\n" not in str(error.value)


def test_a_constant_column_and_an_unseen_category_are_refused(table):
    path = table("a,b", *(f"{i}.5,7" for i in range(20)))
    with pytest.raises(UserError, match="column 'b' is 7 in every row; leave it out"):
        shape_of(path)
    _, found = shape_of(table(HEADER, *LINES, name="other.csv"))
    train = found.images[found.images[:, 0, 4, 0] != 2]
    shape = columns.fit(found.columns, train, "data.train_split")
    message = "data.test_split: column 'plan' holds 'c', which no row of data.train_split has"
    with pytest.raises(UserError, match=message):
        columns.unseen_categories(shape, found.images, "data.test_split", "refuse")
    rows = columns.unseen_categories(shape, found.images, "data.test_split", "missing")
    assert np.isnan(rows[:, 0, 4, 0]).sum() == np.sum(found.images[:, 0, 4, 0] == 2)


def test_an_input_with_other_columns_is_refused(table, tmp_path):
    found = load(table(HEADER, *LINES))
    other = tmp_path / "other.csv"
    other.write_text("size,weight\n1.5,2.5\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"lacks income, visits.* and has weight, unlike"):
        tables.read_like(other, found.columns, {})
    other.write_text(f"{HEADER}\n1.5,1,2,maybe,a,0\n", encoding="utf-8")
    with pytest.raises(UserError, match="'member' holds 'maybe' in row 1, which is none of no"):
        tables.read_like(other, found.columns, {})
    with pytest.raises(UserError, match="does not exist"):
        tables.read_like(tmp_path / "none.csv", found.columns, {})
