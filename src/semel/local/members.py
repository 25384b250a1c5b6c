"""Who belongs to an etcd cluster, who leads it, and how a member is replaced: etcd's cluster service.

Speaks JSON with etcd's own gateway on its client port, which every etcd from 3.4 on has. The same requests over gRPC
would bring generated stubs into this room, for four questions that nobody asks often.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semel.local.http import NoAnswer, get_json, post_json

CHANGE_S = 10.0
"""A change of members goes through etcd's Raft, and may have to wait for an election."""
SETTLED_S = 15.0
"""etcd changes nothing before its members have been connected for 5 s, which a restart or an election begins anew."""
AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Member:
    """One member as its cluster knows it; one that has never started has no name and no client URLs."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


async def healthy(client_url: str) -> bool:
    """Return whether this member answers and its cluster has a quorum."""
    try:
        return bool((await get_json(f"{client_url}/health"))["health"] == "true")
    except (NoAnswer, KeyError, TypeError):
        return False


async def leader_of(client_urls: Sequence[str]) -> str | None:
    """Return the client URL of the member that leads, as far as the first member that answers knows."""
    answers = await asyncio.gather(*map(_status, client_urls))
    ids = {each["header"]["member_id"]: url for url, each in zip(client_urls, answers, strict=True) if each}
    leaders = [each["leader"] for each in answers if each and each.get("leader", "0") != "0"]
    return next((ids[leader] for leader in leaders if leader in ids), None)


async def members_of(client_urls: Sequence[str]) -> list[Member]:
    """Return the members of the cluster, as the first that answers knows them; none if none answers."""
    for url in client_urls:
        try:
            return [_member(each) for each in (await post_json(f"{url}/v3/cluster/member/list", {}))["members"]]
        except (NoAnswer, KeyError, TypeError):
            continue
    return []


async def remove_member(client_urls: Sequence[str], member: Member) -> None:
    """Remove a member from the cluster for ever.

    Raises:
        NoAnswer: no member could do it; the text is what the last one said.
    """
    await _change(client_urls, "remove", {"ID": member.id})


async def add_member(client_urls: Sequence[str], peer_url: str) -> list[Member]:
    """Take a new member in, which has yet to start, and return all members; errors as `remove_member`."""
    answer = await _change(client_urls, "add", {"peerURLs": [peer_url]})
    return [_member(each) for each in answer["members"]]


async def _change(client_urls: Sequence[str], what: str, body: Any) -> Any:
    """Ask for a change until a member does it; etcd takes a cluster for healthy only after a while without a loss."""
    said, ends_s = NoAnswer("there is nobody to ask"), time.monotonic() + SETTLED_S
    while True:
        for url in client_urls:
            try:
                return await post_json(f"{url}/v3/cluster/member/{what}", body, timeout_s=CHANGE_S)
            except NoAnswer as error:
                said = error
                if "unhealthy cluster" in str(error):
                    break  # the others would say the same
        else:
            raise said
        if time.monotonic() > ends_s:
            raise said
        await asyncio.sleep(AGAIN_S)


async def _status(client_url: str) -> Any:
    try:
        return await post_json(f"{client_url}/v3/maintenance/status", {})
    except NoAnswer:
        return None


def _member(told: Any) -> Member:
    return Member(
        str(told["ID"]), told.get("name", ""), tuple(told.get("peerURLs", ())), tuple(told.get("clientURLs", ()))
    )
