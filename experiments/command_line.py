"""The start and the end of every command; a user's mistake becomes one line."""

import errno
import inspect
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import jax
from absl import app, flags, logging

from experiments import streams
from vae_jax.errors import UserError, first_line
from vae_jax.training.compilation_cache import use_compilation_cache

EXIT_USER_ERROR = 2
# The mark of flags, in their descriptions, without which a command refuses to start.
REQUIRED = "required; "

# A disk that is full, over quota, read-only or broken, or a path that cannot be: a traceback would
# not help.
_DISK_ERRORS = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)


# The exit code, once a signal has come.
_stopping: list[int] = []

# Settings of the config on the command line: dotted names and texts, in order.
_OVERRIDES: list[tuple[str, str]] = []


def config_overrides() -> list[tuple[str, str]]:
    """Return the names and texts of the config's settings on the command line, in order."""
    return list(_OVERRIDES)


def _take_overrides(arguments: list[str]) -> list[str]:
    """Return the arguments without `--config.NAME=VALUE`, which are stored for the config.

    Raises:
      UserError: such an argument has no value.
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


def _with_home(argument: str) -> str:
    """Return a flag with ~ expanded at the start of its value, and of each part of a list.

    A shell expands it only where it begins an argument.
    """
    name, equals, value = argument.partition("=")
    if not equals or "~" not in value:
        return argument
    return f"{name}={','.join(map(os.path.expanduser, value.split(',')))}"


def _help(main: Callable[[], None]) -> str:
    """Return what a command does, examples, and its flags, those that it requires first."""
    # The module that runs has the name of its file among the flags.
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    own.sort(key=lambda flag: (REQUIRED not in flag.help, flag.name))
    lines = [inspect.unwrap(main).__globals__["__doc__"].strip(), "", "flags:"]
    for flag in own:
        negation = "[no]" if flag.boolean else ""
        default = f" (default: {flag.default_as_str})" if flag.default not in (None, "", []) else ""
        lines.append(f"  --{negation}{flag.name}")
        lines.append(flags.text_wrap(f"{flag.help}{default}", 88, indent=" " * 6))
    return "\n".join(lines)


def _parse_flags(main: Callable[[], None]) -> None:
    if {"--help", "-help", "-h"} & {*sys.argv[1:]}:
        print(_help(main))
        sys.exit(0)
    try:
        app.define_help_flags()
        rest = flags.FLAGS(_take_overrides([*map(_with_home, sys.argv)]))[1:]
    except flags.UnrecognizedFlagError as error:
        raise UserError(_describe(f"{error}{_as_setting(error)}")) from None
    except flags.Error as error:
        raise UserError(_describe(str(error))) from None
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags begin with -- and take =value")
    if _OVERRIDES and "config" not in flags.FLAGS:
        raise UserError(f"--config.{_OVERRIDES[0][0]} is for commands that train, with --config")


def _as_setting(error: flags.UnrecognizedFlagError) -> str:
    """Return how the config's setting of an unknown flag's name is set, for commands with one."""
    if "config" not in flags.FLAGS:
        return ""
    # Imported here, since it is for a mistake only.
    from vae_jax.config.experiment import Experiment
    from vae_jax.settings import flatten

    name = error.flagname
    paths = [path for path in flatten(Experiment().to_dict()) if f".{path}".endswith(f".{name}")]
    if not paths:
        return "; a setting of the config is set by --config.NAME=VALUE"
    # Of several the outermost, such as seed.
    path = min(paths, key=lambda path: path.count("."))
    # absl has the whole argument there.
    value = str(error.flagvalue).partition("=")[2] or "VALUE"
    return f"; for the setting of the config write --config.{path}={value}"


def _describe(message: str) -> str:
    return " ".join(message.split())


def run(main: Callable[[], None]) -> NoReturn:
    """Parse the flags, call `main` and exit, with code 0 or that of its exception."""
    logging.set_verbosity(logging.WARNING)
    logging.use_absl_handler()
    # Only in a process that runs nothing but this command.
    if sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__:
        streams.secure()
        sys.unraisablehook = _show_unraisable
        signal.signal(signal.SIGINT, _stop)
    code = 0
    try:
        _parse_flags(main)
        use_compilation_cache()
        main()
    except (Exception, KeyboardInterrupt) as error:
        code = report(error)
    sys.exit(code)


def _stop(number: int, _: FrameType | None) -> None:
    """Stop the command with a line; a second signal does not wait for what is being finished."""
    code = 128 + number
    if _stopping:
        os._exit(code)
    _stopping.append(code)
    # Not by print, which the signal may have interrupted.
    os.write(2, f"stopped by {signal.Signals(number).name}\n".encode())
    raise KeyboardInterrupt


def _is_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _show_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Show an exception that nobody can catch, but no signal that came in the collector of JAX.

    The run then ends at its next stop, as after the first signal.
    """
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)


def _code_of_signal(error: BaseException) -> int | None:
    """Return the exit code of the signal that an exception comes from; None if from no signal.

    Libraries turn an interrupt inside them into exceptions of their own.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return 128 + (cause.args[0] if cause.args else signal.SIGINT)
        cause = cause.__cause__ or cause.__context__
    if _stopping:
        return _stopping[0]
    return 128 + signal.SIGINT if "KeyboardInterrupt" in str(error) else None


def report(error: BaseException) -> int:
    """Print the exception that ended a command.

    Returns:
      The exit code: 2 for a mistake of the user, 128 + signal if it was stopped, 1 for a defect.
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
        case MemoryError() | jax.errors.JaxRuntimeError() if _is_of_memory(error):
            print(f"error: the memory is too small: {first_line(error)}", file=sys.stderr)
            return EXIT_USER_ERROR
        case Interrupted():
            print(error, file=sys.stderr)
            return 128 + error.signal
    if (stopped := _code_of_signal(error)) is not None:
        return stopped
    traceback.print_exception(error)
    return 1
