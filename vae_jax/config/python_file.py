"""Settings in plain Python: a file with one function that returns them."""

import sys
import traceback
import types
from pathlib import Path
from typing import Any

from vae_jax.errors import UserError, first_line


def call(
    path: str | Path, function: str, what: str, kind: type | tuple[type, ...], wanted: str
) -> Any:
    """Return what a function of a Python file returns.

    Args:
      path: the file. What follows `.py:`, if anything, is passed to the function as a string, as in
        ml_collections' config flags.
      function: its name.
      what: the kind of file, for errors.
      kind: the type or the types that it may return.
      wanted: these in words.

    Raises:
      UserError: there is no such file or function, it fails, or it returns something else.
    """
    name, separator, argument = str(path).partition(".py:")
    name, arguments = (f"{name}.py", (argument,)) if separator else (name, ())
    try:
        source = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"the {what} {name} cannot be read: {reason}") from None
    # Run rather than imported: it need not lie in a package, and leaves no compiled file behind.
    module = types.ModuleType(function)
    module.__file__ = name
    # Dataclasses look up the module that defines them.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, name, "exec"), vars(module))
        found = getattr(module, function, None)
        returned = found(*arguments) if callable(found) else None
    except SyntaxError as error:
        where = f"{error.filename or name}, line {error.lineno}"
        raise UserError(f"{where}: SyntaxError: {error.msg}") from None
    except KeyboardInterrupt:
        raise
    # A file may call sys.exit, too.
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == name]
        message, kind_of_error = first_line(error), type(error).__name__
        if not isinstance(error, UserError) and message != kind_of_error:
            message = f"{kind_of_error}: {message}"
        raise UserError(f"{name}, line {lines[-1] if lines else 1}: {message}") from None
    if not callable(found):
        raise UserError(f"{name} has no function {function}()")
    if not isinstance(returned, kind):
        raise UserError(
            f"{function}() in {name} must return {wanted}, not {type(returned).__name__}"
        )
    return returned
