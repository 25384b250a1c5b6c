"""How the cluster stands, in the shape of `semel status --json`: from one node's ledger and the beats it has seen."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from semel.core.call import NodeId, Status
from semel.core.decider import Decider
from semel.core.message import Now
from semel.node.reach import Reach


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's pulse shows; `at_s` is its own clock and only has to change."""

    incarnation: str
    url: str
    position: int
    tools: str
    at_s: float
    durable: int = 0
    """The position up to which its replica is on the disk, if the log asks for that."""


def decode_beats(seen: Mapping[str, bytes]) -> dict[str, Beat]:
    """Return the beats of nodes by name; one that makes no sense is left out, since a beat is a courtesy."""
    beats = {}
    for name, data in seen.items():
        with suppress(ValueError):
            beats[name] = msgspec.json.decode(data, type=Beat)
    return beats


class Sightings:
    """When each node's beat was last seen to change, by this node's own clock; one that never did may be long dead."""

    def __init__(self) -> None:
        self._beats: dict[str, Beat] = {}
        self._changed_s: dict[str, float] = {}

    def see(self, beats: Mapping[str, Beat], now_s: float) -> None:
        """Take the newest beats."""
        for name, beat in beats.items():
            if name in self._beats and self._beats[name] != beat:
                self._changed_s[name] = now_s
        self._changed_s = {name: changed_s for name, changed_s in self._changed_s.items() if name in beats}
        self._beats = dict(beats)

    def age_s(self, name: str, now_s: float) -> float | None:
        """Return how long ago a node showed that it lives, None if it has not since this node began to look."""
        changed_s = self._changed_s.get(name)
        return None if changed_s is None else round(now_s - changed_s, 3)


@dataclass(frozen=True, slots=True)
class View:
    """What a node knows beside its ledger."""

    beats: Mapping[str, Beat]
    """The newest beat of every node, its own among them."""
    sightings: Sightings
    reach: Reach
    waiting: int
    """The requests that wait for an answer here."""
    trouble: str | None
    """Why this node cannot take calls, if so."""
    remarks: Sequence[str]


def cluster_status(decider: Decider, view: View, now: Now) -> dict[str, Any]:
    """Return the status that the node of `decider` shows."""
    totals, me = decider.ledger.totals, decider.identity.node
    running = [record for record in decider.ledger.open.values() if record.status is Status.RUNNING]
    leader = totals.leader.node if totals.leader is not None else None
    tail = max([totals.position, view.reach.tail, *(beat.position for beat in view.beats.values())])
    nodes = [_node(decider, name, beat, view, tail, now) for name, beat in sorted(view.beats.items())]
    return {
        "cluster": totals.cluster or decider.identity.cluster,
        "term": totals.term,
        "leader": leader.name if leader is not None else None,
        "position": totals.position,
        "tail": tail,
        "log_age_s": round(view.reach.age_s, 3),
        "nodes": nodes,
        "node": me.name,
        "incarnation": me.incarnation,
        "calls": totals.calls,
        "running": len(running),
        "running_here": sum(record.executor == me for record in running),
        "waiting_here": view.waiting,
        "in_doubt": sum(record.status is Status.IN_DOUBT for record in decider.ledger.open.values()),
        "ready": view.trouble is None,
        "draining": decider.draining,
        "warnings": _warnings(nodes, view, totals.position),
    }


def _node(decider: Decider, name: str, beat: Beat, view: View, tail: int, now: Now) -> dict[str, Any]:
    node, totals = NodeId(name, beat.incarnation), decider.ledger.totals
    mine = node == decider.identity.node
    return {
        "node": name,
        "role": "leader" if totals.leader is not None and totals.leader.node == node else "follower",
        "url": beat.url,
        "executions": totals.executions_by_node.get(name, 0),
        "position": beat.position,
        "lag": tail - beat.position,
        "alive": decider.alive(node, now),
        "age_s": 0.0 if mine else view.sightings.age_s(name, now.s),
        "tools": beat.tools,
    }


def _warnings(nodes: Sequence[Mapping[str, Any]], view: View, position: int) -> list[str]:
    alive = [node for node in nodes if node["alive"]]
    warnings = [view.trouble] if view.trouble is not None else []
    if view.reach.lost:
        # One reason is enough: that for which no calls are taken is the same, in words that may differ.
        why = f": {view.reach.trouble}" if view.reach.trouble is not None and view.trouble is None else ""
        warnings.append(
            f"as of position {position}; the log has not been reached for {view.reach.age_s:.0f} s{why}. "
            "What is shown of other nodes is as old"
        )
    if len({node["tools"] for node in alive}) > 1:
        kinds = ", ".join(f"{node['node']}: {node['tools']}" for node in alive)
        warnings.append(f"the nodes do not have the same tools ({kinds}); a call runs with the leader's")
    return [*warnings, *view.remarks]
