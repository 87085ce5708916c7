"""The one exception that means "the user can fix this", and how it quotes others."""


class UserError(Exception):
    """A mistake in a config, a data set or a workdir, told in one line.

    The message names the field or file, its value, and what would be right. The commands of
    `experiments/` print it without a traceback and exit with code 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of what a library's error says, or its type if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
