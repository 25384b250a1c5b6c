"""The clients, led in one way: the Python SDK's in this process, the TypeScript SDKs' in one of their own.

Results are JSON objects, as they are on the wire. `insist` is the little that an application around a client does:
what broke is asked again under the same key, in a new session if the old one is gone.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.stdio import stdio_client

from tests import npm

KEY = "dev.semel/idempotency-key"
SCRIPT = Path(__file__).with_name("client.mjs")
CONNECT = (sys.executable, "-m", "semel", "connect")
ANSWER_LIMIT_S = 60.0
INSIST_LIMIT_S = 60.0

Result = dict[str, Any]


class Failed(Exception):
    """A request failed; `gone` says that its session is, and a new one is needed."""

    def __init__(self, message: str, *, gone: bool) -> None:
        super().__init__(message)
        self.gone = gone


class Asking(Protocol):
    """A client with one session at a time; `sessions` counts them, `heard` is what it was told or asked meanwhile."""

    opening: asyncio.Lock
    sessions: int
    heard: list[tuple[str, Any]]

    async def open(self) -> None:
        """Open a session, in the place of the one before it."""

    async def call(self, tool: str, arguments: Result, key: str | None = None) -> Result:
        """Return a tool's result; raises Failed."""


async def insist(client: Asking, tool: str, arguments: Result, key: str) -> Result:
    """Return the result of a call, however often its connection breaks."""
    failures: list[str] = []
    try:
        async with asyncio.timeout(INSIST_LIMIT_S):
            while True:
                session = client.sessions
                try:
                    return await client.call(tool, arguments, key)
                except Failed as failed:
                    failures.append(str(failed))
                    async with client.opening:
                        if failed.gone and client.sessions == session:
                            await client.open()
                    await asyncio.sleep(0.05)
    except (TimeoutError, Failed) as error:
        raise AssertionError(f"{tool} did not come to an answer: {error!r}, after {failures}") from error


def said(result: Result) -> str:
    return "".join(part.get("text", "") for part in result["content"])


def told(result: Result, name: str) -> Any:
    """Return what semel says of a call, beside its result."""
    return result["_meta"].get(f"dev.semel/{name}")


class OfPython:
    """The Python SDK's client. Each of its connections lives in a task of its own, as anyio wants it."""

    def __init__(self, where: Sequence[str], version: str) -> None:
        self.opening = asyncio.Lock()
        self.sessions = 0
        self.heard: list[tuple[str, Any]] = []
        self._where = where
        self._version = version
        self._client: Client | None = None
        self._closing = asyncio.Event()
        self._living: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.close()
        self.sessions += 1
        self._closing = asyncio.Event()
        opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._living = asyncio.create_task(self._live(opened))
        self._client = await opened

    async def close(self) -> None:
        self._closing.set()
        if self._living is not None:
            await self._living
            self._living = None

    async def _live(self, opened: "asyncio.Future[Client]") -> None:
        try:
            async with Client(self._target(), mode=self._version, cache=None) as client:
                opened.set_result(client)
                await self._closing.wait()
        except Exception as error:
            if not opened.done():
                opened.set_exception(Failed(str(error), gone=True))

    def _target(self) -> Any:
        if self._where[0].startswith("http"):
            return self._where[0]
        command, *arguments = self._where
        return stdio_client(StdioServerParameters(command=command, args=arguments, env=dict(os.environ)))

    async def call(self, tool: str, arguments: Result, key: str | None = None) -> Result:
        assert self._client is not None
        meta: Any = {} if key is None else {KEY: key}
        try:
            result = await self._client.call_tool(tool, arguments, meta=meta, progress_callback=self._hear_progress)
        except MCPError as error:
            data = error.error.data if isinstance(error.error.data, dict) else {}
            gone = data.get("code") == "session_gone" or error.error.code == types.CONNECTION_CLOSED  # with all of it
            raise Failed(str(error), gone=gone) from error
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def tools(self) -> list[Result]:
        """Return the list of tools."""
        assert self._client is not None
        listed = await self._client.list_tools()
        return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed.tools]

    async def _hear_progress(self, progress: float, total: float | None, _message: str | None) -> None:
        self.heard.append(("progress", {"progress": progress, "total": total}))


class OfTypeScript:
    """A client of the TypeScript SDK, in a process that does as it is told, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.opening = asyncio.Lock()
        self.sessions = 0
        self.heard: list[tuple[str, Any]] = []
        self.agreed: Result = {}
        """What came of the last opening: the version of the protocol, the session's id, the server's capabilities."""
        self._process = process
        self._asked = 0
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._reading = asyncio.create_task(self._read())

    async def open(self) -> None:
        self.sessions += 1
        self.agreed = await self.do("open")

    async def call(self, tool: str, arguments: Result, key: str | None = None) -> Result:
        meta = {} if key is None else {"_meta": {KEY: key}}
        result: Result = await self.do("callTool", {"name": tool, "arguments": arguments, **meta})
        return result

    async def do(self, what: str, params: Any = None) -> Any:
        """Have the SDK's client do something, by the name of its method, and return what comes of it."""
        assert self._process.stdin is not None
        self._asked += 1
        waiting = self._waiting[self._asked] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": self._asked, "what": what, "params": params}).encode() + b"\n")
        done = await asyncio.wait_for(waiting, ANSWER_LIMIT_S)
        if "error" in done:
            error = done["error"]
            raise Failed(f"{error['message']} {error['cause']} {error['code']}", gone=error["code"] == 404)
        return done["result"]

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            if "heard" in message:
                self.heard.append((message["heard"], message["params"]))
            else:
                waiting = self._waiting.pop(message["id"])
                if not waiting.done():  # nobody waits any more
                    waiting.set_result(message)
        for waiting in self._waiting.values():
            waiting.set_exception(AssertionError("the client's process has ended"))


@asynccontextmanager
async def python(where: Sequence[str], version: str) -> AsyncIterator[OfPython]:
    """Lead the Python SDK's client; `where` is a URL, or a command and its arguments."""
    client = OfPython(where, version)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def typescript(
    packages: npm.Packages, sdk: int, where: Sequence[str], version: str, *, root: Path | None = None
) -> AsyncIterator[OfTypeScript]:
    """Lead the client of a TypeScript SDK of this major version; with a `root`, servers may ask it: for that, too."""
    manners = "able" if root is not None else "plain"
    process = await asyncio.create_subprocess_exec(
        *(packages.node, str(SCRIPT), str(packages.modules.parent), str(sdk), version, manners, *where),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
        cwd=root,
    )
    client = OfTypeScript(process)
    try:
        await client.open()
        yield client
    finally:
        await client.close()
