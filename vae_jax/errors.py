"""The exception for mistakes that a user can fix, and its one-line messages."""

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """A mistake in a config, a data set or a workdir, reported in one line.

    The message names the field or file, its value, and what would be right. The commands of
    `experiments/` print it without a traceback and exit with code 2.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if there is no message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def numpy_file_errors(path: str | Path, missing: str) -> Iterator[None]:
    """Turn NumPy's errors about a .npy or .npz file into one line.

    Args:
      path: the file.
      missing: the message if there is no such file.

    Raises:
      UserError: the file is missing, damaged or too large.
    """
    try:
        yield
    except FileNotFoundError:
        raise UserError(missing) from None
    # NumPy parses headers as Python, which raises the last four: for text that is cut off or is
    # not Python, and for shapes that no array has.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        KeyError,
        tokenize.TokenError,
        SyntaxError,
        OverflowError,
        MemoryError,
    ) as error:
        suffix = Path(path).suffix
        raise UserError(f"{path} is not a whole {suffix} file: {first_line(error)}") from None
    # zipfile raises the last two for encrypted members and for unknown compression.
    except (OSError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from None
