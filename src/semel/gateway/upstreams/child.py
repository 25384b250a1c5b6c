"""One life of a stdio server's process, as a transport of the SDK's client.

The SDK's own stdio transport keeps the process to itself; this one says when it ended, with which exit code and what
its last words were, and never leaves a child or a grandchild behind. It knows no MCP beyond one message a line.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, TypeAlias

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import MCPError, types
from mcp.client.stdio import get_default_environment
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.message import SessionMessage

from semel.gateway.upstreams.servers import Command

_LINE_BYTES_MAX = 128 * 2**20
"""One message; over four times the largest result that is kept, so that a larger one is refused by its size."""

_SHOWN_CHARS_MAX = 2000
"""How much of one line of a server's is passed on to our stderr."""

_STOP_S = 1.0
"""How long a server may take to exit once its stdin is closed, and again after SIGTERM."""


_OWN_ID_FIRST = 2**30
"""The ids of requests that do not go through the SDK's session begin here: it counts its own from 1."""

_NOT_WANTED = "caller cancelled"
"""Why a request is given up, in the SDK's own words."""

Incoming: TypeAlias = SessionMessage | Exception
"""What the SDK's client reads; this transport never sends it an exception."""


class _Error(msgspec.Struct):
    code: int
    message: str
    data: Any = None


class _Answer(msgspec.Struct):
    jsonrpc: Literal["2.0"]
    id: int
    result: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    error: _Error | msgspec.UnsetType = msgspec.UNSET


_answer_decoder = msgspec.json.Decoder(_Answer)


class Child:
    """A stdio server's process; entering the context starts it, leaving it ends the whole process group.

    What its streams bring and take is the SDK's session's, but for what is sent by `request`.

    `on_lost` is called once the process has closed its stdout, which is the end of the connection.
    """

    def __init__(self, name: str, command: Command, on_lost: Callable[[], None]) -> None:
        self._name = name
        self._command = command
        self._on_lost = on_lost
        self._process: asyncio.subprocess.Process | None = None
        self._pumps: list[asyncio.Task[None]] = []
        self._asked = 0
        """The highest id of a request that was sent; the SDK counts them."""
        self._own = itertools.count(_OWN_ID_FIRST)
        self._own_asked = _OWN_ID_FIRST - 1
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._leaving: list[bytes] = []
        """What `request` sends in this turn of the event loop: many calls may begin at once, and leave together."""
        self._over = False
        self.last_words = ""

    async def __aenter__(
        self,
    ) -> tuple[MemoryObjectReceiveStream[Incoming], MemoryObjectSendStream[SessionMessage]]:
        """Start the process.

        Raises:
            OSError: there is no such program, or it cannot be run.
        """
        self._process = await asyncio.create_subprocess_exec(
            self._command.command,
            *self._command.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**get_default_environment(), **self._command.environment},
            cwd=self._command.folder,
            start_new_session=True,
            limit=_LINE_BYTES_MAX,
        )
        arriving, incoming = anyio.create_memory_object_stream[Incoming](0)
        outgoing, leaving = anyio.create_memory_object_stream[SessionMessage](0)
        self._streams = (arriving, incoming, outgoing, leaving)
        self._pumps = [
            asyncio.create_task(self._read(self._process, arriving)),
            asyncio.create_task(self._write(self._process, leaving, arriving)),
            asyncio.create_task(self._listen(self._process)),
        ]
        return incoming, outgoing

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process: close its stdin, then SIGTERM, then SIGKILL to the group; each wait is bounded."""
        for stream in self._streams:
            stream.close()
        stopping = asyncio.ensure_future(self._stop())
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await stopping  # whoever is in a hurry still waits for the bounded stop: no orphan
            raise

    async def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request past the SDK's session, and return the result as it came; nothing of it has been judged.

        For requests that want nothing but their answer: what the server says meanwhile goes to the session.

        Raises:
            MCPError: the server answered with an error, or has gone.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # that it is gone shows at its stdout
            await self._process.stdin.drain()
        if self._over:
            raise MCPError(types.CONNECTION_CLOSED, "Connection closed")
        number = self._own_asked = next(self._own)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._send({"id": number, "method": method, "params": params})
            return await answer
        except asyncio.CancelledError:
            self._send({"method": "notifications/cancelled", "params": {"requestId": number, "reason": _NOT_WANTED}})
            raise
        finally:
            del self._answers[number]

    def _send(self, message: Mapping[str, Any]) -> None:
        line = msgspec.json.encode({"jsonrpc": "2.0", **message}) + b"\n"
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self._flush)
        self._leaving.append(line)

    def _flush(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        lines, self._leaving = self._leaving, []
        self._process.stdin.write(b"".join(lines))

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs or was never started."""
        return None if self._process is None else self._process.returncode

    async def ending(self) -> str:
        """Return how the process came to its end, for an error's text."""
        assert self._process is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self._process.wait()
                await asyncio.wait(self._pumps[2:])  # its last words
        code = self.exit_code
        how = "closed its stdout" if code is None else f"exited with code {code}"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        return f"{how}; its last words: {self.last_words}" if self.last_words else how

    def kill(self) -> None:
        """Kill the process group at once; may be called from any thread."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _stop(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        if not await self._exits():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGTERM)
            await self._exits()
        self.kill()  # always: a grandchild may have outlived its parent
        await self._exits()
        _, pending = await asyncio.wait(self._pumps, timeout=_STOP_S)
        for pump in pending:  # somebody who left the group holds the pipes
            pump.cancel()
        process._transport.close()  # type: ignore[attr-defined]  # nothing public closes the pipes; the SDK does so too

    async def _exits(self) -> bool:
        """Return whether the process ends within its time, with all that hold its pipes."""
        assert self._process is not None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _STOP_S)
            return True
        return False

    async def _read(self, process: asyncio.subprocess.Process, arriving: MemoryObjectSendStream[Incoming]) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                if self._answers and self._takes(line):
                    continue
                try:
                    message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError:
                    self._say("printed to stdout, which is for MCP messages: ", line)
                    continue
                if self._takes_message(message):
                    continue
                if self._is_stray(message):
                    self._say("answered what it was not asked: ", line)
                await arriving.send(SessionMessage(message))
        except ValueError:
            self._say("", b"a message is longer than semel takes; the connection is given up")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # we are leaving
        finally:
            self._on_lost()
            self._over = True
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(MCPError(types.CONNECTION_CLOSED, "Connection closed"))
            arriving.close()

    async def _write(
        self,
        process: asyncio.subprocess.Process,
        leaving: MemoryObjectReceiveStream[SessionMessage],
        arriving: MemoryObjectSendStream[Incoming],
    ) -> None:
        assert process.stdin is not None
        over = (OSError, anyio.ClosedResourceError, anyio.BrokenResourceError)
        with contextlib.suppress(*over):  # that it is gone shows at its stdout
            async for message in leaving:
                said = message.message
                if isinstance(said, types.JSONRPCRequest) and isinstance(said.id, int):
                    self._asked = max(self._asked, said.id)
                try:
                    line = said.model_dump_json(by_alias=True, exclude_unset=True)
                except ValueError as why:  # half of a surrogate pair, say, which is no text that a pipe could carry
                    error = types.ErrorData(code=types.INVALID_PARAMS, message=f"it is not JSON: {why}")
                    answer = types.JSONRPCError(jsonrpc="2.0", id=getattr(said, "id", None), error=error)
                    if isinstance(said, types.JSONRPCRequest):
                        await arriving.send(SessionMessage(answer))
                        continue
                    line = answer.model_dump_json(by_alias=True)  # in the place of the answer to a question
                process.stdin.write(line.encode() + b"\n")
                await process.stdin.drain()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:
                line = b"(a line beyond all measure)"  # what follows is read: a full pipe would stop the server
            if not line:
                return
            self._say("", line)

    def _takes(self, line: bytes) -> bool:
        """Take an answer to a request of `request`, if a line is one that needs no second look."""
        try:
            answer = _answer_decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        waiting = self._answers.get(answer.id)
        if waiting is None or (answer.result is msgspec.UNSET) == (answer.error is msgspec.UNSET):
            return False
        if waiting.done():
            return True
        if answer.error is not msgspec.UNSET:
            waiting.set_exception(MCPError(answer.error.code, answer.error.message, answer.error.data))
        elif answer.result is not msgspec.UNSET:
            waiting.set_result(answer.result)
        return True

    def _takes_message(self, message: types.JSONRPCMessage) -> bool:
        """The same for one that is spelled in an odd way."""
        if not isinstance(message, types.JSONRPCResponse | types.JSONRPCError) or message.id is None:
            return False
        waiting = self._answers.get(coerced) if isinstance(coerced := coerce_request_id(message.id), int) else None
        if waiting is None or waiting.done():
            return waiting is not None
        if isinstance(message, types.JSONRPCError):
            waiting.set_exception(MCPError.from_error_data(message.error))
        else:
            waiting.set_result(message.result)
        return True

    def _is_stray(self, message: types.JSONRPCMessage) -> bool:
        """Return whether a message answers a request that was never made; one that was given up may be answered."""
        if not isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            return False
        if not isinstance(message.id, int):
            return message.id is None
        return not (0 <= message.id <= self._asked or _OWN_ID_FIRST <= message.id <= self._own_asked)

    def _say(self, prefix: str, line: bytes) -> None:
        """Pass a line on to our stderr and remember it."""
        text = line.decode(errors="replace").strip()
        if text:
            self.last_words = text[:500]
            print(f"[{self._name}] {prefix}{text[:_SHOWN_CHARS_MAX]}", file=sys.stderr, flush=True)
