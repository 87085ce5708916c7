"""Train the chunks of a sweep in this process or on a Ray cluster; `workers` has processes for it.

On a cluster all machines must see the workdir under the same path. A worker that dies is replaced,
and its chunk continues from its last checkpoint.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vae_jax.errors import UserError
from vae_jax.sweeps import chunks
from vae_jax.sweeps.plan import Resources, resources_here
from vae_jax.sweeps.workers import compilation_cache, use_compilation_cache
from vae_jax.training.interruption import deferred
from vae_jax.training.loop import Interrupted

ROOT = Path(__file__).parents[2]

# What kills a worker more often is the chunk itself.
_MAX_RETRIES = 20
_SECONDS_BETWEEN_LOOKS = 2.0


@runtime_checkable
class Executor(Protocol):
    """Trains chunks."""

    resources: Resources

    def run(
        self, folder: Path, todo: Sequence[chunks.Chunk], on_progress: Callable[[], None]
    ) -> None:
        """Train the chunks, calling `on_progress` when members may have ended.

        Raises:
          Interrupted: a signal came; the same command continues.
        """


class LocalExecutor:
    """Trains chunks in this process, members spread over its devices."""

    def __init__(self) -> None:
        self.resources = resources_here()

    def run(
        self, folder: Path, todo: Sequence[chunks.Chunk], on_progress: Callable[[], None]
    ) -> None:
        """Train the chunks one after the other."""
        with deferred() as interruption:
            for chunk in todo:
                chunks.train_chunk(folder, chunk, interruption, lambda member: on_progress())


class RayExecutor:
    """Trains each chunk as a task of a Ray cluster, which is started here if there is none."""

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise UserError(
                "--executor=ray needs Ray, which is not installed; pip install 'ray>=2.50,<3', or "
                "use --executor=local"
            ) from None
        self._ray = ray
        try:
            ray.init(
                address=address or None,
                # Of this checkout, whatever directory the command was started from.
                runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
                include_dashboard=False,
                log_to_driver=True,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"--ray_address={address!r} cannot be reached: {error}") from None
        resources = ray.cluster_resources()
        self._gpus = 1 if resources.get("GPU", 0) >= 1 else 0
        num_workers = max(1, int(resources["GPU" if self._gpus else "CPU"]))
        # The machine that the command runs on may be unlike those that train.
        seen = ray.get(self._task(resources_here).remote())
        self.resources = seen._replace(num_workers=num_workers)

    def _task(self, function: Callable[..., Any]) -> Any:
        return self._ray.remote(function).options(
            num_cpus=0 if self._gpus else 1, num_gpus=self._gpus, max_retries=_MAX_RETRIES
        )

    def run(
        self, folder: Path, todo: Sequence[chunks.Chunk], on_progress: Callable[[], None]
    ) -> None:
        """Train the chunks as far as the cluster has workers at once."""
        ray = self._ray
        task = self._task(_train_in_worker)
        cache = compilation_cache()

        def begin(chunk: chunks.Chunk) -> Any:
            return task.remote(str(folder.absolute()), chunk, cache)

        waiting = {begin(chunk): chunk for chunk in todo}
        with deferred() as interruption:
            while waiting:
                done, _ = ray.wait(list(waiting), num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS)
                on_progress()
                for reference in done:
                    chunk = waiting.pop(reference)
                    # A worker that was asked to go saved what it had; another one goes on.
                    if not self._is_trained(reference):
                        waiting[begin(chunk)] = chunk
                if interruption:
                    for reference in waiting:
                        ray.cancel(reference)
                    if waiting:
                        ray.wait(list(waiting), num_returns=len(waiting), timeout=30)
                    raise Interrupted(interruption, f"{len(waiting)} chunks from the end")

    def _is_trained(self, reference: Any) -> bool:
        try:
            return bool(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except self._ray.exceptions.WorkerCrashedError:
            raise UserError(
                f"a chunk's worker died {_MAX_RETRIES + 1} times; look into Ray's logs, and run "
                "the same command again to continue"
            ) from None


def _train_in_worker(folder: str, chunk: chunks.Chunk, cache: dict[str, Any]) -> bool:
    """Train a chunk in a Ray worker; return False if it was asked to stop before the end."""
    use_compilation_cache(cache)
    try:
        with deferred() as interruption:
            chunks.train_chunk(Path(folder), chunk, interruption)
    except Interrupted:
        return False
    return True
