"""One etcd member and one node of a cluster on several machines: founding it together, coming back, being replaced.

A member whose data is gone must never come back under its old identity: it has forgotten what it promised to the
others, and etcd would believe it. So a cluster is founded only once all its machines have told each other that they
have no data (`assembly.py`), and a machine that a cluster knows, and that has no data, is replaced only on demand.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from semel.errors import ChildFailed, DataForeign, MemberKnown
from semel.local.assembly import Assembly
from semel.local.ensemble import Ensemble, reminded
from semel.local.etcd import Founding, has_data
from semel.local.home import FORMAT, Plan, Ports
from semel.local.http import NoAnswer
from semel.local.members import Member, add_member, members_of, remove_member
from semel.local.ports import address_of, until_free
from semel.local.setting import Setting, log_url, url
from semel.local.supervisor import Say

ETCD_PORT = 2379
"""etcd's own port for clients; its peers' is the next."""
LOOK_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """The machines of a cluster, which of them this is, and the ports that all of them use."""

    hosts: Sequence[str]
    host: str
    node_port: int
    etcd_port: int

    @property
    def others(self) -> list[str]:
        """The other machines."""
        return [host for host in self.hosts if host != self.host]

    def client_url(self, host: str) -> str:
        """Return where a machine's etcd member answers."""
        return url(host, self.etcd_port)

    def peer_url(self, host: str) -> str:
        """Return where a machine's etcd member talks with the others."""
        return url(host, self.etcd_port + 1)

    @property
    def token(self) -> str:
        """The name of the etcd cluster that these machines found: the same on each of them, in whatever order."""
        return hashlib.sha256(" ".join(sorted(map(self.peer_url, self.hosts))).encode()).hexdigest()[:16]


async def make_member(setting: Setting, joining: Joining, *, replace: bool, say: Say) -> Ensemble:
    """Return this machine's part of the cluster; its etcd member may start: founding, coming back, or taken in.

    Raises:
        MemberKnown: the cluster knows this machine or another in its place, and it may not be replaced.
        DataForeign: the data directory holds something else.
        ListenError: a port is taken, or the host is not this machine.
    """
    name, plan = member_name(joining.host), _plan(setting.home.plan(), joining)
    for port in (joining.etcd_port, joining.etcd_port + 1, joining.node_port):
        await until_free(address_of(joining.host), port, what=f"{joining.host}'s part of the cluster")
    if has_data(setting.home.etcd(name)):
        await _check_membership(setting, joining)
        founding = _peers(joining, joins=True)  # only for the form: etcd goes by its data
    else:
        founding = await _begin(joining, replace=replace, say=say)
    setting.home.remember(plan)
    clients = [(host, joining.etcd_port) for host in joining.hosts]
    log = log_url(clients, first=joining.hosts.index(joining.host))
    return Ensemble(
        members=[setting.member(plan, name, founding)],
        nodes=[setting.node(plan, node_name(joining.host), log)],
        etcd={joining.client_url(host): member_name(host) for host in joining.hosts},
        log=log,
    )


async def _check_membership(setting: Setting, joining: Joining) -> None:
    """Raise an error if the cluster runs and has removed this machine; one that does not run cannot tell."""
    members = await members_of([joining.client_url(host) for host in joining.others])
    if members and not any(joining.peer_url(joining.host) in each.peer_urls for each in members):
        names = ", ".join(each.name or each.id for each in members)
        raise MemberKnown(
            f"the running cluster has removed {joining.host}; it has {names} now. The data in {setting.home.folder} is "
            "of no use to it any more: move it away, and if this machine is to belong to the cluster again, start it "
            "with --replace. Nothing was started or changed"
        )


def _plan(known: Plan | None, joining: Joining) -> Plan:
    members = {member_name(joining.host): Ports(joining.etcd_port, joining.etcd_port + 1)}
    if known is not None and (known.host, known.members) != (joining.host, members):
        raise DataForeign(
            f"this data is that of {known.host} with the members {', '.join(known.members)}, and not that of "
            f"{joining.host} with etcd's ports {joining.etcd_port} and {joining.etcd_port + 1}: start it "
            "as before, or name another --data"
        )
    plan = known or Plan(format=FORMAT, host=joining.host, token=joining.token, members=members, nodes={}, founded=True)
    return msgspec.structs.replace(plan, nodes={node_name(joining.host): joining.node_port})


def member_name(host: str) -> str:
    """Return the name of a machine's etcd member; the node has another, since each writes a file of its own."""
    return f"etcd-{node_name(host)}"


def node_name(host: str) -> str:
    """Return the host as a node's name, in which there may be no colon."""
    return host.replace(":", "-")


def _peers(joining: Joining, *, joins: bool) -> Founding:
    peers = {member_name(host): joining.peer_url(host) for host in joining.hosts}
    return Founding(peers=peers, token=joining.token, joins=joins)


async def _begin(joining: Joining, *, replace: bool, say: Say) -> Founding:
    """Return how a member without data begins: with all the others who have none, or in a cluster that runs."""
    async with Assembly(
        joining.token,
        me=joining.peer_url(joining.host),
        address=address_of(joining.host),
        others=map(joining.peer_url, joining.others),
    ) as assembly:

        async def found_or_find() -> list[Member]:
            while not await assembly.is_complete():
                if members := await members_of([joining.client_url(host) for host in joining.others]):
                    return members
                await asyncio.sleep(LOOK_S)
            return []

        waiting = (
            f"{joining.host} waits for the other machines: start the same command on {', '.join(joining.others)}, "
            "each with its own --host"
        )
        members = await reminded(found_or_find(), waiting, say)
    if not members:
        say(f"all {len(joining.hosts)} machines are here and none has data: they found a new cluster")
        return _peers(joining, joins=False)
    return await _enter(joining, members, replace=replace, say=say)


async def _enter(joining: Joining, members: Sequence[Member], *, replace: bool, say: Say) -> Founding:
    """Return how a member without data enters a cluster that runs: as one that it expects, or in another's place."""
    mine = joining.peer_url(joining.host)
    expected = next((each for each in members if mine in each.peer_urls), None)
    if expected is None or expected.client_urls:  # one that never started has forgotten nothing
        old = expected or _left_over(joining, members)
        if not replace:
            raise MemberKnown(_what_to_do(joining, old, expected is not None))
        others = [joining.client_url(host) for host in joining.others]
        try:
            if old is not None:
                await remove_member(others, old)
                say(f"the etcd cluster has removed its member {old.name or old.id}")
            members = await add_member(others, mine)
        except NoAnswer as error:
            raise ChildFailed(
                f"the etcd cluster did not take {joining.host} in: {error}. Its other members must have a quorum; "
                "see that they run, and start this again"
            ) from error
        say(f"the etcd cluster takes {joining.host} in as a new member, which gets its data from the others")
    names = {mine: member_name(joining.host)}
    peers = {names.get(peer, each.name or each.id): peer for each in members for peer in each.peer_urls}
    return Founding(peers=peers, token=joining.token, joins=True)


def _left_over(joining: Joining, members: Sequence[Member]) -> Member | None:
    """Return the member whose machine the list does not name any more, if there is one."""
    listed = set(map(joining.peer_url, joining.hosts))
    return next((each for each in members if not listed.intersection(each.peer_urls)), None)


def _what_to_do(joining: Joining, old: Member | None, ours: bool) -> str:
    if ours:
        found = (
            f"the running cluster has a member at {joining.peer_url(joining.host)} which has run, and its data is not "
            "in this directory"
        )
    else:
        instead = f"; in its place it has {old.name or old.id} ({', '.join(old.peer_urls)})" if old else ""
        found = f"the running cluster does not have {joining.host}{instead}"
    act = (
        f"start this once with --replace: the cluster then removes {old.name or old.id} for ever, and takes "
        f"{joining.host} in as a new member"
        if old
        else f"start this once with --replace: the cluster then takes {joining.host} in as a further member"
    )
    return (
        f"{found}. If that data exists, name its directory with --data. If the machine or its disk is new, {act}. "
        "Nothing was started or changed"
    )
