"""The server of a page: on this machine alone, with everything that the page needs on board."""

import asyncio
import errno
import functools
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from vae_jax.applications.explorer import page, pictures
from vae_jax.applications.explorer.explored import Explored, open_run, warm
from vae_jax.applications.explorer.runs import Run
from vae_jax.errors import UserError

_ADDRESS = "127.0.0.1"
# A visitor who leaves while an answer is on its way is no mistake.
_WHEN_LEFT = "Failed sending message as connection was closed"
# Runs that stay in memory.
_MOST_OPEN = 8


def claim(port: int) -> socket.socket:
    """Return a listening socket on the loopback address.

    Args:
      port: its port; 0 lets the system choose.

    Raises:
      UserError: the port is in use, or not to be had.
    """
    found = socket.socket()
    try:
        # A server that has just ended leaves its port waiting.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((_ADDRESS, port))
        found.listen(128)
    except OSError as error:
        found.close()
        why = "in use" if error.errno == errno.EADDRINUSE else f"not to be had: {error.strerror}"
        raise UserError(
            f"--port={port} is {why}; name another, or --port=0 for any that is free"
        ) from None
    found.setblocking(False)
    return found


def url(listening: socket.socket) -> str:
    """Return the address of the page."""
    return f"http://{_ADDRESS}:{listening.getsockname()[1]}/"


def start(listening: socket.socket, runs: Sequence[Run], chosen: int) -> BaseServer:
    """Start to serve the pages of runs on the event loop that is running.

    Args:
      listening: as `claim` returns it.
      runs: the runs.
      chosen: the index of the one that is opened first.

    Returns:
      The server, to be stopped.

    Raises:
      UserError: as `open_run`, of the first run.
    """
    logging.getLogger("bokeh.server.views.ws").addFilter(_is_shown)
    first = open_run(runs[chosen].folder)
    warm(first, page.STEPS)
    port = listening.getsockname()[1]
    application = Application(FunctionHandler(_builder(runs, chosen, first)))
    tornado = BokehTornado(
        application,
        # Pages of other sites that a browser has open must not reach this one.
        extra_websocket_origins=[f"{host}:{port}" for host in (_ADDRESS, "localhost")],
        websocket_max_message_size_bytes=4 * pictures.MOST_BYTES,
    )
    http = HTTPServer(tornado)
    http.add_socket(listening)
    server = BaseServer(IOLoop.current(), tornado, http)
    server.start()
    return server


def _is_shown(record: logging.LogRecord) -> bool:
    return record.getMessage() != _WHEN_LEFT


def serve(
    listening: socket.socket, runs: Sequence[Run], chosen: int, when_ready: Callable[[], None]
) -> None:
    """Serve the pages of runs until the process is stopped.

    Args:
      listening: as `claim` returns it.
      runs: the runs.
      chosen: the index of the one that is opened first.
      when_ready: is called when the first page can be opened.

    Raises:
      UserError: as `open_run`, of the first run.
    """

    async def serving() -> None:
        server = start(listening, runs, chosen)
        try:
            when_ready()
            await asyncio.Event().wait()
        finally:
            server.stop()

    asyncio.run(serving())


def _builder(runs: Sequence[Run], chosen: int, first: Explored) -> Callable[[Document], None]:
    """Return the function that builds a visitor's page, of the run that the address names."""

    @functools.lru_cache(_MOST_OPEN)
    def opened(folder: Path) -> Explored:
        if folder == first.folder:
            return first
        explored = open_run(folder, like=first)
        warm(explored, page.STEPS)
        return explored

    def build(document: Document) -> None:
        arguments = document.session_context.request.arguments if document.session_context else {}
        asked = arguments.get("run", [b""])[0].decode(errors="replace")
        is_known = asked.isascii() and asked.isdecimal() and int(asked) < len(runs)
        index = int(asked) if is_known else chosen
        try:
            explored = opened(runs[index].folder)
        except UserError as error:
            page.build_refusal(document, str(error))
            return
        page.build(document, explored, runs, index)

    return build
