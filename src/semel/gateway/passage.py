"""The way through: an MCP server for one client, whose calls go to a cluster and survive the death of its nodes.

Knows a `Client`, which keeps the key over its retries; neither nodes nor transports. What this server offers is what
nodes offer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mcp import MCPError, types
from mcp.server import Server

from semel.errors import Busy, SemelError
from semel.gateway import meta
from semel.gateway.asked import ANONYMOUS, KEYS_OF_CLIENTS, Asked
from semel.gateway.client import Client
from semel.gateway.hearing import Hearing
from semel.gateway.server import make_door

_OF_THE_CONNECTION = "io.modelcontextprotocol/"
"""What such names in `_meta` say is said anew by whoever passes a message on."""

CALLS_MAX = 1024
"""So many calls wait here at once; one client asks for no more, and a node takes four times as many from all."""


def make_passage(
    client: Client,
    *,
    instructions: str | None = None,
    client_keys: Sequence[str] = KEYS_OF_CLIENTS,
    list_timeout_s: float | None = None,
    note: Callable[[str], object] = lambda _text: None,
) -> Server[Any]:
    """Return an MCP server of both eras that passes calls on through `client`.

    Args:
        client: retries, with one key a call, for as long as it was told to; so no tickets are given here.
        instructions: what the served server says of itself to models.
        client_keys: names in `_meta` that may hold an idempotency key.
        list_timeout_s: how long the list of tools may take, if not as long as a call.
        note: is told, in a line, what happens.
    """
    passage = _Passage(client, list_timeout_s, note)
    return make_door(passage, instructions=instructions, client_keys=client_keys, tickets=False)


class _Passage:
    """A cluster out there, as the door sees it."""

    def __init__(self, client: Client, list_timeout_s: float | None, note: Callable[[str], object]) -> None:
        self._client = client
        self._list_timeout_s = list_timeout_s
        self._note = note
        self._answers_from = ""
        self._waiting = 0

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        try:
            tools = await self._client.tools(timeout_s=self._list_timeout_s)
        except SemelError as error:
            self._note(f"the tools cannot be listed: {error}")
            raise
        self._heard()
        return tools

    async def ask(self, method: str, params: Mapping[str, Any], hearing: Hearing) -> dict[str, Any]:
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", method)

    def cancel(self, given: Asked) -> None:
        pass

    def offers(self) -> Mapping[str, Any]:
        return {}

    async def call(self, tool: str, arguments: Mapping[str, Any], given: Asked, hearing: Hearing) -> dict[str, Any]:
        if self._waiting >= CALLS_MAX:
            raise Busy(f"{CALLS_MAX} calls wait here for the cluster: try again in a moment. Nothing was run")
        self._waiting += 1
        try:
            answer = await self._client.call(tool, arguments, key=given.key, made=given.made, also=_passed_on(given))
        except SemelError as error:
            self._note(f"{tool} has no answer: {error}")
            raise
        finally:
            self._waiting -= 1
        self._heard()
        return _bare(answer.raw)

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """Return nothing: what goes into headers is between this client and a node."""
        return None

    def _heard(self) -> None:
        """Say which node answers, once, and again when that changes."""
        if self._answers_from != self._client.urls[0]:
            self._answers_from = self._client.urls[0]
            self._note(f"{self._answers_from} answers")


def _passed_on(given: Asked) -> dict[str, Any]:
    """Return what of a request's `_meta` goes along: all but what belongs to this connection, or is said anew."""
    mine = ("progressToken", "progress_token", meta.KEY, meta.KEY_MADE)
    also = {name: value for name, value in given.also.items() if name not in mine}
    also = {name: value for name, value in also.items() if not name.startswith(_OF_THE_CONNECTION)}
    caller = {} if given.caller == ANONYMOUS else {meta.CALLER: given.caller}
    client = {meta.CLIENT: given.client} if given.client else {}
    return also | caller | client


def _bare(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node's answer without its envelope, which this server puts around it anew."""
    said = {name: value for name, value in raw["_meta"].items() if not name.startswith(_OF_THE_CONNECTION)}
    return {name: value for name, value in raw.items() if name != "resultType"} | {"_meta": said}
