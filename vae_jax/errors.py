"""The exception for mistakes that a user can fix, and its one-line messages."""

import os
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
        refuse_larger_than_memory(Path(path))
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


def refuse_larger_than_memory(path: Path) -> None:
    """Refuse a .npz file whose arrays, unpacked, take more than the memory of this machine.

    Raises:
      UserError: it is such a file.
    """
    if path.suffix != ".npz" or not path.is_file() or not hasattr(os, "sysconf"):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise UserError(
            f"{path} takes {size / 2**30:.0f} GiB unpacked, more than the {memory / 2**30:.0f} GiB "
            "of this machine; make a folder of images or a set in array_record of it"
        )
