"""The members of a sweep in loggers: a run for each, which is sent when the member has ended."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from vae_jax import workdir
from vae_jax.settings import flatten
from vae_jax.sweeps.member_files import read_member
from vae_jax.training import loggers


class MemberLogs:
    """Gives each member that has ended to the loggers that lack it, once."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        """Begin with no members.

        Args:
          folder: the sweep's workdir.
          names: of the loggers.
        """
        self._folder, self._names = folder, list(names)
        self._sent: set[int] = set()
        self._announced: set[str] = set()

    def send(self, members: Iterable[int]) -> None:
        """Send the records, the config and the metrics of members; those of elsewhere are not here.

        A logger that fails is left out from then on, with one warning.
        """
        for member in members:
            if self._names and member not in self._sent:
                self._send(member)

    def _send(self, member: int) -> None:
        known = read_member(self._folder, member)
        if known is None:
            return
        own = workdir.member_folder(self._folder, member)
        config = flatten(workdir.read_config(own))
        described = loggers.Described(own, config, group=self._folder.absolute().name)
        metrics = loggers.summary_metrics(known)
        for name in loggers.unfinished(self._names, own):
            announce = name not in self._announced
            self._announced.add(name)
            writer = loggers.LoggerWriter(name, described, announce=announce)
            with contextlib.closing(writer):
                failed = known["status"] == "diverged"
                writer.finish(metrics, known["step"], failed=failed)
            if writer.is_failed:
                self._names.remove(name)
        self._sent.add(member)
