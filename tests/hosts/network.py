"""A network of hosts around one switch, and what can be done to the wires; knows nothing of what runs on the hosts.

Hosts are numbered from 1. All of it is in namespaces made here: nothing of it is to be seen outside, and `close`, or
the end of this process however it comes, undoes it.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.hosts.namespace import Namespace, Refused
from tests.hosts.switch import Rule, encode_rules, mac, port_name

SWITCH = Path(__file__).with_name("switch.py")
INTERFACE = "eth0"


class Network:
    """Hosts 1 to `hosts`, each with one interface to the switch.

    Raises:
        Refused: such a network cannot be made here.
    """

    def __init__(self, hosts: int) -> None:
        self.hosts = range(1, hosts + 1)
        self._rules: list[Rule] = []
        with contextlib.ExitStack() as undone:
            self.switch_room = Namespace()
            undone.callback(self.switch_room.close)
            self.rooms: dict[int, Namespace] = {}
            for host in self.hosts:
                room = self.rooms[host] = Namespace()
                undone.callback(room.close)
            for host in self.hosts:
                self._wire(host)
            self._switch = self._start_switch()
            undone.callback(self._stop_switch)
            self._undone = undone.pop_all()

    def close(self) -> None:
        """Undo all of it; harmless when repeated."""
        self._undone.close()

    @property
    def names(self) -> set[str]:
        """What the kernel calls its namespaces; only while it is open."""
        return {room.name for room in (self.switch_room, *self.rooms.values())}

    @staticmethod
    def address(host: int) -> str:
        """Return a host's IPv4 address."""
        return f"10.77.0.{host}"

    def _wire(self, host: int) -> None:
        room, port = self.rooms[host], port_name(host)
        peer = ("peer", "name", INTERFACE, "address", mac(host), "netns", room.path)
        self.switch_room.run("ip", "link", "add", "name", port, "type", "veth", *peer)
        self.switch_room.run("ip", "link", "set", "dev", port, "up")
        room.run("ip", "address", "add", f"{self.address(host)}/24", "dev", INTERFACE)
        room.run("ip", "link", "set", "dev", INTERFACE, "up")
        for other in self.hosts:
            if other != host:
                neighbour = (self.address(other), "lladdr", mac(other), "dev", INTERFACE, "nud", "permanent")
                room.run("ip", "neighbour", "add", *neighbour)

    def _start_switch(self) -> subprocess.Popen[bytes]:
        switch = subprocess.Popen(
            [*self.switch_room.prefix, sys.executable, "-I", "-S", str(SWITCH), *map(str, self.hosts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert switch.stdout is not None
        if switch.stdout.readline() != b"ok\n":
            switch.communicate()
            raise Refused("the switch cannot open the hosts' ports: it has said why")
        return switch

    def _stop_switch(self) -> None:
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        self._switch.stdin.close()  # which ends it
        self._switch.stdout.close()
        self._switch.wait()

    # What is wrong with the wires.

    @contextlib.contextmanager
    def ruled(self, rules: Iterable[Rule]) -> Iterator[None]:
        """Let these rules hold while the context is open, besides all others."""
        added = list(rules)
        self._say(self._rules + added)
        try:
            yield
        finally:
            left = self._rules.copy()
            for rule in added:
                left.remove(rule)
            self._say(left)

    def cut(self, some: Iterable[int], others: Iterable[int], *ports: int) -> contextlib.AbstractContextManager[None]:
        """Cut hosts from others, both ways, all TCP ports or some."""
        some, others = [*some], [*others]
        return self.ruled([*_between(some, others, ports=ports), *_between(others, some, ports=ports)])

    def cut_one_way(self, some: Iterable[int], others: Iterable[int]) -> contextlib.AbstractContextManager[None]:
        """Lose all that some hosts send to others; what those send arrives."""
        return self.ruled(_between(some, [*others]))

    def bad(self, *, loss: float, delay_ms: float, jitter_ms: float) -> contextlib.AbstractContextManager[None]:
        """Lose a share of the frames between all hosts, and delay the rest."""
        return self.ruled(_between(self.hosts, self.hosts, loss=loss, delay_ms=delay_ms, jitter_ms=jitter_ms))

    def _say(self, rules: list[Rule]) -> None:
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        self._switch.stdin.write(encode_rules(rules))
        self._switch.stdin.flush()
        assert self._switch.stdout.readline() == b"ok\n", "the switch has ended"
        self._rules = rules


def _between(
    some: Iterable[int],
    others: Iterable[int],
    *,
    ports: tuple[int, ...] = (),
    loss: float = 1.0,
    delay_ms: float = 0.0,
    jitter_ms: float = 0.0,
) -> list[Rule]:
    return [
        Rule(source=source, target=target, ports=ports, loss=loss, delay_ms=delay_ms, jitter_ms=jitter_ms)
        for source in some
        for target in others
        if source != target
    ]
