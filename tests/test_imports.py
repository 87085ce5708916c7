"""The structure of the package, read from its imports."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path("vae_jax")

# From the ground up: a folder or module may import what stands below it, and itself.
FLOORS = (
    {"errors"},
    {"settings"},
    {"workdir", "data", "distributions", "networks", "plots"},
    {"models"},
    {"objectives"},
    {"training"},
    {"config"},
    {"trained", "sklearn"},
    {"evaluation"},
    {"applications"},
    {"sweeps"},
    {"papers"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Rooms of one floor that may import each other, in this direction alone.
BESIDE = {("networks", "data"), ("data", "workdir")}

# What sees an experiment, or what it is made of.
SEES_CONFIG = {"config", "trained", "sklearn", "sweeps", "papers"}


def modules():
    """Every module of the package with its path."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.with_suffix("").parts).removesuffix(".__init__"), path


NAMES = {name for name, _ in modules()}


def imported(path, *, late=True):
    """The modules of the package that a file imports; without `late` only while it is loaded."""
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


def room(name):
    """The folder, or the module of the root, that a module belongs to; "" for the root itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_every_room_has_a_floor():
    assert {room(name) for name, _ in modules()} - {""} == FLOOR_OF.keys()


@pytest.mark.parametrize("name", sorted(FLOOR_OF))
def test_imports_run_one_way(name):
    for module, path in modules():
        if room(module) != name:
            continue
        for other in imported(path):
            below = room(other)
            if below in ("", name) or (name, below) in BESIDE:
                continue
            assert FLOOR_OF[below] < FLOOR_OF[name], f"{module} imports {other}"


def test_no_module_imports_itself_through_others():
    # A package's own list of names is no room that its modules need.
    graph = {name: imported(path, late=False) - {name} for name, path in modules()}
    state = {}

    def visit(name, trail):
        if state.get(name) == "done":
            return
        assert state.get(name) != "open", f"a circle: {' -> '.join([*trail, name])}"
        state[name] = "open"
        for other in graph[name]:
            visit(other, [*trail, name])
        state[name] = "done"

    for name in graph:
        visit(name, [])


def test_nothing_else_sees_a_config():
    for module, path in modules():
        if room(module) in SEES_CONFIG or not room(module):
            continue
        seen = {other for other in imported(path) if room(other) == "config"}
        assert not seen, f"{module} imports {', '.join(sorted(seen))}"
        assert "ml_collections" not in path.read_text(encoding="utf-8"), module


def test_commands_are_short_and_import_no_command_of_their_own():
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
