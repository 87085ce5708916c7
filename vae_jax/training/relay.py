"""A port of this machine that leads to a service elsewhere, and stays open when that one is gone.

JAX's client ends its process, with a stack trace, at the moment that its connection to the first
process breaks. Behind a relay it hears of nothing, and `rendezvous` has the time to tell who died.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

_SECONDS_BETWEEN_TRIES = 0.1


def relay(address: str) -> str:
    """Open a port until the process ends.

    Args:
      address: where the service is, "host:port"; it may begin later.

    Returns:
      "127.0.0.1:port". What is sent there arrives at the service, and the other way round. A
      connection is closed when the caller closes it, never because the service did.
    """
    host, _, port = address.rpartition(":")
    server = socket.create_server(("127.0.0.1", 0))
    _in_background(_serve, server, (host, int(port)))
    return f"127.0.0.1:{server.getsockname()[1]}"


def _in_background(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, daemon=True).start()


def _serve(server: socket.socket, service: tuple[str, int]) -> None:
    while True:
        _in_background(_lead, server.accept()[0], service)


def _lead(caller: socket.socket, service: tuple[str, int]) -> None:
    """Pass on what a caller sends, and have another thread pass on the answers."""
    distant = _connect(service)
    _in_background(_copy, distant, caller)
    _copy(caller, distant)
    # Also ends the other thread, which closing alone would leave waiting.
    with contextlib.suppress(OSError):
        distant.shutdown(socket.SHUT_RDWR)
    distant.close()
    caller.close()


def _connect(service: tuple[str, int]) -> socket.socket:
    while True:
        try:
            return socket.create_connection(service)
        except OSError:
            time.sleep(_SECONDS_BETWEEN_TRIES)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Pass on bytes until the source ends; a target that is gone takes them without a word."""
    with contextlib.suppress(OSError):
        while part := source.recv(2**16):
            with contextlib.suppress(OSError):
                target.sendall(part)
