"""Servers that others wrote, behind a follower of three nodes, called by the Python SDK's client of both eras."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, types

from tests.processes.cluster import get_audit, until
from tests.real.clients import OfPython, python, said, told
from tests.real.setting import Setting, commits, git, note, noted

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

ERAS = ("2026-07-28", "legacy")


@pytest.fixture(params=ERAS)
async def client(request: pytest.FixtureRequest, setting: Setting) -> AsyncIterator[OfPython]:
    follower = setting.cluster.url(await setting.follower())
    async with python([f"{follower}/mcp"], request.param) as asking:
        yield asking


async def test_mcp_server_git_commits_once(client: OfPython, setting: Setting, tmp_path: Path) -> None:
    repository = setting.repository(tmp_path.name)
    here = {"repo_path": str(repository)}
    (repository / "a.txt").write_text("a")
    assert "a.txt" in said(await client.call("git_git_status", here))
    assert not (await client.call("git_git_add", {**here, "files": ["a.txt"]}))["isError"]
    first = await client.call("git_git_commit", {**here, "message": "one"}, key=str(repository))
    again = await client.call("git_git_commit", {**here, "message": "one"}, key=str(repository))
    assert (told(first, "outcome"), told(first, "replayed")) == ("ok", False)
    assert (told(again, "replayed"), said(again)) == (True, said(first))
    assert commits(repository) == ["one"]
    assert git(repository, "rev-parse", "HEAD").strip() in said(await client.call("git_git_log", here))
    nothing = await client.call("git_git_commit", {**here, "message": "two"})
    assert (nothing["isError"], told(nothing, "outcome"), told(nothing, "source")) == (True, "error", "tool")


async def test_mcp_server_time_tells_the_time(client: OfPython, setting: Setting) -> None:
    now = await client.call("time_get_current_time", {"timezone": "UTC"})
    assert abs(datetime.fromisoformat(json.loads(said(now))["datetime"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert now["structuredContent"]["timezone"] == "UTC"
    wrong = await client.call("time_get_current_time", {"timezone": "Nowhere"})
    assert wrong["isError"]
    assert "Invalid timezone" in said(wrong)


async def test_server_filesystem_writes_and_edits_once(client: OfPython, setting: Setting, tmp_path: Path) -> None:
    journal = setting.journal(tmp_path.name)
    for _ in range(2):
        edited = await client.call("files_edit_file", note(journal, "one"), key=str(journal))
    assert "+one" in said(edited)
    assert noted(journal) == ["one"]
    other = str(journal.with_suffix(".other"))
    await client.call("files_write_file", {"path": other, "content": "ä\n"})
    assert said(await client.call("files_read_text_file", {"path": other})) == "ä\n"
    assert journal.name in said(await client.call("files_list_directory", {"path": str(setting.files)}))
    outside = await client.call("files_write_file", {"path": str(setting.folder / "x"), "content": ""})
    assert outside["isError"]
    assert "outside allowed directories" in said(outside)


async def test_server_memory_remembers_once(client: OfPython, setting: Setting, tmp_path: Path) -> None:
    entity = {"name": tmp_path.name, "entityType": "test", "observations": ["once"]}
    made = [await client.call("memory_create_entities", {"entities": [entity]}, key=entity["name"]) for _ in range(2)]
    assert [each["structuredContent"] for each in made] == [{"entities": [entity]}] * 2  # the second run would say []
    kept = [json.loads(line) for line in setting.graph.read_text().splitlines()]
    assert [each for each in kept if each["name"] == entity["name"]] == [{"type": "entity", **entity}]
    found = await client.call("memory_search_nodes", {"query": entity["name"]})
    assert found["structuredContent"]["entities"] == [entity]


@pytest.mark.parametrize("server", ["everything", "far"])
async def test_server_everything_gives_all_kinds_of_content(server: str, client: OfPython, setting: Setting) -> None:
    async def call(tool: str, **arguments: Any) -> dict[str, Any]:
        return await client.call(f"{server}_{tool}", arguments)

    assert said(await call("get-sum", a=1, b=2)) == "The sum of 1 and 2 is 3."
    image = await call("get-tiny-image")
    assert [part["type"] for part in image["content"]] == ["text", "image", "text"]
    annotated = await call("get-annotated-message", messageType="error")
    assert annotated["content"][0]["annotations"]["priority"] == 1
    weather = await call("get-structured-content", location="Chicago")
    assert weather["structuredContent"] == json.loads(said(weather))
    links = await call("get-resource-links", count=2)
    assert [part["type"] for part in links["content"]] == ["text", "resource_link", "resource_link"]
    embedded = await call("get-resource-reference", resourceType="Text", resourceId=1)
    assert "resource" in [part["type"] for part in embedded["content"]]
    environment = json.loads(said(await call("get-env")))
    if server == "everything":
        assert environment["FAMILY"] == setting.family
        assert "EFFECTS" not in environment  # the node's own is kept from it


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("server", ["everything", "far"])
async def test_server_everything_runs_a_task_of_its_own_and_asks_in_its_middle(
    server: str, era: str, setting: Setting
) -> None:
    asked: list[str] = []

    async def answer(_context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"interpretation": "snake"})

    follower = setting.cluster.url(await setting.follower())
    async with Client(f"{follower}/mcp", mode=era, elicitation_callback=answer, cache=None) as client:
        result = await client.call_tool(f"{server}_simulate-research-query", {"topic": "python", "ambiguous": True})
    assert said(result.model_dump(mode="json", by_alias=True)).startswith("# Research Report: python (snake)\n")
    (question,) = asked
    assert 'The research query "python" could have multiple interpretations' in question


async def test_effects_come_of_the_servers_annotations_and_the_operators_words(
    client: OfPython, setting: Setting
) -> None:
    tools = {tool["name"]: tool["_meta"] for tool in await client.tools()}
    effects = {
        name: (tools[name]["dev.semel/effect"], tools[name]["dev.semel/effect-from"])
        for name in (
            *("git_git_log", "git_git_commit", "git_git_add", "files_write_file", "files_edit_file"),
            *("memory_create_entities", "time_get_current_time"),
            *("everything_trigger-long-running-operation", "far_trigger-long-running-operation"),
        )
    }
    assert effects == {
        "git_git_log": ("read", "annotations"),
        "git_git_commit": ("once", "annotations"),
        "git_git_add": ("repeatable", "annotations"),
        "files_write_file": ("repeatable", "annotations"),
        "files_edit_file": ("once", "annotations"),
        "memory_create_entities": ("once", "annotations"),
        "time_get_current_time": ("read", "annotations"),
        "everything_trigger-long-running-operation": ("repeatable", "operator"),
        "far_trigger-long-running-operation": ("once", "operator"),
    }


async def test_a_call_is_in_doubt_when_its_far_server_dies_and_the_next_one_is_served_when_it_is_back(
    setting: Setting, tmp_path: Path
) -> None:
    follower = setting.cluster.url(await setting.follower())
    async with python([f"{follower}/mcp"], "2026-07-28") as client:
        long = {"duration": 20, "steps": 40}
        calling = asyncio.create_task(client.call("far_trigger-long-running-operation", long, key=tmp_path.name))
        await until(lambda: client.heard, what="progress")
        await setting.far.kill()
        waiting = asyncio.create_task(client.call("far_echo", {"message": "there?"}))
        await setting.far.start()
        doubted = await calling
        assert (told(doubted, "outcome"), doubted["isError"]) == ("in_doubt", True)
        assert said(await waiting) == "Echo: there?"
    (row,) = get_audit(follower, key=tmp_path.name)
    assert row["outcome"] == "in_doubt"
