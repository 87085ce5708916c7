"""A PostgreSQL server of the tests' own, reached by a socket in its folder."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

PASSWORD = "s3cret-of-the-database"


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        url: for `--storage`, with a password that the server does not ask for.
        stop: ends the server, and all connections, at once.
    """

    url: str
    stop: object


def _program(name: str) -> str:
    found = [shutil.which(name), *sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))]
    for path in found:
        if path is not None and os.access(path, os.X_OK):
            return str(path)
    pytest.skip("PostgreSQL is not installed")


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Start a server without a port; skip the test where PostgreSQL or its driver is missing."""
    pytest.importorskip("psycopg", reason="the extra postgresql is not installed")
    initdb, control = _program("initdb"), _program("pg_ctl")
    # The path of a socket has at most 107 bytes, more than a folder of pytest's may have left.
    folder = Path(tempfile.mkdtemp(prefix="vae_pg_"))
    # PostgreSQL refuses to run as root.
    owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    if owner is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    ids = {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}

    def call(*command: str) -> None:
        # The server inherits what it writes to: a pipe would never end.
        log = folder.with_suffix(".log")
        with log.open("ab") as output:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, **ids
            )
        assert done.returncode == 0, log.read_text()

    def stop() -> None:
        call(control, "stop", "-D", data, "-m", "immediate", "-w")

    data = str(folder / "data")
    try:
        call(
            initdb,
            "-D",
            data,
            "-U",
            "tester",
            "--auth=trust",
            "--no-sync",
            "--no-locale",
            "-E",
            "UTF8",
        )
        options = f"-c listen_addresses= -c fsync=off -c unix_socket_directories={folder}"
        call(control, "start", "-D", data, "-w", "-o", options)
        url = f"postgresql+psycopg://tester:{PASSWORD}@/postgres?host={quote(str(folder))}"
        yield Server(url, stop)
    finally:
        try:
            # It is there as long as the server, which a test that fails does not stop.
            if (folder / "data" / "postmaster.pid").exists():
                stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(".log").unlink(missing_ok=True)
