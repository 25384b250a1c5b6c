"""The same story on a quorum: three etcd members keep the log, and the one that leads them is killed, too."""

import time

from semel.cli.demo.narrator import Narrator
from semel.cli.demo.stage import QuorumStage
from semel.cli.demo.story import NODES, Step, Story
from semel.cli.demo.witness import same_history, standings


class QuorumStory(Story):
    """The story of `semel demo --quorum`."""

    def __init__(self, stage: QuorumStage, narrator: Narrator) -> None:
        super().__init__(stage, narrator)
        self._quorum = stage

    def steps(self) -> list[Step]:
        """Return the steps in their order: those of the story, with etcd's leader killed before semel's."""
        steps = super().steps()
        steps.insert(steps.index(self.the_leader_is_killed), self.the_leader_of_etcd_is_killed)
        return steps

    async def they_start(self) -> None:
        """Step 1: etcd has a quorum before the nodes start."""
        self._narrator.step("Three etcd members and three nodes start; in each three one is elected")
        with self._narrator.waiting("three etcd members start"):
            members = await self._quorum.start_members()
            leading = await self._quorum.leading_member()
        for member in members:
            self._narrator.say(f"{member.child.name}  {member.url}      process {member.child.pid}", "dim")
        self._check(f"{leading.child.name} leads etcd, which keeps the log on all three")
        await self._nodes_start()

    async def the_leader_of_etcd_is_killed(self) -> None:
        """Kill the member that leads etcd: calls go on, and what was answered stays answered."""
        self._narrator.step("The leader of etcd is killed: the log goes on without it")
        killed = await self._quorum.leading_member()
        killed_at_s = time.monotonic()
        await killed.child.kill()
        self._narrator.say(f"kill -9 {killed.child.pid}  ({killed.child.name}, the leader of etcd)", "bold red")
        with self._narrator.waiting("a call goes through the other two"):
            answer = await self._stage.actors[self._leader].client.call("add", {"a": 3, "b": 3}, key="without")
            gap_ms = (time.monotonic() - killed_at_s) * 1000
            leading = await self._quorum.leading_member()
            views = await standings(self._actors(*NODES))
        self._remember(answer)
        self._leader, self._term = views[0]["leader"], views[0]["term"]
        self._check(f"{leading.child.name} was elected by the two that are left", leading is not killed)
        self._check(
            f"{gap_ms:.0f} ms from the kill to the next answer: add(3, 3) = {answer.result}",
            (answer.outcome, answer.result) == ("ok", 6),
            answer,
        )
        await self._calls_go_on(killed.child.name)
        with self._narrator.waiting(f"{killed.child.name} starts again"):
            await self._quorum.start_member(killed)
        self._check(f"{killed.child.name} is back, as process {killed.child.pid}")

    async def _calls_go_on(self, killed: str) -> None:
        """Show that every node goes on, the one too that preferred the member that was killed."""
        for number, name in enumerate(NODES, 1):
            await self._call(name, "multiply", {"x": number, "y": 100}, number * 100, key=f"without-{number}")
        again = await self._stage.actors["node-3"].client.call("add", {"a": 1, "b": 2}, key="sum")
        self._check(
            f"the first call, asked for again without {killed}: {again.result}, and no second run",
            (again.result, again.replayed, again.execution_id) == (3, True, self._history[0]["execution_id"]),
            again,
        )
        before, self._history = self._history, await same_history(self._actors(*NODES), calls=len(self._told))
        self._check("no entry is lost: the audit goes on where it was", self._history[: len(before)] == before)
