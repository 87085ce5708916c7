"""Frames and arrays of a user become rows of a run, and are filled in their own types."""

import numpy as np
import pandas
import pyarrow
import pytest

from vae_jax.data import columns
from vae_jax.data.columns import Column
from vae_jax.errors import UserError
from vae_jax.trained import plain_cells

COLUMNS = (
    Column("1", "real", (), 1),
    Column("visits", "count", (), 0),
    Column("vip", "binary", ("false", "true")),
    Column("plan", "category", ("a", "b")),
)
TRAINED = np.float32([[1.5, 3, 0, 0], [2.5, 5, 1, 1], [9.5, 4, 0, 1]])[:, None, :, None]
SHAPE = columns.fit(COLUMNS, TRAINED, "rows")
FILL = [7.25, 6, 1, 1]


def frame(name=1):
    """Return a frame of two rows, the second empty, with the types that pandas has for holes."""
    cells = {
        name: [1.5, None],
        "visits": pandas.array([3, None], dtype="Int64"),
        "vip": pandas.array([False, None], dtype="boolean"),
        "plan": pandas.Categorical(["a", None], categories=["a", "b"]),
    }
    return pandas.DataFrame(cells, index=[10, 20])


def fill(cells, values=FILL):
    """Fill the empty cells of each column by one value."""
    encoded = plain_cells.encode(cells, SHAPE, {})
    rows = np.where(np.isnan(encoded.rows), np.float32(values)[:, None], encoded.rows)
    return plain_cells.fill(cells, encoded, rows, SHAPE)


@pytest.mark.parametrize("name", [1, "1"])
def test_a_frame_keeps_its_names_index_and_types(name):
    cells = frame(name)
    filled = fill(cells)
    assert list(filled.columns) == list(cells.columns)
    assert list(filled.index) == [10, 20]
    assert list(filled.dtypes) == list(cells.dtypes)
    assert filled.iloc[0].tolist() == [1.5, 3, False, "a"]
    assert filled.iloc[1].tolist() == [7.2, 6, True, "b"]
    assert cells.iloc[1].isna().all()


def test_a_type_that_does_not_hold_the_values_gives_way():
    cells = frame().astype({"plan": pandas.CategoricalDtype(["a"])})
    cells["visits"] = cells["visits"].astype("Int8")
    filled = fill(cells, [7.25, 300, 1, 1])
    assert filled["visits"].tolist() == [3, 300]
    assert filled["plan"].tolist() == ["a", "b"]


@pytest.mark.parametrize("names", [["1", "visits", "visits", "plan"], [1, "1", "vip", "plan"]])
def test_two_columns_of_one_name_are_refused(names):
    with pytest.raises(UserError, match=r"the frame has the column '(visits|1)' 2 times; each"):
        plain_cells.encode(frame().set_axis(names, axis=1), SHAPE, {})


class Framelike:
    """Looks like a frame of pandas, and is none."""

    columns = ("1", "visits", "vip", "plan")
    iloc = None

    def to_numpy(self):
        return np.zeros((1, 4))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([[1.5, 3, 0, 0], [2.5]], "cells are no array: .*; give rows of 4 cells each"),
        (pyarrow.table({"1": [1.5]}), "cells are a Table of pyarrow; give a pandas frame or an ar"),
        (Framelike(), "cells are no table: .*; give a pandas frame or an array"),
        (pandas.DataFrame({"1": [1.5, "x"]}), "cells are no table: .*; give a pandas frame or an"),
    ],
)
def test_what_is_no_table_is_refused_in_a_line(cells, message):
    with pytest.raises(UserError, match=message) as error:
        plain_cells.encode(cells, SHAPE, {})
    assert "\n" not in str(error.value)


def test_an_array_is_filled():
    cells = np.array([[1.5, 3, "true", "a"], [None, None, None, None]], object)
    assert fill(cells).tolist() == [[1.5, 3, "true", "a"], [7.2, 6, "true", "b"]]
