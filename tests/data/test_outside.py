import numpy as np
import pytest

from vae_jax import data
from vae_jax.config import load_splits, resolve
from vae_jax.errors import UserError

HEADER = """
import numpy as np
from vae_jax.data import Dataset

def images(num, first=0, dtype=np.uint8):
    return np.full((num, 4, 4, 1), 0, dtype) + np.arange(first, first + num, dtype=dtype)[
        :, None, None, None
    ]
"""
WHOLE = """
def splits():
    return {
        "train": Dataset(images(20), np.arange(20, dtype=np.int32)),
        "test": Dataset(images(5, 100), None),
    }
"""


@pytest.fixture
def outside(tmp_path, monkeypatch, request):
    """Write a module; give the name of its function `splits` as a source of data."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source):
        name = f"outside_{abs(hash((request.node.name, source)))}"
        (tmp_path / f"{name}.py").write_text(HEADER + source)
        return f"{name}:splits"

    return write


def shades(dataset):
    return dataset.images[:, 0, 0, 0].tolist()


def test_splits_of_a_function_are_read_as_those_of_any_source(outside):
    name = outside(WHOLE)
    assert data.split_sizes(name, "") == {"train": 20, "test": 5}
    found = data.load(name, "train[5:8]+test[:2]+train[:1]", "")
    assert shades(found) == [5, 6, 7, 100, 101, 0]
    # One part without labels leaves the whole without.
    assert found.labels is None
    found = data.load(name, "train[10:]", "")
    assert found.labels.tolist() == list(range(10, 20))
    lazily = data.open_lazily(name, "train[5:8]+test[:2]", "")
    assert lazily.shape == (5, 4, 4, 1)
    assert lazily.dtype == np.uint8
    assert shades(lazily.read(np.array([4, 0, 3, 2]))) == [101, 5, 100, 7]


def test_an_experiment_takes_them_by_name(outside):
    section = {
        "name": outside(WHOLE),
        "train_split": "train[:16]",
        "validation_split": "train[16:]",
    }
    found = load_splits(resolve({"data": section, "batch_size": 4}))
    assert (found.num_examples, found.form) == (16, (4, 4, 1))
    assert shades(found.validation) == [16, 17, 18, 19]
    assert shades(found.test) == [100, 101, 102, 103, 104]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("splits = 3", "must be a function without arguments that returns data sets"),
        ("def splits():\n    return 3", "returns int; it must be a function without arguments"),
        ("def splits():\n    return {}", "returns dict; it must be a function"),
        (
            "def splits():\n    return {'train': images(3)}",
            "its split 'train' is ndarray; return a",
        ),
        (
            "def splits():\n    return {'train': Dataset(images(3)[:0], None)}",
            "images of 'train' have shape (0, 4, 4, 1); they must be [num_examples, height,",
        ),
        (
            "def splits():\n    return {'train': Dataset(images(3, dtype=np.int64), None)}",
            "images of 'train' are int64; use uint8 or float32",
        ),
        ("def splits():\n    return 1 / 0", "fails: ZeroDivisionError: division by zero"),
        ("def other():\n    return {}", "has no 'splits'"),
    ],
)
def test_what_is_no_source_is_refused_in_one_line(outside, source, message):
    name = outside(source)
    with pytest.raises(UserError) as error:
        data.split_sizes(name, "")
    assert str(error.value).startswith(f"data.name={name!r}")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_module_that_is_not_there_is_refused_in_one_line():
    with pytest.raises(
        UserError, match=r"^data\.name='not\.there:splits': the module 'not\.there'"
    ):
        data.split_sizes("not.there:splits", "")
