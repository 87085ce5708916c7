"""Settings that are plain Python: a file with one function that returns them."""

import traceback
from pathlib import Path
from typing import Any

from vae_jax.errors import UserError, first_line


def call(path: str | Path, function: str, what: str) -> Any:
    """Return what a function of a Python file returns.

    Args:
      path: of the file.
      function: its name; it takes no arguments.
      what: the file is, for errors.

    Raises:
      UserError: there is no such file or function, or it fails.
    """
    name = str(path)
    try:
        source = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"the {what} {name} cannot be read: {reason}") from None
    # No import: the file need not lie in a package, and leaves no compiled file behind.
    module: dict[str, Any] = {"__name__": what.replace(" ", "_"), "__file__": name}
    try:
        exec(compile(source, name, "exec"), module)
        found = module.get(function)
        returned = found() if callable(found) else None
    except SyntaxError as error:
        where = f"{error.filename or name}, line {error.lineno}"
        raise UserError(f"{where}: SyntaxError: {error.msg}") from None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == name]
        told = first_line(error)
        if not isinstance(error, UserError):
            told = f"{type(error).__name__}: {told}"
        raise UserError(f"{name}, line {lines[-1] if lines else 1}: {told}") from None
    if not callable(found):
        raise UserError(f"{name} has no function {function}()")
    return returned
