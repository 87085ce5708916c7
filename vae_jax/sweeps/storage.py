"""The storage of a search's study: a journal in the workdir, or one that machines share."""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import optuna
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from vae_jax import workdir
from vae_jax.errors import UserError, first_line

# The seconds that a process waits for another that writes to SQLite; five are its default.
_SQLITE_PATIENCE = 60
# Two processes in step can fail several times in turn, each time with more tables there.
_TRIES = 10


def open_study(folder: Path, url: str, study: str, digest: str, *, maximize: bool) -> BaseStorage:
    """Return the storage with the study, which is made unless it is there.

    Args:
      folder: the workdir.
      url: a storage as Optuna takes it, such as postgresql+psycopg://user:password@host/database;
        empty for the workdir's own.
      study: the study's name; a shared storage may hold many.
      digest: says which sweep the study is of.
      maximize: whether a larger objective is better.

    Raises:
      UserError: the storage cannot be reached, or the study is of another sweep.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with reaching(url, opening=True):
        storage = _storage(folder, url)
        try:
            optuna.create_study(
                storage=storage,
                study_name=study,
                direction="maximize" if maximize else "minimize",
                load_if_exists=True,
            )
            study_id = storage.get_study_id_from_name(study)
            there = storage.get_study_user_attrs(study_id).get("digest")
            if there is None and storage.get_n_trials(study_id):
                raise UserError(f"the study {study!r} was not made by a sweep; use another --study")
            if there is None:
                storage.set_study_user_attr(study_id, "digest", digest)
            elif url and there != digest:
                raise UserError(
                    f"the study {study!r} is of another sweep or another config: its digest is "
                    f"{there}, ours {digest}; use another --study"
                )
        except BaseException:
            close(storage)
            raise
    return storage


def close(storage: BaseStorage) -> None:
    """Close all connections of a storage, those of its pool, too."""
    storage.remove_session()
    # Optuna wraps a database in a cache.
    backend = getattr(storage, "_backend", storage)
    if isinstance(backend, RDBStorage):
        backend.engine.dispose()


def owner_of(folder: Path) -> str:
    """Return the name under which a workdir claims trials."""
    path = folder / "owner.json"
    if not path.is_file():
        workdir.write_json(path, {"owner": uuid.uuid4().hex})
    return str(workdir.read_json(path, {"owner": str})["owner"])


def _storage(folder: Path, url: str) -> BaseStorage:
    if url:
        return _database(url)
    database = folder / "study.db"
    if database.is_file():
        # Made by an earlier version. Optuna would replace names in braces.
        name = str(database).replace("{", "{{").replace("}", "}}")
        return _database(f"sqlite:///{name}")
    journal = str(folder / "journal.log")
    lock: Any = _JournalLock(journal)
    return JournalStorage(JournalFileBackend(journal, lock_obj=lock))


class _Database(RDBStorage):
    """A database that is closed again if it cannot be used."""

    def __init__(self, url: str) -> None:
        try:
            super().__init__(_with_patience(url))
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise


def _with_patience(url: str) -> str:
    """Return a URL of SQLite with a longer time-out, unless it has one, and any other as it is."""
    path, _, options = url.partition("?")
    if not re.match(r"sqlite(\+pysqlite)?://", path) or "timeout=" in options:
        return url
    return f"{path}?{options}{'&' if options else ''}timeout={_SQLITE_PATIENCE}"


def _database(url: str) -> BaseStorage:
    """Return a database with its tables, which another process may be making at the same time."""
    for _ in range(_TRIES - 1):
        try:
            return optuna.storages.get_storage(_Database(url))
        except Exception as error:
            if not _was_made_meanwhile(error):
                raise
    return optuna.storages.get_storage(_Database(url))


def _was_made_meanwhile(error: Exception) -> bool:
    """Return whether a table or a row of a new database was there before we could make it."""
    # Optuna imports it for a database only.
    from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

    # PostgreSQL writes in the language of its server.
    return isinstance(error, IntegrityError | ProgrammingError) or (
        isinstance(error, DBAPIError) and "already exists" in str(error.orig)
    )


class _JournalLock:
    """A lock on a journal that ends with its process, unlike those of Optuna."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        with open(self._path, "r+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            if file.read() not in (b"", b"\n"):
                # A process was killed in the middle of a line.
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._lock.release()


@contextlib.contextmanager
def reaching(url: str, *, opening: bool = False) -> Iterator[None]:
    """Report in one line, without credentials, that a storage fails.

    Args:
      url: the storage's, if it is shared; else empty.
      opening: whether the URL, its driver or its version may be at fault, beside the storage.

    Raises:
      UserError: the storage fails.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        # Optuna passes on some errors of a database, and those of a line of the journal.
        is_of_storage = isinstance(error, StorageInternalError | json.JSONDecodeError)
        is_of_storage |= type(error).__module__.startswith("sqlalchemy")
        if not opening and not is_of_storage:
            raise
        cause = error.__cause__ or error
        reason = _without_credentials(first_line(getattr(cause, "orig", None) or cause), url)
        if url and isinstance(cause, ValueError):
            # The error may quote any part of a URL that cannot be parsed.
            reason = "it must be a URL like postgresql+psycopg://user:password@host/database"
        where = "--storage" if url else "the study in the workdir"
        raise UserError(f"{where} cannot be used: {reason}") from None


def _without_credentials(text: str, url: str) -> str:
    """Return a text in which *** stands for every part of a URL but driver, host and database."""
    try:
        parsed = urlsplit(url)
        shown = {parsed.scheme, parsed.hostname, str(parsed.port), parsed.path.strip("/")}
        shown = shown if parsed.scheme and parsed.hostname else set()
    except ValueError:
        shown = set()
    # A password may hold any delimiter, and stand anywhere in a URL that cannot be parsed.
    user = url.partition("://")[2].rpartition("@")[0]
    parts = {url, user, user.partition(":")[2]}
    for spelled in (url, unquote(url)):
        parts |= {part for part in re.split(r"[:/@?&=,;%\s]+", spelled) if len(part) > 2}
    parts |= set(map(unquote, parts))
    for part in sorted(parts - shown, key=len, reverse=True):
        text = text.replace(part, "***") if part else text
    return text
