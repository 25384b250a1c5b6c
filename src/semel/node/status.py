"""How the cluster stands, in the shape of `semel status --json`: from one node's ledger and the beats it has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semel.core.call import NodeId, Status
from semel.core.decider import Decider
from semel.core.message import Now
from semel.node.members import Beat, Members
from semel.node.reach import Reach


@dataclass(frozen=True, slots=True)
class View:
    """What a node knows beside its ledger."""

    beat: Beat
    """Its own, of now."""
    members: Members
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
    beats = {**view.members.beats, me.name: view.beat}
    tail = max([totals.position, view.reach.tail, *(beat.position for beat in beats.values())])
    nodes = [_node(decider, name, beat, view, tail, now) for name, beat in sorted(beats.items())]
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
        "age_s": 0.0 if mine else view.members.age_s(name, now.s),
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
