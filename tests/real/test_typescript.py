"""All that MCP can do, with `server-everything` and others at one end and the TypeScript SDKs' clients at the other.

The client is at a follower.
"""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes.cluster import until
from tests.real.clients import CONNECT, Failed, OfTypeScript, said, told, typescript
from tests.real.setting import Setting

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

GRAPH = "memory://knowledge-graph"


@dataclass(frozen=True, slots=True)
class Kind:
    sdk: int
    version: str
    door: str

    @property
    def modern(self) -> bool:
        return self.version == "2026-07-28"

    def __str__(self) -> str:
        return f"{self.sdk}, {self.version}, {self.door}"


KINDS = (
    Kind(1, "legacy", "HTTP"),
    Kind(2, "2026-07-28", "HTTP"),
    Kind(2, "legacy", "HTTP"),
    Kind(1, "legacy", "semel connect"),
    Kind(2, "2026-07-28", "semel connect"),
)
servers = pytest.mark.parametrize("server", ["everything", "far"])


@dataclass
class Open:
    """A client with a session at a follower; `root` is where it works, if it is one that can be asked for that."""

    kind: Kind
    at: str
    client: OfTypeScript
    root: Path | None = None

    async def do(self, what: str, **params: Any) -> Any:
        return await self.client.do(what, params or None)

    def heard(self, what: str) -> list[Any]:
        return [params for each, params in self.client.heard if each == what]

    async def hears(self, what: str) -> Any:
        return (await until(lambda: self.heard(what), what=what))[0]


@asynccontextmanager
async def opened(setting: Setting, kind: Kind, root: Path | None = None) -> AsyncIterator[Open]:
    await setting.all_up()
    at = await setting.follower()
    url = setting.cluster.url(at)
    where = [f"{url}/mcp"] if kind.door == "HTTP" else [*CONNECT, url]
    async with typescript(setting.packages, kind.sdk, where, kind.version, root=root) as client:
        yield Open(kind, at, client, root)


@pytest.fixture(scope="module", params=KINDS, ids=str)
async def plain_one(request: pytest.FixtureRequest, whole: Setting) -> AsyncIterator[Open]:
    async with opened(whole, request.param) as there:
        yield there


@pytest.fixture(scope="module", params=KINDS, ids=str)
async def able_one(request: pytest.FixtureRequest, whole: Setting) -> AsyncIterator[Open]:
    root = whole.files / f"root-{KINDS.index(request.param)}"
    root.mkdir()
    async with opened(whole, request.param, root) as there:
        yield there


@pytest.fixture
def plain(plain_one: Open) -> Open:
    """A client that cannot be asked."""
    plain_one.client.heard.clear()
    return plain_one


@pytest.fixture
def able(able_one: Open) -> Open:
    """A client that can be asked; its root is a folder of its own."""
    able_one.client.heard.clear()
    return able_one


@servers
async def test_progress_is_heard(server: str, plain: Open) -> None:
    result = await plain.client.call(f"{server}_trigger-long-running-operation", {"duration": 0.4, "steps": 4})
    assert said(result).startswith("Long running operation completed")
    assert plain.heard("progress") == [{"progress": step, "total": 4} for step in (1, 2, 3, 4)]


async def test_resources_of_several_servers_are_listed_and_read(plain: Open) -> None:
    listed = [each["uri"] for each in (await plain.do("listResources"))["resources"]]
    assert GRAPH in listed
    assert "demo://resource/static/document/features.md" in listed
    templates = [each["uriTemplate"] for each in (await plain.do("listResourceTemplates"))["resourceTemplates"]]
    assert "demo://resource/dynamic/text/{resourceId}" in templates
    (text,) = (await plain.do("readResource", uri="demo://resource/dynamic/text/7"))["contents"]
    assert text["text"].startswith("Resource 7: This is a plaintext resource")
    (blob,) = (await plain.do("readResource", uri="demo://resource/dynamic/blob/7"))["contents"]
    assert base64.b64decode(blob["blob"]).startswith(b"Resource 7: This is a base64 blob")
    with pytest.raises(Failed, match="not found"):
        await plain.do("readResource", uri="demo://nothing")


@servers
async def test_prompts_are_listed_and_completed(server: str, plain: Open) -> None:
    listed = [each["name"] for each in (await plain.do("listPrompts"))["prompts"]]
    assert f"{server}_completable-prompt" in listed
    prompt = await plain.do("getPrompt", name=f"{server}_args-prompt", arguments={"city": "Rome"})
    assert prompt["messages"][0]["content"]["text"] == "What's weather in Rome?"
    completed = await plain.do(
        "complete",
        ref={"type": "ref/prompt", "name": f"{server}_completable-prompt"},
        argument={"name": "name", "value": "A"},
        context={"arguments": {"department": "Engineering"}},
    )
    assert completed["completion"]["values"] == ["Alice"]
    template = {"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"}
    completed = await plain.do("complete", ref=template, argument={"name": "resourceId", "value": "7"})
    assert completed["completion"]["values"] == ["7"]


async def test_a_change_at_the_leader_is_heard_by_who_subscribed_at_a_follower(plain: Open, tmp_path: Path) -> None:
    if plain.kind.modern:
        assert (await plain.do("listen", resourceSubscriptions=[GRAPH]))["resourceSubscriptions"] == [GRAPH]
    else:
        await plain.do("subscribeResource", uri=GRAPH)

    async def change(number: int) -> None:
        entity = {"name": f"{tmp_path.name}-{number}", "entityType": "test", "observations": []}
        result = await plain.client.call("memory_create_entities", {"entities": [entity]})
        assert told(result, "executor") != plain.at

    for number in range(50):  # it takes a moment until the leader knows that somebody listens
        await change(number)
        if plain.heard("notifications/resources/updated"):
            break
    assert (await plain.hears("notifications/resources/updated"))["uri"] == GRAPH


async def test_a_server_asks_for_roots_in_the_middle_of_a_call(able: Open) -> None:
    """Server-everything does so a third of a second after it was connected; who asks it first is asked, once."""
    result = await able.client.call("everything_trigger-long-running-operation", {"duration": 1, "steps": 2})
    assert told(result, "outcome") == "ok"
    assert len(able.heard("roots/list")) == 1


async def test_a_server_that_asks_for_roots_at_once_works_in_those_of_its_client(able: Open) -> None:
    """Server-filesystem asks as soon as it is connected; until it is answered, it works where it was told to.

    Requests of 2026-07-28 have no session that could remember it, so they name their caller.
    """

    async def call(tool: str, **arguments: Any) -> str:
        caller = {"dev.semel/caller": str(able.kind)}
        return said(await able.do("callTool", name=f"files_{tool}", arguments=arguments, _meta=caller))

    for _ in range(50):
        allowed = await call("list_allowed_directories")
        if allowed.endswith(str(able.root)):
            break
    assert allowed == f"Allowed directories:\n{able.root}"
    assert able.root is not None
    assert "outside allowed directories" in await call("list_directory", path=str(able.root.parent))


async def test_a_server_asks_for_what_its_tools_need(able: Open) -> None:
    sampled = await able.client.call("everything_trigger-sampling-request", {"prompt": "hello"})
    assert "heard Resource trigger-sampling-request context: hello" in said(sampled)
    elicited = await able.client.call("everything_trigger-elicitation-request", {})
    assert "- Name: Ann" in said(elicited)
    assert [len(able.heard(what)) for what in ("sampling/createMessage", "elicitation/create")] == [1, 1]
