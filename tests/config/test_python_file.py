import pytest

from vae_jax.config import python_file
from vae_jax.errors import UserError


def test_an_argument_follows_the_name_of_the_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config(size='small'):\n    return {'size': size}\n")

    def call(name):
        return python_file.call(name, "get_config", "config file", dict, "a dict")

    assert call(path) == {"size": "small"}
    assert call(f"{path}:large:1") == {"size": "large:1"}
    path.write_text("def get_config():\n    return {}\n")
    with pytest.raises(UserError, match=r"^/\S*mine.py, line 1: TypeError: .*positional argument"):
        call(f"{path}:large")
