"""The Inspector's CLI, as somebody types it: over HTTP and through `semel connect`, and while the leader is killed."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.processes.cluster import get_audit, until
from tests.real.clients import CONNECT, KEY, said, told
from tests.real.setting import OTHERS, Setting, note, noted

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

LIMIT_S = 60.0


async def inspect(setting: Setting, where: Sequence[str], method: str, *more: str) -> Any:
    """Return what the Inspector printed for a request to the MCP server at a URL, or that a command starts."""
    transport = ("--transport", "http" if where[0].startswith("http") else "stdio")
    command, *arguments = where
    process = await asyncio.create_subprocess_exec(
        *setting.packages.command(f"{OTHERS}/inspector/clients/launcher/build/index.js"),
        *("--cli", *transport, "--method", method, "--format", "json", "-q", *more),
        *(command, *(("--", *arguments) if arguments else ())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(setting.folder)},  # it keeps a catalogue there
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode in (0, 5), f"{process.returncode}: {out.decode()}{errors.decode()}"  # 5: the tool failed
    return json.loads(out)["result"]


def call(tool: str, arguments: dict[str, Any], *more: str) -> tuple[str, ...]:
    return ("tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments), *more)


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_lists_and_calls_in_each_era(era: str, setting: Setting, tmp_path: Path) -> None:
    where = [f"{setting.cluster.url(await setting.follower())}/mcp"]
    journal, how = setting.journal(tmp_path.name), ("--protocol-era", era)
    listed = await inspect(setting, where, "tools/list", *how)
    assert {"git_git_commit", "everything_echo", "far_echo"} <= {tool["name"] for tool in listed["tools"]}
    asked = call("files_edit_file", note(journal, "one"), "--tool-metadata", f"{KEY}={journal}", *how)
    first, again = [await inspect(setting, where, *asked) for _ in range(2)]
    assert (told(first, "outcome"), told(again, "replayed"), said(again)) == ("ok", True, said(first))
    assert noted(journal) == ["one"]
    read = await inspect(setting, where, "resources/read", "--uri", "demo://resource/dynamic/text/7", *how)
    assert read["contents"][0]["text"].startswith("Resource 7")


async def test_the_inspector_notices_nothing_of_the_leaders_death_behind_semel_connect(
    setting: Setting, tmp_path: Path
) -> None:
    cluster, journal = setting.cluster, setting.journal(tmp_path.name)
    leader = await cluster.leader()
    where = [*CONNECT, *sorted(cluster.urls, key=lambda url: url != cluster.url(leader))]
    load = ("--load", "--load-requests", "60", "--load-concurrency", "1", "--load-rate", "20")
    asking = asyncio.create_task(inspect(setting, where, *call("files_edit_file", note(journal, "."), *load)))
    await until(lambda: asking.done() or len(noted(journal)) >= 10, limit_s=LIMIT_S, what="ten lines")
    assert not asking.done(), asking.result()
    await cluster.kill(leader)
    report = await asking
    doubts = report["toolErrors"]  # of the one call that may have been running
    assert (report["ok"] + doubts, report["errors"]) == (60, 0)
    assert doubts <= 1
    assert report["ok"] <= len(noted(journal)) <= report["ok"] + doubts
    rows = [row for row in get_audit(cluster.url(setting.live[0])) if row["arguments"].get("path") == str(journal)]
    assert [row["outcome"] for row in rows].count("ok") == report["ok"]
    assert len({row["key"] for row in rows}) == len(rows) == 60
    assert {row["executor"] for row in rows} >= {leader, await cluster.leader()}
