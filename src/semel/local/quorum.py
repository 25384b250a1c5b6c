"""Three etcd members and three nodes, all on this machine: their ports, and how they become one cluster."""

import secrets
from collections.abc import Callable

import msgspec

from semel.errors import DataForeign, UsageError
from semel.local.ensemble import Ensemble
from semel.local.etcd import Founding, has_data
from semel.local.home import FORMAT, Home, Plan, Ports
from semel.local.ports import becomes_free, free_ports, until_free
from semel.local.setting import Setting, log_url, url
from semel.local.supervisor import Say

HOST = "127.0.0.1"
COUNT = 3
"""The fewest members of which one may die; a node for each."""
NODE_PORT = 8420
ETCD_PORT = 12379
"""Away from 2379, where an etcd of the system's own would be, and below the ports of outgoing connections."""


async def make_quorum(
    setting: Setting, *, members: int | None, nodes: int | None, node_port: int, etcd_port: int, say: Say
) -> Ensemble:
    """Return the cluster of a data directory, which is founded if it is new; nothing is started yet.

    `members` and `nodes` are how many; None is as many as there were, and 3 in a new directory. Members and nodes keep
    the ports that they once had. A node whose port has been taken by another program gets the next free one, and that
    is said; an etcd member's ports must be free, since the peer port is part of what etcd has stored.

    Raises:
        ListenError: no port is free, or a member's is not.
        DataForeign: the data directory holds something else.
        UsageError: it holds another number of members.
    """
    known = setting.home.plan()
    if known is not None and known.founded:
        plan = known
        await _check_return(setting.home, plan, members)
    else:
        setting.home.forget_etcd()  # of a founding that was interrupted, before any node could write
        plan = _planned(members or COUNT, etcd_port, nodes=known.nodes if known else {})
    plan = await _with_nodes(plan, nodes or len(plan.nodes) or COUNT, node_port, say)
    setting.home.remember(plan)
    return _ensemble(setting, plan, lambda: setting.home.remember(msgspec.structs.replace(plan, founded=True)))


async def _check_return(home: Home, plan: Plan, members: int | None) -> None:
    """Raise an error if this cluster cannot come back as it was."""
    if plan.host != HOST:
        raise UsageError(
            f"this data is that of {plan.host} in a cluster of several machines: start it with --join, "
            "or name another --data"
        )
    if members not in (None, len(plan.members)):
        raise UsageError(
            f"--members {members}: this data is that of {len(plan.members)} etcd members, and stays so; "
            "name another --data for a new cluster"
        )
    if lost := [name for name in plan.members if not has_data(home.etcd(name))]:
        raise DataForeign(
            f"the data of {', '.join(lost)} is missing from {home.folder}: put it back. An etcd member that has "
            "forgotten what it promised must not come back; if the data is lost, begin in another --data, from a backup"
        )
    for name, ports in plan.members.items():
        for port in (ports.client, ports.peer):
            await until_free(HOST, port, what=f"{name}, with the data in {home.folder},")


def _planned(count: int, first: int, *, nodes: dict[str, int]) -> Plan:
    """Return the plan of a new cluster, each of whose members has two free ports."""
    free = free_ports(HOST, first)
    members = {f"etcd-{number}": Ports(next(free), next(free)) for number in range(1, count + 1)}
    return Plan(format=FORMAT, host=HOST, token=secrets.token_hex(8), members=members, nodes=nodes, founded=False)


async def _with_nodes(plan: Plan, count: int, first: int, say: Say) -> Plan:
    """Return the plan with so many nodes, at the ports that they had where those are free."""
    names = [f"node-{number}" for number in range(1, count + 1)]
    old = {name: port for name, port in plan.nodes.items() if name in names}
    kept = {name: port for name, port in old.items() if await becomes_free(HOST, port)}
    taken = [port for each in plan.members.values() for port in (each.client, each.peer)]
    free = free_ports(HOST, first, but=[*taken, *old.values()])
    nodes = {name: kept.get(name) or next(free) for name in names}
    for name in old.keys() - kept.keys():
        say(f"{name} moves from port {old[name]}, which another program has, to {nodes[name]}")
    return msgspec.structs.replace(plan, nodes=nodes)


def _ensemble(setting: Setting, plan: Plan, on_quorum: Callable[[], None]) -> Ensemble:
    founding = Founding(
        peers={name: url(HOST, ports.peer) for name, ports in plan.members.items()}, token=plan.token, joins=False
    )
    clients = [(HOST, ports.client) for ports in plan.members.values()]
    members = [setting.member(plan, name, founding) for name in plan.members]
    nodes = [
        setting.node(plan, name, log_url(clients, first=number % len(clients)))
        for number, name in enumerate(plan.nodes)
    ]
    return Ensemble(
        members=members,
        nodes=nodes,
        etcd={member.url: member.child.name for member in members},
        log=log_url(clients),
        on_quorum=on_quorum,
    )
