"""Cells of tables are read without a loss, or refused in a line."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax import data
from vae_jax.data import columns, tables
from vae_jax.data.columns import Column
from vae_jax.data.tables import TableOptions
from vae_jax.errors import UserError

TIMES = 1_700_000_000 + np.arange(50.0)
PLAN = [f"{'ab'[i % 2]}" for i in range(50)]


def load(path, **kinds):
    options = TableOptions(tuple(kinds.items()))
    return data.load(str(path), "train+validation+test", "", 0, options)


def write_csv(path, separator=",", **cells):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(cells)
        writer.writerows(zip(*cells.values(), strict=True))
    return path


def write_parquet(path, **cells):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(cells), path)
    return path


def write(folder, suffix, **cells):
    """Write columns into a file of a suffix; .npz files hold numbers alone."""
    path = folder / f"table.{suffix}"
    if suffix == "npz":
        np.savez(path, rows=np.stack([*cells.values()], axis=-1), columns=[*cells])
        return path
    return (write_csv if suffix == "csv" else write_parquet)(path, **cells)


def refused(path, **kinds):
    """Return the line by which a file is refused."""
    with pytest.raises(UserError) as error:
        load(path, **kinds)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
@pytest.mark.parametrize("kind", ["real", "positive"])
def test_numbers_that_float32_merges_are_refused(tmp_path, suffix, kind):
    line = refused(write(tmp_path, suffix, t=TIMES, x=np.sqrt(TIMES - 1.6e9)), t=kind)
    assert "column 't': 50 different values from 1700000000 to 1700000049 are only 1" in line
    assert "subtract an offset, such as 1700000000" in line


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (TIMES[0] + 60.0 * np.arange(2000), None),
        ([*TIMES, 0.0], None),
        (1e-50 * np.arange(1, 51), "change their unit"),
        (1e15 + np.arange(50.0), "subtract an offset"),
    ],
)
def test_what_is_rounded_off_is_compared_with_the_spread(values, told):
    line = columns.merged(Column("t", "real"), np.array(values))
    assert line is not None
    assert told is None or told in line


def test_a_trained_model_takes_what_rounding_hardly_changes():
    northings = 5.4e6 + 1000 * np.random.default_rng(0).random(1000)
    column, spread = Column("y", "real", (), 2), float(northings.std())
    assert "subtract an offset" in columns.merged(column, northings)
    assert columns.merged(column, northings, spread) is None
    assert "subtract an offset" in columns.merged(column, northings, spread / 100)


P_VALUES = np.concatenate([10 ** np.linspace(-155.3, -40, 80), np.linspace(0.01, 0.97, 20)])


def test_numbers_of_many_magnitudes_are_refused_with_what_helps(tmp_path):
    line = refused(write_csv(tmp_path / "a.csv", p=P_VALUES, x=np.arange(100) - 3.5), p="real")
    assert "; take logs, or 0 for those below 1.2e-38, or leave it out by data.columns.p=s" in line
    found = np.where(P_VALUES < 1.2e-38, 0, P_VALUES)
    assert columns.merged(Column("p", "real"), found) is None
    line = refused(write_csv(tmp_path / "b.csv", p=P_VALUES, x=np.arange(100) - 3.5))
    assert "change the unit, take logs, or say data.columns.p=real" in line
    # The kind of a trained model's column stays.
    problem = columns.unfit(Column("p", "positive"), P_VALUES)
    assert problem.endswith("change the unit, take logs")


def test_a_column_that_float32_merges_may_be_left_out(tmp_path):
    path = write_csv(tmp_path / "a.csv", t=TIMES, x=np.arange(50) - 3.5)
    assert "or change their unit, or leave it out by data.columns.t=skip" in refused(path)
    with pytest.raises(UserError, match=r"or change their unit, or leave it out$"):
        columns.column_of("t", TIMES, "real")
    assert load(path, t="skip").images.shape == (50, 1, 1, 1)


def test_columns_that_float32_holds_are_accepted():
    rng = np.random.default_rng(0)
    one, noise = np.full(500, 0.1), 2.0**-56 * np.arange(500)
    accepted = [
        rng.normal(size=5000),
        300 + rng.normal(size=5000),
        101_325.0 + 100 * rng.normal(size=5000),
        # A day and a year, hour by hour.
        TIMES[0] + 3600.0 * np.arange(24 * 365),
        # The last bits of float64, as sums in another order have them.
        np.concatenate([one + noise, 5 * one + noise, 9 * one]),
        np.array([np.nan, 0.1, 0.3]),
    ]
    for values in accepted:
        assert columns.merged(Column("x", "real"), values) is None


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (1e-50, "positive", "1e-50, where values of kind positive are numbers from 1.2e-38"),
        (1e-40, "exposure", "1e-40, where values of kind exposure are numbers from 1.2e-38"),
        (1e39, "real", r"1e+39, where values of kind real are finite numbers up to 3.4e+38"),
        (np.inf, "real", "inf, where values of kind real are finite"),
        (np.inf, None, "inf, where values of kind real are finite"),
        (-np.inf, "category", "holds -inf in row 1, where values of kind category are"),
        (np.inf, "label", "holds inf in row 1, where values of kind category are"),
    ],
)
def test_numbers_that_float32_does_not_hold_are_refused(tmp_path, suffix, value, kind, message):
    cells = np.array([value, *np.linspace(1, 2, 20)])
    path = write(tmp_path, suffix, x=cells, y=np.arange(21.0) - 3.5)
    if suffix == "csv" and kind in ("category", "label"):
        # A text as good as any.
        assert load(path, x=kind).images.shape[0] == 21
        return
    line = refused(path, **({} if kind is None else {"x": kind}))
    assert "column 'x'" in line
    assert message in line


def test_so_are_those_of_an_input_and_of_rows_in_memory(tmp_path):
    described = (Column("x", "real", (), 1), Column("w", "positive"))
    cells = {"x": [1.5, 2.5], "w": [1.0, 1e-50]}
    with pytest.raises(UserError, match=r"'w': 1e-50, where .* the smallest of float32"):
        tables.read_like(write_csv(tmp_path / "a.csv", **cells), described, {})
    path = write_csv(tmp_path / "a.csv", x=TIMES, w=TIMES)
    with pytest.raises(UserError, match=r"'x': 50 different values .* are only 1 in float32"):
        tables.read_like(path, described, {}, [100.0, 1.0])
    # Nothing that a model of years would see.
    assert len(tables.read_like(path, described, {}, [1e8, 1.0]).rows) == 50
    with pytest.raises(UserError, match="'x': 50 different values"):
        tables.from_arrays(np.stack([TIMES, TIMES], axis=-1), described)
    with pytest.raises(UserError, match=r"'x': 1e\+39, where"):
        tables.from_arrays(np.array([[1e39, 1.0]]), described)


def test_npz_files_of_other_arrays_are_refused(tmp_path):
    path, rows = tmp_path / "a.npz", np.random.default_rng(0).normal(size=(20, 2))
    np.savez(path, rows=rows, columns=np.array("ab"))
    assert "'columns' has shape []; it must be the 2 names of the columns" in refused(path)
    np.savez(path, rows=rows, columns=[["a", "b"]])
    assert "'columns' has shape [1, 2]; it must be" in refused(path)
    np.savez(path, rows=rows + 1j)
    assert "and type complex128; a table is real numbers [num, columns]" in refused(path)


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_categories_of_numbers_keep_all_of_their_digits(tmp_path, suffix):
    near = np.array([0.12345671, 0.12345672, -0.0, 5.0] * 5)
    label = np.array([1234567.25, 1234567.5, 1e20, 0.0] * 5)
    found = load(write(tmp_path, suffix, x=near, y=label, z=near), x="category", y="label")
    assert found.columns[0].values == ("0", "0.12345671", "0.12345672", "5")
    assert sorted(np.bincount(found.labels)) == [5, 5, 5, 5]
    # As they were before with six digits.
    known = np.array([0.1, 2.5, 1e-5, 1234.5, 3.0])
    for dtype in (np.float64, np.float32):
        texts = columns.as_texts(known.astype(dtype))
        assert texts == ["0.1", "2.5", "1e-05", "1234.5", "3"]
        numbers = np.tile(known, 5).astype(dtype)
        path = write(tmp_path, suffix, x=numbers, y=np.arange(25, dtype=dtype))
        assert load(path, x="category").columns[0].values == ("1e-05", "0.1", "2.5", "3", "1234.5")


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_whole_numbers_that_float64_rounds_are_texts(tmp_path, suffix):
    ids = 2**60 + np.arange(20) % 4
    path = write(tmp_path, suffix, id=ids, x=np.arange(20))
    assert len(set(load(path, id="label").labels)) == 4
    assert load(path, id="category").columns[0].values[0] == str(2**60)
    assert f"'id' holds {2**60 + 1} in row 2, where values of kind real are whole" in refused(
        path, id="real"
    )


LARGE = Column("n", "real", (), 0)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_whole_numbers_beyond_int64_are_written_and_read_back(tmp_path, suffix):
    numbers = np.float32([5, 0, -(2.0**53), 2.0**60, -1e20, 3e38])
    path = tmp_path / f"table.{suffix}"
    tables.write(path, [LARGE], numbers[:, None, None, None])
    np.testing.assert_array_equal(tables.read_like(path, [LARGE], {}).rows.ravel(), numbers)
    if suffix == "csv":
        lines = path.read_text().split()
        assert lines == ["n", *(format(float(number), ".0f") for number in numbers)]


def test_a_hole_is_filled_by_a_whole_number_beyond_int64():
    import pyarrow

    for there in (pyarrow.int64(), pyarrow.uint64(), pyarrow.string()):
        cells = pyarrow.table({"n": pyarrow.array([7, None]).cast(there)})
        rows = np.float32([7, 1e20])[:, None, None, None]
        filled = tables.fill(cells, [LARGE], np.array([[[[False]]], [[[True]]]]), rows)
        assert [float(cell) for cell in filled.column("n").to_pylist()] == [7, np.float32(1e20)]


def test_whole_numbers_that_float64_holds_are_numbers():
    texts = [str(2**53), str(-(2**60)), None, "+3"]
    found = columns.as_numbers("n", texts, "real")
    np.testing.assert_array_equal(found, [2.0**53, -(2.0**60), np.nan, 3])
    with pytest.raises(UserError, match=f"holds {2**53 + 1} in row 1, where .* that float64 holds"):
        columns.as_numbers("n", [str(2**53 + 1)], "real")


def test_decimal_commas_are_looked_for_in_many_lines(tmp_path):
    texts = ["1", "2", "1,5", "2,5", "3", "4", "0,25", "8"]
    dates = [f"0{i + 1}.02.2024" for i in range(8)]
    path = write_csv(tmp_path / "a.csv", ";", x=texts, day=dates)
    found = load(path, day="skip")
    assert found.columns[0].kind != "category"
    assert sorted(found.images.ravel()) == [0.25, 1, 1.5, 2, 2.5, 3, 4, 8]
    small = write_csv(tmp_path / "c.csv", ";", x=["1,5e-05", "2,5e-05", "2E+3"], y=["4", "5", "6"])
    np.testing.assert_allclose(sorted(load(small).images[:, 0, 0, 0]), [1.5e-5, 2.5e-5, 2000])
    quoted = tmp_path / "b.csv"
    quoted.write_text('x;y\n1;2\n"1,5";3\n"2,5";7\n', encoding="utf-8")
    assert sorted(load(quoted).images[:, 0, 0, 0]) == [1, 1.5, 2.5]


@pytest.mark.parametrize(
    "texts", [["1", "2", "1,5"], ["1.234,5", "2", "7,25"], ["1,234.5", "12", "x"], ["0,5", "1,5"]]
)
def test_a_category_of_numbers_with_a_comma_is_refused(tmp_path, texts):
    path = write_csv(tmp_path / "a.csv", x=texts * 4, y=np.arange(len(texts) * 4) - 1.5)
    assert "column 'x' holds numbers with a comma, such as" in refused(path)
    assert load(path, x="category").columns[0].values == tuple(sorted(texts))


@pytest.mark.parametrize(
    ("texts", "sign"),
    [
        ([f"{i}%" for i in range(99)], "%"),
        (["$212.00", "$1,212.50", "-$3"], "$"),
        (["45 €", "7,5 €", "8"], "€"),
    ],
)
def test_numbers_with_the_sign_of_a_unit_are_refused(tmp_path, texts, sign):
    path = write_csv(tmp_path / "a.csv", x=texts * 10, y=np.arange(10 * len(texts)) - 1.5)
    line = refused(path)
    assert f"column 'x' holds numbers with {sign!r}, such as {texts[0]!r}, which are" in line
    assert f"remove {sign!r}; leave it out by data.columns.x=skip, or say category" in line
    assert len(load(path, x="category").columns[0].values) == len(texts)


def test_words_with_commas_or_signs_are_categories():
    assert columns.infer("x", ["a,b", "1,5 m", "c"])[1] is None
    assert columns.infer("x", ["up 5%", "100%", "none", "$"])[1] is None


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_of_dates_is_refused_or_one_of_categories(tmp_path, suffix):
    days = np.array(["2024-01-31", "2024-02-01"] * 10, "datetime64[D]")
    path = write(tmp_path, suffix, day=days, x=np.arange(20) - 3.5)
    line = refused(path)
    assert f"{path}: column 'day' is of type date32" in line
    assert line.endswith("leave it out by data.columns.day=skip, or say category")
    column = load(path, day="category").columns[0]
    assert column.values == ("2024-01-31", "2024-02-01")
    rows = tables.read_like(path, [column, Column("x", "real")], {}).rows
    assert set(rows[:, 0, 0, 0]) == {0, 1}


def test_digits_after_a_zero_are_texts(tmp_path):
    zips = ["01234", "00007", "98101", "10001"] * 5
    path = write_csv(tmp_path / "a.csv", zip=zips, n=range(20))
    found = load(path)
    column = found.columns[0]
    assert (column.kind, column.values) == ("category", ("00007", "01234", "10001", "98101"))
    again = tmp_path / "again.csv"
    tables.write(again, found.columns, found.images)
    back = tables.read_like(again, found.columns, {}).rows
    np.testing.assert_array_equal(back, found.images)
    # A kind of numbers that is given counts.
    assert sorted(set(load(path, zip="real").images[:, 0, 0, 0])) == [7, 1234, 10001, 98101]
    many = write_csv(tmp_path / "b.csv", zip=[f"{i:05d}" for i in range(99)], n=range(99))
    line = refused(many)
    assert "'zip' holds 99 different texts in 99 rows, such as '00000', '00001'; leave it" in line
    late = write_csv(tmp_path / "c.csv", zip=[*["98101", "10001"] * 2000, "01234"], n=range(4001))
    assert load(late).columns[0].kind == "category"


# What a CSV file holds of a cell: a number, or a text that is none, or a name of digits.
NUMBERS = st.one_of(
    st.integers(-(2**20), 2**20).map(float),
    st.floats(-1e6, 1e6, width=32).map(lambda number: 0.0 if abs(number) < 1e-30 else number),
)
WORDS = st.text("abc ,;\"'1.0", min_size=1, max_size=4).map(lambda text: f"w{text}")
DIGITS = st.from_regex(r"0[0-9]{1,4}|[1-9][0-9]{4}", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, WORDS, DIGITS), min_size=4, max_size=12),
    st.sampled_from(",;\t|"),
    st.booleans(),
    st.sampled_from(["real", "category"]),
)
def test_what_is_written_is_what_is_read(tmp_path_factory, rows, separator, comma, kind):
    """A table written with any separator, and decimal commas beside semicolons, is read back."""
    numbers, words, digits = zip(*rows, strict=True)
    folder = tmp_path_factory.mktemp("tables")
    exact = [*map(repr, numbers)]
    written = exact
    if separator == ";" and comma and kind == "real":
        written = [text.replace(".", ",") for text in exact]
    cells = {"x": written, "word": words, "digits": ["00000", *digits[1:]]}
    kinds = {"x": kind, "word": "category"}
    path = write_csv(folder / "table.csv", separator, **cells)
    options = TableOptions(tuple(kinds.items()))
    tables_of = tables._read_splits.__wrapped__
    parts = tables_of(str(path), options, 0, 0)
    found = [part.images[:, 0, :, 0] for part in parts.values()]
    order = np.random.default_rng(options.split_seed).permutation(len(rows))
    held = max(1, round(0.1 * len(rows)))
    assert [len(part) for part in found] == [len(rows) - 2 * held, held, held]
    back = np.empty((len(rows), 3))
    back[order] = np.concatenate(found)
    described = parts["train"].columns
    for index, texts in ((1, words), (2, cells["digits"])):
        values = described[index].values
        assert [values[int(code)] for code in back[:, index]] == list(texts)
    if kind == "real":
        np.testing.assert_array_equal(back[:, 0], np.float32(numbers))
    else:
        assert [described[0].values[int(code)] for code in back[:, 0]] == exact
