"""The families of the zoo, each a few changes to one config.

A zoo is a plain Python file such as configs/zoo.py, with a function `get_zoo()` that returns a
`Zoo`.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.config import python_file
from vae_jax.config.overrides import with_texts, with_values
from vae_jax.errors import UserError
from vae_jax.papers.card import BUDGETS, Budget, Card, Row

Changes = Mapping[str, Any]


class Family(NamedTuple):
    """A family of models.

    Attributes:
      label: name in tables and plots.
      changes: changes to the base config by dotted name; a choice comes with all its settings.
      second_stage: changes to the base config for a second run, given the workdir of the first one.
        The second run is then the one that is measured. None without a second stage.
    """

    label: str
    changes: Changes
    second_stage: Callable[[str], Changes] | None = None


@dataclasses.dataclass(frozen=True)
class Zoo:
    """Families that share a config.

    Attributes:
      base: the config that they change.
      families: by name. The index of a family numbers its runs: add new ones at the end.
    """

    base: Any
    families: Mapping[str, Family]

    def with_overrides(self, overrides: Sequence[tuple[str, str]]) -> "Zoo":
        """Return the zoo with settings of the base from a command line, as names and texts.

        Raises:
          UserError: a setting does not exist.
        """
        return dataclasses.replace(self, base=with_texts(self.base, overrides))

    def named(self, names: Sequence[str]) -> list[str]:
        """Return the named families in the zoo's order; by default all.

        Raises:
          UserError: there is no family of a name.
        """
        for name in names:
            if name not in self.families:
                close = difflib.get_close_matches(name, self.families, n=1, cutoff=0.4)
                hint = f"did you mean {close[0]}?" if close else f"use {', '.join(self.families)}"
                raise UserError(f"--families={name} is not a family of the zoo; {hint}")
        return [name for name in self.families if not names or name in names]

    def card(self, data: str) -> Card:
        """Return the first stages on a data set, a row per family."""
        return self._card(data, {name: family.changes for name, family in self.families.items()})

    def second_card(self, data: str, folders: Mapping[str, Path]) -> Card:
        """Return the second stages on a data set, given the workdirs of first stages by family.

        A family that has no second stage, or no workdir here, has a row without changes.
        """
        changes = {
            name: family.second_stage(str(folders[name]))
            if family.second_stage is not None and name in folders
            else {}
            for name, family in self.families.items()
        }
        return self._card(data, changes)

    def _card(self, data: str, changes: Mapping[str, Changes]) -> Card:
        return Card(
            title="",
            source="",
            setup="",
            base=with_values(self.base, {"data.name": data}),
            rows=[Row(name, dict(own), {}) for name, own in changes.items()],
            budgets=dict.fromkeys(BUDGETS, Budget({})),
            name=f"zoo on {data}",
        )


def load(path: str) -> Zoo:
    """Return the zoo of a file.

    Raises:
      UserError: the file does not work.
    """
    zoo: Zoo = python_file.call(path, "get_zoo", "zoo", Zoo, "a Zoo")
    return zoo
