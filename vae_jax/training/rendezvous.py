"""The processes of one run find each other, compare what they were told, and notice who is lost.

The first process listens; the others connect, say who they are and what they were told to run, and
the run begins when all have come and agree. The connections then stay open, so that a process that
dies, or is not heard of any more, is known to all others within seconds and by its number. JAX's
own service ends the others too, but later, with a stack trace, and without naming the missing one.

Nothing here knows of JAX. A message is a JSON object in a line; an empty line says "still here".
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vae_jax.errors import UserError

# All of these together stay below a minute: a process that is cut off is noticed by then.
_SECONDS_BETWEEN_SIGNS = 5.0
_SECONDS_OF_SILENCE = 30.0
_SECONDS_BETWEEN_TRIES = 0.2

Settings = Mapping[str, Any]


class Connection:
    """Lines of JSON over a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._received = b""
        self._sending = threading.Lock()

    def send(self, message: Mapping[str, Any] | None) -> None:
        """Send a message; None is a sign of life. Who is gone is noticed where it is read."""
        line = (b"" if message is None else json.dumps(message).encode()) + b"\n"
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall(line)

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next message, signs of life left out.

        Raises:
          OSError: the connection is gone, was silent for so long, or does not speak our language.
        """
        self._socket.settimeout(seconds)
        while True:
            while b"\n" not in self._received:
                part = self._socket.recv(2**16)
                if not part:
                    raise ConnectionError("the connection is closed")
                self._received += part
            line, _, self._received = self._received.partition(b"\n")
            if line:
                try:
                    return dict(json.loads(line))
                except (ValueError, TypeError):
                    raise ConnectionError("a message is not ours") from None

    def close(self) -> None:
        """Close it; the other side reads to the end of what was sent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Company:
    """The processes of a run, all there.

    Attributes:
      service_address: where the first process may offer a service to the others, "host:port".
    """

    def __init__(
        self,
        rank: int,
        num_processes: int,
        connections: Mapping[int, Connection],
        service_address: str,
        on_loss: Callable[[str], None],
    ) -> None:
        self.service_address = service_address
        self._rank = rank
        self._num_processes = num_processes
        self._connections = connections
        self._on_loss = on_loss
        self._gone = threading.Event()
        for other, connection in connections.items():
            for target in (self._watch, self._give_signs):
                threading.Thread(target=target, args=(other, connection), daemon=True).start()

    def leave(self, reason: str = "") -> None:
        """Say good-bye, with the reason if something went wrong: the others then stop too."""
        self._gone.set()
        for connection in self._connections.values():
            connection.send({"failed": reason} if reason else {"bye": True})
            connection.close()

    def _give_signs(self, other: int, connection: Connection) -> None:
        del other
        while not self._gone.wait(_SECONDS_BETWEEN_SIGNS):
            connection.send(None)

    def _watch(self, other: int, connection: Connection) -> None:
        name = f"process {other} of {self._num_processes}"
        try:
            message = connection.receive(_SECONDS_OF_SILENCE)
        except TimeoutError:
            message = {"lost": f"{name} has not been heard of for {_SECONDS_OF_SILENCE:.0f} s"}
        except OSError:
            message = {"lost": f"{name} died"}
        if self._gone.is_set() or "bye" in message:
            return
        told = message.get("lost") or f"{name} stopped: {message.get('failed')}"
        # Only the first process is connected to all others.
        for third, to_tell in self._connections.items():
            if third != other:
                to_tell.send({"lost": told})
        self._on_loss(told)


def meet(
    address: str,
    rank: int,
    num_processes: int,
    settings: Settings,
    *,
    timeout_seconds: float,
    on_loss: Callable[[str], None],
) -> Company:
    """Wait until all processes of a run have come.

    Args:
      address: "host:port", where the first process listens.
      rank: the number of this one.
      num_processes: how many there are.
      settings: what all must have been told alike, by name.
      timeout_seconds: how long to wait for the others.
      on_loss: called, from another thread, with what happened to a process that is lost later.

    Raises:
      UserError: who did not come in time, or was told something else.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator={address!r} must be a host and a port, such as node0:1234")
    if num_processes < 1 or not 0 <= rank < num_processes:
        raise UserError(
            f"--process_id={rank} must be at least 0 and below --num_processes={num_processes}"
        )
    deadline = time.monotonic() + timeout_seconds
    # Through JSON, as those of the others come.
    own = json.loads(
        json.dumps({"rank": rank, "num_processes": num_processes, "settings": dict(settings)})
    )
    if rank == 0:
        connections, service = _receive(host, int(port), own, deadline, timeout_seconds)
    else:
        connection, service = _join(host, int(port), own, deadline, timeout_seconds)
        connections = {0: connection}
    return Company(rank, num_processes, connections, service, on_loss)


def _receive(
    host: str, port: int, own: dict[str, Any], deadline: float, timeout_seconds: float
) -> tuple[dict[int, Connection], str]:
    """What the first process does: wait for all others, and compare."""
    num_processes = own["num_processes"]
    came: dict[int, Connection] = {}
    try:
        server = socket.create_server(("", port), backlog=num_processes)
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen at port {port} of --coordinator={host}:{port}: "
            f"{error.strerror or error}; choose another port"
        ) from None
    with server:
        while len(came) < num_processes - 1:
            try:
                connection, hello = _next_hello(server, deadline)
            except TimeoutError:
                missing = [str(rank) for rank in range(1, num_processes) if rank not in came]
                problem = (
                    f"process{'es' * (len(missing) > 1)} {', '.join(missing)} of {num_processes} "
                    f"did not come to {host}:{port} within {timeout_seconds:g} s"
                )
                raise _refusal(problem, came.values()) from None
            except OSError:
                # A scan of the ports, or a process that died before it spoke.
                continue
            disagreement = _disagreement(own, hello, came)
            if disagreement is not None:
                raise _refusal(disagreement, [*came.values(), connection])
            came[hello["rank"]] = connection
    with socket.create_server(("", 0)) as free:
        service = f"{host}:{free.getsockname()[1]}"
    for connection in came.values():
        connection.send({"service": service})
    return came, service


def _next_hello(server: socket.socket, deadline: float) -> tuple[Connection, dict[str, Any]]:
    server.settimeout(max(deadline - time.monotonic(), 1e-3))
    connection = Connection(server.accept()[0])
    try:
        return connection, connection.receive(max(deadline - time.monotonic(), 1e-3))
    except OSError:
        connection.close()
        raise


def _refusal(problem: str, connections: Iterable[Connection]) -> UserError:
    """The error of the first process, after the others were told."""
    for connection in connections:
        connection.send({"problem": problem})
        connection.close()
    return UserError(problem)


def _disagreement(
    own: dict[str, Any], hello: dict[str, Any], came: Mapping[int, Connection]
) -> str | None:
    """How a process differs from the first; None if it fits."""
    rank, num_processes = hello.get("rank"), hello.get("num_processes")
    if num_processes != own["num_processes"]:
        return (
            f"process {rank} was started with --num_processes={num_processes} and process 0 with "
            f"{own['num_processes']}; start all with the number that there are"
        )
    if rank == 0 or rank in came:
        return f"two processes were started with --process_id={rank}; give each its own"
    theirs, ours = hello.get("settings", {}), own["settings"]
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) != ours.get(name):
            return (
                f"process {rank} was started with {name}={theirs.get(name)!r} and process 0 with "
                f"{ours.get(name)!r}; start all with the same"
            )
    return None


def _join(
    host: str, port: int, own: dict[str, Any], deadline: float, timeout_seconds: float
) -> tuple[Connection, str]:
    """What the others do: connect to the first, which may come later."""
    name = f"process {own['rank']} of {own['num_processes']}"
    while True:
        connection = None
        try:
            connection = Connection(socket.create_connection((host, port), timeout=5.0))
            connection.send(own)
            # The first process may be waiting for others: its time-out tells who is missing.
            seconds = max(deadline - time.monotonic(), 0.0) + _SECONDS_OF_SILENCE
            answer = connection.receive(seconds)
        except OSError:
            if connection is not None:
                connection.close()
            if time.monotonic() >= deadline:
                raise UserError(
                    f"{name} did not find process 0 at --coordinator={host}:{port} within "
                    f"{timeout_seconds:g} s; is it running there?"
                ) from None
            time.sleep(_SECONDS_BETWEEN_TRIES)
            continue
        if "problem" in answer:
            connection.close()
            raise UserError(answer["problem"])
        return connection, str(answer.get("service"))
