"""The network of the hosts: what it passes, what it loses when it is told to, and that nothing of it stays."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from tests.hosts.namespace import Namespace, in_a_thread, inhabited
from tests.hosts.network import Network

PORT = 9000
ROUND_S = 0.4
"""TCP sends again what was lost after 0.2 s; what has not come by then will not come."""

pytestmark = pytest.mark.usefixtures("network_possible")


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network(3)
    yield network
    network.close()


@pytest.fixture
def echo(network: Network) -> Iterator[None]:
    """A server on host 2 that says again what it is told."""

    def opened() -> socket.socket:
        network.rooms[2].enter()
        return socket.create_server((network.address(2), PORT))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                while said := connection.recv(2**16):
                    connection.sendall(said)

    server = in_a_thread(opened)
    thread = threading.Thread(target=serve)
    thread.start()
    yield
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def round_trip(network: Network, said: bytes = b"hello", *, limit_s: float = 10.0, port: int = PORT) -> bool:
    """Return whether host 1 hears again what it says to host 2."""

    def ask() -> bool:
        network.rooms[1].enter()
        try:
            with closing(socket.create_connection((network.address(2), port), limit_s)) as connection:
                connection.sendall(said)
                heard = b""
                while len(heard) < len(said):
                    heard += connection.recv(2**16)
        except TimeoutError:
            return False
        return heard == said

    return in_a_thread(ask)


@pytest.mark.usefixtures("echo")
def test_what_is_said_passes_whatever_its_size(network: Network) -> None:
    assert round_trip(network)
    assert round_trip(network, os.urandom(300_000))


CUTS: dict[str, Callable[[Network], AbstractContextManager[None]]] = {
    "both ways": lambda network: network.cut([1], [2, 3]),
    "the way there": lambda network: network.cut_one_way([1], [2]),
    "the way back": lambda network: network.cut_one_way([2], [1]),
    "one port": lambda network: network.cut([1], [2], PORT),
}


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("name", CUTS)
def test_a_cut_loses_all_until_it_is_healed(network: Network, name: str) -> None:
    with CUTS[name](network):
        assert not round_trip(network, limit_s=ROUND_S)
    assert round_trip(network)


@pytest.mark.usefixtures("echo")
def test_a_cut_of_other_hosts_or_ports_loses_nothing(network: Network) -> None:
    with network.cut([1], [3]), network.cut([1], [2], PORT + 1), network.cut_one_way([3], [1, 2]):
        assert round_trip(network)


@pytest.mark.usefixtures("echo")
def test_bad_wires_lose_some_and_delay_the_rest(network: Network) -> None:
    with network.bad(loss=0.1, delay_ms=20, jitter_ms=5):
        begun_s = time.monotonic()
        assert round_trip(network, os.urandom(100_000), limit_s=30)
        assert time.monotonic() - begun_s > 4 * 0.02  # there and back, for the connection and for what is said


def test_a_command_runs_where_it_is_put(network: Network) -> None:
    assert network.address(3) in network.rooms[3].run("ip", "-4", "address")
    assert network.address(3) not in network.rooms[1].run("ip", "-4", "address")


def test_nothing_of_a_network_stays() -> None:
    descriptors = len([*Path("/proc/self/fd").iterdir()])
    network = Network(2)
    rooms = network.names
    assert len(rooms) == 3
    assert inhabited(rooms)  # by the switch
    network.close()
    network.close()
    assert not inhabited(rooms)
    assert len([*Path("/proc/self/fd").iterdir()]) == descriptors


def test_a_room_that_cannot_have_what_it_needs_says_what_was_refused() -> None:
    room = Namespace()
    with pytest.raises(Exception, match="no-such-interface"):
        room.run("ip", "link", "set", "no-such-interface", "up")
    room.close()
