"""The way through: an MCP server for one client, with a cluster behind it whose nodes may die.

Knows a `Client`, which keeps a call's key over its retries; neither nodes nor transports. What this server offers is
what nodes offer.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from mcp.server import Server
from mcp_types import CLIENT_CAPABILITIES_META_KEY, LOG_LEVEL_META_KEY, PROTOCOL_VERSION_META_KEY

from semel.errors import Busy, SemelError
from semel.gateway import meta
from semel.gateway.clients.client import Client
from semel.gateway.clients.lookout import Lookout
from semel.gateway.clients.passedtasks import PassedTasks
from semel.gateway.doors.announcing import Announcer
from semel.gateway.doors.asked import ANONYMOUS, KEYS_OF_CLIENTS, Asked
from semel.gateway.doors.hearing import Hearing
from semel.gateway.doors.inquiries import Inquiry
from semel.gateway.doors.server import make_door
from semel.gateway.doors.tasking import takes_tasks
from semel.gateway.taskmode import EXTENSION

_OF_THE_CONNECTION = "io.modelcontextprotocol/"
"""What such names say in the `_meta` of an answer is said anew by whoever passes it on."""

CALLS_MAX = 1024
"""So many requests wait here at once; one client asks for no more, and a node takes four times as many from all."""

_CANCEL_S = 10.0
"""How long it is tried to tell a node that its tool is to stop."""


@asynccontextmanager
async def open_passage(
    client: Client,
    *,
    client_keys: Sequence[str] = KEYS_OF_CLIENTS,
    list_timeout_s: float | None = None,
    introduction_s: float = 0.5,
    note: Callable[[str], object] = lambda _text: None,
) -> AsyncIterator[Server[Any]]:
    """Give an MCP server of both eras that passes everything on through `client`, as long as the context is open.

    Args:
        client: retries, with one key a call, for as long as it was told to; so no tickets are given here.
        client_keys: names in `_meta` that may hold an idempotency key.
        list_timeout_s: how long the list of tools may take, if not as long as a call.
        introduction_s: how long the nodes have to say what they offer. If none does, this server offers tools alone
            until one does, which clients of the handshake eras do not learn.
        note: is told, in a line, what happens.
    """
    announcer = Announcer()
    lookout = Lookout(client, announcer)
    if not await lookout.meet(introduction_s):
        note("no node answers yet; calls are held until one does")
    passage = _Passage(client, lookout, list_timeout_s, note)
    keeping = asyncio.create_task(lookout.keep(), name="lookout")
    try:
        server = make_door(
            passage,
            instructions=lookout.instructions,
            client_keys=client_keys,
            tickets=False,
            announcer=announcer,
            tasks=PassedTasks(passage.ask),
        )
        yield server
    finally:
        announcer.close()
        tasks = [keeping, *passage.stopping]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class _Passage:
    """A cluster out there, as the door sees it."""

    def __init__(
        self, client: Client, lookout: Lookout, list_timeout_s: float | None, note: Callable[[str], object]
    ) -> None:
        self._client = client
        self._lookout = lookout
        self._list_timeout_s = list_timeout_s
        self._note = note
        self._answers_from = ""
        self._waiting = 0
        self._party = secrets.token_hex(16)
        self.stopping: set[asyncio.Task[None]] = set()
        """What tells nodes that tools are to stop."""

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        with self._asking("the tools cannot be listed"):
            return await self._client.tools(timeout_s=self._list_timeout_s)

    async def ask(self, inquiry: Inquiry, hearing: Hearing) -> dict[str, Any]:
        method, params = inquiry.method, inquiry.said()
        along = self._passed_on(params["_meta"], hearing, tasks=method.startswith("tasks/"))
        said = along | _said_by_semel(inquiry)
        with self._asking(f"{method} has no answer"):
            return _bare(await self._client.request(method, {**params, "_meta": said}, heard=hearing.told))

    async def call(self, tool: str, arguments: Mapping[str, Any], given: Asked, hearing: Hearing) -> dict[str, Any]:
        along = self._passed_on(given.details.meta, hearing, tasks=given.as_task or takes_tasks(given.also))
        with self._asking(f"{tool} has no answer"):
            answer = await self._client.call(
                tool,
                arguments,
                key=given.key,
                made=given.made,
                also=along | _said_by_semel(given) | ({meta.CLIENT: given.client} if given.client else {}),
                heard=hearing.told,
                state=given.state,
                answers=given.replies or (given.details.answers or {}).get("inputResponses"),
            )
        return _bare(answer.raw)

    def cancel(self, given: Asked) -> None:
        task = asyncio.create_task(self._stop(given), name="stop a tool")
        self.stopping.add(task)
        task.add_done_callback(self.stopping.discard)

    def offers(self) -> Mapping[str, Any]:
        return self._lookout.offers

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """Return nothing: what goes into headers is between this client and a node."""
        return None

    @contextmanager
    def _asking(self, trouble: str) -> Iterator[None]:
        """Count a request that waits for the cluster, and say what became of it, if that is news."""
        if self._waiting >= CALLS_MAX:
            raise Busy(f"{CALLS_MAX} calls wait here for the cluster: try again in a moment. Nothing was run")
        self._waiting += 1
        try:
            yield
        except SemelError as error:
            self._note(f"{trouble}: {error}")
            raise
        finally:
            self._waiting -= 1
        answers_from = self._client.urls[0]
        if self._answers_from != answers_from:
            self._answers_from = answers_from
            self._note(f"{answers_from} answers")
        self._lookout.answered(answers_from)

    def _passed_on(self, said: Mapping[str, Any], hearing: Hearing, *, tasks: bool) -> dict[str, Any]:
        """Return what of a request's `_meta` goes along: all but what is said anew on this side's way to a node.

        `tasks` says that the client can take tasks, which is not for the tools to know.
        """
        along = {name: value for name, value in said.items() if name != PROTOCOL_VERSION_META_KEY}
        if tasks:
            able = along.get(CLIENT_CAPABILITIES_META_KEY, {})
            along[CLIENT_CAPABILITIES_META_KEY] = {**able, "extensions": {**able.get("extensions", {}), EXTENSION: {}}}
        if not hearing.modern and LOG_LEVEL_META_KEY not in along:
            along[meta.LOGS_UNASKED] = True
        return {**along, meta.PARTY: self._party}

    async def _stop(self, given: Asked) -> None:
        try:
            async with asyncio.timeout(_CANCEL_S):
                await self._client.cancel(given.key, caller=given.caller, round=given.details.round)
        except (TimeoutError, SemelError) as error:
            self._note(f"no node could be told that the call {given.key} is not wanted any more: {error}")


def _said_by_semel(given: Asked | Inquiry) -> dict[str, Any]:
    """Return what a node could not know otherwise: who asks, what for, and how a server's questions were answered."""
    caller = {} if given.caller == ANONYMOUS else {meta.CALLER: given.caller}
    refused = {meta.REFUSED: dict(given.refused)} if given.refused else {}
    as_task = {meta.AS_TASK: True} if isinstance(given, Asked) and given.as_task else {}
    return caller | refused | as_task


def _bare(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node's answer without its envelope, which this server puts around it anew."""
    said = {name: value for name, value in (raw.get("_meta") or {}).items() if not name.startswith(_OF_THE_CONNECTION)}
    bare = {name: value for name, value in raw.items() if name != "_meta"}
    return {**bare, "_meta": said} if said else bare
