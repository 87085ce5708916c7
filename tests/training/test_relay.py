import socket

import pytest

from vae_jax.training.relay import relay


@pytest.fixture
def service():
    """A socket that listens, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10.0)
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


def connect(address):
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=10.0)


def accept(server):
    connection = server.accept()[0]
    connection.settimeout(10.0)
    return connection


def receive(connection, size):
    received = b""
    while len(received) < size:
        received += connection.recv(size - len(received))
    return received


def test_both_sides_get_what_the_other_one_sends(service):
    server, address = service
    port = relay(address)
    sent = bytes(range(256)) * 4096
    for _ in range(2):
        with connect(port) as caller, accept(server) as answering:
            caller.sendall(sent)
            assert receive(answering, len(sent)) == sent
            answering.sendall(sent[::-1])
            assert receive(caller, len(sent)) == sent[::-1]


def test_a_service_may_begin_after_its_callers():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with connect(relay(address)) as caller:
        caller.sendall(b"early")
        host, port = address.split(":")
        with socket.create_server((host, int(port))) as server:
            server.settimeout(10.0)
            with accept(server) as answering:
                assert receive(answering, 5) == b"early"


def test_a_caller_does_not_notice_that_the_service_is_gone(service):
    server, address = service
    with connect(relay(address)) as caller:
        with accept(server) as answering:
            answering.sendall(b"last")
        server.close()
        assert receive(caller, 4) == b"last"
        caller.sendall(b"still")
        caller.sendall(b"here")
        caller.settimeout(0.5)
        with pytest.raises(TimeoutError):
            caller.recv(1)


def test_a_service_notices_that_its_caller_is_gone(service):
    server, address = service
    caller = connect(relay(address))
    with accept(server) as answering:
        caller.close()
        assert answering.recv(1) == b""
