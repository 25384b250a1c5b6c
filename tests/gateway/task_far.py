"""The server of `task_server` for tests: as an entry on stdio, and over Streamable HTTP in the process of the test."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from semel.gateway.doors.http import serve_http
from tests.gateway import task_server
from tests.gateway.task_server import TaskServer


class Far:
    """The server, and what it was asked; `tasks` may be replaced by another, which knows nothing of its tasks."""

    def __init__(self, era: str) -> None:
        self.era = era
        self.noted: list[str] = []
        self.url = ""
        self.breaks: Counter[str] = Counter()
        """So many requests of a method are still to be answered as a proxy does whose server has gone."""
        self.named: list[tuple[str, str | None]] = []
        """The method and the header `Mcp-Name` of each request on a task."""
        self._session = 1
        self._streams: dict[str, asyncio.Queue[dict[str, Any] | None]] = {}
        """The streams that wait for what comes of a question, by the question's id."""
        self.restart()

    def restart(self) -> None:
        """Forget all tasks."""
        self.tasks = TaskServer(self.era, self.noted.append, lambda: self.noted)

    def forget(self) -> None:
        """Forget the session, but not its tasks."""
        self._session += 1

    def cut(self) -> None:
        """End the streams that wait for answers, as a proxy does when nothing flows."""
        for stream in self._streams.values():
            stream.put_nowait(None)

    async def answer(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(status_code=405)
        message = await request.json()
        method = message.get("method", "")
        if method.startswith("tasks/"):
            self.named.append((method, request.headers.get("mcp-name")))
        if self.breaks[method]:
            self.breaks[method] -= 1
            return Response("upstream prematurely closed the connection", 502)
        session = f"session-{self._session}"
        if self.era == "old" and method != "initialize" and request.headers.get("mcp-session-id") != session:
            return Response(status_code=404)
        said = self.tasks.take(message)
        if not method and (stream := self._streams.pop(message["id"], None)) is not None:
            stream.put_nowait(said[0])
            return Response(status_code=202)
        if not said:
            return Response(status_code=202)
        if said[0].get("method") == "elicitation/create":
            return StreamingResponse(self._stream(said[0]), media_type="text/event-stream")
        headers = {"mcp-session-id": session} if method == "initialize" else None
        answer = next(each for each in said if each.get("id") == message["id"])
        return JSONResponse(answer, headers=headers)

    async def _stream(self, question: dict[str, Any]) -> AsyncIterator[str]:
        stream = self._streams[question["id"]] = asyncio.Queue()
        yield f"data: {json.dumps(question)}\n\n"
        if (answer := await stream.get()) is not None:
            yield f"data: {json.dumps(answer)}\n\n"


def near(era: str, file: Path) -> dict[str, Any]:
    """Return the entry of such a server on stdio."""
    file.touch()
    return {"command": sys.executable, "args": [str(Path(task_server.__file__)), era, str(file)]}


@asynccontextmanager
async def far(era: str) -> AsyncIterator[Far]:
    server = Far(era)
    routes = [Route("/mcp", server.answer, methods=["GET", "POST", "DELETE"])]
    async with serve_http(Starlette(routes=routes), "127.0.0.1", 0) as port:
        server.url = f"http://127.0.0.1:{port}/mcp"
        yield server
