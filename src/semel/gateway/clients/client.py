"""`semel.connect`: a client of one or several nodes that keeps a call's key over its retries.

Knows URLs, time limits and retries; what goes over the wire is the work of `endpoint.py`.
"""

import asyncio
import contextlib
import json
import math
import random
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
from mcp import MCPError
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from semel.core.call import encode_arguments
from semel.core.limits import Limits
from semel.errors import BadArguments, CallError, ClusterError, SemelError, UsageError
from semel.gateway import meta
from semel.gateway.answers import Answer, answer_of, read_answer
from semel.gateway.clients.endpoint import SILENCE_S, Endpoint, Exchange, Heard, NotANode, NotConnected, Unreachable
from semel.gateway.clients.failures import Failures
from semel.gateway.doors.asof import AsOf
from semel.gateway.doors.ticket import Ticket

__all__ = ["Answer", "Client", "answer_of", "connect"]

_PAUSE_FIRST_S = 0.05
_PAUSE_MAX_S = 0.5
"""The pause once every URL has failed; it doubles. A new leader is there in a fraction of a second."""

_ANY_SIZE = Limits(arguments_bytes_max=sys.maxsize)
"""How large arguments may be, a node says; here they only have to be JSON."""

_IDLE_S = 60.0
"""How long an idle connection is kept; nodes keep theirs a little longer."""

STATUS_PATH = "/v1/status"
AUDIT_PATH = "/v1/audit"
CANCEL_PATH = "/v1/cancel"
_LINEARIZABLE = {"linearizable": "true"}

_LISTS = {f"{kind}ListChanged": True for kind in ("tools", "prompts", "resources")}

Progress = Callable[[float, float | None, str | None], None]
"""Takes how far a tool has come, out of how much if that is known, and what it says of that."""

_Value = TypeVar("_Value")


def connect(
    *urls: str | Iterable[str],
    caller: str | None = None,
    capabilities: Mapping[str, Any] | None = None,
    timeout_s: float = 60.0,
    attempt_timeout_s: float = 10.0,
    connect_timeout_s: float = 15.0,
) -> "Client":
    """Return a client of the nodes at `urls`; connections are opened when they are needed.

    Args:
        urls: one URL or several, or lists of them: "http://127.0.0.1:8420", with or without /mcp.
        caller: who asks, for the audit; the same key of two callers names two calls.
        capabilities: what tools may ask of this program, as MCP's ClientCapabilities has it: `{"elicitation": {}}`.
        timeout_s: how long a call may take over all its retries.
        attempt_timeout_s: how long one node may take before the next is asked, with the same key; twice as long each
            time that all were asked and one was silent.
        connect_timeout_s: how long there may be nobody at all to connect to before a call fails.
    """
    flat = [url for each in urls for url in ([each] if isinstance(each, str) else each)]
    return Client(
        flat,
        caller=caller,
        capabilities=capabilities,
        timeout_s=timeout_s,
        attempt_timeout_s=attempt_timeout_s,
        connect_timeout_s=connect_timeout_s,
    )


class Client:
    """A client of one or several nodes; `async with` closes its connections, and so does `close`."""

    def __init__(
        self,
        urls: Iterable[str],
        *,
        caller: str | None = None,
        capabilities: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
        attempt_timeout_s: float = 10.0,
        connect_timeout_s: float = 15.0,
    ) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_IDLE_S)
        self._http = httpx2.AsyncClient(timeout=None, limits=limits)
        self._endpoints = [Endpoint(url, self._http) for url in urls]
        if not self._endpoints:
            raise UsageError("semel.connect needs the URL of at least one node, such as http://127.0.0.1:8420")
        self._caller = caller
        self._capabilities = capabilities or {}
        self._timeout_s = timeout_s
        self._attempt_timeout_s = attempt_timeout_s
        self._connect_timeout_s = connect_timeout_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        made: bool = False,
        also: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        heard: Heard | None = None,
        state: str | None = None,
        answers: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Run a tool once and return how the call stands; nodes that fail are retried with the same key.

        Without a key one is made for this call. (`made` says of a given key that it was made so, too.) A read under
        such a key is answered even while the log cannot be written; then the answer is not `logged`. `also` is what
        else the request's `_meta` says, such as a trace context.

        `progress` is told how far the tool has come, and `heard` of all its notifications, by method and parameters.

        A tool's own failure is an Answer with the outcome "error", and a doubt one that is `in_doubt`. One with the
        outcome "input_required" asks for more, in `raw["inputRequests"]`: call again with the same tool, arguments
        and key, `state=answer.raw["requestState"]`, and as `answers` the results of these requests by their names.

        Raises:
            CallError: the call was refused, and nothing was run.
            ClusterError: no node gave an answer in time; the text names the key, with which a retry is safe.
            UsageError: what answered is no semel node, and may have run the tool.
            SemelError: no node that answered can go on; the text says why.
        """
        given = dict(arguments or {})
        following: dict[str, Any] = {"requestState": state, "inputResponses": answers}
        following = {name: value for name, value in following.items() if value is not None}
        for each in (given, following):
            encode_arguments(each, _ANY_SIZE)
        named = key if key is not None else _key_for(state)
        said = {**(also or {}), meta.KEY: named} | ({} if self._caller is None else {meta.CALLER: self._caller})
        if made or (key is None and state is None):
            said[meta.KEY_MADE] = True
        if progress is not None:
            said["progressToken"] = 0
        capabilities = said.pop(CLIENT_CAPABILITIES_META_KEY, self._capabilities)
        exchange = Exchange(capabilities=capabilities, heard=_hearing(progress, heard))

        async def ask(endpoint: Endpoint) -> Answer:
            try:
                raw = await endpoint.call(tool, given, said, exchange, following)
            except UnicodeEncodeError as error:
                raise BadArguments(f"tool or key hold what is no text: {error}. Nothing was run") from error
            try:
                return read_answer(raw)
            except (KeyError, ValueError) as error:
                # Not a NotANode: the next node would run it once more.
                raise UsageError(
                    f"{endpoint.url} is an MCP server, but no semel node: its answer lacks {error}. It knows no keys, "
                    f"and may have run {tool}"
                ) from error

        return await self._try(ask, timeout_s=timeout_s, key=named)

    async def cancel(self, key: str, *, caller: str | None = None, round: int = 1) -> None:
        """Have the tool of a call told to stop, wherever it runs; the call gets its outcome all the same.

        It may come too late, and may get lost. `caller` and `round` are those of the call.

        Raises:
            ClusterError: no node gave an answer in time.
        """
        whose = self._caller if self._caller is not None else caller
        named = {"key": key, "round": round}
        await self.post_json(CANCEL_PATH, named if whose is None else {**named, "caller": whose})

    async def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        heard: Heard | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Return the result of a request that changes nothing, as MCP has it, from the first node that answers.

        Such as `resources/read` with `{"uri": …}`, `prompts/get`, `completion/complete`, and their lists. `heard` is
        told of notifications that come before the result. A result whose `resultType` is "input_required" asks for
        more: request the same again, with its `requestState`, and as `inputResponses` the results by their names.

        Raises:
            MCPError: the served server answers with an error.
            ClusterError: no node gave an answer in time.
        """
        given = dict(params or {})
        encode_arguments(given, _ANY_SIZE)
        said = dict(given.pop("_meta", None) or {})
        capabilities = said.pop(CLIENT_CAPABILITIES_META_KEY, self._capabilities)
        exchange = Exchange(capabilities=capabilities, heard=_hearing(None, heard), silence_s=SILENCE_S)
        given["_meta"] = said if self._caller is None else {**said, meta.CALLER: self._caller}
        # Not by an attempt's time: the next node would begin anew.
        return await self._try(
            lambda endpoint: endpoint.request(method, given, exchange), timeout_s=timeout_s, attempt_s=math.inf
        )

    async def listen(self, heard: Heard, *, resources: Iterable[str] = ()) -> "asyncio.Task[None]":
        """Have a node tell of changes; return, once it has agreed, a task that lasts for as long as it does.

        `heard` takes MCP's notifications of lists that have changed, and of changes of the `resources` at these URIs.
        The node may die: then the task ends, and what changes until somebody listens again is not told.

        Raises:
            MCPError: the node has no such thing.
            ClusterError: no node gave an answer in time.
        """
        asked_for = {**_LISTS, "resourceSubscriptions": sorted(resources)}

        async def begin(endpoint: Endpoint) -> "asyncio.Task[None]":
            agreed = asyncio.Event()

            def hear(method: str, params: dict[str, Any]) -> None:
                agreed.set()  # with a notification of its own, which comes first
                if not method.startswith("notifications/subscriptions/"):
                    heard(method, params)

            exchange = Exchange(heard=hear, silence_s=SILENCE_S)
            stream = asyncio.ensure_future(
                endpoint.request("subscriptions/listen", {"notifications": asked_for}, exchange)
            )
            waiting = asyncio.ensure_future(agreed.wait())
            try:
                await asyncio.wait([stream, waiting], return_when=asyncio.FIRST_COMPLETED)
                if not agreed.is_set():
                    await stream
                    raise Unreachable("it ended its stream of changes")
            except BaseException:
                stream.cancel()
                raise
            finally:
                waiting.cancel()
            return asyncio.create_task(_until_its_end(stream), name=f"listen to {endpoint.url}")

        return await self._try(begin)

    @property
    def urls(self) -> list[str]:
        """The nodes' URLs; the one that answered last is the first, and is asked first."""
        return [endpoint.url for endpoint in self._endpoints]

    async def discover(self) -> dict[str, Any]:
        """Return what a node says of itself, MCP's DiscoverResult: `capabilities`, perhaps `instructions`.

        Raises:
            ClusterError: no node gave an answer in time.
        """
        return await self._try(Endpoint.discover)

    async def tools(self, *, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """Return the tools as MCP's tools/list shows them.

        Raises:
            ClusterError: no node gave an answer in time.
        """
        return await self._try(Endpoint.list_tools, timeout_s=timeout_s)

    async def status(self, *, linearizable: bool = False) -> dict[str, Any]:
        """Return how the cluster stands as one of its nodes has read it; the shape of `semel status --json`.

        A linearizable status knows of everything that was in the log when it was asked for.

        Raises:
            Unconfirmed: it cannot be linearizable just now.
            ClusterError: no node gave an answer in time.
        """
        return dict(await self.get_json(STATUS_PATH, _LINEARIZABLE if linearizable else {}))

    def audit(
        self,
        *,
        linearizable: bool = False,
        follow: bool = False,
        as_of: Callable[[AsOf], None] | None = None,
        **filters: str | int | None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the calls in the log, oldest first, in the shape of `semel audit --json`.

        Args:
            linearizable: begin once the node has read all that was in the log when this was asked.
            follow: go on with calls as they come to an outcome, for ever.
            as_of: is told first which position of the log is shown, and how old the node's newest sign of the log is.
            filters: `tool`, `caller`, `key`, `node`, `outcome`, `since_ms` (since 1970), `limit` (the newest so many).

        Raises:
            UsageError: there is no such filter.
            Unconfirmed: it cannot be linearizable just now.
            ClusterError: no node gave an answer in time, or the stream broke off.
        """
        wanted = {name: str(value) for name, value in filters.items() if value is not None}
        wanted |= _LINEARIZABLE if linearizable else {}
        return self.get_lines(AUDIT_PATH, wanted | ({"follow": "1"} if follow else {}), as_of=as_of)

    async def get_json(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that the first node to answer gives for a GET of `path`.

        Raises:
            SemelError: what the node refused with, or ClusterError if none gave an answer in time.
        """
        return await self._json(lambda endpoint: endpoint.get(path, parameters or {}))

    async def post_json(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that the first node to answer gives for a POST to `path`; raises as `get_json` does."""
        return await self._json(lambda endpoint: endpoint.post(path, parameters or {}))

    async def _json(self, request: Callable[[Endpoint], Awaitable[httpx2.Response]]) -> Any:
        async def ask(endpoint: Endpoint) -> Any:
            response = await request(endpoint)
            try:
                return json.loads(await response.aread())
            except (httpx2.TransportError, ValueError) as error:
                raise Unreachable(f"it broke off its answer: {error}") from error
            finally:
                await response.aclose()

        return await self._try(ask)

    async def get_lines(
        self,
        path: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        as_of: Callable[[AsOf], None] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Yield the JSON values of the lines that the first node to answer streams for a GET of `path`.

        `as_of` is told first how fresh they are, if the node says so.

        Raises:
            SemelError: as `get_json` does, and ClusterError if the stream breaks off.
        """
        response = await self._try(lambda endpoint: endpoint.get(path, parameters or {}))
        fresh = AsOf.of(response.headers)
        if as_of is not None and fresh is not None:
            as_of(fresh)
        try:
            async for line in response.aiter_lines():
                if line:
                    yield json.loads(line)
        except (httpx2.TransportError, ValueError) as error:
            raise ClusterError(f"{response.url} broke off in the middle: {error}") from error
        finally:
            await response.aclose()

    async def _try(
        self,
        ask: Callable[[Endpoint], Awaitable[_Value]],
        *,
        timeout_s: float | None = None,
        attempt_s: float | None = None,
        key: str | None = None,
    ) -> _Value:
        """Ask one node after the other until one answers; the one that did is asked first the next time."""
        now = asyncio.get_running_loop().time
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        begun = heard = now()
        deadline = begun + limit_s
        failures = Failures()
        candidates = list(self._endpoints)
        pause_s = _PAUSE_FIRST_S
        attempt_s = self._attempt_timeout_s if attempt_s is None else attempt_s
        while candidates:
            silent = False
            for endpoint in candidates:
                left_s = deadline - now()
                if left_s <= 0 or now() - heard > self._connect_timeout_s:
                    raise failures.summed_up(now() - begun, key)
                try:
                    async with asyncio.timeout(min(left_s, attempt_s)):
                        value = await ask(endpoint)
                except (CallError, UsageError):
                    raise
                except (TimeoutError, Unreachable, NotANode, SemelError) as error:
                    failures.add(endpoint, error)
                    silent = silent or isinstance(error, TimeoutError)
                    heard = heard if isinstance(error, NotConnected) else now()
                else:
                    self._prefer(endpoint)
                    return value
            failures.raise_if_broken(candidates)
            candidates = [each for each in candidates if each.url not in failures.for_good]
            await asyncio.sleep(max(0.0, min(pause_s * random.uniform(0.5, 1.0), deadline - now())))
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)
            if silent:  # a node that holds its calls through an outage is not helped by the same calls again and again
                attempt_s *= 2
        raise failures.no_node_left(key)

    def _prefer(self, endpoint: Endpoint) -> None:
        if self._endpoints[0] is not endpoint:
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)


def _key_for(state: str | None) -> str:
    """Return the key of a call that was given none: the one that was made for it, if it goes on."""
    return str(uuid.uuid4()) if state is None else Ticket.read(state).key


def _hearing(progress: Progress | None, heard: Heard | None) -> Heard:
    """Return who hears of a tool's notifications.

    Of its progress only what goes beyond what was told before: on another node, a repeatable tool begins anew.
    """
    furthest = -math.inf

    def hear(method: str, params: dict[str, Any]) -> None:
        nonlocal furthest
        if method == "notifications/progress":
            if not params["progress"] > furthest:
                return
            furthest = params["progress"]
            if progress is not None:
                progress(furthest, params.get("total"), params.get("message"))
        if heard is not None:
            heard(method, params)

    return hear


async def _until_its_end(stream: "asyncio.Future[Any]") -> None:
    """Wait for the end of a stream, however it comes."""
    with contextlib.suppress(Unreachable, NotANode, SemelError, MCPError):
        await stream
