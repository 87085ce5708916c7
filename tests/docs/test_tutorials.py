"""The tutorials, as far as they can be checked without running them; `make docs` runs them."""

import ast
import importlib
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
INDEX = FOLDER / "index.md"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path != INDEX)
TUTORIALS = [pytest.param(path, id=path.stem) for path in PAGES]
BUDGET = 'os.environ.get("VAE_JAX_TUTORIALS") == "small"'


def cells(path):
    """Return the code cells of a tutorial, and the modules that they write."""
    found = re.findall(
        r"```\{code-cell\} ipython3\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL
    )
    return [re.sub(r"\A%%writefile \w+\.py\n", "", cell) for cell in found]


def test_every_tutorial_is_in_the_table_of_contents_and_in_the_table_of_the_page():
    text = INDEX.read_text(encoding="utf-8")
    (contents,) = re.findall(r"```\{toctree\}\n(?::.*\n)*\n(.*?)```", text, re.DOTALL)
    assert sorted(contents.split()) == [path.stem for path in PAGES]
    assert sorted(re.findall(r"^\| \[.*\]\((\w+)\.md\)", text, re.MULTILINE)) == [
        path.stem for path in PAGES
    ]
    assert "tutorials/index" in (FOLDER.parent / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", TUTORIALS)
def test_a_tutorial_is_a_notebook_whose_cells_compile(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("---\njupytext:\n")
    assert "\nkernelspec:\n" in text.split("---\n")[1]
    assert text.count("```{code-cell}") == len(cells(path)) > 3
    for number, cell in enumerate(cells(path)):
        compile(cell, f"{path.name}, cell {number}", "exec")


@pytest.mark.parametrize("path", TUTORIALS)
def test_a_tutorial_reads_its_budget_in_its_first_cell_alone(path):
    first, *others = cells(path)
    assert first.count(BUDGET) == 1
    assert not any("VAE_JAX_TUTORIALS" in cell for cell in others)


@pytest.mark.parametrize("path", TUTORIALS)
def test_a_tutorial_names_no_absolute_path(path):
    for cell in cells(path):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.match(r"[/~]|[A-Z]:\\\\", node.value), node.value


@pytest.mark.parametrize("path", TUTORIALS)
def test_what_a_tutorial_imports_of_the_package_is_there(path):
    for cell in cells(path):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "vae_jax":
                module = importlib.import_module(node.module)
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")
