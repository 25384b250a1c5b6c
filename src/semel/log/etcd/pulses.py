"""The nodes' signs of life in etcd: a key for each node, under a lease; it knows no log but its tail.

A node that dies is shown as silent for ten minutes, and then forgotten, since its lease ends. Losing a beat is
harmless, so an attempt is short, and its failure is silence.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from semel.errors import LogError
from semel.log.etcd import rpc
from semel.log.etcd.cluster import Cluster
from semel.log.etcd.keys import Keys, position_of
from semel.log.etcd.member import Method
from semel.log.etcd.tails import KnownTail

LEASE_S = 600
"""How long a dead node is shown."""
RENEW_S = LEASE_S / 3
"""A new lease is taken so often, and the old one left to end with no key under it: less to keep than a stream of
keep-alives, and an outage of minutes loses nothing."""
BEAT_S = 0.8
ATTEMPT_S = 0.25
"""A beat is tried with several members, and is not worth a second."""


class Pulses:
    """The newest beat of each node."""

    def __init__(self, cluster: Cluster, keys: Keys, known: KnownTail) -> None:
        self._cluster = cluster
        self._keys = keys
        self._known = known
        self._lease = 0
        self._renew_at = 0.0

    async def show(self, node: str, beat: bytes) -> None:
        """Put `beat` in the place of the last one of `node`; it may be lost."""
        try:
            if time.monotonic() >= self._renew_at:
                self._lease = (await self._ask("grant", rpc.grant(LEASE_S))).ID
                self._renew_at = time.monotonic() + RENEW_S
            await self._ask("put", rpc.put(self._keys.pulse(node), beat, lease=self._lease))
        except LogError:
            self._renew_at = 0.0  # the lease may be what etcd has lost

    async def shown(self) -> Mapping[str, bytes]:
        """Return the beats of all nodes, and learn where the log ends; raises `LogUnavailable`."""
        beats = {}
        for key, value in rpc.items(await self._ask("range", rpc.span(self._keys.pulses_and_tail))):
            node = self._keys.node(key)
            if node is not None:
                beats[node] = value
            elif key == self._keys.tail:
                self._known.learn(position_of(value))
        return beats

    async def take_back(self, node: str) -> None:
        """Forget the beat of `node`; if that fails, its lease ends all the same."""
        with suppress(LogError):
            await self._ask("delete", rpc.delete(self._keys.pulse(node)))

    async def _ask(self, method: Method, request: rpc.Message) -> Any:
        return await self._cluster.ask(method, request, within_s=BEAT_S, attempt_s=ATTEMPT_S)
