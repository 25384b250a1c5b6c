"""One client's request at the door: passes on to the client what is said in the course of it, and asks it.

A client of the handshake eras is asked over the connection that its request came on. One of 2026-07-28 cannot be: what
it is asked is collected here, and goes into the answer to its request, which it then sends again with its replies.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from mcp import MCPError, types
from mcp.server import ServerRequestContext
from mcp.shared.message import ServerMessageMetadata
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from mcp_types.methods import parse_server_notification, parse_server_request
from pydantic import RootModel, ValidationError

from semel.gateway.asker import QUESTIONS, can_answer
from semel.node.asides import Question

_log = logging.getLogger(__name__)

_WAITING_MAX = 1024
_WAITING_CHARS_MAX = 4 * 2**20
"""Notifications that a client has not taken yet, and their size; what comes on top of them is dropped."""

_FLUSH_S = 1.0
"""How long the answer waits for the notifications before it to be taken."""


class _Anything(RootModel[dict[str, Any]]):
    """A client's answer as it came."""


class Hearing:
    """A `Party` for one request, as long as the context is open; lives in the node's event loop.

    Of a client of 2026-07-28 `questions` are what it is to be asked, if it can answer any; if it cannot be asked by
    this request (not `collects`), it declines. If another request will ask it (not `asks`), it is asked nothing.
    """

    def __init__(self, context: ServerRequestContext[Any, Any], *, collects: bool = True, asks: bool = True) -> None:
        self._context = context
        self._collects = collects
        self._asks = asks
        self.modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        self.may_collect = self.modern and collects and asks and can_answer(context.meta or {})
        """False if there will be no `questions`, whatever the tool asks."""
        self.questions: dict[str, Question] = {}
        self._woken: asyncio.Future[None] | None = None
        self._said: asyncio.Queue[tuple[str, dict[str, Any], int]] | None = None
        self._waiting_chars = 0
        self._teller: asyncio.Task[None] | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let what was said leave before the answer does; what is asked from now on is somebody else's to answer."""
        self._asks = False
        tasks = list(self._asking.values())
        if self._teller is not None and self._said is not None:
            if error is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._said.join(), _FLUSH_S)
            tasks.append(self._teller)
        for task in tasks:
            task.cancel()
        if tasks and error is None:
            await asyncio.wait(tasks)

    def until_called(self, waits_for: "asyncio.Future[Any]") -> "asyncio.Future[None]":
        """Return what is done once the client is to be asked something, or `waits_for` has ended."""
        self._woken = asyncio.get_running_loop().create_future()
        waits_for.add_done_callback(self._wake)
        if self.questions:
            self._wake()
        return self._woken

    def _wake(self, _: object = None) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    # What the tool says and asks (a `Party`).

    def told(self, method: str, params: dict[str, Any]) -> None:
        """Take a notification of the tool's."""
        if self._said is None:
            self._said = asyncio.Queue(_WAITING_MAX)
            self._teller = asyncio.create_task(self._tell_for_ever(self._said), name="tell a client")
        size = len(str(params))
        if not self._said.full() and (self._waiting_chars + size <= _WAITING_CHARS_MAX or self._said.empty()):
            self._said.put_nowait((method, params, size))
            self._waiting_chars += size

    def asked(self, question: Question) -> None:
        """Take a question."""
        if not self._asks:
            return
        if self.may_collect:
            self.questions[question.key] = question
            self._wake()
        elif not (self.modern and self._collects):  # else it waits for another client of this call, who can answer
            task = asyncio.create_task(self._put(question), name=f"ask a client: {question.method}")
            self._asking[question.key] = task

    def withdrawn(self, key: str) -> None:
        """Note that a question needs no answer any more."""
        self.questions.pop(key, None)
        if (task := self._asking.pop(key, None)) is not None and task is not asyncio.current_task():
            task.cancel()

    # The client.

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the client answers, over its connection; raises MCPError."""
        session = self._context.session
        capabilities = session.client_capabilities
        if self.modern or capabilities is None or getattr(capabilities, QUESTIONS.get(method, "?"), None) is None:
            raise MCPError(types.INVALID_REQUEST, f"this client cannot be asked ({method})")
        try:
            request: Any = parse_server_request(method, self._context.protocol_version, dict(params) or None)
            told = ServerMessageMetadata(related_request_id=self._context.request_id)
            return (await session.send_request(request, _Anything, metadata=told)).root
        except (KeyError, ValidationError) as error:
            raise MCPError(
                types.INTERNAL_ERROR, f"the client's protocol version has no such question: {method}"
            ) from error

    async def _put(self, question: Question) -> None:
        try:
            answer = await self.ask(question.method, question.params)
        except MCPError as error:
            question.answer(error=error.error.model_dump(exclude_none=True))
        except Exception:
            _log.exception("a client cannot be asked")
            question.answer(error={"code": types.INTERNAL_ERROR, "message": "the client cannot be asked"})
        else:
            question.answer(result=answer)

    async def _tell_for_ever(self, said: "asyncio.Queue[tuple[str, dict[str, Any], int]]") -> None:
        while True:
            method, params, size = await said.get()
            self._waiting_chars -= size
            try:
                await self._tell(method, params)
            except Exception as error:  # a client that is gone, or a message that its version does not have
                _log.debug("%s was not told: %r", method, error)
            finally:
                said.task_done()

    async def _tell(self, method: str, params: dict[str, Any]) -> None:
        session = self._context.session
        if method == "notifications/progress":
            await session.report_progress(params["progress"], params.get("total"), params.get("message"))
            return
        notification: Any = parse_server_notification(method, self._context.protocol_version, params)
        await session.send_notification(notification, related_request_id=self._context.request_id)
