"""Run a sweep in a workdir, new or begun, and write its results.

    sweep.json      the resolved sweep
    data.json       digests of the examples, so that all members are trained on the same
    batches/        the trials that have been dealt out, and the chunks that train them
    chunks/         checkpoints of the members in training, held by those who train them
    members/NNNN/   each member that has ended, or is in training, as a run like any other
    journal.log     of a search only: Optuna's study

Several processes may share a workdir, on one machine or on several that see it.
"""

import collections
import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax import workdir
from vae_jax.config import resolve
from vae_jax.errors import UserError, first_line
from vae_jax.sweeps import fields, member_logs, results, space
from vae_jax.sweeps.batches import Work
from vae_jax.sweeps.checks import check, is_same
from vae_jax.sweeps.chunks import DATA_FILE
from vae_jax.sweeps.executors import Executor, LocalExecutor
from vae_jax.sweeps.member_files import set_damaged_aside
from vae_jax.sweeps.results import Row
from vae_jax.sweeps.search import Search
from vae_jax.sweeps.space import Sweep
from vae_jax.sweeps.storage import open_study, owner_of
from vae_jax.training import loggers

# The most seconds to wait for another process that holds the workdir.
_PATIENCE = 60.0


def run_sweep(
    config: Any,
    sweep: Sweep,
    folder: str | Path,
    make_executor: Callable[[], Executor] = LocalExecutor,
    *,
    batch: int | None = None,
    memory_limit: int | None = None,
    storage: str = "",
    study: str = "",
    reclaim_after: float = 0.0,
    accept_data: bool = False,
    log: Sequence[str] = (),
) -> None:
    """Train, measure and plot every member that no other process has taken on.

    Args:
      config: the base of the sweep: an experiment, or nested settings.
      sweep: what is tried.
      folder: the workdir.
      make_executor: makes what trains the chunks, once everything has been checked; by default
        they are trained in this process.
      batch: the most trials that are dealt out at a time; None for those of the sweep.
      memory_limit: bytes per device; None for most of what there is.
      storage: the Optuna URL of a search that machines with workdirs of their own share.
      study: the name of its study there; empty for one made of its digest.
      reclaim_after: the seconds without a sign of life after which another machine's trials are
        taken over; 0 never does.
      accept_data: whether to go on with other examples than those that the sweep began with.
      log: names of loggers that are given each member that has ended here.

    Raises:
      Interrupted: a signal came; the same call continues.
      UserError: the sweep cannot work, or the workdir or the storage cannot be used.
    """
    loggers.require(log)
    folder, base = Path(folder), fields.resolved(config)
    check(sweep, base)
    of_searches = {"storage": storage, "study": study, "reclaim_after": reclaim_after}
    for name, value in of_searches.items():
        if value and sweep.method != "tpe":
            raise UserError(
                f"--{name} is for tpe; processes share a {sweep.method} sweep by sharing its "
                "workdir"
            )
    if not 0 <= reclaim_after < math.inf:
        raise UserError(f"--reclaim_after={reclaim_after} must be finite and at least 0")
    results.check_results(folder)
    ours = {"config": base, "sweep": space.describe(sweep)}
    with contextlib.ExitStack() as stack:
        stack.enter_context(workdir.left_as_it_was(folder))
        search = None
        if sweep.method == "tpe":
            search = _claim_search(folder, sweep, ours, storage, study)
            stack.enter_context(contextlib.closing(search))
        else:
            _claim(folder, ours)
        if accept_data:
            (folder / DATA_FILE).unlink(missing_ok=True)
        executor = make_executor()
        resources = executor.resources
        if memory_limit is not None:
            resources = resources._replace(memory_limit=memory_limit)
        work = Work(folder, sweep, base, resources, search)
        print(_describe(folder, sweep, base), flush=True)

        with work.alone():
            set_damaged_aside(folder, range(sweep.size * len(sweep.seeds)))

        logged = member_logs.MemberLogs(folder, log)

        def refresh() -> None:
            with work.alone():
                rows = work.rows()
                results.write_results(folder, rows, sweep.fields)
                logged.send([row["member"] for row in rows])

        while True:
            if search is not None and reclaim_after:
                search.reclaim(reclaim_after)
            chunks = work.next_chunks(sweep.batch or batch or sweep.size)
            if not chunks:
                break
            with contextlib.nullcontext() if search is None else search.kept_alive():
                executor.run(folder, chunks, refresh)
        refresh()
        rows = work.rows()
        with work.alone():
            results.draw(folder, sweep, rows)
            results.write_tensorboard(folder, rows, sweep.fields)
    _report(folder, sweep, rows)


def _claim(folder: Path, ours: dict[str, Any], **own: Any) -> dict[str, Any]:
    """Write sweep.json, or make sure that the one there is the same; return its content.

    Args:
      folder: the workdir.
      ours: the resolved config and sweep.
      own: what a new sweep.json says beside them.
    """
    there = workdir.read_sweep(folder)
    if there is None:
        content = {**ours, **own}
    elif _is_same(folder, ours, there):
        content = there
    else:
        # Refused below, with the differences.
        content = {**there, **ours}
    with workdir.hold(folder, sweep=content, wait=_PATIENCE):
        pass
    return content


def _is_same(folder: Path, ours: dict[str, Any], there: dict[str, Any]) -> bool:
    try:
        return is_same(ours, there)
    # An object with other values than a sweep has.
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'sweep.json'} is damaged: {first_line(error)}") from None


def _claim_search(folder: Path, sweep: Sweep, ours: dict[str, Any], url: str, study: str) -> Search:
    """Claim a workdir as `_claim` does, and open its study, which must be the one asked for."""
    name = study or f"tpe-{workdir.config_digest(ours)}"
    content = _claim(folder, ours, study=name, is_shared=bool(url))
    # Earlier versions wrote the URL of a shared storage, without its password.
    is_shared = bool(content.get("is_shared", content.get("storage")))
    if is_shared != bool(url):
        where = "in a storage; name it with --storage" if is_shared else "without --storage"
        raise UserError(f"workdir={str(folder)!r} holds a search {where}")
    if study not in ("", content["study"]):
        raise UserError(
            f"workdir={str(folder)!r} holds a search of the study {content['study']!r}; "
            "use that --study or another workdir"
        )
    # The axes have the names in the study that they had when it was made.
    names = [space.axis_name(tuple(axis["fields"])) for axis in content["sweep"]["axes"]]
    digest = workdir.config_digest({name: content[name] for name in ("config", "sweep")})
    with workdir.hold(folder, wait=_PATIENCE):
        storage = open_study(folder, url, content["study"], digest, maximize=sweep.maximize)
        owner = owner_of(folder)
    return Search(storage, url, content["study"], sweep, owner=owner, names=names)


def _describe(folder: Path, sweep: Sweep, base: Mapping[str, Any]) -> str:
    """Return a line on the members, and on which fields vary inside a program."""
    inside: dict[str, None] = {}
    outside: dict[str, None] = {}
    for setting in space.examples(sweep):
        traced = resolve(fields.with_values(base, setting)).hparams
        for field in fields.expanded(setting):
            (inside if field in traced else outside)[field] = None
    return (
        f"{folder}: {sweep.size} trials x {len(sweep.seeds)} seeds = "
        f"{sweep.size * len(sweep.seeds)} members; vary inside a program: "
        f"{', '.join([*inside, fields.SEED])}; by program: {', '.join(outside) or '-'}"
    )


def _report(folder: Path, sweep: Sweep, rows: Sequence[Row]) -> None:
    column = f"valid_{sweep.objective}"
    entries = results.over_seeds(rows, sweep.fields)
    judged = [entry for entry in entries if column in entry["mean"]]
    judged.sort(key=lambda entry: entry["mean"][column], reverse=sweep.maximize)
    metrics = {column: f"valid {sweep.objective}", "test_elbo": "test ELBO"}
    metrics |= {"test_rate": "rate", "test_distortion": "distortion"}
    print(results.table(judged, sweep.fields, metrics, top=10), end="")
    num_members = sweep.size * len(sweep.seeds)
    counts = collections.Counter(row["status"] for row in rows)
    counts["left to other processes"] = num_members - len(rows)
    ended = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    print(f"{folder}: {num_members} members: {ended}; see results.json, results.csv and plots/")
