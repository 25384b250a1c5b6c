"""What is behind the door: tools and answers, from a node here or a cluster out there.

Knows the `Backend` protocol, and how what a tool asks goes to its client in a ticket; no requests of MCP.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mcp import MCPError, types

from semel.core.call import Status
from semel.errors import KeyMissing
from semel.gateway import meta
from semel.gateway.answers import result_of
from semel.gateway.doors.asked import Asked, ticket_of
from semel.gateway.doors.hearing import Hearing
from semel.gateway.doors.inquiries import Inquiries, Inquiry
from semel.node.asides import Unanswered
from semel.node.backend import Backend, Reply, ToolTable


class Door(Protocol):
    """Where tools and answers come from: a node, or a cluster out there."""

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools as MCP's tools/list shows them."""
        ...

    async def call(self, tool: str, arguments: Mapping[str, Any], given: Asked, hearing: Hearing) -> dict[str, Any]:
        """Return the CallToolResult of a call, or an InputRequiredResult; `hearing` hears what the tool says.

        Raises:
            SemelError: there is none; the text says why, and what a retry would do.
        """
        ...

    async def ask(self, inquiry: Inquiry, hearing: Hearing) -> dict[str, Any]:
        """Return the result of a request that is no call, or an InputRequiredResult; `hearing` hears what is said.

        Raises:
            MCPError: the answer is an error.
            SemelError: there is no answer.
        """
        ...

    def cancel(self, given: Asked) -> None:
        """Have a call's tool stopped; best effort."""
        ...

    def offers(self) -> Mapping[str, Any]:
        """Return what there is, as MCP's ServerCapabilities has it."""
        ...

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """Return what a tool takes, if that is known without asking."""
        ...


class NodeDoor:
    """A node, as the door sees it."""

    def __init__(self, backend: Backend, *, require_key: bool) -> None:
        self._backend = backend
        self._require_key = require_key
        self._inquiries = Inquiries(backend)
        self._schemas = ToolTable(backend.tools, lambda tool: tool["inputSchema"])
        self._effects = ToolTable(backend.tools, lambda tool: (tool.get("_meta") or {}).get(meta.EFFECT, "once"))

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools as MCP's tools/list shows them."""
        return self._backend.tools()

    async def call(self, tool: str, arguments: Mapping[str, Any], given: Asked, hearing: Hearing) -> dict[str, Any]:
        """Return the result of a call, or what its tool asks for."""
        if self._require_key and not given.named and self._effects.get(tool) == "once":
            raise KeyMissing(
                f"this node runs {tool} only under an idempotency key of the client's: send one in "
                f'_meta["{meta.KEY}"], or in the header Idempotency-Key. Nothing was run'
            )
        for key, reply in given.replies.items():
            self._backend.asides.answer(given.id, key, result=reply)
        for key, error in given.refused.items():
            self._backend.asides.answer(given.id, key, error=error)
        answer = self._backend.call(
            tool,
            arguments,
            key=given.key,
            caller=given.caller,
            client=given.client,
            made=given.made,
            details=given.details,
            party=hearing,
        )
        if not hearing.may_collect:
            return _result_of(await answer, given)
        calling = asyncio.ensure_future(answer)
        try:
            while not calling.done() and not hearing.questions:  # one that was asked may be withdrawn at once
                await hearing.until_called(calling)
            return _result_of(calling.result(), given) if calling.done() else _asking(hearing, given)
        finally:
            calling.cancel()  # the call itself goes on

    async def ask(self, inquiry: Inquiry, hearing: Hearing) -> dict[str, Any]:
        """Return what the servers behind the node answer, or ask."""
        try:
            return await self._inquiries.ask(inquiry, hearing)
        except Unanswered as error:
            raise MCPError.from_error_data(types.ErrorData.model_validate(error.error)) from error

    def cancel(self, given: Asked) -> None:
        """Have a call's tool stopped."""
        self._backend.asides.cancel(given.id)

    def offers(self) -> Mapping[str, Any]:
        """Return what the servers behind the node offer."""
        return self._backend.offers()

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """Return what a tool takes."""
        return self._schemas.get(name)


def _result_of(reply: Reply, given: Asked) -> dict[str, Any]:
    """Return the result of a reply; what it takes to go on, where the tool asks for more, is in a ticket."""
    result, record = result_of(reply), reply.record
    if record.status is Status.INPUT_REQUIRED:
        following = {"round": record.id.round + 1, "state": result.get("requestState"), "answers": None}
        result["requestState"] = ticket_of(given, why="wants", **following).text()
    return result


def _asking(hearing: Hearing, given: Asked) -> dict[str, Any]:
    """Return an InputRequiredResult with what a running tool asks, which waits for the answer meanwhile."""
    questions = dict(hearing.questions)
    ticket = ticket_of(given, why="asks", questions=tuple(questions))
    asked_for = {key: {"method": each.method, "params": each.params} for key, each in questions.items()}
    said = {meta.KEY: given.key}
    return {"resultType": "input_required", "inputRequests": asked_for, "requestState": ticket.text(), "_meta": said}
