"""Settings of the site (`make docs`)."""

import functools
import importlib
import os
import pkgutil
import re
from pathlib import Path
from typing import Any

import jax
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import vae_jax

project = "vae_jax"
author = "The vae_jax authors"
version = release = vae_jax.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
highlight_language = "none"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_ivar = True
napoleon_attr_annotations = False
html_theme = "furo"
html_title = "vae_jax"

_ROOT = Path(__file__).parents[1]

# The tutorials are run when the site is built. Outputs of unchanged ones are kept, apart for each
# budget; `make clean` deletes them.
_SMALL = os.environ.get("VAE_JAX_TUTORIALS") == "small"
_CACHE = _ROOT / ".cache" / "tutorials" / ("small" if _SMALL else "full")
nb_execution_mode = "cache"
nb_execution_cache_path = str(_CACHE / "outputs")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900
# The progress of a training, whose rates differ from machine to machine.
nb_output_stderr = "remove"
nb_merge_streams = True
# Their tables.
nb_render_markdown_format = "gfm"

# A page per package: one per module would take minutes, most of them for the navigation.
_PACKAGES = ("distributions", "networks", "models", "objectives", "data", "training")

# Files of the repository outside this folder, by the page that shows them.
_PAGES = {
    "results": "results/README.md",
    "zoo": "results/zoo.md",
    "disentanglement_study": "results/disentanglement/README.md",
    "contributing": "CONTRIBUTING.md",
}


def _prepare_tutorials(app: Any) -> None:
    """Let the tutorials import this checkout, and write nothing outside of it.

    On the small budget programs are compiled for a fast start in place of a fast run.
    """
    del app
    environment = {
        "PYTHONPATH": str(_ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(_CACHE / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    # Jupyter, IPython and Matplotlib would write into the home.
    folders = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    environment |= {name: str(_CACHE / name.lower()) for name in (*folders, "MPLCONFIGDIR")}
    if _SMALL:
        environment["XLA_FLAGS"] = (
            "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
        )
        if jax.__version_info__ < (0, 11):
            # Later versions do not have the flag and would stop at it.
            environment["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
    _CACHE.mkdir(parents=True, exist_ok=True)
    os.environ.update(environment)


def _say_budget(app: Any, name: str, source: list[str]) -> None:
    """Say on a tutorial's page that its numbers and pictures are not those of its text."""
    del app
    if _SMALL and name.startswith("tutorials/") and "{code-cell}" in source[0]:
        note = (
            "```{warning}\nThis page was built to check that the tutorial runs: models were hardly "
            "trained, on few images. Its numbers and pictures are not those that the text "
            "describes.\n```"
        )
        head, title, body = re.split(r"^(# .*)$", source[0], maxsplit=1, flags=re.MULTILINE)
        source[0] = f"{head}{title}\n\n{note}\n{body}"


def _write_math(writer: Any, node: Any, *, as_block: bool) -> None:
    """Write an equation as MathML, which browsers draw without a script from elsewhere."""
    writer.body.append(str(tex2mathml(node.astext(), as_block=as_block)))
    raise nodes.SkipNode


def _link_to_pages(app: Any, name: str, source: list[str]) -> None:
    """Show the files of `_PAGES`, and turn links to them into links to their pages."""
    del app
    folder = _ROOT / "docs" / Path(name).parent
    if name in _PAGES:
        file = _ROOT / _PAGES[name]
        source[0], folder = file.read_text(encoding="utf-8"), file.parent

    def link(match: re.Match[str]) -> str:
        target, anchor = match.groups()
        path = os.path.relpath(folder / target, _ROOT)
        for page, file in _PAGES.items():
            if path == file:
                return f"](/{page}.md{anchor}"
        return f"]({os.path.relpath(folder / target, _ROOT / 'docs' / Path(name).parent)}{anchor}"

    # Links to files, and neither to other sites nor into the page itself.
    source[0] = re.sub(r"\]\(([\w./-]+)(#?)(?=[^:]*?\))", link, source[0])


def _plain_text(
    app: Any, what: str, name: str, found: object, options: object, lines: list[str]
) -> None:
    """Escape what docstrings mean literally and reStructuredText does not: products and bars.

    An indented part of a module's docstring is literal as a whole.
    """
    del app, name, found, options
    literal = False
    for index, line in enumerate(lines):
        if what == "module" and line.startswith("    "):
            lines[index] = line if literal else f".. code-block:: none\n\n{line}"
            literal = True
        else:
            literal = literal and not line
            parts = line.split("`")
            parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
            lines[index] = "`".join(parts)
    lines[:] = "\n".join(lines).split("\n")


def _skip_fields(
    app: Any, what: str, name: str, found: object, skip: bool, options: object
) -> bool | None:
    """Leave out the fields of named tuples, which their classes describe."""
    del app, what, name, skip, options
    return True if type(found).__name__ == "_tuplegetter" else None


def _write_packages(app: Any) -> None:
    """Write the pages of the reference, each with all modules of a package."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    for name in _PACKAGES:
        package = importlib.import_module(f"vae_jax.{name}")
        lines = [
            f"# {package.__name__}",
            "",
            "```{eval-rst}",
            f".. automodule:: {package.__name__}",
        ]
        for module in sorted(
            found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        ):
            title = module.removeprefix("vae_jax.")
            lines += ["", title, "-" * len(title), "", f".. automodule:: {module}"]
        text = "\n".join([*lines, "```", ""])
        page = folder / f"{name}.md"
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def setup(app: Any) -> None:
    """Register the events of this file."""
    app.add_html_math_renderer(
        "mathml",
        (functools.partial(_write_math, as_block=False), None),
        (functools.partial(_write_math, as_block=True), None),
    )
    app.connect("builder-inited", _write_packages)
    app.connect("builder-inited", _prepare_tutorials)
    app.connect("source-read", _say_budget)
    app.connect("source-read", _link_to_pages)
    app.connect("autodoc-skip-member", _skip_fields)
    # Before napoleon, which has the default priority of 500.
    app.connect("autodoc-process-docstring", _plain_text, priority=400)
