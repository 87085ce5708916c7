"""The one exception that means "the user can fix this"."""


class UserError(Exception):
    """A mistake in a config, a data set or a workdir, told in one line.

    The message names the field or file, its value, and what would be right. The commands of
    `experiments/` print it without a traceback and exit with code 2.
    """
