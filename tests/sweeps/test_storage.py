import contextlib
import os
import sqlite3
from pathlib import Path

import optuna
import postgresql
import pytest
import sqlalchemy
from optuna.storages._rdb.models import BaseModel

from vae_jax.errors import UserError
from vae_jax.sweeps import storage
from vae_jax.sweeps.storage import open_study


def opened(folder, url="", study="s", digest="d"):
    return open_study(folder, url, study, digest, maximize=True)


@pytest.fixture
def joined(tmp_path):
    """Return a function that opens a database as `opened` does; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def join(url, **options):
            study = opened(tmp_path, url, **options)
            stack.callback(storage.close, study)
            return study

        yield join


def num_trials(opened):
    return opened.get_n_trials(opened.get_study_id_from_name("s"))


def test_a_workdir_has_a_journal_of_its_own_and_another_process_joins_it(tmp_path):
    first = opened(tmp_path)
    first.create_new_trial(first.get_study_id_from_name("s"))
    assert num_trials(opened(tmp_path)) == 1
    assert (tmp_path / "journal.log").is_file()
    # The way in which optuna-dashboard reads it.
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log"))
    assert num_trials(optuna.storages.JournalStorage(backend)) == 1


def test_a_line_that_a_killed_process_left_half_written_is_cut_off(tmp_path):
    first = opened(tmp_path)
    first.create_new_trial(first.get_study_id_from_name("s"))
    journal = tmp_path / "journal.log"
    whole = journal.read_bytes()
    for torn in (whole[:-1], whole + b'{"op_code"', whole[:-20]):
        journal.write_bytes(torn)
        again = opened(tmp_path)
        again.create_new_trial(again.get_study_id_from_name("s"))
        assert num_trials(opened(tmp_path)) == torn.count(b"\n") - whole.count(b"\n") + 2
        assert all(line.startswith(b"{") for line in journal.read_bytes().splitlines())


def test_a_study_of_an_earlier_version_is_used_on(tmp_path):
    folder = tmp_path / "a{b}"
    folder.mkdir()
    name = str(folder / "study.db").replace("{", "{{").replace("}", "}}")
    old = optuna.create_study(storage=f"sqlite:///{name}", study_name="s", direction="maximize")
    old.set_user_attr("digest", "d")
    old.enqueue_trial({}, user_attrs={"index": 0})
    joined = opened(folder)
    assert num_trials(joined) == 1
    assert not (folder / "journal.log").exists()
    for used in (old._storage, joined):
        storage.close(used)


def test_a_database_that_lost_a_table_is_one_line(tmp_path, joined):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    study = joined(url)
    with contextlib.closing(sqlite3.connect(tmp_path / "shared.db")) as database:
        database.execute("DROP TABLE trials")
    message = "--storage cannot be used: no such table"
    with pytest.raises(UserError, match=message), storage.reaching(url):
        study.get_all_trials(study.get_study_id_from_name("s"))


def test_a_journal_that_is_no_json_is_one_line(tmp_path):
    first = opened(tmp_path)
    (tmp_path / "journal.log").write_text("{}}\n")
    with pytest.raises(UserError, match="the study in the workdir cannot be used"):
        opened(tmp_path)
    del first


def test_any_url_is_passed_to_optuna(tmp_path, monkeypatch, joined):
    given = []

    def create_engine(url):
        given.append(url)
        return sqlalchemy.create_engine("sqlite://")

    monkeypatch.setattr(sqlalchemy.engine, "create_engine", create_engine)
    joined("postgresql+psycopg://me:secret@host/db?sslmode=require")
    assert given == ["postgresql+psycopg://me:secret@host/db?sslmode=require"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "seconds"), [("", 60), ("?timeout=7", 7)])
def test_a_process_waits_a_minute_for_another_that_writes_to_sqlite(
    tmp_path, joined, options, seconds
):
    study = joined(f"sqlite:///{tmp_path}/trials.db{options}")
    with study._backend.engine.connect() as connection:
        waits = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
    assert waits == seconds * 1000


@contextlib.contextmanager
def others_make_tables(url):
    """Let another machine make tables when we have seen that there are none, half at a time."""
    others = sqlalchemy.create_engine(url)
    tables = BaseModel.metadata.sorted_tables
    halves = [tables[:6], tables[6:]]

    def make(*_, **__):
        half = halves.pop(0) if halves else []
        with others.begin() as connection:
            for table in half:
                table.create(connection)

    # Before any of our own types of PostgreSQL, for whose transaction the others would wait.
    sqlalchemy.event.listen(BaseModel.metadata, "before_create", make, insert=True)
    try:
        yield
    finally:
        sqlalchemy.event.remove(BaseModel.metadata, "before_create", make)
        others.dispose()
    assert halves == []


def test_two_machines_may_open_a_new_database_at_once(tmp_path, joined):
    url = f"sqlite:///{tmp_path}/trials.db"
    with others_make_tables(url):
        study = joined(url)
    assert num_trials(study) == 0


def test_a_real_server_is_shared_until_it_stops(tmp_path):
    with postgresql.running() as server:
        with others_make_tables(server.url):
            first = opened(tmp_path, server.url)
        second = opened(tmp_path, server.url)
        study = first.get_study_id_from_name("s")
        first.create_new_trial(study)
        assert num_trials(second) == 1
        with pytest.raises(UserError, match="the study 's' is of another sweep"):
            opened(tmp_path, server.url, digest="e")
        server.stop()
        unusable = "--storage cannot be used: "
        with pytest.raises(UserError, match=unusable) as lost, storage.reaching(server.url):
            first.get_all_trials(study)
        with pytest.raises(UserError, match=unusable) as closed:
            opened(tmp_path, server.url)
        for error in (lost, closed):
            assert "\n" not in str(error.value)
            assert postgresql.PASSWORD not in str(error.value)
        for used in (first, second):
            storage.close(used)


def test_the_server_of_a_test_that_fails_is_stopped():
    psycopg = pytest.importorskip("psycopg", reason="the extra postgresql is not installed")
    with contextlib.suppress(ZeroDivisionError), postgresql.running() as server:
        connection = psycopg.connect(server.url.replace("+psycopg", ""))
        raise ZeroDivisionError
    with connection, pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    # By the server: one that has lost only its files answers with an error.
    assert connection.broken


def test_a_shared_study_of_another_sweep_is_refused_and_another_name_is_not(tmp_path, joined):
    url = f"sqlite:///{tmp_path}/trials.db"
    joined(url)
    with pytest.raises(UserError, match=r"the study 's' is of another sweep .* is d, ours e; use"):
        joined(url, digest="e")
    joined(url, study="t", digest="e")


def test_a_study_that_no_sweep_made_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    mine = optuna.create_study(storage=url, study_name="mine")
    mine.enqueue_trial({"x": 1})
    storage.close(mine._storage)
    with pytest.raises(UserError, match="the study 'mine' was not made by a sweep; use another"):
        opened(tmp_path, url, study="mine")


SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "--storage cannot be used: Could not parse SQLAlchemy URL"),
        (f"postgresql://me:{SECRET}@host:port/db", "--storage cannot be used: it must be a URL"),
        (f"postgresql://me:x@y:{SECRET}@host/db", "--storage cannot be used: it must be a URL"),
        (f"redis://me:{SECRET}@host", "--storage cannot be used: Can't load plugin"),
        (f"mysql+nonsense://me:{SECRET}@host/db", "--storage cannot be used: Can't load plugin"),
        ("sqlite:////nonexistent/folder/x.db", "cannot be used: unable to open database file"),
        ("sqlite:///x{y}.db", "--storage cannot be used"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_reported_without_credentials(tmp_path, url, reason):
    with pytest.raises(UserError) as error:
        opened(tmp_path, url)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        (f"no me:{SECRET}@h", f"postgresql://me:{SECRET}@h/db", "no ***@h"),
        (f"bad {SECRET}", f"postgresql://me:{SECRET}@h/db", "bad ***"),
        ("bad a@b and a%40b", "mysql+pymysql://me:a%40b@h/db", "bad *** and ***"),
        (f"bad {SECRET}", f"postgresql://h/db?user=me&password={SECRET}", "bad ***"),
        (f"bad {SECRET}@x", f"mysql://me:{SECRET}@x@h/db", "bad ***"),
        ("host h", "postgresql://h/db", "host h"),
        # In odd places, and where there is no URL at all.
        (f"bad {SECRET}", f"postgresql://{SECRET}@h/db", "bad ***"),
        (f"bad {SECRET}", f"postgresql://h/db?options=-c%20{SECRET}", "bad ***"),
        (f"bad {SECRET}", f"postgresql://me:{SECRET}@h:54x/db", "bad ***"),
        (f"bad {SECRET} at", f"me:{SECRET}@h/db", "bad *** at"),
        (f"bad {SECRET}", f"postgresql:me:{SECRET}@h/db", "bad ***"),
        (f"bad {SECRET}", SECRET, "bad ***"),
        (f"bad //{SECRET}", f"//{SECRET}", "bad ***"),
    ],
)
def test_the_message_of_a_driver_is_shown_without_credentials(text, url, shown):
    assert storage._without_credentials(text, url) == shown


def open_files():
    """The files that this process has open."""
    found = set()
    for descriptor in Path("/proc/self/fd").glob("*"):
        # The folder itself was one.
        with contextlib.suppress(OSError):
            found.add(os.readlink(descriptor))
    return found


def test_a_database_that_is_none_or_of_another_optuna_is_reported_and_closed(tmp_path):
    (tmp_path / "study.db").write_text("no database at all\n" * 100)
    with pytest.raises(UserError, match="the study in the workdir cannot be used: file is not a"):
        opened(tmp_path)
    url = f"sqlite:///{tmp_path}/trials.db"
    study = opened(tmp_path, url)
    with study._backend.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    storage.close(study)
    with pytest.raises(UserError, match="--storage cannot be used: The runtime optuna version"):
        opened(tmp_path, url)
    assert open_files().isdisjoint(map(str, tmp_path.iterdir()))


def test_a_workdir_keeps_the_name_under_which_it_claims(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    assert storage.owner_of(first) == storage.owner_of(first) != storage.owner_of(second)
