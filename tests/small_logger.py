"""A logger that keeps what it is given in this process."""

from typing import ClassVar


class Kept:
    """A run in a dict that outlives the logger, by the run's id."""

    where = "this process"
    kept: ClassVar[dict] = {}
    has_memory = True

    def __init__(self, described, run):
        self.run = run or f"{described.name} {len(self.kept)}"
        new = {"config": dict(described.config), "log": [], "final": None, "state": ""}
        self.own = self.kept.setdefault(self.run, new)
        self.own["state"] = "running"

    def last_step(self):
        return max((step for step, _ in self.own["log"]), default=-1) if self.has_memory else None

    def log(self, steps):
        self.own["log"] += [(step, dict(metrics)) for step, metrics in steps.items()]

    def finish(self, metrics, step, *, failed):
        self.own |= {"final": (step, dict(metrics)), "state": "failed" if failed else "finished"}

    def close(self):
        self.own["state"] = "stopped"


def use(monkeypatch):
    """Let `--log=small_logger` name this logger; return the runs that it keeps."""
    from vae_jax.training import loggers

    monkeypatch.setattr(Kept, "kept", {})
    monkeypatch.setitem(loggers.LOGGERS, "small_logger", Kept)
    return Kept.kept
