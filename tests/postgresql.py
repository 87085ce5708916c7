"""A PostgreSQL server of a test's own."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def _binary(name: str) -> str:
    # Debian keeps them off the PATH.
    found = shutil.which(name) or max(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), default=None)
    if found is None:
        pytest.skip(f"needs PostgreSQL: no {name} on the PATH or in /usr/lib/postgresql/*/bin")
    return found


def _other_than_root() -> dict[str, object]:
    """Arguments of subprocess.Popen: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("needs a user other than root to run PostgreSQL as")


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Start a server on loopback, give the URL of its empty database, and stop it."""
    initdb, postgres, user = _binary("initdb"), _binary("postgres"), _other_than_root()
    # Not in pytest's tmp_path, which only root may enter where root runs the tests.
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as folder:
        if user:
            os.chown(folder, user["user"], user["group"])
        data = Path(folder, "data")
        subprocess.run(
            [initdb, "-D", data, "-U", "tester", "-A", "trust", "-N", "--locale=C", "-E", "UTF8"],
            check=True,
            capture_output=True,
            cwd=folder,
            **user,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = Path(folder, "log")
        with open(log, "wb") as output:
            server = subprocess.Popen(
                [postgres, "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                **user,
            )
        try:
            deadline = time.monotonic() + 60
            while b"ready to accept connections" not in log.read_bytes():
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield f"postgresql+psycopg://tester:secret@127.0.0.1:{port}/postgres"
        finally:
            # Without waiting for connections to end.
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)
