"""The switch between the hosts, as a process in a namespace of its own: passes frames on, unless a rule says otherwise.

What `tc netem` and a firewall would do is done here, since not every kernel has them: a frame from one host to another
can be dropped by chance or always, and delayed, all of them or those of some TCP ports. It knows no more of a frame
than its two hosts and its ports. Run as a program it reads the rules from its stdin, a JSON list a line that replaces
the one before, and ends with it.
"""

import contextlib
import heapq
import json
import random
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

ETH_P_IP = 0x0800
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
VNET_BYTES = 10
"""The kernel puts so much before a frame: whether its checksum is still to be made, and how it is to be cut up."""
FRAME_BYTES_MAX = 70_000
BUFFER_BYTES = 8 * 2**20
TCP = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens to the frames from one host to another."""

    source: int
    target: int
    ports: tuple[int, ...] = ()
    """Only frames to or from one of these TCP ports; all frames if empty."""
    loss: float = 1.0
    """The share of frames that are lost."""
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """Up to so much more, by chance; frames may overtake each other."""


def encode_rules(rules: list[Rule]) -> bytes:
    """Return rules as the program reads them."""
    return json.dumps([asdict(rule) for rule in rules]).encode() + b"\n"


def mac(host: int) -> str:
    """Return the address of a host's only interface, which the switch forwards by."""
    return f"02:00:00:00:00:{host:02x}"


def port_name(host: int) -> str:
    """Return the name of the interface in the switch's namespace that leads to a host."""
    return f"port{host}"


class Switch:
    """Passes frames between the ports of hosts; single-threaded, until its stdin ends."""

    def __init__(self, hosts: list[int]) -> None:
        self._ports = {host: _port(host) for host in hosts}
        self._rules: dict[tuple[int, int], list[Rule]] = {}
        self._late: list[tuple[float, int, int, bytes]] = []
        """Frames that are delayed: when they are due, a number, the host, the frame."""
        self._number = 0
        self._dice = random.Random()

    def serve(self) -> None:
        """Pass frames on until stdin ends."""
        with selectors.DefaultSelector() as selector:
            for host, port in self._ports.items():
                selector.register(port, selectors.EVENT_READ, host)
            selector.register(sys.stdin.buffer, selectors.EVENT_READ, 0)
            while True:
                wait_s = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
                for key, _ in selector.select(wait_s):
                    if key.data:
                        self._pass_all(key.data)
                    elif not self._take_rules():
                        return
                self._pass_late()

    def _take_rules(self) -> bool:
        line = sys.stdin.buffer.readline()
        if not line:
            return False
        self._rules = {}
        for said in json.loads(line):
            rule = Rule(**said)
            self._rules.setdefault((rule.source, rule.target), []).append(rule)
        sys.stdout.write("ok\n")
        sys.stdout.flush()
        return True

    def _pass_all(self, source: int) -> None:
        port = self._ports[source]
        for _ in range(64):  # then the others have their turn
            try:
                frame = port.recv(FRAME_BYTES_MAX)
            except OSError:
                return
            target = frame[VNET_BYTES + 5]
            if target not in self._ports:
                continue
            rules = self._rules.get((source, target))
            if rules is None:
                self._pass(target, frame)
            else:
                self._pass_by(rules, target, frame)

    def _pass_by(self, rules: list[Rule], target: int, frame: bytes) -> None:
        ports, wait_ms = _tcp_ports(frame), 0.0
        for rule in rules:
            if rule.ports and not ports & set(rule.ports):
                continue
            if self._dice.random() < rule.loss:
                return
            wait_ms += rule.delay_ms + self._dice.random() * rule.jitter_ms
        if wait_ms:
            self._number += 1
            heapq.heappush(self._late, (time.monotonic() + wait_ms / 1000, self._number, target, frame))
        else:
            self._pass(target, frame)

    def _pass_late(self) -> None:
        while self._late and self._late[0][0] <= time.monotonic():
            _, _, target, frame = heapq.heappop(self._late)
            self._pass(target, frame)

    def _pass(self, target: int, frame: bytes) -> None:
        with contextlib.suppress(OSError):  # no room in a buffer, or the host is gone: lost, as frames may be
            self._ports[target].send(frame)


def _port(host: int) -> socket.socket:
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    port.bind((port_name(host), ETH_P_IP))
    port.setblocking(False)
    return port


def _tcp_ports(frame: bytes) -> set[int]:
    """Return the two TCP ports of an IPv4 frame; none of another."""
    ip = VNET_BYTES + 14
    if frame[ip + 9] != TCP:
        return set()
    tcp = ip + (frame[ip] & 15) * 4
    return {int.from_bytes(frame[tcp : tcp + 2], "big"), int.from_bytes(frame[tcp + 2 : tcp + 4], "big")}


def main(arguments: list[Any]) -> None:
    """Serve the hosts that the arguments number."""
    switch = Switch([int(argument) for argument in arguments])
    sys.stdout.write("ok\n")
    sys.stdout.flush()
    switch.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
