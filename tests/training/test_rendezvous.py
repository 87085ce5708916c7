import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vae_jax.errors import UserError
from vae_jax.training import rendezvous
from vae_jax.training.rendezvous import meet


@pytest.fixture
def address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def meeting(address, members, seconds=10.0):
    """What each of (rank, num_processes, settings) comes to: (company, losses) or an error."""

    def come(member):
        rank, num_processes, settings = member
        losses = []
        try:
            company = meet(
                address,
                rank,
                num_processes,
                settings,
                timeout_seconds=seconds,
                on_loss=losses.append,
            )
        except UserError as error:
            return str(error)
        return company, losses

    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(come, members))


def leave(members):
    for company, _ in members:
        company.leave()


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_all_come_and_learn_of_one_address(address):
    members = meeting(address, [(rank, 3, {"beta": 1.0, "widths": (8,)}) for rank in (2, 0, 1)])
    addresses = {company.service_address for company, _ in members}
    assert len(addresses) == 1
    assert addresses != {address}
    for company, losses in members:
        company.leave()
        assert losses == []


def test_the_others_may_come_before_the_first(address):
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(meeting, address, [(1, 2, {})])
        time.sleep(0.3)
        (first, _), ((second, _),) = meeting(address, [(0, 2, {})])[0], later.result()
    first.leave()
    second.leave()


def test_who_does_not_come_is_named_to_those_who_came(address):
    told = meeting(address, [(0, 4, {}), (2, 4, {})], seconds=0.5)
    assert told == [f"processes 1, 3 of 4 did not come to {address} within 0.5 s"] * 2


def test_without_the_first_the_others_say_where_they_looked(address):
    (told,) = meeting(address, [(1, 2, {})], seconds=0.3)
    expected = f"process 1 of 2 did not find process 0 at --coordinator={address} within 0.3 s"
    assert told.startswith(expected)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ((2, 3, {}), "process 2 was started with --num_processes=3 and process 0 with 2"),
        ((0, 2, {}), "two processes were started with --process_id=0"),
        ((1, 2, {"beta": 4.0}), "process 1 was started with beta=4.0 and process 0 with None"),
    ],
)
def test_processes_that_were_told_different_things_all_learn_of_it(address, other, told):
    if other[0] == 0:
        # The second to listen is refused by the system.
        first = threading.Thread(target=meeting, args=(address, [(0, 2, {})], 0.5))
        first.start()
        time.sleep(0.1)
        (answer,) = meeting(address, [other])
        first.join()
        assert "cannot listen" in answer
        return
    answers = meeting(address, [(0, 2, {}), other])
    assert all(answer.startswith(told) for answer in answers), answers


def test_two_of_one_number_are_refused(address):
    answers = meeting(address, [(0, 3, {}), (1, 3, {}), (1, 3, {})])
    assert answers == ["two processes were started with --process_id=1; give each its own"] * 3


@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_dies_is_named_to_all_others(address, lost):
    members = meeting(address, [(rank, 3, {}) for rank in range(3)])
    # As the system does it for a process that is killed: without a word.
    members[lost][0]._gone.set()
    for connection in members[lost][0]._connections.values():
        connection.close()
    left = [losses for rank, (_, losses) in enumerate(members) if rank != lost]
    wait_for(lambda: all(left))
    assert left == [[f"process {lost} of 3 died"]] * 2
    leave(members)


def test_a_process_that_fails_tells_the_others_why(address):
    members = meeting(address, [(rank, 3, {}) for rank in range(3)])
    members[2][0].leave("the disk is full")
    left = [losses for _, losses in members[:2]]
    wait_for(lambda: all(left))
    assert left == [["process 2 of 3 stopped: the disk is full"]] * 2
    leave(members)


def test_a_process_that_is_silent_for_long_is_lost(address, monkeypatch):
    monkeypatch.setattr(rendezvous, "_SECONDS_BETWEEN_SIGNS", 0.1)
    monkeypatch.setattr(rendezvous, "_SECONDS_OF_SILENCE", 0.5)
    members = meeting(address, [(0, 2, {}), (1, 2, {})])
    time.sleep(1.0)
    assert [losses for _, losses in members] == [[], []]
    # It gives no more signs, and its connection stays open.
    members[1][0]._gone.set()
    wait_for(lambda: members[0][1])
    assert members[0][1] == ["process 1 of 2 has not been heard of for 0 s"]
    leave(members)


def test_leaving_is_no_loss(address):
    (first, losses), (second, others) = meeting(address, [(0, 2, {}), (1, 2, {})])
    second.leave()
    time.sleep(0.2)
    first.leave()
    assert losses == others == []


@pytest.mark.parametrize("wrong", ["nowhere", "host:", "host:0", ":1234", "host:70000"])
def test_an_address_without_host_or_port_is_refused(wrong):
    with pytest.raises(UserError, match=f"--coordinator='{wrong}' must be a host and a port"):
        meet(wrong, 0, 1, {}, timeout_seconds=1.0, on_loss=print)


@pytest.mark.parametrize("rank", [-1, 2, 3])
def test_a_number_beyond_the_processes_is_refused(address, rank):
    with pytest.raises(UserError, match=f"--process_id={rank} must be at least 0 and below"):
        meet(address, rank, 2, {}, timeout_seconds=1.0, on_loss=print)
