"""What passes beside the log: who is asked, who may answer, and what becomes of it when somebody goes away."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from semel.core.call import CallId, NodeId
from semel.core.limits import NESTING_MAX
from semel.node import asides
from semel.node.asides import OPEN_MAX, AsideMessage, Asides, Question, Unanswered, Watched

pytestmark = pytest.mark.anyio

LEADER, FOLLOWER = NodeId("n1", "a"), NodeId("n2", "b")
CALL, OTHER = CallId("ann", "k"), CallId("eve", "k")


@dataclass
class Waits:
    """Somebody who waits for a call."""

    asking: list[Question] = field(default_factory=list)
    asked_ever: int = 0
    lines: list[str] = field(default_factory=list)

    def told(self, method: str, params: dict[str, Any]) -> None:
        self.lines.append(method)

    def asked(self, question: Question) -> None:
        self.asking.append(question)
        self.asked_ever += 1

    def withdrawn(self, key: str) -> None:
        self.asking = [question for question in self.asking if question.key != key]


class Pair:
    """A leader and a follower; what they say to each other waits until it is brought."""

    def __init__(self) -> None:
        self.on_way: list[Callable[[], None]] = []
        self.leader = Asides(LEADER, self.post)
        self.follower = Asides(FOLLOWER, lambda said: self.on_way.append(lambda: self.leader.received(FOLLOWER, said)))

    def post(self, said: AsideMessage) -> None:
        self.on_way.append(lambda: self.follower.received(LEADER, said))

    def bring(self) -> None:
        while self.on_way:
            self.on_way.pop(0)()


async def begun(asking: Any) -> "asyncio.Task[dict[str, Any]]":
    task = asyncio.ensure_future(asking)
    await asyncio.sleep(0.01)
    return task


async def test_who_waits_for_one_call_cannot_answer_for_another() -> None:
    pair = Pair()
    question = await begun(pair.leader.of(CALL).ask("elicitation/create", {}))
    pair.bring()
    ((key,),) = (aside.questions for aside in pair.follower._calls.values())
    for hub in (pair.leader, pair.follower):
        hub.answer(OTHER, key, result={"by": "eve"})
        pair.bring()
    assert not question.done()
    pair.follower.answer(CALL, key, result={"by": "ann"})
    pair.bring()
    assert await question == {"by": "ann"}
    pair.bring()
    assert not pair.leader._calls
    assert not pair.follower._calls


async def test_what_no_peer_could_read_is_not_said_to_one() -> None:
    pair, deep = Pair(), dict[str, Any]()
    for _ in range(NESTING_MAX):
        deep = {"a": deep}
    pair.leader.tell(CALL, "notifications/message", deep)
    with pytest.raises(Unanswered, match="the question is not JSON: nested more deeply than 200 levels"):
        await pair.leader.of(CALL).ask("elicitation/create", deep)
    assert not pair.on_way
    assert not pair.leader._calls


@pytest.mark.parametrize("at", ["leader", "follower"])
async def test_what_is_answered_is_not_asked_again_of_who_comes_next(at: str) -> None:
    pair, first, second = Pair(), Waits(), Waits()
    hub: Asides = getattr(pair, at)
    asking = await begun(pair.leader.of(CALL).ask("elicitation/create", {}))
    pair.bring()
    with hub.waiting(CALL, first):
        first.asking[0].answer(result={})
        with hub.waiting(CALL, second):
            assert (first.asking, second.asked_ever) == ([], 0)
    pair.bring()
    assert await asking == {}


async def test_what_a_node_asked_is_withdrawn_when_it_is_gone_and_asked_again_when_it_is_met() -> None:
    pair, ann = Pair(), Waits()
    with pair.follower.waiting(CALL, ann):
        asking = await begun(pair.leader.of(CALL).ask("elicitation/create", {}))
        pair.bring()
        pair.follower.lost(LEADER)
        assert (ann.asked_ever, ann.asking) == (1, [])
        for message in pair.leader.met():
            pair.follower.received(LEADER, message)
        (question,) = ann.asking
        question.answer(result={"name": "ann"})
        pair.bring()
    assert await asking == {"name": "ann"}
    assert pair.leader.met() == []


async def test_questions_of_a_dead_node_are_not_kept_for_ever() -> None:
    pair = Pair()
    asking = await begun(pair.leader.of(CALL).ask("elicitation/create", {}))
    pair.bring()
    assert pair.follower._calls
    pair.follower.lost(LEADER)
    assert not pair.follower._calls
    asking.cancel()


async def test_nobody_is_asked_once_the_run_is_over() -> None:
    pair, ann = Pair(), Waits()
    aside = pair.leader.of(CALL)
    with pair.follower.waiting(CALL, ann):
        open_one = await begun(aside.ask("elicitation/create", {}))
        pair.bring()
        aside.close()
        with pytest.raises(Unanswered, match="the call has ended"):
            await open_one
        with pytest.raises(Unanswered, match="the call has ended"):
            await aside.ask("elicitation/create", {})
        aside.tell("notifications/progress", {})
        await asyncio.sleep(0.01)
        pair.bring()
        assert (ann.asking, ann.asked_ever, ann.lines) == ([], 1, [])
    assert not pair.leader._calls
    assert not pair.leader._answers


async def test_a_tool_that_asks_without_end_is_refused() -> None:
    pair = Pair()
    aside = pair.leader.of(CALL)
    asking = [await begun(aside.ask("elicitation/create", {})) for _ in range(OPEN_MAX)]
    with pytest.raises(Unanswered, match="are open already"):
        await aside.ask("elicitation/create", {})
    aside.close()
    assert all(isinstance(it, Unanswered) for it in await asyncio.gather(*asking, return_exceptions=True))


async def test_what_a_peer_wanted_to_hear_of_is_forgotten_with_it() -> None:
    pair = Pair()
    watched: list[frozenset[str]] = []
    pair.leader.watch = watched.append
    pair.follower.want(frozenset({"x://1"}))
    pair.bring()
    pair.leader.lost(FOLLOWER)
    assert watched == [{"x://1"}, frozenset()]
    assert pair.follower.met() == [Watched(("x://1",))]


async def test_what_changes_without_end_is_said_now_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asides, "AGAIN_S", 0.05)
    pair = Pair()
    happened: list[tuple[str, str]] = []
    pair.leader.happened = pair.follower.happened = lambda kind, uri: happened.append((kind, uri))
    pair.leader.want(frozenset({"x://1"}))
    for _ in range(1000):
        pair.leader.announce("resource", "x://1")
        pair.leader.announce("resource", "x://nobody")
    pair.bring()
    assert happened == [("resource", "x://1")] * 2
    await asyncio.sleep(0.3)
    pair.bring()
    assert happened == [("resource", "x://1")] * 4  # the last is not lost
    assert not pair.leader._lately


async def test_a_question_that_cannot_be_told_to_other_nodes_leaves_nothing_behind() -> None:
    pair = Pair()
    with pytest.raises(Unanswered, match="the question is not JSON"):
        await pair.leader.of(CALL).ask("elicitation/create", {"message": "\ud800"})
    assert not pair.leader._calls
    assert not pair.leader._answers
