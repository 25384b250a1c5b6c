"""The story in nine steps, each line of it checked against the nodes' logs and the clients' answers."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from semel.cli.demo.narrator import Narrator
from semel.cli.demo.stage import Actor, Stage, until
from semel.cli.demo.tables import CALL_COLUMNS, STANDING_COLUMNS, executions, role
from semel.cli.demo.witness import Call, same_history, seen_gone, standings
from semel.errors import KeyReused

if TYPE_CHECKING:
    from semel.gateway.clients.client import Answer

NODES = ("node-1", "node-2", "node-3")
KEYS = ("sum", "product", "greeting")


Step = Callable[[], Awaitable[None]]


class Story:
    """What has happened so far, and the nine steps."""

    def __init__(self, stage: Stage, narrator: Narrator) -> None:
        self._stage = stage
        self._narrator = narrator
        self._check = narrator.check
        self._leader = self._killed = ""
        self._term = 0
        self._history: list[Call] = []
        """The audit before the leader was killed, the same on every node."""
        self._told: dict[str, tuple[str, Any]] = {}
        """By key, the outcome that a client was told of, and the result."""

    async def tell(self) -> None:
        """Play the story up to the last step but one; the cleanup is the stage's.

        Raises:
            CheckFailed: a line did not hold.
        """
        for step in self.steps():
            await step()

    def steps(self) -> list[Step]:
        """Return the steps in their order."""
        return [
            self.they_start,
            self.each_says_its_status,
            self.calls_go_through_every_node,
            self.the_audit_is_read,
            self.a_retry_is_no_second_run,
            self.the_leader_is_killed,
            self.life_goes_on,
            self.the_killed_node_returns,
        ]

    # The steps.

    async def they_start(self) -> None:
        """Step 1."""
        self._narrator.step("Three nodes start; one is elected, two follow")
        await self._nodes_start()

    async def _nodes_start(self) -> None:
        with self._narrator.waiting("three processes start"):
            actors = await asyncio.gather(*map(self._stage.start, NODES))
            views = await standings(self._actors(*NODES))
        for actor in actors:
            self._narrator.say(f"{actor.name}  {actor.url}/mcp  process {actor.process.pid}", "dim")
        self._leader, self._term = views[0]["leader"], views[0]["term"]
        roles = {view["node"]: role(view) for view in views}
        followers = [name for name in NODES if name != self._leader]
        self._check(
            f"{self._leader} was elected in term {self._term}; {' and '.join(followers)} follow",
            roles == {self._leader: "leader"} | dict.fromkeys(followers, "follower"),
            roles,
        )

    async def each_says_its_status(self) -> None:
        """All name the same leader."""
        self._narrator.step("The status of each node")
        views = await standings(self._actors(*NODES))
        self._narrator.show(STANDING_COLUMNS, views)
        self._check(
            "all name the same leader and term, and none has run a tool",
            {(view["leader"], view["term"], executions(view)) for view in views} == {(self._leader, self._term, 0)},
            views,
        )

    async def calls_go_through_every_node(self) -> None:
        """A call through each node, whoever leads."""
        self._narrator.step("Calls through every node; the leader executes")
        for name, key, tool, arguments, result in (
            ("node-1", "sum", "add", {"a": 1, "b": 2}, 3),
            ("node-2", "product", "multiply", {"x": 3, "y": 4}, 12),
            ("node-3", "greeting", "concat", {"s1": "hello", "s2": "world"}, "hello world"),
        ):
            await self._call(name, tool, arguments, result, key=key)

    async def the_audit_is_read(self) -> None:
        """Every node has the same audit."""
        self._narrator.step("The audit, the same on every node")
        self._history = await same_history(self._actors(*NODES), calls=len(KEYS))
        self._narrator.show(CALL_COLUMNS, self._history)
        ids = [call["execution_id"] for call in self._history]
        self._check(
            "three calls, three executions, with ids that are unique and grow",
            ids == sorted(set(ids)) and {call["key"] for call in self._history} == set(KEYS),
            self._history,
        )
        self._check(
            f"{self._leader} executed all of them, in term {self._term}",
            {(call["executor"], call["term"]) for call in self._history} == {(self._leader, self._term)},
            self._history,
        )
        self._check(f"{', '.join(NODES)} each answered with these very calls")

    async def a_retry_is_no_second_run(self) -> None:
        """The same key gets the first answer, and other arguments an error."""
        self._narrator.step("A retry gets the same answer, and no second run")
        again = await self._stage.actors["node-2"].client.call("add", {"a": 1, "b": 2}, key="sum")
        first = self._history[0]
        self._check(
            f"add(1, 2) with the same key, through node-2: {again.result} again, from execution {again.execution_id}",
            (again.result, again.replayed, again.execution_id) == (first["result"], True, first["execution_id"]),
            again,
        )
        try:
            other: Any = await self._stage.actors["node-3"].client.call("add", {"a": 1, "b": 5}, key="sum")
        except KeyReused as error:
            other = error
        self._check(
            "add(1, 5) with that key, through node-3, is an error that says so:", type(other) is KeyReused, other
        )
        self._narrator.quote(str(other))
        history = await same_history(self._actors(*NODES), calls=len(KEYS))
        self._check("the audit has not changed: still three executions", history == self._history, history)

    async def the_leader_is_killed(self) -> None:
        """Two calls are in flight: one is run again, one is in doubt."""
        self._narrator.step("The leader is killed with two calls in flight")
        killed, term = self._stage.actors[self._leader], self._term
        self._killed = killed.name
        first, second = self._survivors()
        report = _begin(first, "render_report", {"month": "October"}, key="report-10")
        charge = _begin(second, "charge_card", {"order": "42"}, key="charge-42")
        with self._narrator.waiting("two slow tools start"):
            await until("both slow tools start", self._both_slow_tools_started)
        self._narrator.say(f"{first.name} was asked for render_report (repeatable), and its client waits")
        self._narrator.say(f"{second.name} was asked for charge_card (once), and its client waits")

        killed_at_s = time.monotonic()
        await killed.process.kill()
        self._narrator.say(f"kill -9 {killed.process.pid}  ({killed.name}, the leader)", "bold red")
        with self._narrator.waiting("a new leader is elected"):
            answer = await first.client.call("add", {"a": 2, "b": 2}, key="after")
            gap_ms = (time.monotonic() - killed_at_s) * 1000
            views = await standings(self._survivors())
        self._leader, self._term = views[0]["leader"], views[0]["term"]
        self._check(
            f"{self._leader} was elected in term {self._term}",
            self._leader in (first.name, second.name) and self._term > term,
            views,
        )
        self._check(
            f"{gap_ms:.0f} ms without service, from the kill to the next answer: add(2, 2) = {answer.result}",
            (answer.result, answer.executor, answer.term) == (4, self._leader, self._term),
            answer,
        )
        self._remember(answer)
        await self._the_waiting_clients_are_answered(report, charge)

    async def _the_waiting_clients_are_answered(
        self, report: "asyncio.Task[Answer]", charge: "asyncio.Task[Answer]"
    ) -> None:
        with self._narrator.waiting("the calls that were in flight"):
            rendered, charged = await asyncio.gather(report, charge)
        self._remember(rendered, charged)
        got = rendered.result
        self._check(
            f"render_report finished under {self._leader}, attempt {rendered.attempt}; its client got: {got}",
            (rendered.outcome, rendered.executor, rendered.attempt) == ("ok", self._leader, 2),
            rendered,
        )
        self._check("charge_card is in doubt, and its client was told so:", charged.in_doubt, charged)
        self._narrator.quote(charged.result)
        starts = Counter(self._stage.starts())
        self._check(
            "charge_card was not run again: it started once, render_report twice",
            starts == {"charge_card": 1, "render_report": 2},
            starts,
        )

    async def life_goes_on(self) -> None:
        """The survivors agree, and take calls."""
        self._narrator.step("Status after the failover, and calls through the new leader")
        survivors = self._survivors()
        views = await standings(survivors)
        self._narrator.show(STANDING_COLUMNS, views)
        await seen_gone(survivors, self._killed)
        self._check(f"both name {self._leader}, and see that {self._killed} is gone")
        await self._call(survivors[0].name, "divide", {"a": 10, "b": 2}, 5.0, key="quotient")
        await self._call(survivors[1].name, "subtract", {"a": 20, "b": 5}, 15, key="difference")

    async def the_killed_node_returns(self) -> None:
        """It holds what the others hold, and nothing is lost."""
        self._narrator.step("The final audit; the killed node returns and holds the same log")
        before, after = self._history, await same_history(self._survivors(), calls=len(self._told))
        self._narrator.show(CALL_COLUMNS, after)
        ids = [call["execution_id"] for call in after]
        self._check(
            "nothing is lost: what was there before the kill is there unchanged, and no id is missing",
            after[: len(before)] == before and ids == list(range(1, len(after) + 1)),
            after,
        )
        self._check(
            "every answer that a client got is in the log as the client got it",
            {call["key"]: (call["outcome"], call["result"]) for call in after} == self._told,
            self._told,
        )
        terms = [call["term"] for call in after if call["attempt"] == 1 and call["outcome"] != "in_doubt"]
        self._check(
            f"one history over both leaders: term {terms[0]}, then term {terms[-1]}",
            terms == sorted(terms) and {terms[0], terms[-1]} == {before[0]["term"], self._term},
            terms,
        )
        with self._narrator.waiting(f"{self._killed} starts again"):
            actor = await self._stage.start(self._killed)
            views = await standings(self._actors(*NODES))
        back = next(view for view in views if view["node"] == actor.name)
        self._check(
            f"{actor.name} is back, as process {actor.process.pid}, and follows {back['leader']}",
            role(back) == "follower",
            back,
        )
        history = await same_history(self._actors(*NODES), calls=len(after))
        self._check(
            f"its audit is that of the others, call by call, up to position {back['position']}",
            history == after,
            history,
        )
        self._check("charge_card has still started only once", self._stage.starts().count("charge_card") == 1)

    # What the steps are made of.

    async def _call(self, name: str, tool: str, arguments: dict[str, Any], result: object, *, key: str) -> None:
        """Make a call and check its answer: the value, to its spelling, and that the leader ran it once."""
        answer = await self._stage.actors[name].client.call(tool, arguments, key=key)
        self._remember(answer)
        shown = ", ".join(json.dumps(value) for value in arguments.values())
        self._check(
            f"{tool}({shown}) = {json.dumps(answer.result)}, through {name}, executed by {answer.executor}",
            json.dumps(answer.result) == json.dumps(result)
            and (answer.executor, answer.term, answer.attempt, answer.replayed) == (self._leader, self._term, 1, False),
            answer,
        )

    def _remember(self, *answers: "Answer") -> None:
        for answer in answers:
            self._told[answer.key] = (answer.outcome.value, None if answer.in_doubt else answer.result)

    async def _both_slow_tools_started(self) -> bool | None:
        return True if sorted(self._stage.starts()) == ["charge_card", "render_report"] else None

    def _actors(self, *names: str) -> list[Actor]:
        return [self._stage.actors[name] for name in names]

    def _survivors(self) -> list[Actor]:
        return self._actors(*(name for name in NODES if name != self._killed))


def _begin(actor: Actor, tool: str, arguments: dict[str, Any], *, key: str) -> "asyncio.Task[Answer]":
    return asyncio.create_task(actor.client.call(tool, arguments, key=key), name=tool)
