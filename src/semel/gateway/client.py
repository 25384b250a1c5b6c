"""`semel.connect`: a client of one or several nodes that keeps a call's key over its retries.

Knows URLs, time limits and retries; what goes over the wire is the work of `endpoint.py`.
"""

import asyncio
import json
import random
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from semel.core.call import encode_arguments
from semel.core.limits import Limits
from semel.errors import BadArguments, CallError, ClusterError, NoLeader, SemelError, Unconfirmed, Undecided, UsageError
from semel.gateway import meta
from semel.gateway.answers import Answer, answer_of, read_answer
from semel.gateway.asof import AsOf
from semel.gateway.endpoint import Endpoint, NotANode, NotConnected, Unreachable

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
_LINEARIZABLE = {"linearizable": "true"}

_Value = TypeVar("_Value")


def connect(
    *urls: str | Iterable[str],
    caller: str | None = None,
    timeout_s: float = 60.0,
    attempt_timeout_s: float = 10.0,
    connect_timeout_s: float = 15.0,
) -> "Client":
    """Return a client of the nodes at `urls`; connections are opened when they are needed.

    Args:
        urls: one URL or several, or lists of them: "http://127.0.0.1:8420", with or without /mcp.
        caller: who asks, for the audit; the same key of two callers names two calls.
        timeout_s: how long a call may take over all its retries.
        attempt_timeout_s: how long one node may take before the next is asked, with the same key; twice as long each
            time that all were asked and one was silent.
        connect_timeout_s: how long there may be nobody at all to connect to before a call fails.
    """
    flat = [url for each in urls for url in ([each] if isinstance(each, str) else each)]
    return Client(
        flat,
        caller=caller,
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
        timeout_s: float | None = None,
    ) -> Answer:
        """Run a tool once and return how the call stands; nodes that fail are retried with the same key.

        Without a key one is made for this call. (`made` says of a given key that it was made so, too.) A read under
        such a key is answered even while the log cannot be written; then the answer is not `logged`. `also` is what
        else the request's `_meta` says, such as a trace context.

        A tool's own failure is an Answer with the outcome "error", and a doubt one that is `in_doubt`.

        Raises:
            CallError: the call was refused, and nothing was run.
            ClusterError: no node gave an answer in time; the text names the key, with which a retry is safe.
            UsageError: what answered is no semel node, and may have run the tool.
            SemelError: no node that answered can go on; the text says why.
        """
        given = dict(arguments or {})
        encode_arguments(given, _ANY_SIZE)
        named = key if key is not None else str(uuid.uuid4())
        told = {**(also or {}), meta.KEY: named} | ({} if self._caller is None else {meta.CALLER: self._caller})
        if key is None or made:
            told[meta.KEY_MADE] = True

        async def ask(endpoint: Endpoint) -> Answer:
            try:
                raw = await endpoint.call(tool, given, told)
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

    @property
    def urls(self) -> list[str]:
        """The nodes' URLs; the one that answered last is the first, and is asked first."""
        return [endpoint.url for endpoint in self._endpoints]

    async def instructions(self) -> str | None:
        """Return what the served server says of itself to models, None if nothing.

        Raises:
            ClusterError: no node gave an answer in time.
        """
        return await self._try(Endpoint.instructions)

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
        key: str | None = None,
    ) -> _Value:
        """Ask one node after the other until one answers; the one that did is asked first the next time."""
        now = asyncio.get_running_loop().time
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        begun = heard = now()
        deadline = begun + limit_s
        failures = _Failures()
        candidates = list(self._endpoints)
        pause_s, attempt_s = _PAUSE_FIRST_S, self._attempt_timeout_s
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


class _Failures:
    """What went wrong last at each URL, and whether the call may have reached a node all the same."""

    def __init__(self) -> None:
        self.for_good: set[str] = set()
        self._by_url: dict[str, str] = {}
        self._said: dict[str, str] = {}
        """What each node has said last of itself; a node that gives no answer after that has not taken it back."""
        self._broken: dict[str, SemelError] = {}
        self._unconfirmed: Unconfirmed | None = None
        self._in_the_dark = False

    def __str__(self) -> str:
        return "; ".join(f"{url}: {why}" for url, why in self._by_url.items())

    def add(self, endpoint: Endpoint, error: Exception) -> None:
        """Note a failure."""
        self._by_url[endpoint.url] = self._why(endpoint.url, error)
        if isinstance(error, NotANode):
            self.for_good.add(endpoint.url)
        self._broken.pop(endpoint.url, None)
        if isinstance(error, Unconfirmed):
            self._unconfirmed = error
        if isinstance(error, Unconfirmed) or (isinstance(error, SemelError) and not isinstance(error, ClusterError)):
            self._broken[endpoint.url] = error
        sent = isinstance(error, TimeoutError | Unreachable) and not isinstance(error, NotConnected)
        self._in_the_dark |= sent or isinstance(error, Undecided) or endpoint.url in self._broken

    def _why(self, url: str, error: Exception) -> str:
        if not isinstance(error, TimeoutError):
            if isinstance(error, SemelError):
                self._said[url] = str(error)
            return str(error)
        silence = "it did not answer in time"
        return f"{silence}, and had said before: {self._said[url]}" if url in self._said else silence

    def raise_if_broken(self, candidates: Sequence[Endpoint]) -> None:
        """Raise what ails the nodes (their log, their replica) if that is all that any of them has to say.

        A read that could not be linearizable counts: the node has already waited for its log.
        """
        if all(each.url in self._broken for each in candidates):
            raise self._broken[candidates[-1].url]

    def no_node_left(self, key: str | None) -> ClusterError:
        """Return the error for URLs at none of which there is a node, or not any more."""
        happened = f"no semel node answers: {self}. Check the URLs."
        if self._in_the_dark and key is not None:
            return self._undecided(happened, key)
        return ClusterError(f"{happened} Nothing was run")

    def summed_up(self, limit_s: float, key: str | None) -> ClusterError:
        """Return the error that says what happened, and what a retry of the call with `key` would do."""
        if self._unconfirmed is not None:
            return self._unconfirmed
        happened = f"no answer within {limit_s:.1f} s: {self}."
        if key is None:
            return NoLeader(f"{happened} Try again later, or ask another node")
        if not self._in_the_dark:
            return NoLeader(f"{happened} Nothing was run; retrying with the key {key!r} is safe")
        return self._undecided(happened, key)

    @staticmethod
    def _undecided(happened: str, key: str) -> Undecided:
        return Undecided(
            f"{happened} The call may have run or may yet run. Retrying with the key {key!r} is safe and tells; a new "
            "key is not"
        )
