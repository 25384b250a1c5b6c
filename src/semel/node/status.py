"""How the cluster stands, in the shape of `semel status --json`: from one node's ledger and the beats it has seen."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from semel.core.call import NodeId, Status
from semel.core.decider import Decider
from semel.core.message import Now


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


def cluster_status(decider: Decider, beats: Mapping[str, Beat], trouble: str | None, now: Now) -> dict[str, Any]:
    """Return the status that the node of `decider` shows; `trouble` is why it cannot take calls, if so."""
    totals, records = decider.ledger.totals, decider.ledger.open.values()
    leader = totals.leader.node if totals.leader is not None else None
    nodes = [_node(decider, name, beat, now) for name, beat in sorted(beats.items())]
    return {
        "cluster": totals.cluster or decider.identity.cluster,
        "term": totals.term,
        "leader": leader.name if leader is not None else None,
        "position": totals.position,
        "nodes": nodes,
        "node": decider.identity.node.name,
        "calls": totals.calls,
        "running": sum(record.status is Status.RUNNING for record in records),
        "in_doubt": sum(record.status is Status.IN_DOUBT for record in records),
        "ready": trouble is None,
        "warnings": _warnings(nodes, trouble),
    }


def _node(decider: Decider, name: str, beat: Beat, now: Now) -> dict[str, Any]:
    node, totals = NodeId(name, beat.incarnation), decider.ledger.totals
    return {
        "node": name,
        "role": "leader" if totals.leader is not None and totals.leader.node == node else "follower",
        "url": beat.url,
        "executions": totals.executions_by_node.get(name, 0),
        "position": beat.position,
        "alive": decider.alive(node, now),
        "tools": beat.tools,
    }


def _warnings(nodes: Sequence[Mapping[str, Any]], trouble: str | None) -> list[str]:
    alive = [node for node in nodes if node["alive"]]
    warnings = [trouble] if trouble is not None else []
    if len({node["tools"] for node in alive}) > 1:
        kinds = ", ".join(f"{node['node']}: {node['tools']}" for node in alive)
        warnings.append(f"the nodes do not have the same tools ({kinds}); a call runs with the leader's")
    return warnings
