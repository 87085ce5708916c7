"""Standard streams that fail no command: closed, without a reader, or of a terminal with ASCII."""

import errno
import io
import os
import stat
import sys
from typing import Any, TextIO

from absl import logging


class Lasting(io.FileIO):
    """A stream of this process; once its reader is gone, what is written is dropped."""

    def write(self, data: Any) -> int:
        """Write bytes, or drop them where a pipe or a terminal has nobody at its other end.

        Raises:
          OSError: a file cannot be written.
        """
        try:
            return super().write(data) or 0
        except OSError as error:
            is_file = stat.S_ISREG(os.fstat(self.fileno()).st_mode)
            if is_file or error.errno not in (errno.EPIPE, errno.EIO):
                raise
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(data)


def lasting(stream: TextIO) -> TextIO:
    """Return a stream to the same file that lasts, and escapes what its encoding does not have."""
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Lasting(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.isatty() or stream is sys.stderr,
    )


def open_closed() -> None:
    """Open the standard streams that are closed, on nothing.

    The next file that is opened would take the number of a closed one, and get its messages.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def secure() -> None:
    """Make this process's standard streams last."""
    open_closed()
    sys.stdout, sys.stderr = lasting(sys.stdout), lasting(sys.stderr)
    handler = logging.get_absl_handler()
    if handler is not None:
        handler.python_handler.setStream(sys.stderr)
