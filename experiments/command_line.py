"""How every command starts, and how it ends when the user can mend what is wrong."""

import errno
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

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


# What the command line says of the config: dotted names and texts, in their order.
_OVERRIDES: list[tuple[str, str]] = []


def config_overrides() -> list[tuple[str, str]]:
    """Return the settings that the command line names, each with its text, in their order."""
    return list(_OVERRIDES)


def _take_overrides(arguments: list[str]) -> list[str]:
    """Return the arguments without `--config.NAME=VALUE`, which are kept for the config.

    Raises:
      UserError: one has no value.
    """
    rest: list[str] = []
    _OVERRIDES.clear()
    for argument in arguments:
        match = re.fullmatch(r"--?config\.([^=]+)(?:=(.*))?", argument, re.DOTALL)
        if match is None:
            rest.append(argument)
        elif match[2] is None:
            raise UserError(f"{argument} has no value; write {argument}=VALUE")
        else:
            _OVERRIDES.append((match[1], match[2]))
    return rest


def _parse_flags() -> None:
    try:
        app.define_help_flags()
        # ml_collections looks there for settings of the config, too.
        sys.argv = _take_overrides(sys.argv)
        rest = flags.FLAGS(sys.argv)[1:]
        # A config file that cannot be opened is told of only when the config is used.
        getattr(getattr(flags.FLAGS, "config", None), "keys", None)
    except flags.Error as error:
        raise UserError(_describe(str(error))) from None
    except OSError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"the config file cannot be read: {reason}") from None
    except (ImportError, SyntaxError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise UserError(f"the flags or the config file cannot be read: {error}") from None
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags begin with -- and take =value")
    if _OVERRIDES and "config" not in flags.FLAGS:
        raise UserError(f"--config.{_OVERRIDES[0][0]} is for commands that train, with --config")


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
    """Parse the flags, call `main`, exit: 0, 2 for the user's mistake, 128 + signal if stopped."""
    from vae_jax.training.loop import Interrupted

    logging.set_verbosity(logging.WARNING)
    logging.use_absl_handler()
    try:
        _parse_flags()
        main()
    except UserError as error:
        print(f"error: {_describe(str(error))}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        name = f"{error.filename} " if error.filename else "a file of the run "
        print(f"error: {name}cannot be written or read: {error.strerror}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(128 + stop.signal)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    sys.exit(0)
