"""Batches of a data set larger than memory, read and decoded ahead of training by grain."""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import jax
import numpy as np
from jaxtyping import Array, Int

from vae_jax.data.dataset import LazyDataset
from vae_jax.errors import UserError

# order(epoch) -> the indices of all examples, in the order of that epoch.
Order = Callable[[int], Int[np.ndarray, " num_examples"]]

# With few steps per epoch, threads may be reading for several epochs at once.
_ORDERS_KEPT = 4

# More threads would wait for the interpreter more than they decode.
_MOST_READ_THREADS = 16


def num_read_threads() -> int:
    """Return the number of threads that read and decode: one per core, up to a limit."""
    has_affinity = hasattr(os, "sched_getaffinity")
    num_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(num_cores, _MOST_READ_THREADS)


def read_ahead(
    read: Callable[[int], np.ndarray], num: int, *, num_threads: int, num_ahead: int
) -> Generator[np.ndarray, None, None]:
    """Yield `read(0)`, ..., `read(num - 1)` in order, read ahead by threads.

    Args:
      read: called by several threads at once. A call should read tens of images, since each has an
        overhead of a tenth of a millisecond.
      num: number of calls.
      num_threads: number of threads.
      num_ahead: maximal number of results that are being read or wait to be taken.

    Returns:
      A generator; closing it ends the threads.

    Raises:
      UserError: grain is not installed, or `read` raises it.
    """
    try:
        import grain
    except ImportError as error:
        raise UserError(
            f"data.mode='stream' cannot be used here ({error}): it needs grain; use "
            "data.mode='memory'"
        ) from None
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_ahead)
    results = iter(grain.MapDataset.source(_Calls(read, num)).to_iter_dataset(options))
    with contextlib.closing(results):
        for result in results:
            if isinstance(result, UserError):
                raise result
            yield result


class _Calls:
    """The results of a function of an index, as a source of data for grain.

    A UserError is returned as a result: if it were raised, grain would add lines to it.
    """

    def __init__(self, function: Callable[[int], np.ndarray], num: int) -> None:
        self._function = function
        self._num = num

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> np.ndarray | UserError:
        try:
            return self._function(index)
        except UserError as error:
            return error


class Stream:
    """The batches of a run from some step to its end, for one compiled call at a time.

    While a call trains, the next call's batches are read, assembled and transferred, and then
    `num_ahead` more are read. The examples of a step depend on the step alone.

    Args:
      dataset: the training set.
      order: of an epoch's examples; called by several threads.
      batch_size: examples per step, over all processes.
      first_step: the first step to read.
      total_steps: steps of the whole run.
      steps_of_call: number of steps of the call that begins at a step.
      num_threads: threads that read and decode, each one batch at a time.
      num_ahead: maximal number of batches that are being read or wait to be assembled.
      put: transfers batches to the devices.
      process_index: of this process, which reads its own rows of each batch: the batch is cut into
        contiguous parts, one per process.
      process_count: number of processes of the run; it divides the batch size.
    """

    def __init__(
        self,
        dataset: LazyDataset,
        order: Order,
        *,
        batch_size: int,
        first_step: int,
        total_steps: int,
        steps_of_call: Callable[[int], int],
        num_threads: int,
        num_ahead: int,
        put: Callable[[np.ndarray], Array] = jax.device_put,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        self._dataset = dataset
        self._order = functools.lru_cache(maxsize=_ORDERS_KEPT)(order)
        self._order_lock = threading.Lock()
        self._batch_size = batch_size
        self._num_rows, rest = divmod(batch_size, process_count)
        if rest:
            raise ValueError(f"{batch_size} examples do not divide over {process_count} processes")
        self._first_row = process_index * self._num_rows
        self._total_steps = total_steps
        self._steps_of_call = steps_of_call
        self._put = put
        self._step = first_step
        self._seconds_waited = 0.0
        self._closing = threading.Event()
        self._batches = read_ahead(
            lambda index: self._read_batch(first_step + index),
            total_steps - first_step,
            num_threads=num_threads,
            num_ahead=num_ahead,
        )
        self._assembler = ThreadPoolExecutor(1, thread_name_prefix="stream")
        self._next: Future[Array] | None = None
        self._assemble_next()

    @property
    def seconds_waited(self) -> float:
        """The seconds for which the latest `take` waited for its batches."""
        return self._seconds_waited

    def take(self, num_steps: int) -> Array:
        """Return the next call's batches as stored, `[num_steps, batch, height, width, channels]`.

        Raises:
          UserError: they cannot be read.
        """
        if self._next is None or num_steps != self._steps_of_call(self._step):
            raise ValueError(f"{num_steps} steps at step {self._step} are not what was read ahead")
        start = time.perf_counter()
        batches = self._next.result()
        self._seconds_waited = time.perf_counter() - start
        self._step += num_steps
        self._assemble_next()
        return batches

    def close(self) -> None:
        """End the threads, after the reads in progress; their results are dropped."""
        self._closing.set()
        self._assembler.shutdown(cancel_futures=True)
        self._batches.close()
        self._next = None

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _assemble_next(self) -> None:
        self._next = None
        if self._step < self._total_steps:
            num_steps = self._steps_of_call(self._step)
            self._next = self._assembler.submit(self._assemble, num_steps)

    def _assemble(self, num_steps: int) -> Array:
        shape = (num_steps, self._num_rows, *self._dataset.shape[1:])
        # New memory each time: on a CPU the device uses it without a copy.
        batches = np.empty(shape, self._dataset.dtype)
        for batch in batches:
            if self._closing.is_set():
                break
            batch[...] = next(self._batches)
        return self._put(batches)

    def _read_batch(self, step: int) -> np.ndarray:
        epoch, index = divmod(step, self._dataset.shape[0] // self._batch_size)
        # Otherwise every thread would compute the order of a new epoch.
        with self._order_lock:
            order = self._order(epoch)
        first = index * self._batch_size + self._first_row
        images = self._dataset.read(order[first : first + self._num_rows]).images
        if images.shape != (self._num_rows, *self._dataset.shape[1:]):
            raise UserError(
                f"the training set ended early: for step {step} it gave images of shape "
                f"{list(images.shape)} in place of {[self._num_rows, *self._dataset.shape[1:]]}"
            )
        return images
