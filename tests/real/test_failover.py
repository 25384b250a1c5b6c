"""Real clients, all at work when the leader is killed: their sessions go on, and their servers did each thing once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes.cluster import get_audit, until
from tests.processes.test_connect import behind_one_address
from tests.real.clients import CONNECT, Asking, Result, insist, python, said, told, typescript
from tests.real.setting import Setting, commits, git, note, noted

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

LONG = "everything_trigger-long-running-operation"
STORY_LIMIT_S = 100.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A client; `sessions` is how many of them it needs when the node that it is connected to is killed."""

    name: str
    sdk: int
    """Of TypeScript; 0 is Python's."""
    version: str
    door: str
    sessions: int = 1

    def __str__(self) -> str:
        return f"{self.name}, {self.door}"


KINDS = (
    Kind("Python 2026-07-28", 0, "2026-07-28", "HTTP", sessions=2),  # a request that breaks takes all of the SDK's down
    Kind("Python handshake", 0, "legacy", "HTTP", sessions=2),
    Kind("TypeScript 1", 1, "legacy", "HTTP", sessions=2),
    Kind("TypeScript 2 2026-07-28", 2, "2026-07-28", "HTTP"),
    Kind("TypeScript 2 handshake", 2, "legacy", "HTTP", sessions=2),
    Kind("TypeScript 1", 1, "legacy", "semel connect"),
    Kind("TypeScript 2 auto", 2, "auto", "semel connect"),
)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


@dataclass
class Story:
    """What a client did, and was told."""

    name: str
    journal: Path
    repository: Path
    first: Result
    ran: Result
    """A repeatable call that was running when the leader was killed."""
    doubted: Result
    """One that is not, and was."""
    after: Result
    again: Result
    sessions: int


@dataclass
class Told:
    """All stories, or why there is none, and the calls in the audits of the nodes that live on."""

    killed: str
    stories: dict[Kind, Story | Exception]
    audits: list[dict[str, Any]]

    def story(self, kind: Kind) -> Story:
        story = self.stories[kind]
        if isinstance(story, Exception):
            raise story
        return story


class Scene:
    """The clients' common moment: each comes to it with its calls under way, and goes on once the leader is dead."""

    def __init__(self, setting: Setting, leader: str, heir: str) -> None:
        self.setting = setting
        self.leader = leader
        self.heir = heir
        self.addresses: list[dict[str, str]] = []
        """The load balancers' decisions: to which node new connections go."""
        self.all_ready = asyncio.Barrier(len(KINDS))
        self.over = asyncio.Event()

    async def tell(self, kind: Kind, name: str) -> Story | Exception:
        """Live through a session of one client; return the error if it goes wrong."""
        try:
            return await asyncio.wait_for(self._live(kind, name), STORY_LIMIT_S)
        except Exception as error:
            await self.all_ready.abort()
            return error

    async def _live(self, kind: Kind, name: str) -> Story:
        journal, repository = self.setting.journal(name), self.setting.repository(name)

        def commit(words: str) -> tuple[str, Result, str]:
            (repository / words).write_text(words)
            git(repository, "add", words)
            return "git_git_commit", {"repo_path": str(repository), "message": words}, f"{name}-commit-{words}"

        def write(words: str) -> tuple[str, Result, str]:
            return "files_edit_file", note(journal, words), f"{name}-{words}"

        async with self._client(kind) as client:
            first = await insist(client, *write("before"))
            assert told(await insist(client, *commit("one")), "outcome") == "ok"
            await self.all_ready.wait()
            with held(repository):
                long = (LONG, {"duration": 1.5, "steps": 5}, f"{name}-long")
                running, doubted = [asyncio.create_task(insist(client, *call)) for call in (long, commit("two"))]
                await self.over.wait()
                ran, doubt = await running, await doubted
            after, again = await insist(client, *write("after")), await insist(client, *write("before"))
            return Story(name, journal, repository, first, ran, doubt, after, again, client.sessions)

    @asynccontextmanager
    async def _client(self, kind: Kind) -> AsyncIterator[Asking]:
        """Open a session at the leader, through a load balancer or `semel connect`."""
        cluster = self.setting.cluster
        async with contextlib.AsyncExitStack() as stack:
            if kind.door == "HTTP":
                url, chosen = await stack.enter_async_context(behind_one_address(cluster, self.leader))
                self.addresses.append(chosen)
                where: tuple[str, ...] = (f"{url}/mcp",)
            else:
                names = sorted(cluster.ports, key=lambda name: name != self.leader)
                where = (*CONNECT, *(cluster.url(name) for name in names))
            if kind.sdk:
                yield await stack.enter_async_context(typescript(self.setting.packages, kind.sdk, where, kind.version))
            else:
                yield await stack.enter_async_context(python(where, kind.version))

    async def kill(self, names: list[str]) -> None:
        """Kill the leader once everybody's calls are running."""

        def under_way() -> bool:
            running = {row["key"] for row in get_audit(cluster.url(self.leader)) if row["outcome"] == "running"}
            return {f"{name}-{call}" for name in names for call in ("long", "commit-two")} <= running

        cluster = self.setting.cluster
        with contextlib.suppress(AssertionError):  # then their stories say why
            await until(under_way, limit_s=STORY_LIMIT_S, what="everybody's calls to run")
        for address in self.addresses:
            address["node"] = self.heir
        await cluster.kill(self.leader)
        self.over.set()


@contextlib.contextmanager
def held(repository: Path) -> Any:
    """Let no commit in a repository end."""
    hold = repository / ".git/hold"
    hold.touch()
    hook = repository / ".git/hooks/pre-commit"
    hook.write_text(f"#!/bin/sh\nfor i in $(seq 600); do [ -e {hold} ] || exit 0; sleep 0.05; done\n")
    hook.chmod(0o755)
    try:
        yield
    finally:
        hold.unlink()


@pytest.fixture(scope="module")
async def history(whole: Setting) -> Told:
    await whole.all_up()
    leader = await whole.cluster.leader()
    scene = Scene(whole, leader, await whole.follower())
    names = [f"client-{number}" for number in range(len(KINDS))]
    telling = [asyncio.create_task(scene.tell(*each)) for each in zip(KINDS, names, strict=True)]
    await scene.kill(names)
    stories = await asyncio.gather(*telling)
    audits = [get_audit(whole.cluster.url(name)) for name in whole.live]
    return Told(leader, dict(zip(KINDS, stories, strict=True)), audits)


@each_kind
async def test_a_session_goes_on_when_its_leader_is_killed(kind: Kind, history: Told) -> None:
    story = history.story(kind)
    assert (told(story.first, "outcome"), told(story.first, "executor")) == ("ok", history.killed)
    assert told(story.after, "outcome") == "ok"
    assert told(story.after, "executor") != history.killed
    assert story.sessions == kind.sessions


@each_kind
async def test_a_call_that_ran_comes_to_its_end_or_is_in_doubt(kind: Kind, history: Told) -> None:
    story = history.story(kind)
    assert (told(story.ran, "outcome"), told(story.ran, "attempt")) == ("ok", 2)
    assert "Long running operation completed" in said(story.ran)
    assert (told(story.doubted, "outcome"), story.doubted["isError"]) == ("in_doubt", True)


@each_kind
async def test_each_call_ran_once_and_a_retry_is_told_what_came_of_it(kind: Kind, history: Told) -> None:
    story = history.story(kind)
    assert noted(story.journal) == ["before", "after"]
    assert (told(story.again, "replayed"), said(story.again)) == (True, said(story.first))
    assert commits(story.repository) in (["one"], ["one", "two"])  # nobody can know of the one that is in doubt


@each_kind
async def test_the_audit_shows_it_on_each_node(kind: Kind, history: Told) -> None:
    story = history.story(kind)
    for audit in history.audits:
        rows = {row["key"].removeprefix(f"{story.name}-"): row for row in audit if row["key"].startswith(story.name)}
        assert {name: row["outcome"] for name, row in rows.items()} == {
            "before": "ok",
            "commit-one": "ok",
            "long": "ok",
            "commit-two": "in_doubt",
            "after": "ok",
        }
        assert [rows[name]["executor"] for name in ("before", "commit-one", "commit-two")] == [history.killed] * 3
        assert rows["before"]["term"] < rows["long"]["term"] == rows["after"]["term"]
        assert rows["long"]["attempt"] == 2
