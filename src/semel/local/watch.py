"""Tells who leads, as members and nodes say it themselves: a line when that changes. Changes nothing."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semel.local.ensemble import Ensemble
from semel.local.http import NoAnswer, get_json
from semel.local.members import leader_of
from semel.local.supervisor import Say

LOOK_S = 0.5
UNSURE_LOOKS = 3
"""Nobody leads during an election, which is over before it is worth a line."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Who leads: a node with its term, and the etcd member by its client URL; None where nobody is known."""

    node: str | None = None
    term: int = 0
    member: str | None = None


async def tell_who_leads(ensemble: Ensemble, say: Say) -> None:
    """Say who leads, now and whenever that changes, until cancelled."""
    told, unsure = Standing(), 0
    while True:
        found = await _standing(ensemble)
        unsure = 0 if found.node and found.member else unsure + 1
        if unsure in (0, UNSURE_LOOKS):
            for line in _news(told, found, ensemble.etcd):
                say(line)
            told = found
        await asyncio.sleep(LOOK_S)


async def _standing(ensemble: Ensemble) -> Standing:
    member, (node, term) = await asyncio.gather(
        leader_of(list(ensemble.etcd)), _leading_node([one.url for one in ensemble.nodes])
    )
    return Standing(node, term, member)


async def _leading_node(urls: Sequence[str]) -> tuple[str | None, int]:
    """Return the leader of the newest term that a node knows; a node that is not ready knows none."""

    async def ask(url: str) -> tuple[int, str | None]:
        try:
            status = await get_json(f"{url}/v1/status")
            return int(status["term"]), status["leader"] if status["ready"] else None
        except (NoAnswer, KeyError, TypeError, ValueError):
            return 0, None

    term, node = max(await asyncio.gather(*map(ask, urls)), key=lambda view: (view[0], view[1] or ""))
    return node, term


def _news(told: Standing, found: Standing, names: Mapping[str, str]) -> list[str]:
    """Return what is to be said of a change."""
    news = []
    if found.member != told.member:
        if found.member is None:
            news.append("no quorum: the etcd members that run have no leader; calls wait until a majority is back")
        else:
            news.append(f"{names[found.member]} leads etcd")
    if (found.node, found.term) != (told.node, told.term):
        news.append(f"{found.node} leads, term {found.term}" if found.node else "no node is ready to take calls")
    return news
