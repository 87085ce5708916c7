"""The structure of the package, read from its imports."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path("vae_jax")

# From the bottom up: a folder or module may import those of lower layers, and itself.
LAYERS = (
    {"errors"},
    {"settings"},
    {"workdir", "data", "distributions", "networks", "plots", "bundled", "hub"},
    {"models"},
    {"objectives", "arguments"},
    {"training"},
    {"config"},
    {"trained", "sklearn"},
    {"evaluation"},
    {"applications", "run", "sharing"},
    {"sweeps"},
    {"papers"},
    {"zoo"},
)
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}
# Imports within a layer that are allowed, in this direction alone.
WITHIN_LAYER = {("networks", "data"), ("data", "workdir")}

# Folders and modules that may import `config`.
USES_CONFIG = {"config", "trained", "run", "sklearn", "sweeps", "papers", "zoo"}


def modules():
    """Yield the name and the path of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.with_suffix("").parts).removesuffix(".__init__"), path


NAMES = {name for name, _ in modules()}


def imported(path, *, late=True):
    """Return the package's modules that a file imports; without `late` only at its top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if late else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in NAMES else node.module)
    return {name for name in found if name in NAMES}


def folder_of(name):
    """Return the package's folder, or top-level module, of a module; "" for the package itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_every_folder_has_a_layer():
    assert {folder_of(name) for name, _ in modules()} - {""} == LAYER_OF.keys()


@pytest.mark.parametrize("name", sorted(LAYER_OF))
def test_imports_run_one_way(name):
    for module, path in modules():
        if folder_of(module) != name:
            continue
        for other in imported(path):
            below = folder_of(other)
            if below in ("", name) or (name, below) in WITHIN_LAYER:
                continue
            assert LAYER_OF[below] < LAYER_OF[name], f"{module} imports {other}"


def test_no_module_imports_itself_through_others():
    graph = {name: imported(path, late=False) - {name} for name, path in modules()}
    state = {}

    def visit(name, trail):
        if state.get(name) == "done":
            return
        assert state.get(name) != "open", f"a cycle: {' -> '.join([*trail, name])}"
        state[name] = "open"
        for other in graph[name]:
            visit(other, [*trail, name])
        state[name] = "done"

    for name in graph:
        visit(name, [])


def test_no_other_module_imports_config():
    for module, path in modules():
        if folder_of(module) in USES_CONFIG or not folder_of(module):
            continue
        found = {other for other in imported(path) if folder_of(other) == "config"}
        assert not found, f"{module} imports {', '.join(sorted(found))}"
        assert "ml_collections" not in path.read_text(encoding="utf-8"), module


def test_commands_are_short():
    for path in sorted(Path("experiments").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "__main__" in text:
            lines = len(text.splitlines())
            assert lines <= 100, f"{path} has {lines} lines"


def test_neither_tensorflow_nor_pytorch_is_imported():
    for folder in ("vae_jax", "experiments", "benchmarks", "configs", "examples"):
        for path in sorted(Path(folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                elif not isinstance(node, ast.Import):
                    continue
                assert not {n.split(".")[0] for n in names} & {"tensorflow", "torch"}, path
