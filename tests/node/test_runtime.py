"""The runtime performs what the decider decides: calls are answered, trouble is said, a drain leaves no gap."""

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from semel.audit.query import Filter, history
from semel.core.call import CallId, Effect, NodeId, Spec, Status
from semel.core.codec import encode
from semel.core.decider import Identity
from semel.core.entry import Founded, Outcome
from semel.core.ledger import Leader
from semel.core.limits import Limits
from semel.core.message import Forward, Refuse
from semel.errors import (
    BadTicket,
    Busy,
    ClusterMismatch,
    Draining,
    KeyReused,
    LogDamaged,
    LogNewer,
    LogUnavailable,
    NoLeader,
    ReplicaError,
    SemelError,
    TooLarge,
    Unconfirmed,
    Undecided,
    UnknownTool,
)
from semel.log.memory import MemoryLog
from semel.log.protocol import Batch
from semel.node.asides import Aside
from semel.node.backend import Details, Reply
from semel.node.departure import Departure
from semel.node.facade import Facade
from semel.node.members import Beat
from semel.node.replica import Replica, digest_of_entry
from semel.node.runtime import Runtime
from semel.node.settled import settling
from semel.node.snapshot import Snapshot
from semel.node.tools import Attempt, Done, Gone, Unknown

pytestmark = pytest.mark.anyio

RESULT = msgspec.Raw(b'{"content": [], "isError": false}')


class Tools:
    """A toolbox whose one tool `work` ends when the test says so."""

    def __init__(self, fingerprint: str = "same", effect: Effect = Effect.ONCE) -> None:
        self.fingerprint = fingerprint
        self.effect = effect
        self.attempts: list[Attempt] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.ending: Done | Gone = Done(Status.OK, RESULT)
        self.asked: list[Attempt] = []
        self.learnt: Done | Unknown = Unknown()

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def tools(self) -> Sequence[Mapping[str, Any]]:
        return [{"name": "work"}]

    def remarks(self) -> Sequence[str]:
        return ()

    def examine(self, tool: str, arguments: Mapping[str, Any]) -> Spec:
        if tool != "work":
            raise UnknownTool(f"there is no tool {tool!r}")
        return Spec(effect=self.effect)

    def stop(self, call: CallId) -> None: ...

    def watch(self, uris: frozenset[str]) -> None: ...

    async def run(self, attempt: Attempt, aside: Aside) -> Done | Gone:
        self.attempts.append(attempt)
        await self.gate.wait()
        return self.ending

    async def reconcile(self, attempt: Attempt) -> Done | Unknown:
        self.asked.append(attempt)
        return self.learnt


class Cluster:
    """Nodes that share a log and reach each other without a network."""

    def __init__(self, folder: Path, log: MemoryLog, cluster_id: str) -> None:
        self.folder, self.log, self.cluster_id = folder, log, cluster_id
        self.nodes: dict[str, Facade] = {}
        self.replicas: dict[str, Replica] = {}
        self.successors: dict[str, Path] = {}
        """What is given at the URL of a node that is no more."""
        self.followed: dict[str, str] = {}
        """Whose connection each node was last told to keep."""

    async def start(self, name: str, tools: Tools | None = None, *, cluster: str = "semel", **limits: Any) -> Facade:
        replica = self.replicas[name] = Replica(self.folder / f"{name}.db")
        tools = tools or Tools()
        node = Runtime(
            log=self.log,
            replica=replica,
            toolbox=tools,
            identity=Identity(NodeId(name, f"i{len(self.nodes)}"), f"http://{name}", cluster, self.cluster_id),
            fetch=self.fetch,
            limits=Limits(**{"grace_s": 0.0, "patience_s": 0.6, "unlogged_after_s": 0.2, **limits}),
        )
        node.peers.follow = lambda leader: self._note(name, leader)  # type: ignore[method-assign]  # there is no network
        node.peers.send = lambda to, message: self._send(node, to, message)  # type: ignore[method-assign]
        await node.start()
        facade = self.nodes[name] = Facade(tools, Departure(0.0))
        facade.open(node)
        return facade

    def _note(self, name: str, leader: Leader | None) -> None:
        self.followed[name] = "" if leader is None else leader.node.name

    def _send(self, sender: Runtime, to: NodeId, message: Forward | Refuse) -> None:
        receiver = self.nodes.get(to.name)
        if receiver is not None:
            asyncio.get_running_loop().call_soon(receiver.runtime.received, sender.identity.node, message)

    async def fetch(self, urls: list[str], into: Path, tell: Callable[[str, int, int], None]) -> None:
        """Copy the replica of the first of these nodes; whoever has died may have a successor at its URL."""
        name = urls[0].removeprefix("http://")
        if name in self.successors:
            shutil.copyfile(self.successors[name], into)
        else:
            assert name in self.nodes
            Snapshot.take(self.folder / f"{name}.db", into)
        tell(urls[0], 1, 2)

    async def crash(self, name: str) -> None:
        await self.nodes.pop(name).runtime.stop()
        self.replicas.pop(name).close()


@asynccontextmanager
async def cluster(folder: Path, log: MemoryLog | None = None, cluster_id: str = "the-id") -> AsyncIterator[Cluster]:
    made = Cluster(folder, log or MemoryLog(), cluster_id)
    try:
        yield made
    finally:
        for node in made.nodes.values():
            await node.runtime.stop()
        for replica in made.replicas.values():
            replica.close()


async def busy(c: Cluster) -> tuple[Facade, Tools, "asyncio.Task[Reply]"]:
    """Start n1 and a call on it, whose tool runs until its gate is opened."""
    tools = Tools()
    tools.gate.clear()
    node = await c.start("n1", tools)
    first = asyncio.create_task(node.call("work", {}, key="first", caller="shop"))
    await until(lambda: tools.attempts, "the tool runs")
    return node, tools, first


async def until(condition: Callable[[], Any], what: str) -> None:
    try:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


class LogInDrops(MemoryLog):
    """A log that gives back one entry at a time."""

    async def follow(self, after: int) -> AsyncGenerator[Batch, None]:
        async for batch in super().follow(after):
            for position, entry in enumerate(batch.entries, batch.first):
                yield Batch(position, [entry])


class LateLog(MemoryLog):
    """A log that takes appends, and says of them that they stand, only while its gates are open."""

    def __init__(self) -> None:
        super().__init__()
        self.takes, self.tells = asyncio.Event(), asyncio.Event()
        self.takes.set()
        self.tells.set()
        self.asked = 0

    async def append(self, after: int, entries: Sequence[bytes]) -> int:
        self.asked += 1
        await self.takes.wait()
        last = await super().append(after, entries)
        await self.tells.wait()
        return last


class UnreachedLog(MemoryLog):
    """A log that is out of reach for its first requests: to tell its tail, then to tell its first entry."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals = {"tail": 2, "first": 2}

    async def tail(self) -> int:
        self._refuse("tail")
        return await super().tail()

    async def first(self) -> bytes | None:
        self._refuse("first")
        return await super().first()

    def _refuse(self, what: str) -> None:
        if self.refusals[what]:
            self.refusals[what] -= 1
            raise LogUnavailable("no quorum")


async def test_a_node_that_starts_while_the_log_is_out_of_reach_waits_for_it(tmp_path: Path) -> None:
    log = UnreachedLog()
    async with cluster(tmp_path, log) as nodes:
        node = await nodes.start("n1")
        await until(lambda: node.readiness() is None, "n1 is ready")
        await nodes.crash("n1")
        again = await nodes.start("n1")  # which has read entries, and looks whether they are this log's
        await until(lambda: again.readiness() is None, "n1 is ready again")
        assert not any(log.refusals.values())


async def test_a_node_that_waits_for_the_log_at_its_start_refuses_calls_in_time_and_can_be_told_to_leave(
    tmp_path: Path,
) -> None:
    log = UnreachedLog()
    log.refusals["tail"] = 1_000_000
    async with cluster(tmp_path, log) as nodes:
        node = await nodes.start("n1", hold_s=0.2)
        assert node.readiness() == "no quorum"
        with pytest.raises(NoLeader, match="no quorum"):
            await node.call("work", {}, key="k", caller="c")
        await asyncio.wait_for(node.runtime.drain(patience_s=60.0), 10.0)


async def test_a_node_whose_log_turns_out_not_to_fit_once_it_is_reached_says_so(tmp_path: Path) -> None:
    log = UnreachedLog()
    log.refusals = {"tail": 0, "first": 0}
    await log.append(0, [encode(Founded(cluster="another", id="x"))])
    log.refusals["tail"] = 2
    async with cluster(tmp_path, log) as nodes:
        node = await nodes.start("n1")
        assert isinstance(await asyncio.wait_for(node.runtime.failed, 10.0), ClusterMismatch)


class SlowLog(MemoryLog):
    """A log that others' entries are late from."""

    pause_s = 0.0

    async def follow(self, after: int) -> AsyncGenerator[Batch, None]:
        async for batch in super().follow(after):
            await asyncio.sleep(self.pause_s)
            yield batch


class UnheardLog(MemoryLog):
    """A log whose pulses are out of reach for as long as it is told so."""

    unheard = False
    asked = 0

    async def pulses(self) -> Mapping[str, bytes]:
        self.asked += 1
        if self.unheard:
            raise LogUnavailable("no quorum")
        return await super().pulses()


async def test_a_node_connects_to_a_leader_whose_election_it_read_before_it_was_live(tmp_path: Path) -> None:
    async with cluster(tmp_path, LogInDrops()) as nodes:
        first = await nodes.start("n1")
        await until(lambda: first.readiness() is None, "n1 leads")
        await first.call("work", {}, key="k", caller="c")
        second = await nodes.start("n2")
        await until(lambda: second.readiness() is None, "n2 is ready")
        assert nodes.followed["n2"] == "n1"


async def test_a_node_that_cannot_hear_the_pulses_goes_on_and_hears_them_later(tmp_path: Path) -> None:
    log = UnheardLog()
    async with cluster(tmp_path, log) as nodes:
        node = await nodes.start("n1")
        await until(lambda: node.readiness() is None, "n1 leads")
        log.unheard = True
        asked = log.asked
        await until(lambda: log.asked > asked, "it listens in vain")
        assert (await node.call("work", {}, key="k", caller="c")).record.status is Status.OK
        log.unheard = False
        await nodes.start("n2")
        await until(lambda: len(node.status()["nodes"]) == 2, "n1 hears n2")
        assert not node.runtime.failed.done()


async def test_a_call_runs_once_and_its_retry_on_another_node_gets_the_same_answer(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        n1, n2 = await c.start("n1", tools), await c.start("n2")
        first = await n1.call("work", {"a": 1}, key="k", caller="shop")
        again = await n2.call("work", {"a": 1.0}, key="k", caller="shop")
        assert (first.replayed, again.replayed) == (False, True)
        assert first.record.execution_id == again.record.execution_id == 1
        assert len(tools.attempts) == 1


async def test_a_node_that_holds_many_bytes_of_arguments_is_busy_until_it_has_answered(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        node = await c.start("n1", tools, in_flight_bytes_max=1000)
        tools.gate.clear()
        first = asyncio.create_task(node.call("work", {"a": "x" * 1500}, key="first", caller="shop"))
        await until(lambda: tools.attempts, "the first runs")
        with pytest.raises(Busy, match=r"bytes of arguments.*This request ran nothing"):
            await node.call("work", {"a": "x" * 10}, key="second", caller="shop")
        tools.gate.set()
        await first
        assert not (await node.call("work", {"a": "x" * 10}, key="second", caller="shop")).replayed


async def test_what_comes_along_with_the_arguments_counts_as_they_do(tmp_path: Path) -> None:
    """All of it goes to the leader in one message, and into the log in one entry."""
    async with cluster(tmp_path) as nodes:
        node = await nodes.start("n1", arguments_bytes_max=100)
        half = {"a": "x" * 40}
        await node.call("work", half, key="k", caller="c", details=Details(meta=half))
        with pytest.raises(TooLarge, match=r"with the answers and the _meta .* Nothing was run"):
            await node.call("work", half, key="l", caller="c", details=Details(meta=half, answers=half))


async def test_a_follower_forwards_to_the_leader_and_answers_from_the_log(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        leader_tools, tools = Tools(), Tools()
        await c.start("n1", leader_tools)
        await until(lambda: c.nodes["n1"].readiness() is None, "n1 leads")
        n2 = await c.start("n2", tools)
        reply = await n2.call("work", {}, key="k", caller="shop")
        assert reply.record.executor.name == "n1"
        assert (len(leader_tools.attempts), len(tools.attempts)) == (1, 0)
        assert not reply.replayed


async def test_the_same_key_with_other_arguments_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        node = await c.start("n1")
        await node.call("work", {"a": 1}, key="k", caller="shop")
        with pytest.raises(KeyReused, match="'k' already names a call"):
            await node.call("work", {"a": 2}, key="k", caller="shop")


ASKING = Done(Status.INPUT_REQUIRED, msgspec.Raw(b'{"inputRequests": {"q": {}}, "requestState": "s1"}'))


async def test_a_call_goes_in_rounds_over_several_nodes_and_each_round_runs_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        tools.ending = ASKING
        n1 = await c.start("n1", tools)
        await until(lambda: n1.readiness() is None, "n1 leads")
        n2 = await c.start("n2")
        said = Details(meta={"traceparent": "00-1"})
        first = await n1.call("work", {"a": 1}, key="k", caller="shop", details=said)
        assert (first.record.status, first.record.result) == (Status.INPUT_REQUIRED, ASKING.result)
        tools.ending = Done(Status.OK, RESULT)
        answers = {"requestState": "s1", "inputResponses": {"q": {"action": "accept"}}}
        following = Details(round=2, answers=answers)
        second = await n2.call("work", {"a": 1.0}, key="k", caller="shop", details=following)
        again = await n1.call("work", {"a": 1}, key="k", caller="shop", details=following)
        assert (second.record.status, second.replayed, again.replayed) == (Status.OK, False, True)
        assert (again.record.position, again.record.executor.name) == (second.record.position, "n1")
        asked_again = await n2.call("work", {"a": 1}, key="k", caller="shop")
        assert asked_again.record.result == ASKING.result
        brought = [(attempt.call.meta, attempt.call.answers) for attempt in tools.attempts]
        assert [json.loads(bytes(meta)) for meta, _ in brought] == [{"traceparent": "00-1"}, {}]
        assert brought[0][1] is None
        assert json.loads(bytes(brought[1][1] or b"")) == answers
        n2.commit()
        (shown,) = history(tmp_path / "n2.db", Filter())
        assert (shown["outcome"], shown["rounds"]) == ("ok", 2)
        assert [(one["asked"]["requestState"], one["answered"]) for one in shown["earlier_rounds"]] == [("s1", answers)]
        assert n2.status()["calls"] == 1


async def test_a_round_that_nobody_asked_for_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        node = await c.start("n1", tools)
        with pytest.raises(BadTicket, match=r"round 2 of the call 'k' cannot begin: no round 1 of it is known"):
            await node.call("work", {}, key="k", caller="shop", details=Details(round=2, answers={}))
        tools.ending = ASKING
        await node.call("work", {}, key="k", caller="shop")
        with pytest.raises(BadTicket, match=r"does not bring the requestState.*Nothing was run"):
            await node.call("work", {}, key="k", caller="shop", details=Details(round=2, answers={"requestState": "x"}))
        assert len(tools.attempts) == 1


async def test_an_unknown_tool_leaves_no_trace_and_its_key_is_free(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        await c.start("n1")
        await until(lambda: c.nodes["n1"].readiness() is None, "n1 leads")
        n2 = await c.start("n2")
        for node in (c.nodes["n1"], n2):
            with pytest.raises(UnknownTool):
                await node.call("play", {}, key="k", caller="shop")
        assert (await n2.call("work", {}, key="k", caller="shop")).record.execution_id == 1


async def test_a_client_that_goes_away_changes_nothing_and_its_retry_gets_the_outcome(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        tools.gate.clear()
        node = await c.start("n1", tools)
        asking = asyncio.create_task(node.call("work", {}, key="k", caller="shop"))
        await until(lambda: tools.attempts, "the tool runs")
        asking.cancel()
        await asyncio.wait([asking])
        tools.gate.set()
        reply = await node.call("work", {}, key="k", caller="shop")
        assert reply.record.status is Status.OK
        assert reply.replayed
        assert len(tools.attempts) == 1


async def test_requests_that_arrive_together_while_others_run_are_each_answered_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        n1, tools, first = await busy(c)
        n2 = await c.start("n2", Tools())
        keys = [f"k{number}" for number in range(40)] * 2
        asked = [node.call("work", {}, key=key, caller="shop") for key in keys for node in (n1, n2)]
        asking = asyncio.gather(*asked)
        await until(lambda: len(tools.attempts) == 41, "all of them run")
        tools.gate.set()
        replies = await asking
        assert {reply.record.status for reply in (await first, *replies)} == {Status.OK}
        assert sorted(attempt.call.id.key for attempt in tools.attempts) == sorted({"first", *keys})
        assert sum(not reply.replayed for reply in replies) == 40


async def test_a_request_that_is_given_up_in_the_turn_in_which_it_came_leaves_nothing_behind(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        node, tools, first = await busy(c)
        given_up = asyncio.create_task(node.call("work", {}, key="k", caller="shop"))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert node.status()["waiting_here"] == 1
        tools.gate.set()
        assert (await node.call("work", {}, key="k", caller="shop")).record.status is Status.OK
        assert (await first).record.status is Status.OK
        assert sorted(attempt.call.id.key for attempt in tools.attempts) == ["first", "k"]


async def test_a_request_that_comes_in_the_turn_in_which_the_node_retreats_is_answered_or_refused(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as c:
        node, tools, first = await busy(c)
        late = asyncio.create_task(node.call("work", {}, key="late", caller="shop"))
        await asyncio.sleep(0)
        node.runtime.retreat()
        tools.gate.set()
        await node.runtime.drain(10)
        assert (await first).record.status is Status.OK
        ended = (await asyncio.gather(late, return_exceptions=True))[0]
        assert isinstance(ended, SemelError) or ended.record.status is Status.OK


async def test_a_crash_between_intent_and_outcome_puts_a_once_call_in_doubt(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools, others = Tools(), Tools()
        tools.gate.clear()
        n1 = await c.start("n1", tools)
        await until(lambda: n1.readiness() is None, "n1 leads")
        n2 = await c.start("n2", others)
        asking = asyncio.create_task(n2.call("work", {}, key="k", caller="shop"))
        await until(lambda: tools.attempts, "the tool runs")
        await c.crash("n1")
        reply = await asyncio.wait_for(asking, 10)
        assert reply.record.status is Status.IN_DOUBT
        assert reply.record.reason == "n1 was lost between intent and outcome"
        assert others.attempts == []
        assert n2.status()["in_doubt"] == 1


@pytest.mark.parametrize(
    ("learnt", "status", "reason"),
    [
        (Done(Status.OK, RESULT), Status.OK, None),
        (Unknown("its hook is silent"), Status.IN_DOUBT, "n1 was lost between intent and outcome; its hook is silent"),
    ],
)
async def test_a_hook_is_asked_before_a_crash_puts_a_once_call_in_doubt(
    tmp_path: Path, learnt: Done | Unknown, status: Status, reason: str | None
) -> None:
    async with cluster(tmp_path) as c:
        tools, others = Tools(), Tools()
        tools.gate.clear()
        others.learnt = learnt
        n1 = await c.start("n1", tools)
        await until(lambda: n1.readiness() is None, "n1 leads")
        n2 = await c.start("n2", others)
        asking = asyncio.create_task(n2.call("work", {"a": 1}, key="k", caller="shop"))
        await until(lambda: tools.attempts, "the tool runs")
        await c.crash("n1")
        reply = await asyncio.wait_for(asking, 10)
        assert (reply.record.status, reply.record.reason) == (status, reason)
        assert (reply.record.executor.name, reply.record.reconciled) == ("n1", status is Status.OK)
        assert others.asked == tools.attempts
        assert others.attempts == []


async def test_what_no_entry_could_hold_of_a_servers_last_words_and_a_hooks_is_said_with_question_marks(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        tools.ending, tools.learnt = Gone("it did not find \udcff"), Unknown("neither did its hook find \ud800")
        node = await c.start("n1", tools)
        reply = await asyncio.wait_for(node.call("work", {}, key="k", caller="shop"), 10)
        assert reply.record.status is Status.IN_DOUBT
        assert (reply.record.reason or "").endswith("it did not find ?; neither did its hook find ?")
        tools.ending = Done(Status.OK, RESULT)
        assert (await node.call("work", {}, key="l", caller="shop")).record.status is Status.OK


async def test_a_tool_that_is_lost_is_asked_after_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        tools.ending, tools.learnt = Gone("the server went away"), Done(Status.OK, RESULT)
        node = await c.start("n1", tools)
        reply = await node.call("work", {}, key="k", caller="shop")
        assert (reply.record.status, reply.record.result, reply.record.reconciled) == (Status.OK, RESULT, True)
        assert len(tools.attempts) == len(tools.asked) == 1


async def test_a_crash_in_the_middle_of_a_repeatable_call_runs_it_again_elsewhere(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools, others = Tools(effect=Effect.REPEATABLE), Tools(effect=Effect.REPEATABLE)
        tools.gate.clear()
        n1 = await c.start("n1", tools)
        await until(lambda: n1.readiness() is None, "n1 leads")
        n2 = await c.start("n2", others)
        asking = asyncio.create_task(n2.call("work", {}, key="k", caller="shop"))
        await until(lambda: tools.attempts, "the tool runs")
        await c.crash("n1")
        reply = await asyncio.wait_for(asking, 10)
        assert (reply.record.status, reply.record.attempt, reply.record.executor.name) == (Status.OK, 2, "n2")


async def test_an_upstream_that_dies_in_the_middle_puts_a_once_call_in_doubt(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        tools.ending = Gone("the server exited with code 3")
        node = await c.start("n1", tools)
        reply = await node.call("work", {}, key="k", caller="shop")
        assert reply.record.status is Status.IN_DOUBT
        assert reply.record.reason == "the server exited with code 3"


async def test_a_drained_leader_lets_its_tools_end_and_hands_over_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        tools.gate.clear()
        n1 = await c.start("n1", tools)
        await until(lambda: n1.readiness() is None, "n1 leads")
        n2 = await c.start("n2")
        asking = asyncio.create_task(n1.call("work", {}, key="k", caller="shop"))
        await until(lambda: tools.attempts, "the tool runs")
        draining = asyncio.create_task(n1.runtime.drain(10))
        await until(lambda: n1.readiness() == "this node is going down", "n1 drains")
        tools.gate.set()
        await draining
        assert (await asking).record.status is Status.OK
        await until(lambda: n2.status()["leader"] == "n2", "n2 leads")
        assert n2.status()["term"] == 2
        await c.crash("n1")


async def test_a_call_that_a_drain_does_not_wait_for_may_have_run_and_nobody_says_otherwise(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        tools.gate.clear()
        n1 = await c.start("n1", tools)
        asking = asyncio.create_task(n1.call("work", {}, key="k", caller="shop"))
        await until(lambda: tools.attempts, "the tool runs")
        n1.runtime.retreat()
        status = n1.status()
        assert (status["draining"], status["running_here"], status["waiting_here"]) == (True, 1, 1)
        await n1.runtime.drain(0)
        with pytest.raises(Undecided, match="may have run"):
            await asking


async def test_a_request_that_comes_after_the_drain_is_told_at_once_what_is_known(tmp_path: Path) -> None:
    """The door is open a little longer than the log is read: who comes then would wait for an answer in vain."""
    async with cluster(tmp_path) as c:
        tools = Tools()
        n1 = await c.start("n1", tools)
        await n1.call("work", {}, key="done", caller="shop")
        tools.ending = Gone("the server exited with code 3")
        assert (await n1.call("work", {}, key="lost", caller="shop")).record.status is Status.IN_DOUBT
        tools.gate.clear()
        asking = asyncio.create_task(n1.call("work", {}, key="running", caller="shop"))
        await until(lambda: len(tools.attempts) == 3, "the tool runs")
        await n1.runtime.drain(0)
        with pytest.raises(Undecided):
            await asking

        async def told_at_once() -> None:
            async with asyncio.timeout(5):
                assert (await n1.call("work", {}, key="done", caller="shop")).replayed
                for key in ("running", "lost"):
                    with pytest.raises(Undecided, match="may have run"):
                        await n1.call("work", {}, key=key, caller="shop")
                with pytest.raises(Draining, match="Nothing was run"):
                    await n1.call("work", {}, key="new", caller="shop")

        await told_at_once()
        await c.nodes.pop("n1").runtime.stop()
        before = asyncio.all_tasks()
        await told_at_once()
        assert asyncio.all_tasks() <= before  # who is asked after the log is closed begins nothing


class Unwritable(MemoryLog):
    """A log that takes no append while there is `trouble`."""

    trouble: str | None = None

    async def append(self, after: int, entries: Sequence[bytes]) -> int:
        if self.trouble is not None:
            raise LogUnavailable(self.trouble)
        return await super().append(after, entries)


async def test_a_log_that_is_out_of_reach_is_said_and_the_append_is_proposed_again(tmp_path: Path) -> None:
    log = Unwritable()
    async with cluster(tmp_path, log) as c:
        node = await c.start("n1")
        await until(lambda: node.readiness() is None, "n1 leads")
        log.trouble = "the disk is full"
        asking = asyncio.create_task(node.call("work", {}, key="k", caller="shop"))
        await until(lambda: node.readiness() == "the disk is full", "the trouble is said")
        assert node.status()["warnings"] == ["the disk is full"]
        log.trouble = None
        assert (await asyncio.wait_for(asking, 10)).record.status is Status.OK
        await until(lambda: node.readiness() is None, "the trouble is over")


class LogOfFutures(MemoryLog):
    """A log whose next append, once it is `held`, ends when the test says so."""

    held: asyncio.Future[int] | None = None
    appends = 0

    def append(self, after: int, entries: Sequence[bytes]) -> Any:
        self.appends += 1
        return super().append(after, entries) if self.held is None else self.held


async def test_an_append_that_fails_as_its_node_is_stopped_is_not_proposed_again(tmp_path: Path) -> None:
    log = LogOfFutures()
    async with cluster(tmp_path, log) as c:
        node = await c.start("n1")
        await until(lambda: node.readiness() is None, "n1 leads")
        log.held = asyncio.get_running_loop().create_future()
        asking = asyncio.create_task(node.call("work", {}, key="k", caller="shop"))
        before = log.appends
        await until(lambda: log.appends > before, "it is to begin")
        tasks = asyncio.all_tasks()
        log.held.set_exception(LogUnavailable("no quorum"))
        await c.nodes.pop("n1").runtime.stop()
        assert asyncio.all_tasks() <= tasks
        assert log.appends == before + 1
        asking.cancel()


async def test_a_call_that_could_not_be_logged_in_time_is_told_why(tmp_path: Path) -> None:
    log = Unwritable()
    async with cluster(tmp_path, log) as c:
        node = await c.start("n1", hold_s=0.2)
        await until(lambda: node.readiness() is None, "n1 leads")
        log.trouble = "no quorum: 1 of 3 members reachable"
        first = asyncio.create_task(node.call("work", {}, key="proposed", caller="shop"))
        await until(lambda: node.runtime.trouble is not None, "the trouble is noticed")
        with pytest.raises(Busy, match=r"no quorum: 1 of 3 members reachable: .*Nothing was run; retrying .* is safe"):
            await node.call("work", {}, key="waiting", caller="shop")
        with pytest.raises(Undecided, match=r"no quorum: 1 of 3 members reachable: .*may yet run"):
            await first
        log.trouble = None


async def test_a_node_of_another_cluster_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        node = await c.start("n1")
        await until(lambda: node.readiness() is None, "n1 leads")
        with pytest.raises(ClusterMismatch, match=r"'semel'.*'other'"):
            await c.start("n2", cluster="other")


async def test_a_replica_that_is_ahead_of_its_log_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        node = await c.start("n1")
        await node.call("work", {}, key="k", caller="shop")
        await c.crash("n1")
        c.log = MemoryLog()
        with pytest.raises(ReplicaError, match="lost entries"):
            await c.start("n1")


async def test_an_older_copy_of_the_log_that_has_grown_past_the_replica_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        node = await c.start("n1")
        await node.call("work", {}, key="before", caller="shop")
        backup = (await anext(c.log.follow(0))).entries
        await node.call("work", {}, key="lost", caller="shop")
        await c.crash("n1")
        c.log = MemoryLog()
        await c.log.append(0, backup)
        other = await c.start("n2")
        for key in ("one", "two", "three"):
            await other.call("work", {}, key=key, caller="shop")
        with pytest.raises(ReplicaError, match="different histories"):
            await c.start("n1")


async def test_a_node_that_comes_back_finds_its_history_in_the_log(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        node, other = await c.start("n1"), await c.start("n2")
        await other.call("work", {}, key="before", caller="shop")
        await until(lambda: node.position == other.position, "n1 has read all")
        await c.crash("n1")
        await other.call("work", {}, key="after", caller="shop")
        again = await c.start("n1")
        await until(lambda: again.position == other.position, "n1 has read all")
        with closing(Replica(tmp_path / "n1.db")) as replica:
            assert replica.last_entry() != ""


async def test_a_replica_knows_the_last_entry_that_was_folded_though_an_older_append_is_told_late(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path, log := LateLog()) as c:
        node = await c.start("n1")
        await node.call("work", {}, key="k", caller="shop")
        log.tells.clear()
        asking = asyncio.create_task(node.call("work", {}, key="another", caller="shop"))
        position = node.position + 1
        await until(lambda: node.position == position, "the intent is read")
        strange = encode(
            Outcome(intent=99, status=Status.OK, result=RESULT, executor=NodeId("n2", "x"), duration_ms=0.0, at_ms=1)
        )
        await MemoryLog.append(log, position, [strange])
        await until(lambda: node.position == position + 1, "what another wrote is read")
        log.takes.clear()
        asked = log.asked
        log.tells.set()
        await until(lambda: log.asked > asked, "the append of the intent was told, and the outcome's is asked for")
        node.commit()
        assert c.replicas["n1"].last_entry() == digest_of_entry(strange)
        log.takes.set()
        assert (await asking).record.status is Status.OK


async def test_a_replica_of_another_log_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        await c.start("n1")
        await until(lambda: c.nodes["n1"].readiness() is None, "n1 leads")
        await c.crash("n1")
        c.log = MemoryLog()
        await c.log.append(0, [b'{"type":"founded","v":1,"cluster":"semel","id":"another"}', b'{"type":"?"}'])
        with pytest.raises(ReplicaError, match="another log"):
            await c.start("n1")


async def test_a_log_that_does_not_begin_with_a_founding_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        await c.log.append(0, [b'{"type":"resigned","v":1,"term":1,"node":["n1","a"],"at_ms":1}'])
        with pytest.raises(LogDamaged, match="founding"):
            await c.start("n1")


@pytest.mark.parametrize(
    ("entry", "error"),
    [(b'{"type":"elected","v":2,"what":"is this"}', LogNewer), (b"garbage", LogDamaged)],
)
async def test_an_entry_that_cannot_be_read_stops_the_node_and_says_why(
    tmp_path: Path, entry: bytes, error: type[Exception]
) -> None:
    async with cluster(tmp_path) as c:
        node = await c.start("n1")
        await until(lambda: node.readiness() is None, "n1 leads")
        await c.log.append(await c.log.tail(), [entry])
        assert isinstance(await asyncio.wait_for(asyncio.shield(node.runtime.failed), 10), error)
        assert "position 3" in str(node.readiness())
        with pytest.raises(error):
            await node.call("work", {}, key="k", caller="shop")


async def test_nodes_whose_tools_differ_are_shown_in_the_status(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        n1 = await c.start("n1", Tools("one"))
        await c.start("n2", Tools("two"))
        await until(lambda: "n1: one, n2: two" in str(n1.status()["warnings"]), "a warning that names both")


async def test_a_restarted_node_goes_on_from_its_replica(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        node = await c.start("n1")
        for key in ("a", "b", "c"):
            await node.call("work", {}, key=key, caller="shop")
        await c.crash("n1")
        node = await c.start("n1")
        reply = await node.call("work", {}, key="b", caller="shop")
        assert reply.replayed
        assert reply.record.execution_id == 2
        assert (await node.call("work", {}, key="d", caller="shop")).record.execution_id == 4


class SmallLog(MemoryLog):
    """A log that is to be kept small."""

    copies = 2


async def calls(node: Runtime, *keys: str) -> None:
    await asyncio.gather(*(node.call("work", {}, key=key, caller="shop") for key in keys))


async def test_a_new_node_whose_log_was_trimmed_goes_on_from_a_peers_snapshot(tmp_path: Path) -> None:
    log = MemoryLog()
    async with cluster(tmp_path, log) as c:
        n1 = await c.start("n1")
        await calls(n1, "a", "b")
        await log.trim(await log.tail())
        n2 = await c.start("n2")
        await until(lambda: n2.position == n1.position, "n2 has caught up")
        again = await n2.call("work", {}, key="a", caller="shop")
        assert again.replayed
        assert not (tmp_path / "n2.incoming").exists()


async def test_what_a_stranger_gives_at_a_dead_peers_url_is_no_snapshot_of_this_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "semel")
    for folder in ("here", "elsewhere"):
        (tmp_path / folder).mkdir()
    async with cluster(tmp_path / "elsewhere", cluster_id="another-id") as other:
        stranger = await other.start("n7")
        await calls(stranger, "x", "y", "z")
        stranger.commit()
        foreign = Snapshot.take(tmp_path / "elsewhere" / "n7.db", tmp_path / "foreign.db").path
    (tmp_path / "damaged.db").write_bytes(b"damaged")
    log = MemoryLog()
    async with cluster(tmp_path / "here", log) as c:
        n1 = await c.start("n1")
        await calls(n1, *map(str, range(10)))
        await log.trim(await log.tail())
        for name, given in {"dead": foreign, "gone": tmp_path / "damaged.db"}.items():
            c.successors[name] = given
            beat = Beat(incarnation="i", url=f"http://{name}", position=1_000_000, tools="", at_s=0.0)
            await log.pulse(name, msgspec.json.encode(beat))
        n2 = await c.start("n2")
        await until(lambda: n2.position == n1.position, "n2 has caught up, from n1")
        assert sum("went on from a peer's snapshot" in message for message in caplog.messages) == 1
        assert (await n2.call("work", {}, key="0", caller="shop")).replayed


async def test_a_node_that_was_cut_off_goes_on_from_a_snapshot_and_its_late_outcome_settles_the_doubt(
    tmp_path: Path,
) -> None:
    log = MemoryLog()
    async with cluster(tmp_path, log) as c:
        tools = Tools()
        tools.gate.clear()
        n1 = await c.start("n1", tools)
        running = asyncio.create_task(n1.call("work", {}, key="late", caller="shop"))
        await until(lambda: tools.attempts, "the tool runs")
        n2 = await c.start("n2")
        for task in list(n1.runtime._tasks._tasks):
            if task.get_name() in ("follow", "pulse"):  # it is cut off from the log
                task.cancel()
        n2.runtime.lost(n1.runtime.identity.node)
        await until(lambda: n2.status()["leader"] == "n2", "n2 leads")
        await until(lambda: n2.status()["in_doubt"] == 1, "the call is in doubt")
        await calls(n2, "more")
        await log.trim(await log.tail())
        n1.runtime._tasks.begin(n1.runtime._follow(), "follow")
        assert (await running).record.status is Status.IN_DOUBT  # as n1 learns from the snapshot
        assert n1.position >= n2.position
        tools.gate.set()
        await until(lambda: n2.status()["in_doubt"] == 0, "the late outcome has settled the doubt")
        settled = await n2.call("work", {}, key="late", caller="shop")
        assert (settled.record.status, settled.replayed) == (Status.OK, True)


async def test_a_node_that_nobody_can_help_says_so_and_waits(tmp_path: Path) -> None:
    log = MemoryLog()
    async with cluster(tmp_path, log) as c:
        n1 = await c.start("n1")
        await calls(n1, "a", "b")
        await log.trim(await log.tail())
        await c.crash("n1")
        await log.retire("n1")
        n2 = await c.start("n2")
        await until(lambda: "restore a backup" in (n2.readiness() or ""), "n2 says that nobody can help")
        await c.start("n1")
        await until(lambda: n2.readiness() is None, "n2 is ready")


async def test_the_leader_trims_what_two_replicas_hold_durably_and_keeps_a_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semel.node.runtime.TRIM_S", 0.05)
    monkeypatch.setattr("semel.node.trimming.KEPT_ENTRIES", 20)
    monkeypatch.setattr("semel.node.trimming.MARK_ENTRIES", 1)
    monkeypatch.setattr("semel.node.trimming.STEP_ENTRIES", 5)
    log = SmallLog()
    async with cluster(tmp_path, log) as c:
        n1 = await c.start("n1")
        for number in range(30):
            await calls(n1, f"k{number}")
        await until(lambda: n1.runtime._trimmer.durable == n1.position, "the one replica is durable")
        assert log._first == 1  # that is not enough
        assert "on the disks of 2 live nodes" in n1.status()["warnings"][-1]
        n2 = await c.start("n2")
        await until(lambda: log._first > 1, "the log is trimmed")
        assert await log.tail() - log._first >= 19
        await c.crash("n2")
        for number in range(30, 60):
            await calls(n1, f"k{number}")
        assert log._first <= n2.position + 1
        n2 = await c.start("n2")
        await until(lambda: n2.position == n1.position, "n2 is back")
        assert (await n2.call("work", {}, key="k0", caller="shop")).replayed


async def test_a_read_is_answered_while_the_log_cannot_be_written_and_logged_later(tmp_path: Path) -> None:
    log = Unwritable()
    async with cluster(tmp_path, log) as c:
        node = await c.start("n1", Tools(effect=Effect.READ))
        await until(lambda: node.readiness() is None, "n1 leads")
        log.trouble = "no quorum"
        unkeyed = await node.call("work", {}, key=None, caller="shop")
        made = await node.call("work", {}, key="made", caller="shop", made=True)
        assert (unkeyed.record.position, made.record.position) == (0, 0)
        keyed = asyncio.create_task(node.call("work", {}, key="chosen", caller="shop"))
        await until(lambda: node.runtime.trouble == "no quorum", "the trouble is said")
        assert not keyed.done()
        log.trouble = None
        assert (await keyed).record.position > 0
        await until(lambda: node.status()["calls"] == 3, "all of them are in the log")


async def test_a_log_whose_entries_are_deleted_behind_running_nodes_ends_them_with_the_reason(tmp_path: Path) -> None:
    log = MemoryLog()
    async with cluster(tmp_path, log) as c:
        n1 = await c.start("n1")
        await calls(n1, "a", "b")
        n2 = await c.start("n2")
        await until(lambda: n2.position == n1.position, "n2 has read it all")
        await until(lambda: n2.runtime._leisure._pause is None, "n2 waits for what comes next")
        del log._entries[2:]
        for node in (n1, n2):
            error = await asyncio.wait_for(asyncio.shield(node.runtime.failed), 10.0)
            assert isinstance(error, LogDamaged)
            assert "the log ends at position 2, and had" in str(error)
            assert "deleted" in str(error)


async def test_the_last_beat_of_a_node_that_was_dead_before_counts_for_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semel.node.runtime.TRIM_S", 0.05)
    monkeypatch.setattr("semel.node.trimming.KEPT_ENTRIES", 20)
    monkeypatch.setattr("semel.node.trimming.MARK_ENTRIES", 1)
    monkeypatch.setattr("semel.node.trimming.STEP_ENTRIES", 5)
    log = SmallLog()
    dead = Beat(incarnation="i", url="http://n9", position=1_000_000, tools="", at_s=0.0, durable=1_000_000)
    await log.pulse("n9", msgspec.json.encode(dead))
    async with cluster(tmp_path, log) as c:
        n1 = await c.start("n1", patience_s=1_000.0)
        for number in range(30):
            await calls(n1, f"k{number}")
        await until(lambda: n1.runtime._trimmer.durable == n1.position, "the one replica is durable")
        await until(lambda: n1.runtime._trimmer.held, "the leader says that nothing is trimmed")
        assert log._first == 1


async def test_a_call_can_be_waited_for_to_begin_on_every_node(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        tools.gate.clear()
        n1, n2 = await c.start("n1", tools), await c.start("n2")
        await until(lambda: n2.readiness() is None, "n2 is ready")
        call = CallId("shop", "k")
        beginnings = [asyncio.create_task(node.begun(call)) for node in (n1, n2)]
        given_up = asyncio.create_task(n2.begun(call))
        await asyncio.sleep(0)
        given_up.cancel()
        asked = asyncio.create_task(n2.call("work", {}, key="k", caller="shop"))
        await asyncio.wait_for(asyncio.gather(*beginnings), 10.0)
        record = await n2.stand(call)
        assert record is not None
        assert (record.status, record.executor.name) == (Status.RUNNING, "n1")
        asked.cancel()  # who asked has gone; the call goes on
        tools.gate.set()
        await until(lambda: not n2.runtime.ledger.open, "the call has ended")
        ended = await n2.stand(call)
        assert ended is not None
        assert ended.status is Status.OK
        assert not n1.runtime.beginnings._awaited
        assert not n2.runtime.beginnings._awaited


async def test_who_watches_a_call_hears_of_each_change_on_every_node_and_of_no_other_call(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        tools.gate.clear()
        n1, n2 = await c.start("n1", tools), await c.start("n2")
        await until(lambda: n2.readiness() is None, "n2 is ready")
        heard: list[str] = []
        ends = [
            await node.watch(CallId("shop", key), partial(heard.append, f"{name} {key}"))
            for name, node in (("n1", n1), ("n2", n2))
            for key in ("k", "another")
        ]
        asked = asyncio.create_task(n2.call("work", {}, key="k", caller="shop"))
        await until(lambda: {"n1 k", "n2 k"} <= {*heard}, "the beginning is heard of")
        heard.clear()
        tools.gate.set()
        await asked
        await until(lambda: {"n1 k", "n2 k"} <= {*heard}, "the end is heard of")
        assert {*heard} == {"n1 k", "n2 k"}
        for end in ends:
            end()
        assert not n1.runtime.watches._watching
        assert not n2.runtime.watches._watching


async def test_how_a_call_stands_is_told_as_of_now_by_a_node_that_lags(tmp_path: Path) -> None:
    log = SlowLog()
    async with cluster(tmp_path, log) as c:
        n1 = await c.start("n1")
        await calls(n1, "k")
        n2 = await c.start("n2")
        await until(lambda: n2.position == n1.position, "n2 has read it all")
        log.pause_s = 0.3
        await calls(n1, "k2")
        assert n2.runtime.ledger.find(CallId("shop", "k2")) is None
        assert await n2.stand(CallId("shop", "k2")) is not None
        assert await n2.stand(CallId("shop", "nothing")) is None


async def test_a_node_that_cannot_reach_the_log_knows_outcomes_and_not_that_there_is_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semel.node.reach.READ_TO_TAIL_S", 0.2)
    log = UnreachedLog()
    log.refusals = {"tail": 0, "first": 0}
    async with cluster(tmp_path, log) as c:
        tools = Tools()
        node = await c.start("n1", tools)
        await calls(node, "k")
        tools.gate.clear()
        asked = asyncio.create_task(node.call("work", {}, key="long", caller="shop"))
        await until(lambda: tools.attempts[1:], "the tool runs")
        log.refusals["tail"] = 1_000_000
        for key, status in (("k", Status.OK), ("long", Status.RUNNING)):
            record = await node.stand(CallId("shop", key))
            assert record is not None
            assert record.status is status
        with pytest.raises(Unconfirmed):
            await node.stand(CallId("shop", "nothing"))
        log.refusals["tail"] = 0
        tools.gate.set()
        await asked


async def test_a_round_that_brings_its_outcome_is_logged_and_no_tool_runs(tmp_path: Path) -> None:
    async with cluster(tmp_path) as c:
        tools = Tools()
        n1 = await c.start("n1", tools)
        await until(lambda: n1.readiness() is None, "n1 leads")
        answers = settling({"inputResponses": {"a": 1}}, Status.CANCELLED, {"content": []})
        reply = await n1.call("gone", {}, key="k", caller="c", details=Details(answers=answers))
        assert (reply.record.status, bytes(reply.record.result or b"")) == (Status.CANCELLED, b'{"content":[]}')
        assert reply.record.position > 0
        assert tools.attempts == []
        with pytest.raises(KeyReused):
            await n1.call("gone", {}, key="k", caller="c", details=Details(answers={**answers, "more": 1}))
