"""A section of a document that is rendered from one results file."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vae_jax.errors import UserError

Measured = dict[str, Any]


def of_results(render: Callable[[Measured, Path], str]) -> Callable[[Path], str]:
    """Make of a function of what was measured one of the file that it stands in.

    Args:
      render: the section, given what the file holds and the file's path.

    Returns:
      The section by the path alone; it is empty while nothing has been measured, and raises
      UserError where the file cannot be read or holds something else.
    """

    @functools.wraps(render)
    def section(path: Path) -> str:
        if not path.is_file():
            return ""
        try:
            return render(json.loads(path.read_text(encoding="utf-8")), path)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path} cannot be read: {error!r}") from error

    return section
