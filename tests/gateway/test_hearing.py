"""A client that does not read what it is told costs its node no more than a little."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from semel.gateway.doors.hearing import Hearing
from semel.node.asides import Question

pytestmark = pytest.mark.anyio


ASKABLE: Any = {"elicitation": {}}


def hearing(version: str = "2025-11-25", can: Any = ASKABLE, **how: bool) -> Hearing:
    said = {CLIENT_CAPABILITIES_META_KEY: can}
    session = SimpleNamespace(report_progress=_never)
    context: Any = SimpleNamespace(protocol_version=version, session=session, meta=said)
    return Hearing(context, **how)


async def _never(*_: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("size", [1, 2**20], ids=["many", "large"])
async def test_what_waits_for_a_client_that_does_not_read_is_bounded(size: int) -> None:
    party = hearing()
    for _ in range(2000):
        party.told("notifications/progress", {"progress": 1, "message": "x" * size})
    assert 2 <= party._said.qsize() <= 1024
    assert party._said.qsize() * size <= 4 * 2**20
    async with asyncio.timeout(5):
        await party.__aexit__(None, None, None)


async def test_one_line_that_is_larger_than_all_that_may_wait_is_told() -> None:
    party = hearing()
    party.told("notifications/progress", {"progress": 1, "message": "x" * 5 * 2**20})
    assert party._said.qsize() == 1
    async with asyncio.timeout(5):
        await party.__aexit__(None, None, None)


async def test_a_client_is_not_called_for_a_question_that_was_withdrawn() -> None:
    party, hub = hearing("2026-07-28"), Any
    question: Any = Question(None, "k", "elicitation/create", {}, None, hub)  # type: ignore[arg-type]
    answered = asyncio.get_running_loop().create_future()
    party.asked(question)
    assert party.until_called(answered).done()
    party.withdrawn("k")
    assert not party.until_called(answered).done()
    waiting = party.until_called(answered)
    answered.set_result(None)
    await asyncio.wait_for(waiting, 5)


@pytest.mark.parametrize("can", [None, {}, {"experimental": {"x": {}}}, "all"])
async def test_a_client_that_can_answer_nothing_is_not_asked_and_leaves_the_question_to_another(can: Any) -> None:
    party = hearing("2026-07-28", can)
    party.asked(Question(None, "k", "elicitation/create", {}, None, Any))  # type: ignore[arg-type]
    assert not party.may_collect
    assert not party.questions
    assert not party._asking


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_a_client_is_not_asked_by_a_request_that_is_answered_or_for_which_another_asks(version: str) -> None:
    question: Any = Question(None, "k", "elicitation/create", {}, None, Any)  # type: ignore[arg-type]
    answered, given_away = hearing(version), hearing(version, asks=False)
    async with answered:
        pass
    for party in (answered, given_away):
        party.asked(question)
        assert not party.questions
        assert not party._asking
