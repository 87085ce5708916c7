"""How every command starts, and how it ends when the user can mend what is wrong."""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from vae_jax.config.fields import FIELDS, unknown_field_message
from vae_jax.errors import UserError
from vae_jax.workdir import read_config, run_folder

EXIT_USER_ERROR = 2

# A disk that is full, over quota or read-only: nothing that a traceback would help with.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


_WORKDIR = flags.DEFINE_string("workdir", None, "directory of the run or the sweep")
_MEMBER = flags.DEFINE_integer("member", None, "which member of the sweep in --workdir")


def required_workdir() -> Path:
    """The directory that --workdir names, to train in.

    Raises:
      UserError: the flag is missing, or there is a --member, of which only a sweep makes one.
    """
    if _MEMBER.value is not None:
        raise UserError(f"--member={_MEMBER.value} is for commands that read a trained run")
    return _named_workdir()


def workdir_or(default: Path) -> Path:
    """The directory that --workdir names, to train in; `default` where it names none.

    Raises:
      UserError: there is a --member.
    """
    return required_workdir() if _WORKDIR.value or _MEMBER.value is not None else default


def _named_workdir() -> Path:
    if not _WORKDIR.value:
        raise UserError("--workdir is missing; name the directory of the run")
    return Path(_WORKDIR.value)


def existing_workdir() -> Path:
    """The directory of the run that --workdir names, or of its --member if it is a sweep's.

    Raises:
      UserError: the flag is missing, or there is no run.
    """
    folder = run_folder(_named_workdir(), _MEMBER.value)
    read_config(folder)
    return folder


def num_cores() -> int:
    """Cores this process may use: other counts split sums otherwise, and give other last bits."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parse_flags() -> None:
    try:
        app.define_help_flags()
        rest = flags.FLAGS(sys.argv)[1:]
        # A config file that cannot be opened is told of only when the config is used.
        getattr(getattr(flags.FLAGS, "config", None), "keys", None)
    except flags.Error as error:
        raise UserError(_describe(str(error))) from None
    except (AttributeError, KeyError) as error:
        # ml_collections names the field in its own way, over several lines.
        overridden = [arg for arg in sys.argv[1:] if re.match(r"--?config\.", arg)]
        for argument in overridden:
            field = argument.split("=")[0].lstrip("-").removeprefix("config.")
            if field not in FIELDS:
                raise UserError(unknown_field_message(field)) from None
        raise UserError(_describe(str(error))) from None
    except OSError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"the config file cannot be read: {reason}") from None
    except (ImportError, SyntaxError, TypeError, ValueError) as error:
        raise UserError(f"the flags or the config file cannot be read: {error}") from None
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags begin with -- and take =value")


def _describe(message: str) -> str:
    return " ".join(message.split())


def use_compilation_cache() -> None:
    """Keep compiled programs in ~/.cache/vae_jax, or in $JAX_COMPILATION_CACHE_DIR."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "vae_jax"))
    # The quick ones too: a run has a hundred of them, which together take two seconds.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def run(main: Callable[[], None]) -> NoReturn:
    """Parse the flags, call `main` and exit, with code 0 or that of what it raised."""
    logging.set_verbosity(logging.WARNING)
    logging.use_absl_handler()
    try:
        _parse_flags()
        main()
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(report(error))
    sys.exit(0)


def report(error: BaseException) -> int:
    """Print what ended a command.

    Returns:
      The exit code: 2 for the user's mistake, 128 + signal if it was stopped, 1 for a defect.
    """
    from vae_jax.training.loop import Interrupted

    match error:
        case UserError():
            print(f"error: {_describe(str(error))}", file=sys.stderr)
            return EXIT_USER_ERROR
        case OSError() if error.errno in _DISK_ERRORS:
            name = f"{error.filename} " if error.filename else "a file of the run "
            print(f"error: {name}cannot be written or read: {error.strerror}", file=sys.stderr)
            return EXIT_USER_ERROR
        case Interrupted():
            print(error, file=sys.stderr)
            return 128 + error.signal
        case KeyboardInterrupt():
            return 128 + signal.SIGINT
    traceback.print_exception(error)
    return 1
